"""Two answers to class imbalance: weights for the loss, or a sampler that draws the classes evenly."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import WeightedRandomSampler

from monai_robust.data.files.schemas import shown
from monai_robust.errors import BadInputError

__all__ = ["balanced_sampler", "class_weights"]


def class_weights(items: Sequence[Mapping[str, Any]], num_classes: int) -> Tensor:
    """Inverse class frequencies with mean 1, for ``CrossEntropyLoss(weight=...)``.

    Three samples of class 0 and one of class 1 give ``[0.5, 1.5]``.

    Args:
        items: training samples with an integer ``label``.
        num_classes: number of classes.

    Returns:
        Weights, ``(num_classes,)``.

    Raises:
        BadInputError: a class has no sample, or a label is no class.
    """
    inverse = 1 / _counts(items, num_classes)
    return (inverse / inverse.mean()).float()


def balanced_sampler(items: Sequence[Mapping[str, Any]], num_classes: int, seed: int = 0) -> WeightedRandomSampler:
    """Draw as many samples as there are, with replacement, each class equally often in the mean.

    Args:
        items: training samples with an integer ``label``, in the order of the data set.
        num_classes: number of classes.
        seed: of the draws.

    Raises:
        BadInputError: a class has no sample, or a label is no class.
    """
    inverse = 1 / _counts(items, num_classes)
    weights = inverse[_labels(items)].tolist()
    return WeightedRandomSampler(weights, len(weights), generator=torch.Generator().manual_seed(seed))


def _labels(items: Sequence[Mapping[str, Any]]) -> Tensor:
    return torch.tensor([_label(item) for item in items], dtype=torch.long)


def _label(item: Mapping[str, Any]) -> int:
    """A whole number, whichever program wrote it: of Python, NumPy or PyTorch."""
    value = item.get("label")
    try:
        number = float(value.item() if hasattr(value, "item") else value)  # type: ignore[arg-type, union-attr]
    except (TypeError, ValueError, RuntimeError, OverflowError):
        number = math.nan
    if not number.is_integer():
        name = item.get("sample_id", item.get("image", "of the data set"))
        raise BadInputError(
            f"sample {name} has the label {shown(value)}; classes are weighted and drawn by whole numbers"
        )
    return int(number)


def _counts(items: Sequence[Mapping[str, Any]], num_classes: int) -> Tensor:
    labels = _labels(items)
    outside = labels[(labels < 0) | (labels >= num_classes)]
    if len(outside):
        raise BadInputError(f"label {int(outside[0])} is none of {num_classes} classes (0 to {num_classes - 1})")
    counts = torch.bincount(labels, minlength=num_classes)
    if (counts == 0).any():
        raise BadInputError(f"class {int((counts == 0).nonzero()[0])} has no sample to be weighted or drawn")
    return counts.double()
