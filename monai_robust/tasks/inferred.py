"""A task whose network is run by an engine's inferer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from monai_robust.inferers import WithinMemory
from monai_robust.tasks.base import Agreement, Goal, Task

__all__ = ["Inferred"]


class Inferred(Task):
    """``task``, its network run as the engine runs it: through an inferer and its extra arguments, an attack on large
    images in the memory there is (see :class:`~monai_robust.inferers.WithinMemory`).

    Args:
        task: what is attacked and measured.
        inferer: ``(inputs, network) -> outputs``.
    """

    def __init__(self, task: Task, inferer: Callable[..., Any]) -> None:
        self.task = task
        self.inferer = inferer
        self._sizes: dict[torch.Size, int] = {}  # what a pass of the network keeps, for those that come
        self.name = task.name  # type: ignore[misc]
        self.score_name = task.score_name  # type: ignore[misc]
        self.higher_is_better = task.higher_is_better  # type: ignore[misc]
        self.agreement = task.agreement
        self.spatial_targets = task.spatial_targets  # type: ignore[misc]

    def forward(self, network: Callable[..., Any], inputs: Tensor, targets: Any) -> Any:
        return self.task.forward(lambda x: self.inferer(x, WithinMemory(network, sizes=self._sizes)), inputs, targets)

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

    def score(self, outputs: Any, targets: Any) -> Tensor:
        return self.task.score(outputs, targets)

    def defined(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        return self.task.defined(outputs, targets)

    def predicted_targets(self, outputs: Any, targets: Any) -> Any:
        return self.task.predicted_targets(outputs, targets)

    def aim(self, outputs: Any, targets: Any, goal: Goal) -> Any:
        return self.task.aim(outputs, targets, goal)

    def offers(self, goal: Goal, outputs: Any) -> bool:
        return self.task.offers(goal, outputs)
