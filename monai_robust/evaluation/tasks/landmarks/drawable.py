"""How radial errors and detection rates follow from sums over images, so that patients can be drawn anew."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from monai_robust.evaluation.statistics.bootstrap import Drawable, Floats, Sums, means, ratios

__all__ = ["landmark_drawable"]


def landmark_drawable(errors: Floats, distances: Mapping[float, str]) -> list[Drawable]:
    """``mre``, ``sd``, the rates, and ``mre_<l>`` and ``sdr_2_<l>`` of each landmark, as ``statistics`` names them.

    Args:
        errors: (N, L) radial errors in mm, NaN where a landmark is missing.
        distances: in mm, and the names of their rates.
    """
    known = ~np.isnan(errors)
    count, filled = known.sum(axis=1), np.where(known, errors, 0.0)
    pooled = {"mre": (filled.sum(axis=1), count)}
    for distance, name in distances.items():
        pooled[name] = ((known & (errors <= distance)).sum(axis=1), count)
    within = np.where(known, errors <= 2.0, np.nan)
    each = {f"mre_{place}": column for place, column in enumerate(errors.T, 1)}
    each |= {f"sdr_2_{place}": column for place, column in enumerate(within.T, 1)}
    squares = np.stack([count, filled.sum(axis=1), (filled**2).sum(axis=1)], axis=1).astype(np.float64)
    return [ratios(pooled), means(each), Sums(squares, _deviation)]


def _deviation(sums: Floats) -> dict[str, Floats]:
    """The sample standard deviation; NaN for fewer than two landmarks."""
    count, total, squares = np.moveaxis(sums, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = (squares - total**2 / count) / (count - 1)
    return {"sd": np.where(count > 1, np.sqrt(np.maximum(variance, 0)), np.nan)}
