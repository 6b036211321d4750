"""How far predicted landmarks lie from true ones: the mean radial error and the successful detection rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_robust.errors import BadInputError

__all__ = ["DetectionRate", "RadialError", "mean_radial_error", "successful_detection_rate"]

THRESHOLDS = (2.0, 2.5, 3.0, 4.0)


@dataclass(frozen=True, eq=False)
class RadialError:
    """The mean radial error, in mm.

    Attributes:
        mean: over all landmarks of all images.
        std: their standard deviation, the sample's (divisor: landmarks less 1); NaN for fewer than two.
        landmarks: (L,) the mean of each landmark over images.
    """

    mean: float
    std: float
    landmarks: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DetectionRate:
    """The successful detection rate.

    Attributes:
        thresholds: (K,) distances in mm.
        rates: (K,) the share of all landmarks of all images that lie within each of them.
        landmarks: (K, L) the same for each landmark.
    """

    thresholds: tuple[float, ...]
    rates: NDArray[np.float64]
    landmarks: NDArray[np.float64]


def mean_radial_error(errors: ArrayLike) -> RadialError:
    """The mean radial error (MRE): the mean distance between predicted and true landmarks.

    All landmarks that an image has are put together first, so that an image with more of them counts for more; where
    none is missing this is the mean of the images' own means. Source: Wang et al. 2016, the cephalometric challenge of
    ISBI 2015.

    Args:
        errors: (N, L) radial error of each landmark of each image in mm, NaN where an image has no such landmark.

    Returns:
        NaN for a landmark that no image has, and for all where there are none.

    Raises:
        BadInputError: for another shape, or an error that is negative or infinite.

    Example:
        >>> found = mean_radial_error([[1.0, 3.0], [2.0, float("nan")]])
        >>> found.mean, found.std, found.landmarks.tolist()
        (2.0, 1.0, [1.5, 3.0])
    """
    table = _checked(errors)
    seen = table[~np.isnan(table)]
    mean = float(seen.mean()) if len(seen) else np.nan
    std = float(seen.std(ddof=1)) if len(seen) > 1 else np.nan
    return RadialError(mean, std, _means(table))


def successful_detection_rate(errors: ArrayLike, thresholds: Sequence[float] = THRESHOLDS) -> DetectionRate:
    """The successful detection rate (SDR): the share of landmarks that are found within a distance, that one included.

    Source: Wang et al. 2016, whose distances are the default.

    Args:
        errors: as for :func:`mean_radial_error`.
        thresholds: (K,) distances in mm, above 0.

    Returns:
        Shares from 0 to 1; NaN for a landmark that no image has, and for all where there are none.

    Raises:
        BadInputError: as :func:`mean_radial_error`, and for a distance that is not above 0.

    Example:
        >>> successful_detection_rate([[1.0, 3.0], [2.0, float("nan")]], [2]).rates.round(4).tolist()
        [0.6667]
    """
    table = _checked(errors)
    if not len(thresholds) or not all(0 < threshold < np.inf for threshold in thresholds):
        raise BadInputError(f"successful detection rate: distances must be above 0 mm, got {list(thresholds)}")
    within = [np.where(np.isnan(table), np.nan, table <= threshold) for threshold in thresholds]
    rates = [np.mean(found[~np.isnan(found)]) if (~np.isnan(found)).any() else np.nan for found in within]
    landmarks = np.stack([_means(found) for found in within])
    return DetectionRate(tuple(map(float, thresholds)), np.array(rates), landmarks)


def _checked(errors: ArrayLike) -> NDArray[np.float64]:
    table = np.asarray(errors, dtype=np.float64)
    if table.ndim != 2:
        raise BadInputError(f"radial errors must have shape (images, landmarks), got {table.shape}")
    if np.isinf(table).any() or (table < 0).any():
        raise BadInputError("radial errors must be 0 mm or more, and NaN where a landmark is missing")
    return table


def _means(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of each column over what is known of it, NaN where nothing is."""
    counts = (~np.isnan(table)).sum(axis=0)
    return np.where(counts > 0, np.nansum(table, axis=0) / np.maximum(counts, 1), np.nan)
