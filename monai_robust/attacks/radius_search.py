"""The search for the smallest radius at which an attack breaks each sample: its samples and its judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor

from monai_robust.attacks.criteria import Criterion
from monai_robust.attacks.gradient import GradientAttack
from monai_robust.attacks.ladder import Ladder
from monai_robust.attacks.samples import Samples
from monai_robust.attacks.threat import expand
from monai_robust.errors import BadInputError
from monai_robust.tasks import Task
from monai_robust.tasks.tensors import select_rows

__all__ = ["RadiusSearch"]


class RadiusSearch:
    """The samples on their ladder of radii, and what says which rungs they are broken at.

    Args:
        network: judges every success, as it is.
        samples: with the targets that were given.
        radii: (K,), ascending.
        attack: whose threat and goal the search has.
        criterion: what counts as a success.
        task: how the network is run.
        batch_size: samples in one pass through the network.
        like: the inputs as they were given, whose dtype the network sees.

    Attributes:
        judged: the targets by which the criterion judges.
        aimed: the targets that the attack leaves or approaches.
        ladder: what is known of each sample.
    """

    def __init__(
        self,
        network: Callable[..., Any],
        samples: Samples,
        radii: Tensor,
        attack: GradientAttack,
        criterion: Criterion,
        task: Task,
        batch_size: int,
        like: Tensor,
    ) -> None:
        self.network = network
        self.samples = samples
        self.attack = attack
        self.task = task
        self.batch_size = batch_size
        self.like = like
        self.judged, self.aimed, self.criterion, already = self._clean(criterion)
        self.ladder = Ladder(radii, samples.clean, already, attack.norm)

    def _clean(self, criterion: Criterion) -> tuple[Any, Any, Criterion, Tensor]:
        """Passes of the clean inputs: the targets of the criterion and of the attack, and what is a success already."""
        judged, aimed, already, parts = [], [], [], []
        for rows in torch.arange(len(self.samples.clean)).split(self.batch_size):
            targets = select_rows(self.samples.targets, rows)
            parts.append(targets)
            outputs = self._outputs(self.network, self.samples.clean[rows], targets)
            already.append(criterion(self.task, outputs, targets, outputs).to(self.samples.clean.device))
            judged.append(criterion.attacked(self.task, targets, outputs))
            if self.attack.goal != "untargeted":
                aimed.append(self.task.aim(outputs, judged[-1], self.attack.goal))
        kept = all(one is given for one, given in zip(judged, parts, strict=True))
        wanted = self.samples.targets if kept else _joined(judged)
        return wanted, _joined(aimed) if aimed else wanted, criterion.absolute(), torch.cat(already)

    def confirmed(self, rows: Tensor, points: Tensor) -> Tensor:
        """Which of the points (R, C, *spatial) are successes by the network itself, (R,) bool; those are noted, and
        drawn into smaller radii as long as they remain successes."""
        trial, won = self.ladder.trial(rows), self._succeeds(rows, points)
        rows, points, trial = rows[won], points[won], trial[won]
        while len(rows):
            self.ladder.won(rows, self.own(points).to(self.samples.clean), trial)  # as they will be handed back
            rows = rows[self.ladder.open[rows]]
            trial = self.ladder.trial(rows)
            points = self._projected(self.ladder.nearest, rows, self.ladder.radii[trial])
            still = self._succeeds(rows, points)
            rows, points, trial = rows[still], points[still], trial[still]
        return won

    def within(self, radius: float) -> Tensor:
        """See :meth:`AttackCurve.adversarial`."""
        ladder = self.ladder
        given = torch.full_like(ladder.distance, radius)
        rung = int((ladder.radii - radius).abs().argmin())
        if not bool(torch.isclose(ladder.radii[rung], given[0])):
            listed = ", ".join(f"{rung:g}" for rung in ladder.radii.tolist())
            raise BadInputError(f"{radius:g} is not among the radii of this curve: {listed}")
        points = self._projected(ladder.withstood, torch.arange(len(given), device=given.device), given)
        broken = ladder.breaks <= rung
        points = torch.where(expand(broken, points), ladder.nearest, points).to(self.like.dtype).contiguous()
        return MetaTensor(points).copy_meta_from(self.like) if isinstance(self.like, MetaTensor) else points

    def _projected(self, points: Tensor, rows: Tensor, radius: Tensor) -> Tensor:
        samples = replace(self.samples.take(rows), eps=radius)
        return self.attack._within(points[rows], samples, self.attack._bounds_of(samples))

    @torch.no_grad()
    def _succeeds(self, rows: Tensor, points: Tensor) -> Tensor:
        found = [torch.zeros_like(rows[:0], dtype=torch.bool)]
        for some, at in zip(rows.split(self.batch_size), points.split(self.batch_size), strict=True):
            if len(some):
                targets = select_rows(self.judged, some)
                found.append(self.succeeded(self._outputs(self.network, at, targets), targets))
        return torch.cat(found)

    def succeeded(self, outputs: Any, targets: Any) -> Tensor:
        """What the criterion says, (R,) bool."""
        return self.criterion(self.task, outputs, targets, None).to(self.samples.clean.device)

    def _outputs(self, network: Callable[..., Any], points: Tensor, targets: Any) -> Any:
        return self.task.forward(network, self.own(points), targets)

    def own(self, points: Tensor) -> Tensor:
        """As the network is shown them: the search itself is in single precision at least, and may lie in memory as the
        fast form of the network likes it."""
        return points.to(self.like.dtype).contiguous()


def _joined(parts: Sequence[Any]) -> Any:
    """The targets of several batches as those of one."""
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat([torch.as_tensor(part) for part in parts])
    if isinstance(first, Mapping):
        return {key: _joined([part[key] for part in parts]) for key in first}
    if isinstance(first, (list, tuple)) and all(isinstance(one, Tensor) for part in parts for one in part):
        return type(first)(_joined(entries) for entries in zip(*parts, strict=True))
    if isinstance(first, (list, tuple)):
        return [entry for part in parts for entry in part]
    return first
