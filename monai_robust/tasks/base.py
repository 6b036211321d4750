"""What a network is trained for: how to run it, what hurts it per sample, and what is worth writing down."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from monai_robust.errors import BadInputError

__all__ = ["Goal", "Task", "total"]

Goal = Literal["untargeted", "least_likely"] | int


class Task(ABC):
    """The three things an attack, a margin or an evaluation asks of a task.

    Every value is per sample and does not depend on the rest of the batch.
    """

    name: ClassVar[str]
    score_name: ClassVar[str] = "score"
    higher_is_better: ClassVar[bool] = True

    def forward(self, network: Callable[..., Any], inputs: Tensor, targets: Any) -> Any:
        """Outputs of ``network`` for ``inputs``, shape (B, C, *spatial)."""
        return network(inputs)

    def prediction(self, outputs: Any, targets: Any) -> Any:
        """The part of ``outputs`` that is the prediction: of several heads the first, where a task knows of heads."""
        return outputs

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

    def picture_masks(self, outputs: Any, targets: Any) -> tuple[Tensor, Tensor] | None:
        """Label maps (B, *spatial) of prediction and truth to draw into pictures; None where a task has none."""
        return None

    def _no_outcomes(self) -> BadInputError:
        return BadInputError(f"the task {self.name!r} has no outcomes to write down; evaluate with a task that has")

    def aim(self, outputs: Any, targets: Any, goal: Goal) -> Any:
        """The targets a targeted attack steers to: the least likely class of ``outputs``, or a given class."""
        raise BadInputError(f"the task {self.name!r} has no attack goal {goal!r}; use goal='untargeted'")


def total(terms: Mapping[str, Tensor]) -> Tensor:
    """The sum of a sample's loss terms, shape (B,)."""
    return torch.stack(tuple(terms.values())).sum(dim=0) if len(terms) > 1 else next(iter(terms.values()))
