"""How far from a clean sample a loss term crosses its threshold.

All functions take the *excess* of terms over thresholds, ``term - threshold``; a sample has crossed where any of its
terms has an excess of at least 0.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["along_path", "along_segment", "bisected"]


def along_path(sizes: Tensor, excess: Tensor) -> tuple[Tensor, Tensor]:
    """Where the iterates of an attack first cross.

    Args:
        sizes: (K, B) perturbation norms of the iterates, in order.
        excess: (K, T, B) excess of T terms at each.

    Returns:
        (B,) the norm at the first crossing, linear between iterates, infinite where no iterate crossed; and (B,) the
        norm of the last iterate before it (that of the first where that one crossed).
    """
    crossed = (excess >= 0).any(dim=1)
    first = crossed.float().argmax(dim=0)
    before = (first - 1).clamp(min=0)
    columns = torch.arange(sizes.shape[1], device=sizes.device)
    share = _share(excess[before, :, columns].T, excess[first, :, columns].T)
    share = torch.where(first == 0, torch.zeros_like(share), share)
    start, end = sizes[before, columns], sizes[first, columns]
    size = torch.where(crossed.any(dim=0), start + share * (end - start), torch.full_like(end, torch.inf))
    return size, start


def along_segment(clean: Tensor, final: Tensor) -> Tensor:
    """The share of the way from the clean sample to the final iterate at which a straight line between the terms at
    its ends crosses: (B,), from excesses (T, B); 0 where the clean sample has crossed, 1 where the final one has not.
    """
    return _share(clean, final)


def bisected(clean: Tensor, final: Tensor, excess_at: Callable[[Tensor, Tensor], Tensor], steps: int) -> Tensor:
    """As :func:`along_segment`, after ``steps`` halvings of the segment.

    Args:
        clean: (T, B) excess at the clean samples.
        final: (T, B) excess at the final iterates.
        excess_at: ``(share, rows) -> (T, n)`` for the n chosen rows; called ``steps`` times.
        steps: number of halvings.
    """
    rows = torch.nonzero((final >= 0).any(dim=0) & ~(clean >= 0).any(dim=0)).flatten()
    share = _share(clean, final)
    if not len(rows):
        return share
    low, high = torch.zeros(len(rows), device=clean.device), torch.ones(len(rows), device=clean.device)
    below, above = clean[:, rows], final[:, rows]
    for _ in range(steps):
        middle = (low + high) / 2
        found = excess_at(middle, rows)
        crossed = (found >= 0).any(dim=0)
        low, high = torch.where(crossed, low, middle), torch.where(crossed, middle, high)
        below, above = torch.where(crossed, below, found), torch.where(crossed, found, above)
    share = share.clone()
    share[rows] = low + _share(below, above) * (high - low)
    return share


def _share(start: Tensor, end: Tensor) -> Tensor:
    """Where between two points the first of the terms reaches 0, (B,), from excesses (T, B)."""
    rise = (end - start).clamp_min(torch.finfo(torch.float32).tiny)
    share = torch.where(start >= 0, torch.zeros_like(start), (-start / rise).clamp(0.0, 1.0))
    return torch.where(end >= 0, share, torch.where(start >= 0, share, torch.ones_like(share))).amin(dim=0)
