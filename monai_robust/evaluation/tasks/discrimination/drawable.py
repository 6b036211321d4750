"""How areas under curves, and shares at fitted thresholds, are drawn anew for intervals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monai_robust.evaluation.statistics.bootstrap import Drawable, Floats, Weighted, ratios
from monai_robust.evaluation.statistics.ranking import weighted_auroc, weighted_average_precision
from monai_robust.evaluation.tasks.discrimination.fitted import Fitted, Scored

__all__ = ["discrimination_drawable"]


def discrimination_drawable(found: Scored, fitted: Fitted | None) -> list[Drawable]:
    """The numbers of :func:`~monai_robust.evaluation.tasks.discrimination.statistics.discrimination`, but for the
    thresholds, which stay as they were fitted.

    Args:
        found: what is scored of some rows.
        fitted: thresholds of the validation run, if there is one.
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
    return [*([ratios(shares)] if shares else []), Weighted((found.scores, found.truth), of)]
