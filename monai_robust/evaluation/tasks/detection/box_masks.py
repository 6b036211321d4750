"""Boxes as label maps, to be drawn into pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["box_mask"]


def box_mask(boxes: NDArray[np.float64], labels: NDArray[np.int64], size: Sequence[int]) -> Tensor:
    """(X, Y), uint8: class index + 1 in every pixel that a box touches, small boxes on top of large ones.

    Args:
        boxes: (N, 4), xmin, ymin, xmax, ymax; pixel i covers [i, i + 1).
        labels: (N,), class indices.
        size: of the picture.
    """
    mask = torch.zeros(tuple(size), dtype=torch.uint8)
    for index in np.argsort(-np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), kind="stable"):
        low, high = np.floor(boxes[index, :2]).clip(0).astype(int), np.ceil(boxes[index, 2:]).clip(0).astype(int)
        mask[low[0] : high[0], low[1] : high[1]] = int(labels[index]) + 1
    return mask
