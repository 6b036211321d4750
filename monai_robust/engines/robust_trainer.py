"""A supervised trainer whose iteration follows a recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from monai.engines import SupervisedTrainer
from torch import Tensor

from monai_robust.engines.kept_starts import KeptStarts
from monai_robust.engines.robust_update import RobustUpdate, View
from monai_robust.margins import SampleRadii
from monai_robust.recipes import Recipe
from monai_robust.tasks import Task

__all__ = ["RobustTrainer"]


class RobustTrainer(SupervisedTrainer):
    """``SupervisedTrainer(..., iteration_update=RobustUpdate(...))`` in one call, and nothing more.

    Args:
        recipe, attack, weight, augmented, views, task, shared_forward, margins, starts, agreement, channels: as for
            :class:`RobustUpdate`.
        **supervised: everything ``monai.engines.SupervisedTrainer`` takes.
    """

    def __init__(
        self,
        *,
        recipe: Recipe | str = "sat",
        attack: Callable[..., Tensor] | None = None,
        weight: float | None = None,
        augmented: list[str] | None = None,
        views: Mapping[str, View] | None = None,
        task: Task | None = None,
        shared_forward: bool = True,
        margins: SampleRadii | None = None,
        starts: KeptStarts | None = None,
        agreement: str | None = None,
        channels: Sequence[int] | None = None,
        **supervised: Any,
    ) -> None:
        update = RobustUpdate(
            recipe,
            attack,
            weight=weight,
            augmented=augmented,
            views=views,
            task=task,
            shared_forward=shared_forward,
            margins=margins,
            starts=starts,
            agreement=agreement,
            channels=channels,
        )
        super().__init__(**supervised, iteration_update=update)
