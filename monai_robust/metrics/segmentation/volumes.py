"""Measures of segmented areas that follow from counts of pixels: overlap (IoU) and relative volume difference."""

from __future__ import annotations

from typing import Any

import torch
from monai.metrics import CumulativeIterationMetric
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.metrics.inputs import as_plain
from monai_robust.metrics.segmentation.pixel_counts import Counts, checked_counts, pixel_counts

__all__ = ["RelativeVolumeDifference", "intersection_over_union", "relative_volume_difference"]


def intersection_over_union(tp: Counts, fp: Counts, fn: Counts) -> Tensor:
    """The intersection over union (IoU, Jaccard index) of each sample and class: TP / (TP + FP + FN).

    Args:
        tp: (N,) or (N, K) true-positive pixels of each sample and foreground class.
        fp: false-positive pixels, in the same shape.
        fn: false-negative pixels, in the same shape.

    Returns:
        (N, K) float64, NaN where a sample holds the class neither in truth nor in prediction.

    Raises:
        BadInputError: for shapes that differ, or counts below 0 or not finite.

    Example:
        >>> intersection_over_union([3], [1], [2]).tolist()
        [[0.5]]
    """
    hit, extra, missed = checked_counts(tp, fp, fn)
    return hit / (hit + extra + missed)


def relative_volume_difference(tp: Counts, fp: Counts, fn: Counts) -> Tensor:
    """How much larger the predicted volume is than the true one, as a share of that: (FP - FN) / (TP + FN).

    -1 means that nothing was predicted, 0 says nothing of where the volume is.

    Args:
        tp: (N,) or (N, K) true-positive pixels of each sample and foreground class.
        fp: false-positive pixels, in the same shape.
        fn: false-negative pixels, in the same shape.

    Returns:
        (N, K) float64, NaN where a sample does not hold the class.

    Raises:
        BadInputError: as :func:`intersection_over_union`.

    Example:
        >>> relative_volume_difference([3], [0], [1]).tolist()
        [[-0.25]]
    """
    hit, extra, missed = checked_counts(tp, fp, fn)
    held = hit + missed
    return torch.where(held > 0, (extra - missed) / held, torch.nan)


class RelativeVolumeDifference(CumulativeIterationMetric):
    """The mean of the absolute :func:`relative_volume_difference` over samples and the classes that they hold.

    Takes predictions (B, C, *spatial), logits or one-hot, where a single channel is foreground above 0, and labels
    (B, 1, *spatial) of class indices or one-hot (B, C, *spatial); class 0 is the background.
    """

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:
        """(B, K)."""
        if y is None:
            raise BadInputError("RelativeVolumeDifference needs labels (y).")
        return relative_volume_difference(*pixel_counts(as_plain(y_pred), as_plain(y)).unbind(dim=1))

    def aggregate(self, *args: Any, **kwargs: Any) -> Tensor:
        """The mean of all samples since the last reset, a scalar tensor; NaN where no class was held.

        Raises:
            BadInputError: if there was no sample.
        """
        values = self.get_buffer()
        if values is None:
            raise BadInputError("RelativeVolumeDifference: no sample was given before aggregate().")
        return values.abs().nanmean()
