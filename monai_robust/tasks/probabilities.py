"""Networks that end in a sigmoid or softmax, where tasks take logits."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from monai_robust.tasks.base import Task
from monai_robust.tasks.base_task import base_task
from monai_robust.tasks.classification import Classification
from monai_robust.tasks.loss import LossTask
from monai_robust.tasks.segmentation import Segmentation
from monai_robust.tasks.tensors import plain

__all__ = ["PROBABILITIES", "OutputWatch", "end_in_softmax"]

_SUM = 1e-2  # half precision rounds each of a few classes
PROBABILITIES = (
    "The network's outputs look like probabilities (all between 0 and 1, and summing to 1 where there are several "
    "classes), but the task takes them for logits: predictions of one output, confidences and gradients are wrong. "
    "Leave out the last sigmoid or softmax."
)


class OutputWatch:
    """Whether a network's outputs look like probabilities, where a task takes logits of them.

    They do if all that were seen lie between 0 and 1 and, where there are several classes, sum to 1 over them.
    """

    def __init__(self) -> None:
        self.probabilities: bool | None = None

    def see(self, task: Task, outputs: Any, targets: Any) -> None:
        """Look at the outputs of one more batch; at none any more once the matter is settled."""
        values = None if self.probabilities is False else _logits(task, outputs, targets)
        if values is not None:
            self.probabilities = _within(values) and (values.shape[1] == 1 or _sum_to_one(values))


def end_in_softmax(task: Task, outputs: Any, targets: Any) -> bool:
    """Whether the outputs of a batch sum to 1 over several classes, where a task or a loss takes logits of them."""
    values = _logits(task, outputs, targets)
    return values is not None and values.shape[1] > 1 and _within(values) and _sum_to_one(values)


def _logits(task: Task, outputs: Any, targets: Any) -> Tensor | None:
    """What is taken for logits, (B, classes, ...); None where there is nothing of the kind."""
    own = base_task(task)
    if isinstance(own, (Classification, Segmentation)):
        values = plain(own.prediction(outputs, targets))
    elif isinstance(own, LossTask) and own.agreement == "softmax":
        values = plain(outputs) if isinstance(outputs, Tensor) else None
    else:
        return None
    return values if isinstance(values, Tensor) and values.ndim > 1 and values.numel() else None


def _within(values: Tensor) -> bool:
    return bool((values >= 0).all()) and bool((values <= 1).all())


def _sum_to_one(values: Tensor) -> bool:
    return bool(((values.float().sum(dim=1) - 1).abs() < _SUM).all())
