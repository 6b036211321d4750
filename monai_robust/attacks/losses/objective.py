"""What an attack raises, and what a pass through the network says of success and of the task's score."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from monai_robust.attacks.criteria import Incorrect, innermost
from monai_robust.attacks.losses.multi_label import MultiLabel
from monai_robust.attacks.losses.named import named_loss
from monai_robust.attacks.losses.pixels import PixelLoss
from monai_robust.tasks import Classification, Task, Watched
from monai_robust.tasks.base import Goal, total
from monai_robust.tasks.tensors import holds_nan, plain

__all__ = ["Objective"]


class Objective(Task):
    """What an attack raises of ``task``, and what the last forward pass says of success and score.

    Args:
        task: runs the network, and is hurt.
        loss: one of ``LOSSES`` to raise instead of the task's own terms.
        goal: whether the targets are to be left, or (any other goal) to be approached, in which case the loss is
            lowered and success is to predict them.
        toward: (B,) the classes of ``"targeted_dlr"``.
        scored: whether :meth:`harm` tells the task's score.

    Attributes:
        values: what is raised, (B,), at the last pass.
        outputs: the network's outputs in the last pass.

    Raises:
        BadInputError: for a loss that the task's outputs do not have.
    """

    name = "objective"

    def __init__(
        self,
        task: Task,
        loss: str | None = None,
        goal: Goal = "untargeted",
        toward: Tensor | None = None,
        *,
        scored: bool = False,
    ) -> None:
        inner = innermost(task)
        self.task = task
        self.loss = None if loss is None else named_loss(loss, inner, toward)
        self.away = goal == "untargeted"
        self.scored = scored
        self._arguments = (loss, goal, toward)
        self.values = torch.empty(0)
        self.outputs: Any = None
        self._true: Any = None
        self._aimed: Any = None
        several = isinstance(inner, MultiLabel) or isinstance(self.loss, MultiLabel)
        single = isinstance(inner, Classification) or isinstance(self.loss, Classification)
        # What says whether a prediction is wrong; None where the task knows no classes.
        self._judge = MultiLabel() if several else Classification() if single else None

    def steered(self, toward: Tensor | None) -> Objective:
        """The same towards other classes, (B,)."""
        loss, goal, _ = self._arguments
        return Objective(self.task, loss, goal, toward, scored=self.scored)

    def at(self, chosen: Tensor) -> Objective:
        """The same for those samples alone that are chosen, (B,) bool."""
        toward = self._arguments[2]
        return self.steered(None if toward is None else toward[chosen])

    def reached(self, progress: float) -> None:
        """Tell a loss that changes on the way which share of the attack's steps is done, from 0 to 1."""
        if isinstance(self.loss, PixelLoss):
            self.loss.progress = progress

    def forward(self, network: Any, inputs: Tensor, targets: Any) -> Any:
        self.outputs = self.task.forward(network, inputs, targets)
        return self.outputs

    def prepared(self, inputs: Tensor, targets: Any) -> Any:
        self._aimed = targets
        self._true = self.task.prepared(inputs, targets)
        return self._true

    def score_by(self, inputs: Tensor, targets: Any) -> None:
        """Count scores by the true targets, where others are approached."""
        self._true = innermost(self.task).prepared(inputs, targets)

    def terms(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        if self.loss is None:
            terms = self.task.terms(outputs, targets)
        else:
            terms = self._loss_terms(self.loss, outputs, targets)
            if isinstance(self.task, Watched):  # it is to see its own terms of every iterate
                with torch.no_grad():
                    self.task.terms(outputs, targets)
        terms = terms if self.away else {name: -value for name, value in terms.items()}
        self.values = total(terms).detach()
        return terms

    @torch.no_grad()
    def succeeded(self) -> Tensor:
        """For each sample whether the last pass was a success, (B,) bool; never, where the task knows none."""
        if self._judge is None:
            return torch.zeros(self.values.shape, dtype=torch.bool, device=self.values.device)
        outputs = self._classes(self.outputs)
        if isinstance(self._judge, MultiLabel):
            wrong = self._judge.wrong(outputs, self._aimed)
        else:
            wrong = Incorrect()(self._judge, outputs, self._aimed, None)
        return (wrong if self.away else ~wrong) & ~holds_nan(self.outputs, len(wrong)).to(wrong.device)

    @torch.no_grad()
    def harm(self) -> Tensor:
        """For each sample how bad the score of the last pass was, (B,) float64: the higher the worse, in the score's
        units, and least (minus infinity) where there was no score."""
        if not self.scored:
            return torch.full(self.values.shape, -math.inf, dtype=torch.float64, device=self.values.device)
        task = innermost(self.task)
        score = task.score(self.outputs, self._true).to(self.values.device, torch.float64)
        nothing = score.isnan() | holds_nan(self.outputs, len(score)).to(score.device)
        return torch.where(nothing, -math.inf, -score if task.higher_is_better else score)

    def _loss_terms(self, loss: Any, outputs: Any, targets: Any) -> Any:
        """The terms of a named loss; those of classes take plain logits and targets as they were given."""
        if isinstance(loss, (Classification, MultiLabel)):
            return loss.terms(self._classes(outputs), self._aimed)
        return loss.terms(outputs, targets)

    def _classes(self, outputs: Any) -> Any:
        """Outputs as the loss takes them: a task may make its logits of more than a plain tensor."""
        inner = innermost(self.task)
        several = isinstance(self._judge, MultiLabel)
        if isinstance(inner, (Classification, MultiLabel)) and isinstance(inner, MultiLabel) == several:
            return inner.logits(outputs)
        return plain(outputs)
