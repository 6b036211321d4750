"""Areas under curves of ranked samples for many draws at once: samples are sorted once, draws are weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monai_robust.evaluation.statistics.bootstrap import Floats

__all__ = ["weighted_auroc", "weighted_average_precision"]


def weighted_auroc(weights: Floats, scores: Floats, positive: NDArray[np.bool_]) -> Floats:
    """The area under the ROC curve: how often a positive sample has a higher score than a negative one, ties half.

    Args:
        weights: (D, N) how often each sample counts.
        scores: (N,) higher for what is taken to be positive.
        positive: (N,) which samples are.

    Returns:
        (D,) areas; NaN where a draw has no positive or no negative sample.

    Example:
        >>> weighted_auroc(np.ones((1, 4)), np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
        array([0.75])
    """
    negatives = np.flatnonzero(~positive)
    negatives = negatives[np.argsort(scores[negatives], kind="stable")]
    below = np.zeros((len(weights), len(negatives) + 1))
    np.cumsum(weights[:, negatives], axis=1, out=below[:, 1:])
    ordered, own = scores[negatives], scores[positive]
    ranks = below[:, np.searchsorted(ordered, own, side="left")] + below[:, np.searchsorted(ordered, own, side="right")]
    chosen = weights[:, positive]
    pairs = chosen.sum(axis=1) * below[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(pairs > 0, (ranks * chosen).sum(axis=1) / (2 * pairs), np.nan))


def weighted_average_precision(weights: Floats, scores: Floats, positive: NDArray[np.bool_]) -> Floats:
    """The average precision: precision at each score, weighted by how much recall grows there.

    Args:
        weights: (D, N) how often each sample counts.
        scores: (N,) higher for what is taken to be positive; samples of one score are taken together.
        positive: (N,) which samples are.

    Returns:
        (D,) average precisions; NaN where a draw has no positive sample.

    Example:
        >>> positive = np.array([False, False, True, True])
        >>> weighted_average_precision(np.ones((1, 4)), np.array([0.1, 0.4, 0.35, 0.8]), positive).round(4)
        array([0.8333])
    """
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))  # of those of one score
    everyone = np.cumsum(weights[:, order], axis=1)[:, last]
    found = np.cumsum(weights[:, order] * positive[order], axis=1)[:, last]
    gained = np.diff(found, axis=1, prepend=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(everyone > 0, found / everyone, 0.0)
        return np.asarray(np.where(found[:, -1] > 0, (gained * precision).sum(axis=1) / found[:, -1], np.nan))
