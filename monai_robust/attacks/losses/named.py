"""What an attack can raise instead of a task's own loss, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from monai_robust.attacks.fmn import LogitMargin
from monai_robust.attacks.losses.classes import DLR, TargetedDLR
from monai_robust.attacks.losses.multi_label import MultiLabel, MultiLabelMargin
from monai_robust.attacks.losses.parts import PartLoss, RadialError
from monai_robust.attacks.losses.pixels import PIXEL_LOSSES, PixelLoss
from monai_robust.errors import BadInputError, require_choice
from monai_robust.tasks import Classification, Detection, Landmarks, LossTask, Segmentation, Task
from monai_robust.tasks.base import Goal

__all__ = ["LOSSES", "check_loss", "named_loss"]


@dataclass(frozen=True)
class _Family:
    """Losses of one kind of outputs.

    Attributes:
        tasks: that have such outputs, or may have them.
        losses: by name, made for a task and the classes to steer to, (B,) or None.
    """

    tasks: tuple[type[Task], ...]
    losses: Mapping[str, Callable[[Any, Tensor | None], Any]]


def _pixel_loss(name: str, task: Task, toward: Tensor | None) -> PixelLoss:
    return PixelLoss(name, task if isinstance(task, Segmentation) else None)


# A name is looked up in the families of a task from the first to the last.
_FAMILIES = (
    _Family(
        (Classification, LossTask),
        {
            "ce": lambda task, toward: Classification(),
            "dlr": lambda task, toward: DLR(),
            "targeted_dlr": lambda task, toward: TargetedDLR(toward),
            "margin": lambda task, toward: LogitMargin(),
        },
    ),
    _Family(
        (MultiLabel, Classification, LossTask),
        {"bce": lambda task, toward: MultiLabel(), "margin": lambda task, toward: MultiLabelMargin()},
    ),
    _Family((Segmentation, LossTask), {name: partial(_pixel_loss, name) for name in PIXEL_LOSSES}),
    _Family(
        (Landmarks,),
        {
            "heatmap": lambda task, toward: PartLoss(task.loss, "heatmap"),
            "offset": lambda task, toward: PartLoss(task.loss, "offset"),
            "radial_error": lambda task, toward: RadialError(task),
        },
    ),
    _Family(
        (Detection,),
        {
            "classification": lambda task, toward: PartLoss(task.loss, "classification"),
            "box_regression": lambda task, toward: PartLoss(task.loss, "box_regression"),
        },
    ),
)

LOSSES = tuple(dict.fromkeys(name for family in _FAMILIES for name in family.losses))
"""Names of what an attack may raise instead of a task's own loss; which of them a task has, its outputs say."""

# They say how to leave what is right, and are weak or wrong for approaching something else.
_LEAVING = {"dlr", "targeted_dlr", "radial_error", *PIXEL_LOSSES} - {"ce"}


def check_loss(loss: str | None, goal: Goal) -> None:
    """Refuse the name of a loss that there is not, or that does not go with the goal.

    Raises:
        BadInputError: with the names that do.
    """
    if loss is not None:
        require_choice("the attack's loss", loss, LOSSES)
    if loss in _LEAVING and goal != "untargeted":
        raise BadInputError(
            f"the loss {loss!r} says how to leave what is right, which is weak for goal={goal!r}; use the task's own "
            "loss, or for classes 'ce' or 'margin'"
        )


def named_loss(loss: str, inner: Task, toward: Tensor | None = None) -> Any:
    """What has the ``terms`` of the loss of that name, for outputs of the task ``inner``.

    Args:
        loss: one of ``LOSSES``.
        inner: the task, without others around it.
        toward: (B,) the classes that ``"targeted_dlr"`` steers to.

    Raises:
        BadInputError: for a loss that the task's outputs do not have.
    """
    families = [family for family in _FAMILIES if isinstance(inner, family.tasks)]
    for family in families:
        if loss in family.losses:
            return family.losses[loss](inner, toward)
    names = ", ".join(repr(name) for family in families for name in family.losses)
    use = f"give one of {names}, or none" if names else "give none"
    raise BadInputError(f"the task {inner.name!r} has no loss {loss!r}; {use}, so that its own is raised")
