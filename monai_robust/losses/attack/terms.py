"""Losses of a task's own terms, such as the heatmaps of landmarks; they are made for a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from monai_robust.losses.landmarks import LandmarkLoss

__all__ = ["radial_error", "terms_named"]

_TINY = 1e-12


class _TaskWithTerms(Protocol):
    """A task whose loss has per-sample terms by name."""

    loss: Any


class _Landmarks(Protocol):
    """A task of landmarks: its maps of the targets, and where it finds a landmark."""

    loss: LandmarkLoss

    def mean_votes(self, outputs: Any) -> Tensor: ...


def terms_named(part: str) -> Callable[[_TaskWithTerms], Callable[[Any, Any, float], Tensor]]:
    """What makes, of a task, the loss that is the sum of its terms whose names begin with ``part``."""

    def of(task: _TaskWithTerms) -> Callable[[Any, Any, float], Tensor]:
        def loss(outputs: Any, targets: Any, progress: float) -> Tensor:
            terms: Mapping[str, Tensor] = task.loss.terms(outputs, targets)
            return torch.stack([value for name, value in terms.items() if name.startswith(part)]).sum(dim=0)

        return loss

    return of


def radial_error(task: _Landmarks) -> Callable[[Any, Any, float], Tensor]:
    """The mean radial error of the visible landmarks, in millimetres; 0 for a sample without any.

    It is the score of the task of landmarks itself, with the gradient that it has where the same pixels go on voting.
    """

    def loss(outputs: Any, targets: Any, progress: float) -> Tensor:
        maps = task.loss.maps(outputs, targets)
        seen = maps.visible[:, :, None]
        points, spacing = torch.where(seen, maps.points, 0.0), torch.where(seen, maps.spacing, 0.0)
        steps = (task.mean_votes(outputs) - points) * spacing
        errors = steps.square().sum(dim=2).clamp_min(_TINY).sqrt()  # at 0 the root has no gradient
        return errors.where(maps.visible, 0.0).sum(dim=1) / maps.visible.sum(dim=1).clamp(min=1)

    return loss
