"""Numbers about scored samples: areas under curves, and shares at thresholds that were fitted elsewhere."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from monai_robust.evaluation.tasks.discrimination.fitted import Fitted, Scored
from monai_robust.metrics import predictive_values, ranking, sensitivity_and_specificity

__all__ = ["discrimination"]


def discrimination(
    found: Scored, fitted: Fitted | None, prevalence: NDArray[np.float64] | None = None
) -> dict[str, float]:
    """Numbers about some rows of a table.

    Args:
        found: what is scored of them.
        fitted: thresholds of the validation run, if there is one.
        prevalence: (C,) share of cases of each finding, at which predictive values are told; NaN where unknown.

    Returns:
        ``auroc`` and ``average_precision``, means over the findings that have them, and those of each finding with its
        class index behind (``auroc_0``), NaN without a case or without a control. With thresholds, for each rule and
        finding, such as ``youden`` and 0, ``threshold_youden_0``, ``sensitivity_youden_0``, ``specificity_youden_0``,
        and with a prevalence ``ppv_youden_0`` and ``npv_youden_0``.
    """
    ranked = [ranking(found.scores[:, c], found.truth[:, c]) for c in range(len(found.indices))]
    areas, precisions = [one.area for one in ranked], [one.average_precision for one in ranked]
    numbers = {"auroc": _mean(areas), "average_precision": _mean(precisions)}
    for index, area, precision in zip(found.indices, areas, precisions, strict=True):
        numbers |= {f"auroc_{index}": area, f"average_precision_{index}": precision}
    for rule, thresholds in ({} if fitted is None else fitted.thresholds).items():
        for c, index in enumerate(found.indices):
            point = sensitivity_and_specificity(found.scores[:, c], found.truth[:, c], float(thresholds[c]))
            numbers[f"threshold_{rule}_{index}"] = float(thresholds[c])
            numbers[f"sensitivity_{rule}_{index}"] = point.sensitivity
            numbers[f"specificity_{rule}_{index}"] = point.specificity
            if prevalence is not None:
                values = predictive_values(*point, prevalence[c]) if prevalence[c] >= 0 else (math.nan, math.nan)
                numbers |= {f"ppv_{rule}_{index}": values[0], f"npv_{rule}_{index}": values[1]}
    return numbers


def _mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan
