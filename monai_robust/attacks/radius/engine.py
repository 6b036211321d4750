"""The search for the radius at which an attack breaks each sample: attempts, their confirmation, nearest successes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

from monai_robust.attacks.attack import Attack
from monai_robust.attacks.common.samples import Generators, Samples
from monai_robust.attacks.criteria import Criterion, fulfilled
from monai_robust.attacks.threat import Norm, expand
from monai_robust.errors import BadInputError, naming
from monai_robust.tasks import Task
from monai_robust.tasks.tensors import is_by_sample, select_rows

__all__ = ["RadiusSearch", "Strategy"]


class Strategy(Protocol):
    """Which samples of a search are attacked next, and within which radius."""

    def open(self, search: RadiusSearch) -> Tensor:
        """The samples that are not settled, (N,) bool; an attempt on one that fails must change its next radius."""

    def radius(self, search: RadiusSearch, rows: Tensor) -> Tensor:
        """The radius within which each of the open samples ``rows`` (R,) is attacked next, (R,)."""

    def generators(self, rows: Tensor, eps: Tensor) -> Generators:
        """The random numbers of attempts on ``rows`` (R,) within ``eps`` (R,)."""

    def losses(self) -> Sequence[Task]:
        """What is raised, each where the ones before have failed."""

    def after(self, search: RadiusSearch, rows: Tensor, eps: Tensor, points: Tensor, success: Tensor) -> None:
        """Hear of attempts on ``rows`` (R,) within ``eps`` (R,), which ended at ``points`` (R, C, *spatial), those that
        are a ``success`` (R,) and those that are none."""


class RadiusSearch:
    """What is known of the radius at which each of N samples breaks, and the network that says so.

    A success is only what the network itself, in its own precision, confirmed on the tensor that is returned, and that
    is nearer than any before. Nothing follows from a failure: an attack that fails within a radius may succeed within a
    smaller one, as well as within a larger one.

    Args:
        network: judges every success, as it is.
        samples: with the targets that were given; their radii do not matter.
        norm: measures perturbations.
        criterion: what counts as a success.
        task: how the network is run.
        batch_size: samples in one pass through the network.
        like: the inputs as they were given, whose dtype the network sees.

    Raises:
        BadInputError: for another number of targets than of samples.

    Attributes:
        targets: those by which the criterion judges, and that attacks are to leave.
        already: (N,) bool, what is a success as it is.
        failed: (N,) the largest radius within which attempts have failed; 0 before any has.
        nearest: (N, C, *spatial), the nearest success; the input itself where there is none.
        distance: (N,) its norm; infinite where there is none.
        within: (N,) the radius of the attempt that found it; infinite where there is none.
    """

    def __init__(
        self,
        network: Callable[..., Any],
        samples: Samples,
        norm: Norm,
        criterion: Criterion,
        task: Task,
        batch_size: int,
        like: Tensor,
    ) -> None:
        _require_one_each(samples)
        self.network = network
        self.samples = samples
        self.norm = norm
        self.task = task
        self.batch_size = batch_size
        self.like = like
        self.criterion = criterion.absolute()
        self.targets, self._clean_outputs, self.already = self._clean(criterion)
        self.failed = torch.zeros_like(samples.eps)
        self.nearest = samples.clean.clone()
        self.distance = torch.where(self.already, 0.0, torch.inf).to(samples.eps)
        self.within = self.distance.clone()

    def run(self, attack: Attack, strategy: Strategy) -> None:
        """Attack until every sample is settled, batch by batch, each within the radius that is its turn."""
        while len(rows := strategy.open(self).nonzero().flatten()):
            for some in rows.split(self.batch_size):
                eps = strategy.radius(self, some)
                success = torch.zeros_like(some, dtype=torch.bool)
                points = self.samples.clean[some]
                for loss in strategy.losses():
                    left = (~success).nonzero().flatten()
                    if len(left):
                        again = some[left]
                        draws = strategy.generators(again, eps[left])
                        points[left] = self.attempt(attack, again, eps[left], loss, draws)
                        success[left] = self.confirm(again, points[left], eps[left])
                self.fail(some[~success], eps[~success])
                strategy.after(self, some, eps, points, success)

    def attempt(self, attack: Attack, rows: Tensor, eps: Tensor, loss: Task, generator: Generators) -> Tensor:
        """Where ``attack`` takes the samples ``rows`` (R,), each within its ``eps`` (R,), by raising ``loss``.

        Returns:
            (R, C, *spatial), single precision at least.
        """
        samples = self.samples.take(rows)
        with naming(rows):
            points = attack(
                self.network,
                self.as_given(samples.clean),
                select_rows(self.targets, rows),
                eps,
                task=loss,
                generator=generator,
                mask=samples.inside,
            )
        return points.to(samples.clean)

    def confirm(self, rows: Tensor, points: Tensor, eps: Tensor) -> Tensor:
        """Which of the points (R, C, *spatial) the network confirms as successes nearer than before, (R,) bool.

        Those are noted, as found within ``eps`` (R,). By rounding of ``clean + delta`` they may measure a little more
        than the radius that they were projected to.
        """
        points = self.as_given(points).to(self.samples.clean)  # as they will be handed back
        distance = self.norm.size(points - self.samples.clean[rows]).to(self.distance)
        success = self.succeeds(rows, points) & (distance < self.distance[rows])
        found = rows[success]
        self.nearest[found], self.distance[found], self.within[found] = points[success], distance[success], eps[success]
        return success

    def fail(self, rows: Tensor, eps: Tensor) -> None:
        """Note that attempts on ``rows`` (R,) within ``eps`` (R,) have failed."""
        self.failed[rows] = eps

    def forget_failures(self) -> None:
        """Have every radius below the first success tried once more."""
        self.failed.zero_()

    def pull_in(self, rows: Tensor, tolerance: Tensor) -> None:
        """Halve the interval on the line from each of ``rows`` to its nearest success, down to ``tolerance`` (N,).

        Both the norm's ball and the bounds are convex, so that the line stays within them.
        """
        clean, end, length = self.samples.clean, self.nearest.clone(), self.distance.clone()
        lower, upper = self.failed / length, torch.ones_like(length)
        while len(rows := rows[((upper - lower) * length > tolerance)[rows]]):
            middle = (lower + upper) / 2
            share = expand(middle[rows], clean).to(clean)
            success = self.confirm(rows, torch.lerp(clean[rows], end[rows], share), self.within[rows])
            upper[rows[success]] = middle[rows[success]]
            lower[rows[~success]] = middle[rows[~success]]

    @torch.no_grad()
    def succeeds(self, rows: Tensor, points: Tensor) -> Tensor:
        """Which of the points (R, C, *spatial) of ``rows`` fulfil the criterion by the network itself, (R,) bool."""
        flags = [torch.zeros_like(rows[:0], dtype=torch.bool)]
        for some, at in zip(rows.split(self.batch_size), points.split(self.batch_size), strict=True):
            if len(some):
                outputs = self.task.forward(self.network, self.as_given(at), select_rows(self.targets, some))
                flags.append(self.fulfilled(some, outputs))
        return torch.cat(flags)

    def fulfilled(self, rows: Tensor, outputs: Any) -> Tensor:
        """Whether the network's outputs for points of ``rows`` fulfil the criterion, (R,) bool."""
        targets, clean = select_rows(self.targets, rows), select_rows(self._clean_outputs, rows)
        return fulfilled(self.criterion, self.task, outputs, targets, clean).to(rows.device)

    def as_given(self, points: Tensor) -> Tensor:
        """Points as the network is shown them: the search itself is in single precision at least."""
        return points.to(self.like.dtype).contiguous()

    def returned(self, points: Tensor) -> Tensor:
        """Points as the caller gave the inputs."""
        points = self.as_given(points)
        return MetaTensor(points).copy_meta_from(self.like) if isinstance(self.like, MetaTensor) else points

    def _clean(self, criterion: Criterion) -> tuple[Any, Any, Tensor]:
        """Passes of the clean inputs: the targets to be left, outputs where the criterion looks at them, and what is a
        success already."""
        given, left, kept, already = [], [], [], []
        for rows in torch.arange(len(self.samples.clean)).split(self.batch_size):
            targets = select_rows(self.samples.targets, rows)
            outputs = self.task.forward(self.network, self.as_given(self.samples.clean[rows]), targets)
            already.append(fulfilled(criterion, self.task, outputs, targets, outputs).to(self.samples.clean.device))
            given.append(targets)
            left.append(criterion.attacked(self.task, targets, outputs))
            kept.append(outputs if self.criterion.compares else None)
        same = all(one is other for one, other in zip(left, given, strict=True))
        return self.samples.targets if same else _joined(left), _joined(kept), torch.cat(already)


def _require_one_each(samples: Samples) -> None:
    """Refuse targets of another number than the samples: those of a sample are taken out by its place."""
    count, targets = len(samples.clean), samples.targets
    by_place = isinstance(targets, (Tensor, np.ndarray)) and targets.ndim > 0
    by_place |= isinstance(targets, (list, tuple)) and is_by_sample(targets)
    if by_place and len(targets) != count:
        raise BadInputError(f"there are {len(targets)} labels for {count} samples; give one for each")


def _joined(parts: Sequence[Any]) -> Any:
    """The targets or outputs of several batches as those of one."""
    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, Tensor):
        return torch.cat([torch.as_tensor(part) for part in parts])
    if isinstance(first, Mapping):
        return {key: _joined([part[key] for part in parts]) for key in first}
    if isinstance(first, (list, tuple)) and all(isinstance(one, Tensor) for part in parts for one in part):
        return type(first)(_joined(entries) for entries in zip(*parts, strict=True))
    if isinstance(first, (list, tuple)):
        return [entry for part in parts for entry in part]
    return first
