"""One number for the whole curve of a score over the radius of an attack."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from monai_robust.errors import BadInputError

__all__ = ["auc_robust"]


def auc_robust(
    radii: ArrayLike, values: ArrayLike, *, higher_is_better: bool = True, scale: float | None = None
) -> float:
    """The robustness of a network over a range of radii and its clean performance in one number:

        sqrt(clean * AUC), AUC = (1 / largest radius) * integral of the value over the radius,

    by the trapezoid rule over the evaluated radii, 0 (the clean value) among them.

    Source: AMAT, equation 4, after Ma and Liang 2022. The paper prints neither the rule of integration nor what it
    does with errors in mm; both were found from the numbers of its Tables 8 to 12, which this function reproduces.
    For mean radial errors the paper divides by 3.870, the largest error of the table.

    Args:
        radii: (R,) at least two different ones, 0 among them, in any order; in any unit.
        values: (R,) the metric at each radius, 0 or more.
        higher_is_better: whether the metric is a score, or an error of which a smaller result is the better one.
        scale: what values are divided by; fixed in advance and the same for all networks that are compared. Required
            for errors, whose result would otherwise depend on their unit.

    Raises:
        BadInputError: for radii without 0, negative or twice, values that are negative or not finite, lengths that
            differ, an error without ``scale`` or one that is not positive.

    Example:
        >>> round(auc_robust([0, 5, 10, 15], [0.9101, 0.8673, 0.8205, 0.7681]), 4)
        0.8755
    """
    places, heights = np.asarray(radii, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if scale is None and not higher_is_better:
        raise BadInputError("AUC_robust of a metric of which less is better needs scale, such as its largest value.")
    divisor = 1.0 if scale is None else float(scale)
    if not (math.isfinite(divisor) and divisor > 0):
        raise BadInputError(f"AUC_robust: scale must be a positive number, got {scale}.")
    if places.ndim != 1 or places.shape != heights.shape:
        raise BadInputError(f"AUC_robust: {places.shape} radii and {heights.shape} values do not fit together.")
    if len(places) < 2 or len(np.unique(places)) < len(places) or places.min() != 0 or not np.isfinite(places).all():
        raise BadInputError(f"AUC_robust needs 0 and other radii, none twice or negative, got {places.tolist()}.")
    if not np.isfinite(heights).all() or heights.min() < 0:
        raise BadInputError(f"AUC_robust: values must be finite and not negative, got {heights.tolist()}.")
    order = np.argsort(places)
    places, heights = places[order], heights[order] / divisor
    area = (np.diff(places) * (heights[1:] + heights[:-1]) / 2).sum()
    return math.sqrt(heights[0] * area / places[-1])
