"""A task whose network is run by an engine's inferer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from monai_robust.tasks.base import Agreement, Goal, Task

__all__ = ["Inferred"]


class Inferred(Task):
    """``task``, its network run as the engine runs it: through an inferer and its extra arguments.

    Args:
        task: what is attacked and written down.
        inferer: ``(inputs, network) -> outputs``.
    """

    def __init__(self, task: Task, inferer: Callable[..., Any]) -> None:
        self.task = task
        self.inferer = inferer
        self.name = task.name  # type: ignore[misc]
        self.score_name = task.score_name  # type: ignore[misc]
        self.higher_is_better = task.higher_is_better  # type: ignore[misc]
        self.agreement = task.agreement
        self.spatial_targets = task.spatial_targets  # type: ignore[misc]
        self.detail_table = task.detail_table  # type: ignore[misc]
        self.truth_table = task.truth_table  # type: ignore[misc]

    def forward(self, network: Callable[..., Any], inputs: Tensor, targets: Any) -> Any:
        return self.task.forward(lambda x: self.inferer(x, network), inputs, targets)

    def prediction(self, outputs: Any, targets: Any) -> Any:
        return self.task.prediction(outputs, targets)

    def saying(self, agreement: Agreement) -> Task:
        return Inferred(self.task.saying(agreement), self.inferer)

    def agreeing(self, outputs: Any, targets: Any) -> Any:
        return self.task.agreeing(outputs, targets)

    def prepared(self, inputs: Tensor, targets: Any) -> Any:
        return self.task.prepared(inputs, targets)

    def terms(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        return self.task.terms(outputs, targets)

    def outcomes(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        return self.task.outcomes(outputs, targets)

    def defined(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        return self.task.defined(outputs, targets)

    def columns(self, classes: Sequence[str]) -> list[str]:
        return self.task.columns(classes)

    def caption(self, outcomes: Mapping[str, Tensor], index: int, classes: Sequence[str]) -> dict[str, Any]:
        return self.task.caption(outcomes, index, classes)

    def class_counts(self, items: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> dict[str, int]:
        return self.task.class_counts(items, classes)

    def examples(self, items: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> list[int]:
        return self.task.examples(items, classes)

    def detail_columns(self) -> list[str]:
        return self.task.detail_columns()

    def truth_columns(self) -> list[str]:
        return self.task.truth_columns()

    def details(self, outputs: Any, targets: Any) -> list[list[dict[str, Any]]]:
        return self.task.details(outputs, targets)

    def true_details(self, targets: Any) -> list[list[dict[str, Any]]]:
        return self.task.true_details(targets)

    def settings(self) -> dict[str, Any]:
        return self.task.settings()

    def picture_masks(self, outputs: Any, targets: Any) -> tuple[Tensor, Tensor] | None:
        return self.task.picture_masks(outputs, targets)

    def aim(self, outputs: Any, targets: Any, goal: Goal) -> Any:
        return self.task.aim(outputs, targets, goal)
