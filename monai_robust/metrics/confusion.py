"""Which class is taken for which, and what follows from it: balanced accuracy and F1."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.metrics.inputs import OfAllSamples, as_labels, as_plain

__all__ = ["BalancedAccuracy", "ClassConfusion", "F1Score", "balanced_accuracy", "confusion_matrix", "f1_score"]


def confusion_matrix(predictions: Tensor | ArrayLike, labels: Tensor | ArrayLike, classes: int) -> NDArray[np.int64]:
    """How many samples of each class are taken for each: (C, C), true classes down, predicted ones across.

    Args:
        predictions: (N,) class indices.
        labels: (N,) or (N, 1) class indices.
        classes: C.

    Raises:
        BadInputError: for other shapes, or values that are no class.

    Example:
        >>> confusion_matrix([0, 1, 1], [0, 0, 1], 2).tolist()
        [[1, 1], [0, 1]]
    """
    said = as_plain(predictions)
    truth = as_labels(labels, len(said), classes).cpu().numpy()
    guess = as_labels(said, len(said), classes).cpu().numpy()
    return np.bincount(truth * classes + guess, minlength=classes**2).reshape(classes, classes)


def balanced_accuracy(matrix: NDArray[np.int64]) -> float:
    """The mean over classes of the share of its samples that are recognised; classes without a sample are left out.

    Args:
        matrix: (C, C) from :func:`confusion_matrix`.

    Raises:
        BadInputError: for a matrix without samples.

    Example:
        >>> balanced_accuracy(confusion_matrix([0, 1, 1], [0, 0, 1], 2))
        0.75
    """
    totals = matrix.sum(axis=1)
    if not totals.any():
        raise BadInputError("balanced accuracy needs at least one sample.")
    present = totals > 0
    return float((matrix.diagonal()[present] / totals[present]).mean())


def f1_score(matrix: NDArray[np.int64]) -> float:
    """F1, 2 TP / (2 TP + FP + FN): of the second of two classes, else the mean over the classes that occur.

    Args:
        matrix: (C, C) from :func:`confusion_matrix`; classes that are neither true nor predicted anywhere are left out.

    Returns:
        NaN where there are two classes and the second is neither true nor predicted anywhere.

    Raises:
        BadInputError: for a matrix without samples.
    """
    if not matrix.any():
        raise BadInputError("F1 needs at least one sample.")
    both = matrix.sum(axis=0) + matrix.sum(axis=1)
    if len(matrix) == 2:
        return float(2 * matrix[1, 1] / both[1]) if both[1] else math.nan
    present = both > 0
    return float((2 * matrix.diagonal()[present] / both[present]).mean())


class ClassConfusion(OfAllSamples):
    """:func:`confusion_matrix` of the most probable classes, for MONAI's engines.

    In an ``IgniteMetricHandler`` set ``save_details=False``: there is no value for each sample to save.

    Args:
        softmax: the engine's predictions are logits.
    """

    def _of(self, probabilities: Tensor, labels: Tensor) -> Any:
        return confusion_matrix(probabilities.argmax(dim=1), labels, probabilities.shape[1])


class BalancedAccuracy(ClassConfusion):
    """:func:`balanced_accuracy` for MONAI's engines; see :class:`ClassConfusion`."""

    def _of(self, probabilities: Tensor, labels: Tensor) -> Any:
        return balanced_accuracy(super()._of(probabilities, labels))


class F1Score(ClassConfusion):
    """:func:`f1_score` for MONAI's engines; see :class:`ClassConfusion`."""

    def _of(self, probabilities: Tensor, labels: Tensor) -> Any:
        return f1_score(super()._of(probabilities, labels))
