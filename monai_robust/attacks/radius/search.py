"""The search for the smallest radius at which an attack breaks each sample: its samples and its judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor

from monai_robust.attacks.criteria import Criterion, fulfilled
from monai_robust.attacks.draws import Draws
from monai_robust.attacks.radius.ladder import Ladder
from monai_robust.attacks.samples import Samples
from monai_robust.attacks.steps import GradientAttack
from monai_robust.attacks.threat import Norm
from monai_robust.errors import naming
from monai_robust.tasks import Task
from monai_robust.tasks.tensors import select_rows

__all__ = ["RadiusSearch"]


class RadiusSearch:
    """The samples on their ladder of radii, and what says which rungs they are broken at.

    Args:
        network: judges every success, as it is.
        samples: with the targets that were given.
        radii: (K,), ascending.
        norm: measures perturbations.
        criterion: what counts as a success.
        task: how the network is run.
        batch_size: samples in one pass through the network.
        draws: the attempts' random numbers.
        like: the inputs as they were given, whose dtype the network sees.

    Attributes:
        judged: the targets by which the criterion judges, and that attacks are to leave.
        already: (N,) bool, what is a success as it is.
        ladder: what is known of each sample.
    """

    def __init__(
        self,
        network: Callable[..., Any],
        samples: Samples,
        radii: Tensor,
        norm: Norm,
        criterion: Criterion,
        task: Task,
        batch_size: int,
        draws: Draws,
        like: Tensor,
    ) -> None:
        self.network = network
        self.samples = samples
        self.task = task
        self.batch_size = batch_size
        self.draws = draws
        self.like = like
        self.judged, self.criterion, already = self._clean(criterion)
        self.already = already
        self.ladder = Ladder(radii, samples.clean, already, norm)

    def _clean(self, criterion: Criterion) -> tuple[Any, Criterion, Tensor]:
        """Passes of the clean inputs: the targets to be left, what judges by them, and what is a success already."""
        judged, already, parts = [], [], []
        for rows in torch.arange(len(self.samples.clean)).split(self.batch_size):
            targets = select_rows(self.samples.targets, rows)
            parts.append(targets)
            outputs = self._outputs(self.samples.clean[rows], targets)
            already.append(fulfilled(criterion, self.task, outputs, targets, outputs).to(self.samples.clean.device))
            judged.append(criterion.attacked(self.task, targets, outputs))
        kept = all(one is given for one, given in zip(judged, parts, strict=True))
        return self.samples.targets if kept else _joined(judged), criterion.absolute(), torch.cat(already)

    def confirmed(self, rows: Tensor, points: Tensor) -> Tensor:
        """Which of the points (R, C, *spatial) are successes by the network, (R,) bool; those are noted."""
        won = self.succeeds(rows, points)
        if bool(won.any()):
            found = self.own(points[won]).to(self.samples.clean)  # as they will be handed back
            self.ladder.won(rows[won], found, self.ladder.trial(rows[won]))
        return won

    def called(self, attack: GradientAttack, rows: Tensor, trial: Tensor) -> Tensor:
        """Where an attack as a whole takes ``rows``, each within the radius of its ``trial`` (R,)."""
        own = self.samples.take(rows)
        with naming(rows):
            points = attack(
                self.network,
                self.own(own.clean),
                select_rows(self.judged, rows),
                self.ladder.radii[trial],
                task=self.task,
                generator=self.draws.at(rows, trial),
                mask=own.inside,
            )
        return points.to(own.clean)

    @torch.no_grad()
    def succeeds(self, rows: Tensor, points: Tensor) -> Tensor:
        """Which of the points (R, C, *spatial) of ``rows`` are successes by the network, (R,) bool."""
        found = [torch.zeros_like(rows[:0], dtype=torch.bool)]
        for some, at in zip(rows.split(self.batch_size), points.split(self.batch_size), strict=True):
            if len(some):
                targets = select_rows(self.judged, some)
                found.append(self.succeeded(self._outputs(at, targets), targets))
        return torch.cat(found)

    def succeeded(self, outputs: Any, targets: Any) -> Tensor:
        """What the criterion says, (R,) bool."""
        return fulfilled(self.criterion, self.task, outputs, targets, None).to(self.samples.clean.device)

    def _outputs(self, points: Tensor, targets: Any) -> Any:
        return self.task.forward(self.network, self.own(points), targets)

    def own(self, points: Tensor) -> Tensor:
        """As the network is shown them: the search itself is in single precision at least."""
        return points.to(self.like.dtype).contiguous()

    def returned(self, points: Tensor) -> Tensor:
        """As the caller gave the inputs."""
        points = self.own(points)
        return MetaTensor(points).copy_meta_from(self.like) if isinstance(self.like, MetaTensor) else points


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
