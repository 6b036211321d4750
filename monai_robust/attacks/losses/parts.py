"""Parts of what landmarks and detections are trained with, as something to raise alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from monai_robust.losses.detection import DetectionLoss
from monai_robust.losses.landmarks import LandmarkLoss
from monai_robust.tasks import Landmarks

__all__ = ["PartLoss", "RadialError"]

_TINY = 1e-12


class PartLoss:
    """The terms of a loss whose names begin with ``part``, such as the heatmaps of landmarks.

    Args:
        loss: has per-sample terms by name.
        part: how the names of the terms begin.
    """

    def __init__(self, loss: LandmarkLoss | DetectionLoss, part: str) -> None:
        self.loss = loss
        self.part = part

    def terms(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        terms = self.loss.terms(outputs, targets)
        return {name: value for name, value in terms.items() if name.startswith(self.part)}


class RadialError:
    """The mean radial error of the visible landmarks, in millimetres; 0 for a sample without any.

    It is the task's score itself, with the gradient that it has where the same pixels go on voting.
    """

    def __init__(self, task: Landmarks) -> None:
        self.task = task

    def terms(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        maps = self.task.loss.maps(outputs, targets)
        seen = maps.visible[:, :, None]
        points, spacing = torch.where(seen, maps.points, 0.0), torch.where(seen, maps.spacing, 0.0)
        steps = (self.task.mean_votes(outputs) - points) * spacing
        errors = steps.square().sum(dim=2).clamp_min(_TINY).sqrt()  # at 0 the root has no gradient
        return {"radial_error": errors.where(maps.visible, 0.0).sum(dim=1) / maps.visible.sum(dim=1).clamp(min=1)}
