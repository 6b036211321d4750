"""A threshold on scores, fitted on some samples and applied to others: sensitivity, specificity, predictive values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.metrics.findings import OfFindings
from monai_robust.metrics.inputs import as_findings, as_scores, checked_choice
from monai_robust.metrics.ranking import Ranking, ranking
from monai_robust.scalars import is_above_zero, is_number

__all__ = [
    "AtThreshold",
    "OperatingPoint",
    "Sensitivity",
    "Specificity",
    "fitted_threshold",
    "predictive_values",
    "sensitivity_and_specificity",
    "threshold_of",
]

RULES = ("youden", "sensitivity")


class OperatingPoint(NamedTuple):
    """Shares at a threshold; NaN without a case, or without a control."""

    sensitivity: float
    specificity: float


def fitted_threshold(
    scores: Tensor | ArrayLike, labels: Tensor | ArrayLike, rule: str = "youden", level: float = 0.95
) -> float:
    """A threshold of scores: a case is called where the score is at least the threshold.

    - ``"youden"``: where sensitivity + specificity - 1 is largest (Youden 1950); of several such the largest;
    - ``"sensitivity"``: the largest threshold at which the sensitivity is at least ``level``.

    Args:
        scores: (N,).
        labels: (N,) of 0 and 1; those of -1 or NaN are left out.
        rule: one of these.
        level: the wanted sensitivity.

    Returns:
        The threshold, one of the scores; NaN without a case, or without a control.

    Raises:
        BadInputError: for another rule, a level that is no share above 0, or other shapes and values.

    Example:
        >>> fitted_threshold([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
        0.8
        >>> fitted_threshold([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], rule="sensitivity", level=0.9)
        0.35
    """
    rows = as_scores(scores)
    if rows.ndim != 1:
        raise BadInputError(f"a threshold is fitted to scores of one class, (N,); these have shape {rows.shape}.")
    return threshold_of(ranking(rows, as_findings(labels, rows.shape)), rule, level)


def threshold_of(ranked: Ranking, rule: str = "youden", level: float = 0.95) -> float:
    """:func:`fitted_threshold` of samples that are ranked already."""
    checked_choice("rule of an operating point", rule, RULES)
    if not is_above_zero(level, 1):
        raise BadInputError(f"the sensitivity of an operating point is {level}; it must be above 0 and at most 1.")
    if not ranked.cases or not ranked.controls:
        return math.nan
    if rule == "youden":
        # in counts, so that equal points are equal
        index = ranked.true_positives * ranked.controls - ranked.false_positives * ranked.cases
        return float(ranked.thresholds[np.argmax(index)])
    return float(ranked.thresholds[np.argmax(ranked.true_positives >= level * ranked.cases - 1e-9)])


def sensitivity_and_specificity(
    scores: Tensor | ArrayLike, labels: Tensor | ArrayLike, threshold: float
) -> OperatingPoint:
    """The share of cases that are called one, and of controls that are not; a score of the threshold itself is called.

    Args:
        scores: (N,).
        labels: (N,) of 0 and 1; those of -1 or NaN are left out.
        threshold: NaN for one that could not be fitted, which gives NaN.

    Raises:
        BadInputError: for other shapes and values.

    Example:
        >>> sensitivity_and_specificity([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], 0.4)
        OperatingPoint(sensitivity=0.5, specificity=0.5)
    """
    rows = as_scores(scores)
    if rows.ndim != 1:
        raise BadInputError(f"an operating point is one of scores of one class, (N,); these have shape {rows.shape}.")
    return _point(rows, as_findings(labels, rows.shape), threshold)


def predictive_values(sensitivity: float, specificity: float, prevalence: float) -> tuple[float, float]:
    """Positive and negative predictive value, by Bayes' rule, where a share ``prevalence`` are cases.

    Args:
        sensitivity: of the operating point.
        specificity: of the operating point.
        prevalence: from 0 to 1.

    Returns:
        PPV and NPV; NaN where nothing is called a case, or nothing a control.

    Raises:
        BadInputError: for a prevalence that is no share.

    Example:
        >>> [round(value, 3) for value in predictive_values(0.9, 0.9, 0.05)]
        [0.321, 0.994]
    """
    if not is_number(prevalence, 0, 1):
        raise BadInputError(f"the prevalence is {prevalence}; it must be a share from 0 to 1.")
    right, missed = sensitivity * prevalence, (1 - sensitivity) * prevalence
    false, clear = (1 - specificity) * (1 - prevalence), specificity * (1 - prevalence)
    return (
        right / (right + false) if right + false > 0 else math.nan,
        clear / (clear + missed) if clear + missed > 0 else math.nan,
    )


def _point(scores: NDArray[np.float64], labels: NDArray[np.int8], threshold: float) -> OperatingPoint:
    if math.isnan(threshold):
        return OperatingPoint(math.nan, math.nan)
    called, cases, controls = scores >= threshold, labels == 1, labels == 0
    return OperatingPoint(
        float(called[cases].mean()) if cases.any() else math.nan,
        float(1 - called[controls].mean()) if controls.any() else math.nan,
    )


class AtThreshold(OfFindings):
    """A share at fixed thresholds, for MONAI's engines.

    Args:
        thresholds: of each class, such as those that were fitted on validation; one number for all of them.
        average: as for :class:`~monai_robust.metrics.AUROC`.
        activation: as there.
    """

    share = ""

    def __init__(self, thresholds: float | Sequence[float], average: str = "macro", activation: str = "none") -> None:
        super().__init__(average, activation)
        if not all(map(is_number, thresholds if isinstance(thresholds, Iterable) else [thresholds])):
            raise BadInputError(f"the thresholds are {thresholds!r}; give one number, or one for each class.")
        self.thresholds = thresholds

    def _measure(self, scores: NDArray[np.float64], labels: NDArray[np.int8]) -> NDArray[np.float64]:
        given = np.asarray(self.thresholds, dtype=np.float64)
        if given.shape not in ((), scores.shape[1:]):
            raise BadInputError(f"there are {len(given)} thresholds for {scores.shape[1]} classes; give one for each.")
        limits = np.broadcast_to(given, scores.shape[1:])
        points = [_point(scores[:, c], labels[:, c], float(limit)) for c, limit in enumerate(limits)]
        return np.array([getattr(point, self.share) for point in points])


class Sensitivity(AtThreshold):
    """The share of cases that are called one at fixed thresholds; see :class:`AtThreshold`."""

    share = "sensitivity"


class Specificity(AtThreshold):
    """The share of controls that are not called cases at fixed thresholds; see :class:`AtThreshold`."""

    share = "specificity"
