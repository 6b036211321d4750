"""What an attack on class outputs raises, by name, and when it has succeeded."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from monai_robust.attacks.criteria import Incorrect, innermost
from monai_robust.attacks.minimum_norm import LogitMargin
from monai_robust.attacks.multi_label import MultiLabel, MultiLabelMargin
from monai_robust.errors import BadInputError, require_choice
from monai_robust.tasks import Classification, LossTask, Task, Watched
from monai_robust.tasks.base import Goal, total
from monai_robust.tasks.classification import class_indices
from monai_robust.tasks.tensors import plain

__all__ = ["DLR", "LOSSES", "Objective", "TargetedDLR", "check_loss", "wrong_classes"]

LOSSES = ("ce", "dlr", "targeted_dlr", "margin", "bce")
"""Cross-entropy, difference of logits ratio, that ratio towards a class, logit margin, binary cross-entropy."""

_TINY = 1e-12


class DLR(Classification):
    """Classification whose loss term is the difference of logits ratio (Croce and Hein 2020, section 4).

    ``-(z_y - max_{i != y} z_i) / (z_p1 - z_p3)`` of logits z, of which z_pk is the k-th largest: unlike cross-entropy
    it changes neither with a shift nor with a scale of the logits, so that a confident network does not hide its
    gradient. It is positive for a wrong prediction. With two classes nothing but a sign is free of shift and scale; the
    term is then the logit margin, the numerator alone.
    """

    def terms(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        logits = self.logits(outputs).float()
        margin = LogitMargin().terms(logits, targets)["margin"]
        if logits.shape[1] == 2:
            return {"margin": margin}
        first, _, third = logits.topk(3, dim=1).values.unbind(dim=1)
        return {"dlr": margin / (first - third + _TINY)}


class TargetedDLR(Classification):
    """Classification whose loss term is the targeted difference of logits ratio (Croce and Hein 2020, section 4).

    ``-(z_y - z_t) / (z_p1 - (z_p3 + z_p4) / 2)`` for a wrong class t. With three classes any such ratio is constant
    where t is the least likely, and with two always; below four classes the term is ``z_t - z_y``.

    Args:
        toward: (B,) the class t of each sample; by default the most likely wrong class of the outputs at hand.
    """

    def __init__(self, toward: Tensor | None = None) -> None:
        self.toward = toward

    def terms(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        logits = self.logits(outputs).float()
        own = class_indices(targets, logits.shape[1]).to(logits.device)
        toward = wrong_classes(logits, own)[:, 0] if self.toward is None else self.toward
        margin = (logits.gather(1, toward[:, None]) - logits.gather(1, own[:, None]))[:, 0]
        if logits.shape[1] < 4:
            return {"targeted_margin": margin}
        first, _, third, fourth = logits.topk(4, dim=1).values.unbind(dim=1)
        return {"targeted_dlr": margin / (first - (third + fourth) / 2 + _TINY)}


def wrong_classes(logits: Tensor, own: Tensor) -> Tensor:
    """For each sample all classes but its own, (B, C - 1), the most likely first."""
    return logits.scatter(1, own[:, None], -math.inf).argsort(dim=1, descending=True)[:, :-1]


def check_loss(loss: str | None, goal: Goal) -> None:
    """Refuse the name of a loss that there is not, or that does not go with the goal.

    Raises:
        BadInputError: with the names that do.
    """
    if loss is not None:
        require_choice("the attack's loss", loss, LOSSES)
    if loss in ("dlr", "targeted_dlr") and goal != "untargeted":
        raise BadInputError(
            f"the loss {loss!r} says how to leave a class, which is weak for goal={goal!r}; use 'ce' or 'margin'"
        )


def _named(loss: str, inner: Task, toward: Tensor | None) -> Classification | MultiLabel:
    """The loss of that name for outputs of the task ``inner``."""
    several = isinstance(inner, MultiLabel)
    if not isinstance(inner, (Classification, LossTask, MultiLabel)):
        raise BadInputError(
            f"the loss {loss!r} is one of class outputs, not of the task {inner.name!r}; give the attack no loss, so "
            "that it raises the task's own"
        )
    if several and loss not in ("margin", "bce"):
        raise BadInputError(f"the loss {loss!r} is one of a single class; with several labels use 'margin' or 'bce'")
    if loss == "margin":
        return MultiLabelMargin() if several else LogitMargin()
    if loss == "targeted_dlr":
        return TargetedDLR(toward)
    plain_losses: dict[str, type[Classification | MultiLabel]] = {"ce": Classification, "dlr": DLR, "bce": MultiLabel}
    return plain_losses[loss]()


class Objective(Task):
    """What an attack raises of ``task``, and what the last forward pass says of success.

    Args:
        task: runs the network, and is hurt.
        loss: one of ``LOSSES`` to raise instead of the task's own terms.
        goal: whether the targets are to be left, or (any other goal) to be approached, in which case the loss is
            lowered and success is to predict them.
        toward: (B,) the classes of ``"targeted_dlr"``.

    Attributes:
        values: what is raised, (B,), at the last pass.
        outputs: the network's outputs in the last pass.

    Raises:
        BadInputError: for a loss that the task's outputs do not have.
    """

    name = "objective"

    def __init__(
        self, task: Task, loss: str | None = None, goal: Goal = "untargeted", toward: Tensor | None = None
    ) -> None:
        inner = innermost(task)
        self.task = task
        self.loss = None if loss is None else _named(loss, inner, toward)
        self.away = goal == "untargeted"
        self._arguments = (loss, goal, toward)
        self.values = torch.empty(0)
        self.outputs: Any = None
        self._raw: Any = None
        several = isinstance(inner, MultiLabel) or isinstance(self.loss, MultiLabel)
        single = isinstance(inner, Classification) or self.loss is not None
        # What says whether a prediction is wrong; None where the task knows no classes.
        self._judge = MultiLabel() if several else Classification() if single else None

    def steered(self, toward: Tensor | None) -> Objective:
        """The same towards other classes, (B,)."""
        loss, goal, _ = self._arguments
        return Objective(self.task, loss, goal, toward)

    def at(self, chosen: Tensor) -> Objective:
        """The same for those samples alone that are chosen, (B,) bool."""
        toward = self._arguments[2]
        return self.steered(None if toward is None else toward[chosen])

    def forward(self, network: Any, inputs: Tensor, targets: Any) -> Any:
        self.outputs = self.task.forward(network, inputs, targets)
        return self.outputs

    def prepared(self, inputs: Tensor, targets: Any) -> Any:
        self._raw = targets
        return self.task.prepared(inputs, targets)

    def terms(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        if self.loss is None:
            terms = self.task.terms(outputs, targets)
        else:
            terms = self.loss.terms(self._classes(outputs), self._raw)
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
            wrong = self._judge.wrong(outputs, self._raw)
        else:
            wrong = Incorrect()(self._judge, outputs, self._raw, None)
        return wrong if self.away else ~wrong

    def _classes(self, outputs: Any) -> Any:
        """Outputs as the loss takes them: a task may make its logits of more than a plain tensor."""
        inner = innermost(self.task)
        several = isinstance(self._judge, MultiLabel)
        if isinstance(inner, (Classification, MultiLabel)) and isinstance(inner, MultiLabel) == several:
            return inner.logits(outputs)
        return plain(outputs)
