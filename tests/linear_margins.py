"""A network whose loss reaches its threshold at a known distance from every sample, and a trainer for it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Events
from monai.data import DataLoader
from monai.engines import SupervisedTrainer
from torch import nn

from monai_robust.attacks import PGD
from monai_robust.engines import RobustUpdate
from monai_robust.handlers import AdaptiveMargins

BOUNDARIES = {"a": 0.37, "b": 0.93, "c": 1.41, "d": 1.88, "e": 2.63, "f": 3.19, "g": 4.07, "h": 5.55}


class Ramp(nn.Module):
    """``gain * sum(x) / sqrt(pixels)``: the steepest L2 perturbation of size r raises it by ``gain * r``."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))
        self.passes: list[tuple[bool, int]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.passes.append((self.training, len(x)))
        return self.gain * x.flatten(1).sum(dim=1, keepdim=True) / math.sqrt(x[0].numel())


def level(outputs: torch.Tensor, targets: Any) -> torch.Tensor:
    """A loss that is what the network says; its threshold in these tests is 0."""
    return outputs.mean()


def image(boundary: float, size: int = 4, crop: int | None = None) -> torch.Tensor:
    """An image (1, size, size) from which :class:`Ramp` reaches 0, on a crop, at the distance ``boundary``."""
    return torch.full((1, size, size), -boundary / (crop or size))


def items(boundaries: Mapping[str, float] = BOUNDARIES, **keywords: Any) -> list[dict[str, Any]]:
    return [
        {"image": image(boundary, **keywords), "label": 0.0, "sample_id": name} for name, boundary in boundaries.items()
    ]


def expected(boundary: float, visits: int, step: float, start: float | None = None, floor: float | None = None):
    """The margin after each visit, by the rule as the issue words it: enlarge below the boundary, else refine to it."""
    margin, course = step if start is None else start, []
    for _ in range(visits):
        margin = margin + step if margin < boundary else max((boundary + margin) / 2, step if floor is None else floor)
        course.append(margin)
    return course


def make_margins(step: float = 0.5, thresholds: Any = None, **keywords: Any) -> AdaptiveMargins:
    return AdaptiveMargins(step, {"loss": 0.0} if thresholds is None else thresholds, **keywords)


def make_trainer(
    margins: Any,
    data: Any = None,
    *,
    attack: Any = None,
    epochs: int = 1,
    batch_size: int = 4,
    recipe: str = "amat",
    network: nn.Module | None = None,
    loss: Any = level,
    lr: float = 0.0,
    handlers: Sequence[Any] = (),
    attached: bool = True,
    task: Any = None,
    shuffle: bool = False,
    loader: Any = None,
    **keywords: Any,
) -> SupervisedTrainer:
    network = Ramp() if network is None else network
    return SupervisedTrainer(
        device="cpu",
        max_epochs=epochs,
        train_data_loader=DataLoader(items() if data is None else data, batch_size=batch_size, shuffle=shuffle)
        if loader is None
        else loader,
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=lr),
        loss_function=loss,
        iteration_update=RobustUpdate(recipe, attack or PGD(steps=5), margins=margins, task=task),
        train_handlers=[*([margins] if attached else []), *handlers],
        decollate=False,
        **keywords,
    )


def course_of(trainer: SupervisedTrainer, margins: AdaptiveMargins) -> dict[str, list[float]]:
    """Run ``trainer``; the margin of every sample after each epoch."""
    course: dict[str, list[float]] = {}

    def note(engine: Any) -> None:
        for name, value in margins.margins.items():
            course.setdefault(name, []).append(value)

    trainer.add_event_handler(Events.EPOCH_COMPLETED, note)
    trainer.run()
    return course
