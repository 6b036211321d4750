"""What optimisation asks of a task: how to run its network, what hurts it per sample, how well it did."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.losses import independent_classes
from monai_robust.losses.attack import OutputKind

__all__ = ["Agreement", "Goal", "Task", "total"]

Goal = Literal["untargeted", "least_likely", "vanishing", "mislabelling"] | int
"""What an attack is after: more loss, or less loss for other targets, which the task makes (:meth:`Task.aim`)."""

Agreement = Literal["softmax", "bernoulli", "none"]
"""What outputs are: logits of classes that exclude each other (``softmax``), of independent labels or overlapping
regions, each a sigmoid of its own (``bernoulli``), or no logits (``none``): coordinates, fields, distances, boxes,
probabilities."""


class Task(ABC):
    """What an attack, a margin or a training asks of a task; every value of a sample is independent of its batch.

    What is written down of a task's samples, and what a report shows of it, stands in
    :mod:`monai_robust.evaluation.tasks` under the task's ``name``.
    """

    name: ClassVar[str]
    score_name: ClassVar[str] = "score"
    higher_is_better: ClassVar[bool] = True
    agreement: Agreement | None = None
    """What the outputs are, so that views can agree in them; None where nobody has said it."""
    output_kinds: ClassVar[tuple[OutputKind, ...]] = ()
    """What the outputs are, or may be, for the losses that attacks raise by name."""
    spatial_targets: ClassVar[bool] = False
    """Whether targets are places in the image, which a view must not move, such as boxes."""

    def forward(self, network: Callable[..., Any], inputs: Tensor, targets: Any) -> Any:
        """Outputs of ``network`` for ``inputs``, shape (B, C, *spatial)."""
        return network(inputs)

    def prediction(self, outputs: Any, targets: Any) -> Any:
        """The part of ``outputs`` that is the prediction: of several heads the first, where a task knows of heads."""
        return outputs

    def agreeing(self, outputs: Any, targets: Any) -> Any:
        """The prediction as logits of the class distributions in which views must agree, (B, C, ...)."""
        prediction = self.prediction(outputs, targets)
        if self.agreement == "bernoulli" and isinstance(prediction, Tensor):
            return independent_classes(prediction.as_subclass(Tensor))
        return prediction

    def saying(self, agreement: Agreement) -> Task:
        """A copy whose outputs are said to be ``agreement``."""
        said = copy.copy(self)
        said.agreement = agreement
        return said

    def prepared(self, inputs: Tensor, targets: Any) -> Any:
        """``targets`` with what follows from them and not from the pixels, computed once for all steps of an attack.

        Every other method takes prepared targets as well as raw ones.
        """
        return targets

    @abstractmethod
    def terms(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        """Named loss terms, each of shape (B,), differentiable with respect to the outputs."""

    def defined(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        """For each loss term whether a sample has it, (B,) bool; a term that is not listed is defined everywhere."""
        return {}

    def wrong(self, outputs: Any, targets: Any) -> Tensor | None:
        """Whether the prediction is not what the targets say, (B,) bool: the success of an attack that leaves them.

        None where a prediction is not right or wrong, but better or worse.
        """
        return None

    def score(self, outputs: Any, targets: Any) -> Tensor:
        """How well each sample was done, (B,), in the direction of ``higher_is_better``; NaN where that has no answer.

        Raises:
            BadInputError: for a task that cannot tell.
        """
        raise BadInputError(f"the task {self.name!r} has no outcomes to write down; evaluate with a task that has")

    def predicted_targets(self, outputs: Any, targets: Any) -> Any:
        """Targets that say what the network has answered, so that other outputs can be compared with its answer.

        Args:
            outputs: of the network.
            targets: the true ones, of which no more than form and geometry count.

        Raises:
            BadInputError: for a task whose answers have no form of targets.
        """
        raise BadInputError(
            f"the predictions of the task {self.name!r} have no form of targets, with which others could be compared; "
            "compare with the truth"
        )

    def aim(self, outputs: Any, targets: Any, goal: Goal) -> Any:
        """The targets a targeted attack steers to, such as the least likely class of ``outputs``, or a given class."""
        raise BadInputError(f"the task {self.name!r} has no attack goal {goal!r}; use goal='untargeted'")

    def offers(self, goal: Goal, outputs: Any) -> bool:
        """Whether the network that made ``outputs`` has what ``goal`` asks for, such as another class."""
        return True


def total(terms: Mapping[str, Tensor]) -> Tensor:
    """The sum of a sample's loss terms, shape (B,)."""
    return torch.stack(tuple(terms.values())).sum(dim=0) if len(terms) > 1 else next(iter(terms.values()))


def checked_task(task: Any) -> Task:
    """A task, and neither its name, its class nor a loss.

    Raises:
        BadInputError: for anything else, with what would do.
    """
    if isinstance(task, Task):
        return task
    if isinstance(task, type) and issubclass(task, Task):
        raise BadInputError(f"the task is the class {task.__name__}; make one: {task.__name__}()")
    what = repr(task) if isinstance(task, str) else f"a {getattr(task, '__name__', type(task).__name__)}"
    raise BadInputError(
        f"the task is {what}; give a task, such as Classification(), Segmentation() or, for a loss, LossTask(loss)"
    )
