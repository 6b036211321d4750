"""How well scores tell cases from controls, whatever the threshold: ROC curves, their area, average precision."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.metrics.findings import OfFindings
from monai_robust.metrics.inputs import as_findings, as_scores

__all__ = ["AUROC", "AveragePrecisionOfFindings", "Ranking", "auroc", "average_precision", "ranking"]

Floats = NDArray[np.float64]


class Ranking(NamedTuple):
    """What is called a case as the threshold falls: arrays (K,), one entry for each different score.

    Attributes:
        thresholds: the scores, falling; a case is called where the score is at least the threshold.
        true_positives: how many cases are called one at each.
        false_positives: how many controls are.
    """

    thresholds: Floats
    true_positives: Floats
    false_positives: Floats

    @property
    def cases(self) -> float:
        """Number (or sum of weights) of samples that have it."""
        return float(self.true_positives[-1]) if len(self.thresholds) else 0.0

    @property
    def controls(self) -> float:
        """Number (or sum of weights) of samples that do not."""
        return float(self.false_positives[-1]) if len(self.thresholds) else 0.0

    @property
    def sensitivity(self) -> Floats:
        """At each threshold; NaN without a case."""
        return self.true_positives / self.cases if self.cases else np.full(len(self.thresholds), np.nan)

    @property
    def false_positive_rate(self) -> Floats:
        """1 less specificity, at each threshold; NaN without a control."""
        return self.false_positives / self.controls if self.controls else np.full(len(self.thresholds), np.nan)

    @property
    def area(self) -> float:
        """Area under the ROC curve, ties counting half; NaN without a case or without a control."""
        if not self.cases or not self.controls:
            return math.nan
        widths = np.diff(self.false_positive_rate, prepend=0.0)
        heights = self.sensitivity - np.diff(self.sensitivity, prepend=0.0) / 2
        return float((widths * heights).sum())

    @property
    def average_precision(self) -> float:
        """Sum over thresholds of the gain in sensitivity times the precision there; NaN without a case."""
        if not self.cases:
            return math.nan
        precision = self.true_positives / (self.true_positives + self.false_positives)
        return float((np.diff(self.sensitivity, prepend=0.0) * precision).sum())


def ranking(scores: Floats, labels: NDArray[np.int8]) -> Ranking:
    """Cases and controls by falling score.

    Args:
        scores: (N,).
        labels: (N,) 1 for a case, 0 for a control; those of -1 are left out.
    """
    known = labels >= 0
    if not known.all():
        scores, labels = scores[known], labels[known]
    order = np.argsort(-scores, kind="stable")
    falling, cases = scores[order], labels[order]
    last = np.flatnonzero(np.diff(falling, append=-np.inf)) if len(falling) else np.empty(0, dtype=np.intp)
    true = np.cumsum(cases, dtype=np.float64)[last]
    return Ranking(falling[last], true, last + 1 - true)


def auroc(scores: Tensor | ArrayLike, labels: Tensor | ArrayLike) -> float | Floats:
    """Area under the ROC curve: the chance that a case has a larger score than a control, ties counting half.

    Args:
        scores: (N,), or (N, C) for one class, or finding, against the rest.
        labels: (N,) of 0 and 1 for scores (N,). For (N, C) class indices (N,), or findings (N, C) of 0 and 1; -1 or NaN
            where it is not known, which is left out.

    Returns:
        The area, or (C,) of them; NaN where there is no case or no control, and so no area.

    Raises:
        BadInputError: for other shapes or values, and for no sample.

    Example:
        >>> auroc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
        0.75
    """
    return _of_each(scores, labels, lambda one: one.area)


def average_precision(scores: Tensor | ArrayLike, labels: Tensor | ArrayLike) -> float | Floats:
    """Average precision: sum over thresholds of (recall_n - recall_{n - 1}) * precision_n, without interpolation.

    Args:
        scores: as for :func:`auroc`.
        labels: as for :func:`auroc`.

    Returns:
        The average, or (C,) of them; NaN where there is no case.

    Raises:
        BadInputError: as :func:`auroc`.

    Example:
        >>> round(average_precision([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]), 4)
        0.8333
    """
    return _of_each(scores, labels, lambda one: one.average_precision)


def _of_each(scores: Tensor | ArrayLike, labels: Tensor | ArrayLike, measure: Callable[[Ranking], float]) -> Any:
    rows = as_scores(scores)
    truth = as_findings(labels, rows.shape)
    if not len(rows):
        raise BadInputError("a ROC curve needs at least one sample.")
    if rows.ndim == 1:
        return measure(ranking(rows, truth))
    return np.array([measure(ranking(rows[:, c], truth[:, c])) for c in range(rows.shape[1])])


class AUROC(OfFindings):
    """:func:`auroc` of each class against the rest, or of each finding, for MONAI's engines.

    In an ``IgniteMetricHandler`` set ``save_details=False``: there is no value for each sample to save.

    Args:
        average: ``"macro"``, the mean over the classes that have an area, or ``"none"``.
        activation: what makes probabilities of the engine's predictions; ranks need none.
    """

    def _measure(self, scores: Floats, labels: NDArray[np.int8]) -> Floats:
        return np.asarray(auroc(scores, labels))


class AveragePrecisionOfFindings(OfFindings):
    """:func:`average_precision` of each class against the rest, or of each finding, for MONAI's engines; otherwise as
    :class:`AUROC`."""

    def _measure(self, scores: Floats, labels: NDArray[np.int8]) -> Floats:
        return np.asarray(average_precision(scores, labels))
