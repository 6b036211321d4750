"""What is known of each sample on a ladder of radii."""

from __future__ import annotations

import torch
from torch import Tensor

from monai_robust.attacks.threat import Norm

__all__ = ["Ladder"]

# A perturbation that was projected to a radius may exceed it by rounding.
_ROUNDING = 1e-5


class Ladder:
    """At which of several radii each sample is broken: within one of them, or within a smaller one.

    A success within a radius is one within every larger radius. Nothing follows from a failure: an attack that fails
    within a radius may succeed within a smaller one, so that every rung below the first success has to be climbed.

    Args:
        radii: (K,), ascending.
        clean: (N, C, *spatial).
        already: (N,) bool, which samples are a success as they are.
        norm: measures perturbations.

    Attributes:
        stands: (N,) index of the radius up to which attacks within each have failed, -1 where there is none.
        breaks: (N,) index of the smallest radius that holds a success, K where there is none.
        nearest: (N, C, *spatial), the nearest success; the input itself where there is none.
        distance: (N,) its norm; infinite where there is none.
    """

    def __init__(self, radii: Tensor, clean: Tensor, already: Tensor, norm: Norm) -> None:
        self.radii = radii
        self.clean = clean
        self.norm = norm
        self.stands = torch.full_like(already, -1, dtype=torch.long)
        self.breaks = torch.where(already, 0, len(radii))
        self.nearest = clean.clone()
        self.distance = torch.where(already, 0.0, torch.inf).to(radii)
        # where attacks have ended in vain, by sample
        self._ends: list[dict[int, Tensor]] = [{} for _ in radii]

    @property
    def open(self) -> Tensor:
        """Which samples are not settled, (N,) bool."""
        return self.breaks - self.stands > 1

    def trial(self, rows: Tensor) -> Tensor:
        """The index of the radius at which to attack each of ``rows`` (R,), which must be open, next."""
        return self.stands[rows] + 1

    def won(self, rows: Tensor, points: Tensor, trial: Tensor) -> None:
        """Note successes (R, C, *spatial) of ``rows``, found within the radii ``trial`` (R,).

        By rounding of ``clean + delta`` they may measure a little more than the radius they were projected to.
        """
        distance = self.norm.size(points - self.clean[rows]).to(self.radii)
        place = torch.searchsorted(self.radii, distance * (1 - _ROUNDING))
        self.nearest[rows], self.distance[rows] = points, distance
        self.breaks[rows] = torch.minimum(place, trial)

    def lost(self, rows: Tensor, trial: Tensor, points: Tensor) -> None:
        """Note that attacks on ``rows`` within the radii ``trial`` (R,) have failed, and ended at ``points``."""
        self.stands[rows] = trial
        for row, rung, point in zip(rows.tolist(), trial.tolist(), points, strict=True):
            self._ends[rung][row] = point

    def doubt(self) -> None:
        """Forget every failure, so that each radius below the first success is tried again."""
        self.stands.fill_(-1)

    def points(self, rung: int) -> Tensor:
        """What is held against each sample within a radius, (N, C, *spatial): the nearest success, where there is one,
        else where the attack within that radius has ended."""
        points = self.nearest.clone()
        for row, point in self._ends[rung].items():
            if self.breaks[row] > rung:
                points[row] = point
        return points
