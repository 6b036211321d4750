"""Strong attacks by name: sets of attacks that complement each other, without anything to be tuned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from monai_robust.attacks.apgd import APGD
from monai_robust.attacks.attack import Attack, Precision
from monai_robust.attacks.common.guard import Mode
from monai_robust.attacks.ensemble import AttackEnsemble
from monai_robust.attacks.radius_schedule import RED_EPS, RadiusSchedule
from monai_robust.attacks.square import Square
from monai_robust.attacks.steps import PGD
from monai_robust.attacks.threat import BoundsSpec, Norm
from monai_robust.errors import require_choice
from monai_robust.tasks import Landmarks, MultiLabel, Segmentation, Task
from monai_robust.tasks.base import Goal

__all__ = ["STRONG_ATTACKS", "strong_attack"]


@dataclass(frozen=True)
class _Set:
    """What a strong attack is made of.

    Attributes:
        losses: of the APGD members, one each; None is the task's chosen.
        goals: of further APGD members, one each, with the task's own loss.
        square: the loss of Square.
        keep: what the worst point of a sample is (see :class:`WorstCaseAttack`).
        task: what is hurt where no task is given; classification if there is none.
        usual: whether PGD with its 20 steps is a member, so that no point is better than what it finds.
        steps, queries: budget of each APGD member and of Square.
        radius_schedule: of the APGD members.
    """

    losses: tuple[str | None, ...]
    goals: tuple[Goal, ...] = ()
    square: str | None = None
    keep: Literal["loss", "score"] = "score"
    task: type[Task] | None = None
    usual: bool = True
    steps: int = 100
    queries: int = 1000
    radius_schedule: RadiusSchedule | None = None


_CLASSES: dict[str, Any] = {"square": "margin", "keep": "loss", "usual": False, "queries": 5000}

STRONG_ATTACKS: Mapping[str, _Set] = {
    "classification": _Set(("ce", "dlr", "targeted_dlr"), **_CLASSES),
    "multi_label": _Set(("bce", "margin"), task=MultiLabel, **_CLASSES),
    "segmentation": _Set(
        (None, "masked_ce", "balanced_masked_ce", "segpgd", "js", "masked_spherical"),
        task=Segmentation,
        steps=300,
        radius_schedule=RED_EPS,
    ),
    "landmarks": _Set(
        (None, "heatmap", "offset", "radial_error"), square="radial_error", task=Landmarks, radius_schedule=RED_EPS
    ),
    "detection": _Set((None, "classification", "box_regression"), ("vanishing", "mislabelling")),
}


def strong_attack(
    name: str = "classification",
    *,
    norm: str | Norm = "l2",
    eps: float | Tensor | None = None,
    bounds: BoundsSpec = None,
    steps: int | None = None,
    queries: int | None = None,
    restarts: int = 1,
    classes: int = 9,
    eot: int = 1,
    task: Task | None = None,
    mode: Mode = "eval",
    precision: Precision | None = None,
    channels: Sequence[int] | None = None,
) -> AttackEnsemble:
    """The strong attack on a kind of task, without anything to be tuned.

    ``"classification"``: APGD on cross-entropy, on the difference of logits ratio (the margin of two classes) and
    towards each of the most likely wrong classes, then Square. ``"multi_label"``: APGD on binary cross-entropy and on
    the margin, then Square. Every member leaves a sample at its first success.

    ``"segmentation"``: PGD, then APGD by a falling radius on the task's own loss, on masked cross-entropy, balanced
    masked cross-entropy, SegPGD's, the Jensen-Shannon divergence and the masked spherical loss, then Square.
    ``"landmarks"``: PGD, then APGD by a falling radius on the task's own loss, on heatmaps, on offsets and on the
    radial error, then Square. ``"detection"``: PGD, then APGD on the task's own loss and on each of its two terms,
    towards no boxes and towards wrong classes, then Square. Of all points seen, that of the worst score is kept.

    APGD starts at random.

    Args:
        name: one of ``STRONG_ATTACKS``; segmentation, landmarks and several labels have their task as default.
        norm, eps, bounds, task, mode, precision, channels: as for :class:`Attack`.
        steps, restarts, classes: as for :class:`APGD`; 300 steps for segmentation, 100 otherwise.
        queries: as for :class:`Square`; 5000 for classes and labels, 1000 otherwise.
        eot: as for :class:`WorstCaseAttack`.

    Raises:
        BadInputError: for a name that there is not, or an argument that cannot work.
    """
    require_choice("the strong attack", name, tuple(STRONG_ATTACKS))
    chosen = STRONG_ATTACKS[name]
    threat: dict[str, Any] = {
        "norm": norm,
        "bounds": bounds,
        "mode": mode,
        "precision": precision,
        "channels": channels,
    }
    judging = {**threat, "eot": eot, "keep": chosen.keep, "stop_at_success": chosen.keep == "loss"}
    ascending = {
        **judging,
        "steps": chosen.steps if steps is None else steps,
        "restarts": restarts,
        "classes": classes,
        "random_start": "sphere",
        "radius_schedule": chosen.radius_schedule,
    }
    members: list[Attack] = [PGD(**threat)] if chosen.usual else []
    members += [APGD(loss=loss, **ascending) for loss in chosen.losses]
    members += [APGD(goal=goal, **ascending) for goal in chosen.goals]
    members.append(Square(loss=chosen.square, queries=chosen.queries if queries is None else queries, **judging))
    if task is None and chosen.task is not None:
        task = chosen.task()
    return AttackEnsemble(members, eps=eps, task=task, eot=eot, keep=chosen.keep)
