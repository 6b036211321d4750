"""What is known of each sample on a ladder of radii, and which radius to try next."""

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
        estimate: (N,) where the nearest success is expected, for the choice of the next radius.
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
        self.estimate = radii[len(radii) // 2].repeat(len(clean))

    @property
    def open(self) -> Tensor:
        """Which samples are not settled, (N,) bool."""
        return self.breaks - self.stands > 1

    def trial(self, rows: Tensor) -> Tensor:
        """The index of the radius at which to attack each of ``rows`` (R,), which must be open, next.

        The smallest radius above the estimate: a success, which costs few steps, says more than one that was expected
        and a failure, which costs all of them.
        """
        place = torch.searchsorted(self.radii, self.estimate[rows])
        return torch.minimum(torch.maximum(place, self.stands[rows] + 1), self.breaks[rows] - 1)

    def won(self, rows: Tensor, points: Tensor) -> None:
        """Note successes (R, C, *spatial) of ``rows``."""
        distance = self.norm.size(points - self.clean[rows]).to(self.radii)
        place = torch.searchsorted(self.radii, distance * (1 - _ROUNDING))
        nearer = distance < self.distance[rows]
        at = rows[nearer]
        self.nearest[at], self.distance[at] = points[nearer], distance[nearer]
        self.breaks[at] = torch.minimum(self.breaks[at], place[nearer])
        self.estimate[at] = distance[nearer]

    def lost(self, rows: Tensor, trial: Tensor, points: Tensor) -> None:
        """Note that attacks on ``rows`` within the radii ``trial`` (R,) have failed at ``points``."""
        self.stands[rows] = trial
        self.withstood[rows] = points

    def reopen(self) -> None:
        """Doubt every failure, to try the largest radii that held one first."""
        doubted = self.stands >= 0
        self.estimate = torch.where(doubted, self.radii[self.stands.clamp_min(0)], self.estimate)
        self.stands = torch.where(doubted, -1, self.stands)
