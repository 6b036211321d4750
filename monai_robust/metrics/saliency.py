"""How alike two saliency maps are: whether they order pixels alike, and whether they agree on the most important."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.metrics.inputs import MeanOfSamples
from monai_robust.scalars import is_above_zero

__all__ = ["RankCorrelation", "TopOverlap", "rank_correlation", "top_overlap"]

_TOP = 0.1


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Spearman's rank correlation of two maps: 1 where they order all pixels alike, 0 where one tells nothing of the
    other.

    Source: Adebayo et al. 2018 (Sanity checks for saliency maps).

    Args:
        first: (B, ...) saliency maps.
        second: of the same shape.

    Returns:
        (B,) float64, NaN where a map is constant.

    Raises:
        BadInputError: for shapes that differ, maps of less than two pixels, or values that are not finite.

    Example:
        >>> rank_correlation(torch.tensor([[1.0, 2.0, 9.0]]), torch.tensor([[0.1, 0.3, 0.2]])).tolist()
        [0.5]
    """
    rows = [_rows(*pair) for pair in zip(*_flat(first, second), strict=True)]
    return torch.tensor(rows, dtype=torch.float64)


def top_overlap(first: Tensor, second: Tensor, share: float = _TOP) -> Tensor:
    """The share of the most important pixels that two maps have in common: 1 for all, ``share`` for chance.

    Source: the top-k intersection of Ghorbani et al. 2019 (Interpretation of neural networks is fragile).

    Args:
        first: (B, ...) saliency maps.
        second: of the same shape.
        share: of the pixels that are most important, at least one; among equal ones those that come first.

    Returns:
        (B,) float64, NaN where a map is constant.

    Raises:
        BadInputError: as :func:`rank_correlation`, and for a share that is none.

    Example:
        >>> top_overlap(torch.tensor([[1.0, 2.0, 9.0, 8.0]]), torch.tensor([[3.0, 0.0, 9.0, 1.0]]), share=0.5).tolist()
        [0.5]
    """
    _require_share(share)
    found = []
    for one, other in zip(*_flat(first, second), strict=True):
        count = max(1, round(share * len(one)))
        tops = [set(np.argsort(-values, kind="stable")[:count].tolist()) for values in (one, other)]
        constant = np.ptp(one) == 0 or np.ptp(other) == 0
        found.append(np.nan if constant else len(tops[0] & tops[1]) / count)
    return torch.tensor(found, dtype=torch.float64)


class RankCorrelation(MeanOfSamples):
    """The mean :func:`rank_correlation` of pairs of maps, as (``y_pred``, ``y``)."""

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:
        if y is None:
            raise BadInputError("RankCorrelation needs the other maps (y).")
        return rank_correlation(y_pred, y)


class TopOverlap(MeanOfSamples):
    """The mean :func:`top_overlap` of pairs of maps, as (``y_pred``, ``y``).

    Args:
        share: of the pixels that are most important.
    """

    def __init__(self, share: float = _TOP) -> None:
        super().__init__()
        _require_share(share)
        self.share = share

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:
        if y is None:
            raise BadInputError("TopOverlap needs the other maps (y).")
        return top_overlap(y_pred, y, self.share)


def _rows(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])


def _flat(first: Tensor, second: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if first.shape != second.shape or first.ndim < 2 or first[0].numel() < 2:
        raise BadInputError(
            f"saliency: two maps of one shape (B, ...) are compared, got {tuple(first.shape)} and {tuple(second.shape)}"
        )
    one, other = (values.detach().flatten(1).double().cpu().numpy() for values in (first, second))
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise BadInputError("saliency: a map holds a value that is not finite")
    return one, other


def _require_share(share: float) -> None:
    if not is_above_zero(share, 1):
        raise BadInputError(f"saliency: share is {share!r}; it must be above 0 and at most 1")
