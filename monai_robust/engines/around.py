"""What recipes around an iteration of somebody's own have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from monai_robust.engines.common import Batch
from monai_robust.engines.robust_update import RobustUpdate
from monai_robust.tasks import Task

__all__ = ["AroundOwn"]


class AroundOwn(RobustUpdate):
    """A recipe for a trainer with an iteration of its own, which steps, clips and logs as before.

    Args:
        recipe: as for :class:`RobustUpdate`.
        attack: as there.
        iteration: ``(engine, batchdata) -> output``; by default the trainer's own ``_iteration``, which its class
            defines.
        **settings: everything else :class:`RobustUpdate` takes; views go through the network in passes of their own.
    """

    def __init__(
        self,
        recipe: Any = "sat",
        attack: Callable[..., Tensor] | None = None,
        *,
        iteration: Callable[[Any, Any], Any] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(recipe, attack, **{**settings, "shared_forward": False})
        self.iteration = iteration

    def _iterate(self, engine: Any, batchdata: Any) -> Any:
        """The iteration's output."""
        return (self.iteration or engine._iteration)(engine, batchdata)  # MONAI's documented override

    def _begin(self, engine: Any, task: Task, batch: Batch) -> None:
        """Check the task on a first batch and follow the engine, once for each engine."""
        if self._checked is engine:
            return
        self._check(task, batch)
        if self.starts is not None:
            self.starts.attach(engine)
        self._checked = engine

    @staticmethod
    def _tell(engine: Any, output: Any, added: Mapping[str, Any]) -> None:
        """Add what is known of the attack to the iteration's output, if that is a dictionary."""
        for told in (output, engine.state.output):
            if isinstance(told, dict):
                told.update(added)
