"""What is known of each sample on a ladder of radii."""

from __future__ import annotations

import torch
from torch import Tensor

from monai_robust.attacks.threat import Norm

__all__ = ["Ladder"]

# A perturbation that was projected to a radius may exceed it by rounding.
_ROUNDING = 1e-5


class Ladder:
    """Between which two of several radii the nearest success of each sample lies, as far as it is known.

    A success within a radius is one within every larger radius, and a sample that stands at a radius is taken to stand
    at every smaller one.

    Args:
        radii: (K,), ascending.
        clean: (N, C, *spatial).
        already: (N,) bool, which samples are a success as they are.
        norm: measures perturbations.

    Attributes:
        stands: (N,) index of the largest radius within which an attack has failed, -1 where there is none.
        breaks: (N,) index of the smallest radius that holds a success, K where there is none.
        nearest: (N, C, *spatial), the nearest success; the input itself where there is none.
        distance: (N,) its norm; infinite where there is none.
        withstood: (N, C, *spatial), where the attack within the radius ``stands`` ended; else the input.
    """

    def __init__(self, radii: Tensor, clean: Tensor, already: Tensor, norm: Norm) -> None:
        self.radii = radii
        self.clean = clean
        self.norm = norm
        self.stands = torch.full_like(already, -1, dtype=torch.long)
        self.breaks = torch.where(already, 0, len(radii))
        self.nearest = clean.clone()
        self.withstood = clean.clone()
        self.distance = torch.where(already, 0.0, torch.inf).to(radii)

    @property
    def open(self) -> Tensor:
        """Which samples are not settled, (N,) bool."""
        return self.breaks - self.stands > 1

    def trial(self, rows: Tensor) -> Tensor:
        """The index of the radius at which to attack each of ``rows`` (R,), which must be open, next.

        From above: a success within a large radius takes few steps, and often can be drawn into several smaller ones; a
        failure takes all steps, and this way every sample has one at most.
        """
        return self.breaks[rows] - 1

    def won(self, rows: Tensor, points: Tensor, trial: Tensor) -> None:
        """Note successes (R, C, *spatial) of ``rows``, found within the radii ``trial`` (R,).

        By rounding of ``clean + delta`` they may measure a little more than the radius they were projected to.
        """
        distance = self.norm.size(points - self.clean[rows]).to(self.radii)
        place = torch.searchsorted(self.radii, distance * (1 - _ROUNDING))
        self.nearest[rows], self.distance[rows] = points, distance
        self.breaks[rows] = torch.minimum(place, trial)

    def lost(self, rows: Tensor, trial: Tensor, points: Tensor) -> None:
        """Note that attacks on ``rows`` within the radii ``trial`` (R,) have failed at ``points``."""
        self.stands[rows] = trial
        self.withstood[rows] = points

    def doubt(self) -> None:
        """Forget every failure, so that the largest radius of each is tried again."""
        self.stands.fill_(-1)
