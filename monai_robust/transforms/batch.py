"""Image transforms on a batch inside a training step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from monai_robust.errors import BadInputError

__all__ = ["apply_per_sample"]


def apply_per_sample(transform: Callable[[Any], Any], batch: Tensor) -> Tensor:
    """Apply a transform of single images to each sample of a batch; a random transform draws for each anew.

    Args:
        transform: takes and returns an image (C, *spatial).
        batch: (B, C, *spatial); metadata is left behind. No gradient flows through the transform.

    Returns:
        A plain tensor of the shape, dtype and device of the batch.

    Raises:
        BadInputError: if the transform changes the shape of an image, so that the samples form no batch any more.
    """
    values = batch.detach().as_subclass(Tensor)
    result = torch.empty_like(values)
    for index, sample in enumerate(values):
        # a copy, because a transform may write into what it is given
        changed = torch.as_tensor(transform(sample.clone())).as_subclass(Tensor)
        if changed.shape != sample.shape:
            raise BadInputError(
                f"{type(transform).__name__} made {tuple(changed.shape)} of an image of shape {tuple(sample.shape)}; "
                "a view of a batch must keep its shape."
            )
        result[index] = changed
    return result
