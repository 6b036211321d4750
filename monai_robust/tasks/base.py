"""What a network is trained for: how to run it, what hurts it per sample, and what is worth writing down."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.losses import independent_classes

__all__ = ["Agreement", "Goal", "Task", "total"]

Goal = Literal["untargeted", "least_likely", "vanishing", "mislabelling"] | int
"""What an attack is after: more loss, or less loss for other targets, which the task makes (:meth:`Task.aim`)."""

Agreement = Literal["softmax", "bernoulli", "none"]
"""What outputs are: logits of classes that exclude each other (``softmax``), of independent labels or overlapping
regions, each a sigmoid of its own (``bernoulli``), or no logits (``none``): coordinates, fields, distances, boxes,
probabilities."""


class Task(ABC):
    """The three things an attack, a margin or an evaluation asks of a task.

    Every value is per sample and does not depend on the rest of the batch.
    """

    name: ClassVar[str]
    score_name: ClassVar[str] = "score"
    higher_is_better: ClassVar[bool] = True
    agreement: Agreement | None = None
    """What the outputs are, so that views can agree in them; None where nobody has said it."""
    spatial_targets: ClassVar[bool] = False
    """Whether targets are places in the image, which a view must not move, such as boxes."""
    detail_table: ClassVar[str] = ""
    """Name of the table of details beside the outcomes, such as ``detections``; empty for a task without one."""
    truth_table: ClassVar[str] = ""
    """Name of the table of what would be right, such as ``boxes``."""

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

    def outcomes(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        """Columns of the outcomes table, each of shape (B,), ``score`` among them."""
        raise self._no_outcomes()

    def columns(self, classes: Sequence[str]) -> list[str]:
        """Names of the outcomes of a network with these classes, in the order of :meth:`outcomes`."""
        raise self._no_outcomes()

    def caption(self, outcomes: Mapping[str, Tensor], index: int, classes: Sequence[str]) -> dict[str, Any]:
        """What stands below a picture of sample ``index``: ``label``, ``prediction`` and perhaps ``confidence``."""
        raise self._no_outcomes()

    def class_counts(self, items: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> dict[str, int]:
        """How many samples of a data set hold each class."""
        raise self._no_outcomes()

    def examples(self, items: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> list[int]:
        """Indices of up to four telling samples, to be shown as pictures."""
        raise self._no_outcomes()

    def detail_columns(self) -> list[str]:
        """Columns of the table of details, but for those that say of which sample and perturbation a row is."""
        raise self._no_outcomes()

    def truth_columns(self) -> list[str]:
        """Columns of the table of what would be right, but for the sample's."""
        raise self._no_outcomes()

    def details(self, outputs: Any, targets: Any) -> list[list[dict[str, Any]]]:
        """For each sample its rows in the table of details, such as a row for each box that was detected."""
        raise self._no_outcomes()

    def true_details(self, targets: Any) -> list[list[dict[str, Any]]]:
        """For each sample its rows in the table of what would be right."""
        raise self._no_outcomes()

    def settings(self) -> dict[str, Any]:
        """Numbers that the outcomes depend on, as primitives."""
        return {}

    def picture_masks(self, outputs: Any, targets: Any) -> tuple[Tensor, Tensor] | None:
        """Label maps (B, *spatial) of prediction and truth to draw into pictures; None where a task has none."""
        return None

    def _no_outcomes(self) -> BadInputError:
        return BadInputError(f"the task {self.name!r} has no outcomes to write down; evaluate with a task that has")

    def aim(self, outputs: Any, targets: Any, goal: Goal) -> Any:
        """The targets a targeted attack steers to, such as the least likely class of ``outputs``, or a given class."""
        raise BadInputError(f"the task {self.name!r} has no attack goal {goal!r}; use goal='untargeted'")

    def offers(self, goal: Goal, outputs: Any) -> bool:
        """Whether the network that made ``outputs`` has what ``goal`` asks for, such as another class."""
        return True


def total(terms: Mapping[str, Tensor]) -> Tensor:
    """The sum of a sample's loss terms, shape (B,)."""
    return torch.stack(tuple(terms.values())).sum(dim=0) if len(terms) > 1 else next(iter(terms.values()))
