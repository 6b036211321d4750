"""Which images a person should read first, and how a network does on those that are left to it.

The order is that of the smallest radius of each image: what a small change would turn is read by a person. Source:
oncology-stability, "Image Level Adversarial Image Sensitivity and Model Performance" and Table 2, where the images that
PGD within a radius turns are excluded from the test set; the risk-coverage curve is that of selective prediction
(El-Yaniv and Wiener 2010, On the Foundations of Noise-free Selective Classification).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_robust.errors import BadInputError

__all__ = ["mean_over_coverages", "scores_over_coverage", "threshold_of_share"]


def threshold_of_share(radii: ArrayLike, share: float) -> float:
    """The radius below which an image is read by a person, so that about ``share`` of these images are.

    Args:
        radii: (N,) smallest radius of each image, infinite where none was found.
        share: of the images, from 0 to 1.

    Returns:
        The smallest radius of those that are left when ``share`` of the images, rounded to a whole number, are set
        aside; images with just this radius are left, so that no more than ``share`` are set aside. Infinite where all
        that is left was not found.

    Raises:
        BadInputError: without images, or for another share.
    """
    radii = np.asarray(radii, dtype=np.float64)
    if not len(radii) or np.isnan(radii).any() or not 0 <= share < 1:
        raise BadInputError(
            f"a share of {share} of {len(radii)} images cannot be set aside by their radii; the share must be from 0 "
            "to less than 1, and every image needs a radius"
        )
    return float(np.sort(radii)[min(round(share * len(radii)), len(radii) - 1)])


def scores_over_coverage(trust: ArrayLike, scores: ArrayLike, coverages: Sequence[float]) -> NDArray[np.float64]:
    """The mean score of the images that are left to the network, when those trusted least are not.

    Among images of equal trust chance decides, and what is returned is the expectation over it.

    Args:
        trust: (N,) of each image, such as its smallest radius or the confidence of its prediction; may be infinite.
        scores: (N,) of each image, without NaN.
        coverages: shares of the images that are left, above 0 and at most 1.

    Returns:
        (len(coverages),) mean scores.

    Raises:
        BadInputError: for other lengths, NaN, no images, or a coverage that is no such share.
    """
    trust, scores = np.asarray(trust, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    fits = trust.shape == scores.shape and trust.ndim == 1 and len(trust) > 0
    if not fits or np.isnan(trust).any() or np.isnan(scores).any():
        raise BadInputError(
            f"coverage needs a trust and a score of every image; shapes {trust.shape} and {scores.shape}, "
            f"{int(np.isnan(trust).sum())} and {int(np.isnan(scores).sum())} missing"
        )
    wanted = np.asarray(coverages, dtype=np.float64)
    if not ((wanted > 0) & (wanted <= 1)).all():
        raise BadInputError(f"the coverages {list(coverages)} must be above 0 and at most 1")
    values, member = np.unique(-trust, return_inverse=True)  # those trusted most first
    counts = np.cumsum(np.bincount(member, minlength=len(values)))
    sums = np.cumsum(np.bincount(member, weights=scores, minlength=len(values)))
    kept = wanted * len(trust)
    return np.interp(kept, np.concatenate([[0], counts]), np.concatenate([[0.0], sums])) / kept


def mean_over_coverages(trust: ArrayLike, scores: ArrayLike) -> float:
    """The mean over all coverages 1/N, 2/N, ... 1 of :func:`scores_over_coverage`, NaN without images.

    Of errors (1 less a score) this is the AURC, the area under the risk-coverage curve (Geifman et al. 2019).
    """
    count = len(np.asarray(scores))
    if not count:
        return math.nan
    return float(scores_over_coverage(trust, scores, list(np.arange(1, count + 1) / count)).mean())
