"""Dice of whole data sets from pixel counts: AMAT's ADI and TVDI, and the Dice of volumes cut into slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.metrics import CumulativeIterationMetric
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.metrics.inputs import as_plain
from monai_robust.metrics.segmentation.pixel_counts import Counts, checked_counts, pixel_counts

__all__ = [
    "AverageDiceIndex",
    "DiceIndex",
    "ForegroundDiceIndex",
    "TotalVoxelDiceIndex",
    "average_dice_index",
    "foreground_dice_index",
    "sample_dice",
    "total_voxel_dice_index",
    "volume_dice",
]


class DiceIndex(NamedTuple):
    """A Dice index of a data set.

    Attributes:
        mean: over all foreground classes; NaN where there is nothing to measure.
        classes: (K,) float64, one for each foreground class, NaN for a class that counts for no sample.
        samples: how many samples hold any foreground.
    """

    mean: float
    classes: Tensor
    samples: int


def sample_dice(tp: Tensor, fp: Tensor, fn: Tensor) -> Tensor:
    """The mean Dice of the foreground classes that each sample holds (tp + fn > 0), NaN where it holds none.

    Args:
        tp: (N, K) true-positive pixels of each sample and foreground class, in floating point.
        fp: false-positive pixels, in the same shape.
        fn: false-negative pixels, in the same shape.

    Returns:
        (N,), in the precision and on the device of the counts.

    Example:
        >>> sample_dice(*torch.tensor([[[1.0, 4.0]], [[1.0, 0.0]], [[1.0, 0.0]]])).tolist()
        [0.75]
    """
    return _per_sample(tp, fp, fn, tp + fn > 0)


def average_dice_index(tp: Counts, fp: Counts, fn: Counts) -> DiceIndex:
    """The average Dice index (ADI), in which every sample weighs the same:

        (1 / n) * sum over samples i of 2 TP_i / (2 TP_i + FP_i + FN_i).

    A sample that does not hold a class but into which it is predicted scores 0 for it, as the equation says. Where
    there is neither truth nor prediction the equation is 0 / 0, and the sample does not count for the class. The mean
    is that over samples, each with the mean over the classes that count for it.

    Source: AMAT, equation 3, where a sample is a 2-D slice and there is one class.

    Args:
        tp: (N,) or (N, K) true-positive pixels of each sample and foreground class.
        fp: false-positive pixels, in the same shape.
        fn: false-negative pixels, in the same shape.

    Raises:
        BadInputError: for shapes that differ, counts below 0 or not finite, or no sample at all.

    Example:
        >>> average_dice_index([[1, 4], [3, 0]], [[1, 0], [0, 2]], [[1, 0], [0, 0]]).mean
        0.625
    """
    hit, extra, missed = checked_counts(tp, fp, fn)
    return _averaged(hit, extra, missed, hit + extra + missed > 0)


def foreground_dice_index(tp: Counts, fp: Counts, fn: Counts) -> DiceIndex:
    """As :func:`average_dice_index`, of the classes that a sample holds alone (tp + fn > 0).

    What is predicted into samples without a class goes unpunished; the average and the total voxel Dice index do punish
    it. This is what many programs report as the mean Dice of cases with foreground, and no equation of the paper.

    Args:
        tp: (N,) or (N, K) true-positive pixels of each sample and foreground class.
        fp: false-positive pixels, in the same shape.
        fn: false-negative pixels, in the same shape.

    Raises:
        BadInputError: as :func:`average_dice_index`.

    Example:
        >>> foreground_dice_index([[1, 4], [3, 0]], [[1, 0], [0, 2]], [[1, 0], [0, 0]]).mean
        0.875
    """
    hit, extra, missed = checked_counts(tp, fp, fn)
    return _averaged(hit, extra, missed, hit + missed > 0)


def total_voxel_dice_index(tp: Counts, fp: Counts, fn: Counts) -> DiceIndex:
    """The total voxel Dice index (TVDI), in which every voxel weighs the same:

        2 * sum of TP_i / (2 * sum of TP_i + sum of FP_i + sum of FN_i), sums over all samples i.

    It is what nnU-Net reports as the Dice of its validation during training. Samples without foreground count through
    their false positives. The mean is that over classes that occur in truth or prediction.

    Source: AMAT, equation 5.

    Args:
        tp: (N,) or (N, K) true-positive pixels of each sample and foreground class.
        fp: false-positive pixels, in the same shape.
        fn: false-negative pixels, in the same shape.

    Raises:
        BadInputError: as :func:`average_dice_index`.

    Example:
        >>> total_voxel_dice_index([1, 3], [1, 0], [1, 0]).mean
        0.8
    """
    hit, extra, missed = checked_counts(tp, fp, fn)
    classes = _dice(hit.sum(dim=0), extra.sum(dim=0), missed.sum(dim=0))
    return DiceIndex(classes.nanmean().item(), classes, int((hit + missed > 0).any(dim=1).sum()))


def volume_dice(tp: Counts, fp: Counts, fn: Counts, volumes: Sequence[Any]) -> DiceIndex:
    """The average Dice index of volumes, from the counts of their slices.

    All slices of a volume count, those without foreground too; a volume scores 0 for a class that was found in it and
    that it does not hold.

    Args:
        tp: (N,) or (N, K) true-positive pixels of each slice and foreground class.
        fp: false-positive pixels, in the same shape.
        fn: false-negative pixels, in the same shape.
        volumes: (N,) the volume of each slice.

    Raises:
        BadInputError: as :func:`average_dice_index`, and if there is not one volume for each slice.

    Example:
        >>> volume_dice([1, 3], [1, 0], [1, 0], ["a", "a"]).mean
        0.8
    """
    parts = checked_counts(tp, fp, fn)
    _, place = np.unique(np.asarray(volumes, dtype=str), return_inverse=True)
    if len(place) != len(parts[0]):
        raise BadInputError(f"volume Dice: {len(place)} volumes for {len(parts[0])} slices; each slice needs its own")
    index = torch.from_numpy(place.reshape(-1))
    empty = torch.zeros(int(index.max()) + 1, parts[0].shape[1], dtype=torch.float64)
    return average_dice_index(*(empty.index_add(0, index, part) for part in parts))


class _DiceIndexMetric(CumulativeIterationMetric):
    """Keeps tp, fp and fn of every sample and class."""

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:
        """(B, 3, K) counts."""
        if y is None:
            raise BadInputError(f"{type(self).__name__} needs labels (y).")
        return pixel_counts(as_plain(y_pred), as_plain(y))

    def _index(self, tp: Tensor, fp: Tensor, fn: Tensor) -> DiceIndex:
        raise NotImplementedError

    def index(self) -> DiceIndex:
        """The mean and the classes' indices of all samples since the last reset.

        Raises:
            BadInputError: if there was no sample.
        """
        counts = self.get_buffer()
        if counts is None:
            raise BadInputError(f"{type(self).__name__}: no sample was given before aggregate().")
        return self._index(*counts.cpu().unbind(dim=1))

    def aggregate(self, *args: Any, **kwargs: Any) -> Tensor:
        """The mean index of all samples since the last reset, a scalar tensor.

        Raises:
            BadInputError: if there was no sample.
        """
        return torch.tensor(self.index().mean, dtype=torch.float64)


class AverageDiceIndex(_DiceIndexMetric):
    """:func:`average_dice_index` for MONAI's engines.

    Takes predictions (B, C, *spatial), logits or one-hot, where a single channel is foreground above 0, and labels
    (B, 1, *spatial) of class indices or one-hot (B, C, *spatial); class 0 is the background. In an
    ``IgniteMetricHandler`` set ``save_details=False``: what is kept of a sample are its counts.
    """

    def _index(self, tp: Tensor, fp: Tensor, fn: Tensor) -> DiceIndex:
        return average_dice_index(tp, fp, fn)


class ForegroundDiceIndex(_DiceIndexMetric):
    """:func:`foreground_dice_index` for MONAI's engines; inputs are those of :class:`AverageDiceIndex`."""

    def _index(self, tp: Tensor, fp: Tensor, fn: Tensor) -> DiceIndex:
        return foreground_dice_index(tp, fp, fn)


class TotalVoxelDiceIndex(_DiceIndexMetric):
    """:func:`total_voxel_dice_index` for MONAI's engines; inputs are those of :class:`AverageDiceIndex`."""

    def _index(self, tp: Tensor, fp: Tensor, fn: Tensor) -> DiceIndex:
        return total_voxel_dice_index(tp, fp, fn)


def _averaged(tp: Tensor, fp: Tensor, fn: Tensor, counts: Tensor) -> DiceIndex:
    """The mean over samples of the mean over the classes that count for them, (N, K) bool."""
    dice = torch.where(counts, _dice(tp, fp, fn), 0.0)
    per_sample = _per_sample(tp, fp, fn, counts)[counts.any(dim=1)]
    held = (tp + fn > 0).any(dim=1)
    return DiceIndex(per_sample.mean().item(), dice.sum(dim=0) / counts.sum(dim=0), int(held.sum()))


def _per_sample(tp: Tensor, fp: Tensor, fn: Tensor, counts: Tensor) -> Tensor:
    """(N,) the mean over the classes that count for a sample, (N, K) bool; NaN where none does."""
    return torch.where(counts, _dice(tp, fp, fn), 0.0).sum(dim=1) / counts.sum(dim=1)


def _dice(tp: Tensor, fp: Tensor, fn: Tensor) -> Tensor:
    """NaN where there is neither truth nor prediction."""
    return 2 * tp / (2 * tp + fp + fn)
