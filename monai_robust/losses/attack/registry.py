"""The table of losses that an attack may raise, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from monai_robust.errors import BadInputError, require_choice
from monai_robust.losses.attack.classes import (
    binary_cross_entropy,
    cross_entropy,
    dlr,
    label_margin,
    logit_margin,
    targeted_dlr,
)
from monai_robust.losses.attack.pixels import (
    balanced_masked_cross_entropy,
    label_jensen_shannon,
    masked_cross_entropy,
    masked_spherical,
    pixel_cross_entropy,
    segpgd,
)
from monai_robust.losses.attack.terms import radial_error, terms_named

__all__ = ["ATTACK_LOSSES", "AttackLoss", "OutputKind", "Raised", "attack_loss"]

OutputKind = Literal["classes", "labels", "pixels", "landmarks", "boxes"]
"""What a network's outputs are: logits (B, C) of classes that exclude each other, or of independent labels; logits of
each pixel's class (B, C, *spatial); heatmaps and offsets of landmarks; detections of boxes."""

Raised = Callable[[Any, Any, float], Tensor]
"""``(outputs, targets, progress) -> (B,)``, the loss of each sample.

``progress`` is the share of the attack's steps that is done, from 0 to 1. For classes, labels and pixels the outputs
are logits, single precision, and the targets their labels; otherwise both are as the task takes them.
"""


@dataclass(frozen=True)
class AttackLoss:
    """A loss that an attack may raise.

    Attributes:
        of: for each kind of outputs that has it, what makes it of a task.
        leaving: whether it says how to leave what is right, and is weak or wrong for approaching something else.
    """

    of: Mapping[OutputKind, Callable[[Any], Raised]]
    leaving: bool = False


def _any_task(loss: Raised) -> Callable[[Any], Raised]:
    """What hands ``loss`` out for whatever task."""
    return lambda task: loss


ATTACK_LOSSES: Mapping[str, AttackLoss] = {
    "ce": AttackLoss({"classes": _any_task(cross_entropy), "pixels": _any_task(pixel_cross_entropy)}),
    "bce": AttackLoss({"labels": _any_task(binary_cross_entropy)}),
    "dlr": AttackLoss({"classes": _any_task(dlr)}, leaving=True),
    "targeted_dlr": AttackLoss({"classes": _any_task(targeted_dlr)}, leaving=True),
    "margin": AttackLoss({"classes": _any_task(logit_margin), "labels": _any_task(label_margin)}),
    "masked_ce": AttackLoss({"pixels": _any_task(masked_cross_entropy)}, leaving=True),
    "balanced_masked_ce": AttackLoss({"pixels": _any_task(balanced_masked_cross_entropy)}, leaving=True),
    "segpgd": AttackLoss({"pixels": _any_task(segpgd)}, leaving=True),
    "js": AttackLoss({"pixels": _any_task(label_jensen_shannon)}, leaving=True),
    "masked_spherical": AttackLoss({"pixels": _any_task(masked_spherical)}, leaving=True),
    "heatmap": AttackLoss({"landmarks": terms_named("heatmap")}),
    "offset": AttackLoss({"landmarks": terms_named("offset")}),
    "radial_error": AttackLoss({"landmarks": radial_error}, leaving=True),
    "classification": AttackLoss({"boxes": terms_named("classification")}),
    "box_regression": AttackLoss({"boxes": terms_named("box_regression")}),
}
"""By name what an attack may raise instead of a task's own loss; which of them a task has, its outputs say."""


def attack_loss(name: str, kinds: Sequence[OutputKind], task: Any) -> tuple[OutputKind, Raised]:
    """The loss of that name for outputs of a task, and the kind of outputs that it takes.

    Args:
        name: one of ``ATTACK_LOSSES``.
        kinds: what the task's outputs are, or may be; the first that has the loss counts.
        task: whose terms a loss may be made of; its ``name`` is told where there is no such loss.

    Raises:
        BadInputError: for a loss that there is not, or that such outputs do not have.
    """
    require_choice("the attack's loss", name, tuple(ATTACK_LOSSES))
    for kind in kinds:
        if kind in ATTACK_LOSSES[name].of:
            return kind, ATTACK_LOSSES[name].of[kind](task)
    names = ", ".join(repr(other) for other, loss in ATTACK_LOSSES.items() if any(kind in loss.of for kind in kinds))
    use = f"give one of {names}, or none" if names else "give none"
    raise BadInputError(f"the task {task.name!r} has no loss {name!r}; {use}, so that its own is raised")
