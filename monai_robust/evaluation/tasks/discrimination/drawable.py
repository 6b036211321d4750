"""How areas under curves, and shares at fitted thresholds, are drawn anew for intervals."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from monai_robust.evaluation.statistics.bootstrap import Drawable, Floats, Sums, Weighted, ratios
from monai_robust.evaluation.statistics.ranking import weighted_auroc, weighted_average_precision
from monai_robust.evaluation.tasks.discrimination.fitted import Fitted, Scored

__all__ = ["discrimination_drawable"]


def discrimination_drawable(found: Scored, fitted: Fitted | None, prevalence: Floats | None = None) -> list[Drawable]:
    """The numbers of :func:`~monai_robust.evaluation.tasks.discrimination.statistics.discrimination`, but for the
    thresholds, which stay as they were fitted.

    Args:
        found: what is scored of some rows.
        fitted: thresholds of the validation run, if there is one.
        prevalence: (C,) of each finding, for predictive values, which stays as it is.
    """
    indices = found.indices

    def of(weights: Floats, scores: Floats, truth: NDArray[np.int8]) -> dict[str, Floats]:
        numbers: dict[str, Floats] = {}
        for name, area in (("auroc", weighted_auroc), ("average_precision", weighted_average_precision)):
            each = []
            for c in range(len(indices)):
                known = truth[:, c] >= 0
                undefined = np.full(len(weights), np.nan)
                each.append(
                    area(weights[:, known], scores[known, c], truth[known, c] == 1) if known.any() else undefined
                )
            there = ~np.isnan(each)
            count = there.sum(axis=0)
            total = np.where(there, each, 0).sum(axis=0)
            numbers[name] = np.divide(total, count, out=np.full(len(weights), np.nan), where=count > 0)
            numbers |= {f"{name}_{index}": one for index, one in zip(indices, each, strict=True)}
        return numbers

    shares: dict[str, tuple[Floats, Floats]] = {}
    for rule, thresholds in ({} if fitted is None else fitted.thresholds).items():
        for c, index in enumerate(indices):
            judged = not np.isnan(thresholds[c])  # else undefined, and in its place, so that all runs tell the same
            positive, negative = judged & (found.truth[:, c] == 1), judged & (found.truth[:, c] == 0)
            called = found.scores[:, c] >= thresholds[c]
            shares[f"sensitivity_{rule}_{index}"] = (positive & called).astype(float), positive.astype(float)
            shares[f"specificity_{rule}_{index}"] = (negative & ~called).astype(float), negative.astype(float)
    at_thresholds = ratios(shares) if shares else None
    if at_thresholds is not None and prevalence is not None:
        at_thresholds = _with_predictive_values(at_thresholds, dict(zip(map(str, indices), prevalence, strict=True)))
    return [*([at_thresholds] if at_thresholds is not None else []), Weighted((found.scores, found.truth), of)]


def _with_predictive_values(points: Sums, prevalence: Mapping[str, float]) -> Sums:
    """Sensitivities and specificities, and the predictive values that follow from them by Bayes' rule.

    Args:
        points: by ``sensitivity_<rule>_<index>`` and ``specificity_<rule>_<index>``.
        prevalence: by index.
    """

    def of(sums: Floats) -> dict[str, Floats]:
        numbers = dict(points.of(sums))
        for name, sensitivity in list(numbers.items()):
            what, _, rest = name.partition("_")
            if what != "sensitivity":
                continue
            share, specificity = prevalence[rest.rpartition("_")[2]], numbers[f"specificity_{rest}"]
            right, missed = sensitivity * share, (1 - sensitivity) * share
            false, clear = (1 - specificity) * (1 - share), specificity * (1 - share)
            with np.errstate(invalid="ignore", divide="ignore"):
                numbers[f"ppv_{rest}"] = np.where(right + false > 0, right / (right + false), np.nan)
                numbers[f"npv_{rest}"] = np.where(clear + missed > 0, clear / (clear + missed), np.nan)
        return numbers

    return Sums(points.values, of)
