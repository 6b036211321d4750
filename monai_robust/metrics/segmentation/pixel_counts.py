"""Pixels of each class that are found, invented and missed: what overlap is measured from."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.metrics.inputs import as_plain

__all__ = ["Counts", "checked_counts", "label_maps", "pixel_counts"]

Counts = Tensor | ArrayLike
"""(N,) or (N, K) pixels of each sample and foreground class."""


def checked_counts(*counts: Counts) -> list[Tensor]:
    """tp, fp and fn as (N, K) float64.

    Raises:
        BadInputError: for shapes that differ, counts below 0 or not finite, or no sample at all.
    """
    parts = [as_plain(one).double().cpu() for one in counts]
    if len({part.shape for part in parts}) > 1 or parts[0].ndim not in (1, 2):
        shapes = ", ".join(str(tuple(part.shape)) for part in parts)
        raise BadInputError(f"tp, fp and fn must have one shape, (N,) or (N, K), got {shapes}.")
    if not parts[0].numel():
        raise BadInputError("tp, fp and fn are empty; there must be at least one sample and one class.")
    if any(not bool((part.isfinite() & (part >= 0)).all()) for part in parts):
        raise BadInputError("tp, fp and fn must be counts, finite and not below 0.")
    return [part.reshape(len(part), -1) for part in parts]


def pixel_counts(predicted: Tensor, truth: Tensor) -> Tensor:
    """tp, fp and fn, (B, 3, K), of predictions (B, C, *spatial) and labels (B, 1 or C, *spatial).

    Raises:
        BadInputError: as :func:`label_maps`.
    """
    found, true, classes = label_maps(predicted, truth)
    rows = [
        torch.stack([(ours & theirs), (ours & ~theirs), (~ours & theirs)], dim=1).flatten(2).sum(dim=2)
        for ours, theirs in ((found == index, true == index) for index in range(1, classes))
    ]
    return torch.stack(rows, dim=2)


def label_maps(predicted: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, int]:
    """Class indices (B, *spatial) of prediction and truth, and the number of classes, the background among them.

    Args:
        predicted: (B, C, *spatial) logits or one-hot; a single channel is foreground above 0.
        truth: (B, 1, *spatial) class indices or one-hot (B, C, *spatial).

    Raises:
        BadInputError: for shapes that do not fit, or a label that is no class.
    """
    if predicted.ndim < 3 or predicted.ndim != truth.ndim or predicted.shape[2:] != truth.shape[2:]:
        raise BadInputError(
            f"predictions must be (B, C, *spatial) and labels (B, 1, *spatial) or one-hot, got "
            f"{tuple(predicted.shape)} and {tuple(truth.shape)}."
        )
    classes = max(predicted.shape[1], 2)
    found = predicted.argmax(dim=1) if predicted.shape[1] > 1 else (predicted[:, 0] > 0).long()
    return found, _label_map(truth, classes), classes


def _label_map(truth: Tensor, classes: int) -> Tensor:
    """(B, *spatial) class indices."""
    if truth.shape[1] == classes:
        return truth.argmax(dim=1)
    labels = truth[:, 0]
    if truth.shape[1] != 1 or bool((labels != labels.long()).any()) or not 0 <= labels.min() <= labels.max() < classes:
        raise BadInputError(
            f"labels must hold one channel of class indices from 0 to {classes - 1} or {classes} one-hot "
            f"channels; got {truth.shape[1]} with values from {truth.min():g} to {truth.max():g}."
        )
    return labels.long()
