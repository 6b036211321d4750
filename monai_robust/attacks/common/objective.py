"""What an attack raises of a task, and what a pass through the network says of success and of the task's score."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from monai_robust.errors import BadInputError, require_choice
from monai_robust.losses.attack import ATTACK_LOSSES, OutputKind, attack_loss
from monai_robust.tasks import Classification, MultiLabel, Segmentation, Task, Watched, base_task
from monai_robust.tasks.base import Goal, total
from monai_robust.tasks.tensors import holds_nan

__all__ = ["Objective", "check_loss"]

# What knows logits and their labels, where the task of an attack does not.
_READERS: dict[OutputKind, Callable[[], Any]] = {
    "classes": Classification,
    "labels": MultiLabel,
    "pixels": Segmentation,
}


class Objective(Task):
    """What an attack raises of ``task``, and what the last forward pass says of success and score.

    Args:
        task: runs the network, and is hurt.
        loss: one of :data:`~monai_robust.losses.attack.ATTACK_LOSSES` to raise instead of the task's own terms.
        goal: whether the targets are to be left, or (any other goal) to be approached, in which case the loss is
            lowered and success is to predict them.
        scored: whether :meth:`harm` tells the task's score.

    Attributes:
        progress: share of the attack's steps that is done, from 0 to 1; the attack sets it before each pass.
        values: what is raised, (B,), at the last pass.
        outputs: the network's outputs in the last pass.

    Raises:
        BadInputError: for a loss that the task's outputs do not have.
    """

    name = "objective"

    def __init__(self, task: Task, loss: str | None = None, goal: Goal = "untargeted", *, scored: bool = False) -> None:
        base = base_task(task)
        self.task = task
        self.loss_name = loss
        self.away = goal == "untargeted"
        self.scored = scored
        self.progress = 0.0
        self.values = torch.empty(0)
        self.outputs: Any = None
        self._prepared_true: Any = None
        self._aimed: Any = None
        self._toward: Tensor | None = None
        if loss is None:
            self._loss, self._reader, self._judge = None, None, base
        else:
            kind, self._loss = attack_loss(loss, base.output_kinds, base)
            self._reader = _reader(kind, base)
            self._judge = self._reader or base

    def forward(self, network: Any, inputs: Tensor, targets: Any) -> Any:
        self.outputs = self.task.forward(network, inputs, targets)
        return self.outputs

    def prepared(self, inputs: Tensor, targets: Any, *, true: Any = None, toward: Tensor | None = None) -> Any:
        """What the other methods take as targets of a batch.

        Args:
            inputs: (B, C, *spatial).
            targets: to be left or approached.
            true: by which scores are counted; ``targets`` by default.
            toward: (B,) the classes of ``"targeted_dlr"``.
        """
        self._aimed, self._toward = targets, toward
        prepared = self.task.prepared(inputs, targets)
        self._prepared_true = prepared if true is None else base_task(self.task).prepared(inputs, true)
        return prepared

    def terms(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        if self._loss is None:
            terms = self.task.terms(outputs, targets)
        else:
            terms = {str(self.loss_name): self._loss(*self._read(outputs, targets), self.progress)}
            if isinstance(self.task, Watched):  # it is to see its own terms of every iterate
                with torch.no_grad():
                    self.task.terms(outputs, targets)
        terms = terms if self.away else {name: -value for name, value in terms.items()}
        self.values = total(terms).detach()
        return terms

    def aim(self, outputs: Any, targets: Any, goal: Goal) -> Any:
        return self.task.aim(outputs, targets, goal)

    @torch.no_grad()
    def succeeded(self) -> Tensor:
        """For each sample whether the last pass was a success, (B,) bool; never, where the task knows none."""
        wrong = self._judge.wrong(self.outputs, self._aimed)
        if wrong is None:
            return torch.zeros(self.values.shape, dtype=torch.bool, device=self.values.device)
        return (wrong if self.away else ~wrong) & ~holds_nan(self.outputs, len(wrong)).to(wrong.device)

    @torch.no_grad()
    def harm(self) -> Tensor:
        """For each sample how bad the score of the last pass was, (B,) float64: the higher the worse, in the score's
        units, and least (minus infinity) where there was no score."""
        if not self.scored:
            return torch.full(self.values.shape, -math.inf, dtype=torch.float64, device=self.values.device)
        task = base_task(self.task)
        score = task.score(self.outputs, self._prepared_true).to(self.values.device, torch.float64)
        nothing = score.isnan() | holds_nan(self.outputs, len(score)).to(score.device)
        return torch.where(nothing, -math.inf, -score if task.higher_is_better else score)

    def _read(self, outputs: Any, targets: Any) -> tuple[Any, Any]:
        """Outputs and targets as the loss takes them."""
        if self._reader is None:
            return outputs, targets
        logits, labels = self._reader.logits_and_labels(outputs, self._aimed)
        return logits, labels if self._toward is None else (labels, self._toward)


def _reader(kind: OutputKind, task: Task) -> Any:
    """What makes logits and labels of outputs and targets; None where a loss takes them as the task does."""
    if kind not in _READERS:
        return None
    make = _READERS[kind]
    return task if isinstance(task, make) else make()  # type: ignore[arg-type]


def check_loss(loss: str | None, goal: Goal) -> None:
    """Refuse the name of a loss that there is not, or that does not go with the goal.

    Raises:
        BadInputError: with the names that do.
    """
    if loss is None:
        return
    require_choice("the attack's loss", loss, tuple(ATTACK_LOSSES))
    if ATTACK_LOSSES[loss].leaving and goal != "untargeted":
        raise BadInputError(
            f"the loss {loss!r} says how to leave what is right, which is weak for goal={goal!r}; use the task's own "
            "loss, or for classes 'ce' or 'margin'"
        )
