"""What a targeted attack on a detector steers to."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.losses.anchor_matching import MatchedAnchors
from monai_robust.losses.detection import DetectionLoss
from monai_robust.losses.detection_targets import padded_boxes
from monai_robust.scalars import is_whole
from monai_robust.tasks.base import Goal

__all__ = ["aimed_boxes"]


def aimed_boxes(loss: DetectionLoss, outputs: Any, targets: Any, goal: Goal) -> Tensor:
    """Boxes (B, N, 2D + 1) that serve the goal; see :meth:`monai_robust.tasks.Detection.aim`.

    Raises:
        BadInputError: for a goal that there is not, or that needs another class where there is only one.
    """
    ready = loss.prepare(targets)
    logits, _, matched = loss.matched(outputs, ready)
    classes = logits.shape[2]
    if goal == "vanishing":
        boxes, labels = [own[:0] for own in ready.boxes], [own[:0] for own in ready.labels]
    elif goal in ("mislabelling", "least_likely"):
        if classes == 1:
            raise BadInputError(f"the attack's goal is {goal!r}, but the network has only one class; use 'vanishing'")
        boxes, labels = ready.boxes, _other_classes(logits, matched, ready.labels, likely=goal == "mislabelling")
    elif is_whole(goal, 0) and goal < classes:
        boxes, labels = ready.boxes, [torch.full_like(own, goal) for own in ready.labels]
    else:
        raise BadInputError(
            f"the attack's goal is {goal!r}; for {classes} classes of objects it must be 'untargeted', 'vanishing', "
            f"'mislabelling', 'least_likely' or a class from 0 to {classes - 1}"
        )
    return padded_boxes(boxes, labels, loss.dims).to(logits.device)


def _other_classes(logits: Tensor, matched: MatchedAnchors, labels: list[Tensor], *, likely: bool) -> list[Tensor]:
    """For each box of each image the most (or least) likely of the wrong classes."""
    chosen = []
    for row, own in enumerate(labels):
        inside = matched.inside[row]
        at_box = logits[row, matched.foreground[row, inside]].detach().cpu()
        box = matched.boxes[row, inside].cpu()
        counts = torch.bincount(box, minlength=len(own))[:, None]
        means = at_box.new_zeros(len(own), logits.shape[2]).index_add_(0, box, at_box) / counts.clamp(min=1)
        means = (means if likely else -means).scatter(1, own[:, None], -math.inf)
        following = (own + 1) % logits.shape[2]
        chosen.append(torch.where(counts[:, 0] > 0, means.argmax(dim=1), following))
    return chosen
