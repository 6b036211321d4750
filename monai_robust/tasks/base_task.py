"""The task that others are wrapped around."""

from __future__ import annotations

from monai_robust.tasks.base import Task
from monai_robust.tasks.divergence import PredictionDivergence

__all__ = ["base_task"]


def base_task(task: Task) -> Task:
    """The task itself, where others are wrapped around it to run it, to watch it or to raise another loss of it.

    The divergence of predictions is a task of its own, and no wrapper.
    """
    while not isinstance(task, PredictionDivergence) and isinstance(inner := getattr(task, "task", None), Task):
        task = inner
    return task
