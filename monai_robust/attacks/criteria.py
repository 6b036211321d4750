"""When an attack has succeeded, sample by sample."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from monai_robust.errors import BadInputError, require_choice
from monai_robust.scalars import is_above_zero, is_number
from monai_robust.tasks import Classification, Segmentation, Task, base_task
from monai_robust.tasks.classification import class_indices
from monai_robust.tasks.tensors import holds_nan

__all__ = [
    "CRITERIA",
    "Criterion",
    "DiceBelow",
    "Incorrect",
    "PredictionChanged",
    "ScoreBeyond",
    "as_criterion",
    "fulfilled",
]


Reference = Literal["truth", "prediction"]
REFERENCES: tuple[Reference, ...] = ("truth", "prediction")


class Criterion(ABC):
    """What counts as a success of an attack.

    A criterion is called with the task, the outputs for the perturbed inputs, the targets and the outputs for the clean
    inputs, and answers with a flag for each sample, (B,) bool.
    """

    name: ClassVar[str]
    compares: ClassVar[bool] = True
    """Whether it looks at the outputs for the clean inputs, or at the targets alone."""

    @abstractmethod
    def __call__(self, task: Task, outputs: Any, targets: Any, clean_outputs: Any) -> Tensor:
        """Whether the attack has succeeded, (B,) bool."""

    def attacked(self, task: Task, targets: Any, clean_outputs: Any) -> Any:
        """The targets that an attack has to lead away from in order to succeed."""
        return targets

    def absolute(self) -> Criterion:
        """The same criterion for who gives it :meth:`attacked` as targets; it may then ask for no clean outputs."""
        return self


@dataclass(frozen=True)
class PredictionChanged(Criterion):
    """Another class is predicted than for the clean input.

    No label is asked: an image that is misclassified has to be moved to another class, too, and is attacked for the
    class that it was given. This is the sensitivity of an image of oncology-stability ("Image Level Adversarial Image
    Sensitivity and Model Performance").
    """

    name = "prediction_changed"

    def __call__(self, task: Task, outputs: Any, targets: Any, clean_outputs: Any) -> Tensor:
        return _logits(self, task, outputs).argmax(dim=1) != self.attacked(task, targets, clean_outputs)

    def attacked(self, task: Task, targets: Any, clean_outputs: Any) -> Tensor:
        return _logits(self, task, clean_outputs).argmax(dim=1)

    def absolute(self) -> Criterion:
        return Incorrect()


@dataclass(frozen=True)
class Incorrect(Criterion):
    """The predicted class is not the label, as robust accuracy counts; so it may be without any attack."""

    name = "incorrect"
    compares = False

    def __call__(self, task: Task, outputs: Any, targets: Any, clean_outputs: Any) -> Tensor:
        logits = _logits(self, task, outputs)
        return logits.argmax(dim=1) != class_indices(targets, logits.shape[1]).to(logits.device)


@dataclass(frozen=True)
class ScoreBeyond(Criterion):
    """The task's score is worse than ``level``: below it, or above it for an error such as that of landmarks.

    A sample without a score (NaN: nothing to find in it) never is.

    Args:
        level: in units of the score.
        reference: what the score compares the outputs with: the ``"truth"``, or the network's own ``"prediction"`` for
            the clean input. The latter asks for no label, as :class:`PredictionChanged` does not, so that a radius can
            be known of an image that nobody has read yet.

    Raises:
        BadInputError: for a level that is no finite number, or another reference; by a call, for a task without a
            score, or one whose predictions have no form of targets.
    """

    level: float
    reference: Reference = "truth"
    name = "score_beyond"

    @property
    def compares(self) -> bool:  # type: ignore[override]
        """Whether it looks at the outputs for the clean inputs."""
        return self.reference == "prediction"

    def __post_init__(self) -> None:
        require_choice("reference", self.reference, REFERENCES)
        if not is_number(self.level):
            raise BadInputError(f"the criterion's level is {self.level!r}; it must be a finite number")

    def __call__(self, task: Task, outputs: Any, targets: Any, clean_outputs: Any) -> Tensor:
        score = task.score(outputs, self.attacked(task, targets, clean_outputs))
        return score < self.level if task.higher_is_better else score > self.level

    def attacked(self, task: Task, targets: Any, clean_outputs: Any) -> Any:
        return task.predicted_targets(clean_outputs, targets) if self.compares else targets

    def absolute(self) -> Criterion:
        return replace(self, reference="truth")


@dataclass(frozen=True)
class DiceBelow(ScoreBeyond):
    """The mean Dice of the foreground classes that a sample holds, or that the network has found in the clean input, is
    below ``level``, above 0 and at most 1.

    Raises:
        BadInputError: for another level; by a call, for a task that is no segmentation.
    """

    name = "dice_below"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_above_zero(self.level, 1):
            raise BadInputError(f"the Dice level is {self.level!r}; it must be above 0 and at most 1")

    def __call__(self, task: Task, outputs: Any, targets: Any, clean_outputs: Any) -> Tensor:
        if not isinstance(base_task(task), Segmentation):
            raise BadInputError(f"the task {task.name!r} has no Dice; use ScoreBeyond(level) on its {task.score_name}")
        return super().__call__(task, outputs, targets, clean_outputs)


CRITERIA: dict[str, type[PredictionChanged] | type[Incorrect]] = {
    kind.name: kind for kind in (PredictionChanged, Incorrect)
}


def as_criterion(criterion: str | Criterion) -> Criterion:
    """The criterion called ``"prediction_changed"`` or ``"incorrect"``; a :class:`Criterion` is handed through.

    Raises:
        BadInputError: when there is no criterion of that name.
    """
    if isinstance(criterion, Criterion):
        return criterion
    require_choice("criterion", criterion, tuple(CRITERIA))
    return CRITERIA[criterion]()


def fulfilled(criterion: Criterion, task: Task, outputs: Any, targets: Any, clean_outputs: Any) -> Tensor:
    """Whether ``criterion`` is met, (B,) bool; never by NaN, which is no answer of a network."""
    met = criterion(task, outputs, targets, clean_outputs)
    return met & ~holds_nan(outputs, len(met)).to(met.device)


def _logits(criterion: Criterion, task: Task, outputs: Any) -> Tensor:
    inner = base_task(task)
    if not isinstance(inner, Classification):
        raise BadInputError(
            f"the criterion {criterion.name!r} asks for the class of an image, which the task {task.name!r} has not; "
            "use DiceBelow(level) for segmentation, ScoreBeyond(level) for any task with a score"
        )
    with torch.no_grad():
        return inner.logits(outputs)
