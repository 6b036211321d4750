"""The smallest of several radii at which an attack breaks each sample, without attacking all samples at all radii."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor

from monai_robust.attacks.climb import Climb
from monai_robust.attacks.criteria import Criterion, as_criterion
from monai_robust.attacks.fast_form import fast_form
from monai_robust.attacks.gradient import PGD, GradientAttack, _checked, _positive
from monai_robust.attacks.guard import bare, untouched
from monai_robust.attacks.ladder import ROUNDING, Ladder
from monai_robust.attacks.masks import checked_mask
from monai_robust.attacks.samples import Generators, Samples
from monai_robust.attacks.threat import as_radius, expand
from monai_robust.attacks.worst_search import WorstSearch
from monai_robust.errors import BadInputError
from monai_robust.tasks import Classification, Task
from monai_robust.tasks.tensors import map_tensors, select_rows

__all__ = ["AttackCurve", "attack_curve"]


@dataclass(frozen=True, eq=False)
class AttackCurve:
    """What a search over radii found.

    Attributes:
        radii: (K,), float32, ascending.
        radius: (N,), float32, the smallest of the radii within which the attack broke a sample; 0 for a sample that
            fulfils the criterion as it is, infinite for one that stands at all of them.
        distance: (N,), float32, norm of the nearest success; infinite where there is none.
    """

    radii: Tensor
    radius: Tensor
    distance: Tensor
    _search: RadiusSearch

    def standing(self) -> Tensor:
        """The share of samples that stand at each radius, (K,), float32; robust accuracy for ``"incorrect"``."""
        return (self.radius > self.radii[:, None]).float().mean(dim=1)

    def adversarial(self, radius: float) -> Tensor:
        """The inputs (N, C, *spatial) that the search holds against the samples within one of the radii.

        That is the nearest success, where there is one; else where the attack within the largest radius that a sample
        withstood has ended, drawn into the ball of ``radius``.
        """
        return self._search.within(radius)


def attack_curve(
    network: Callable[..., Any],
    inputs: Tensor,
    targets: Any,
    radii: Sequence[float] | Tensor,
    *,
    attack: GradientAttack | None = None,
    criterion: str | Criterion = "incorrect",
    task: Task | None = None,
    batch_size: int = 64,
    generator: Generators = None,
    mask: Tensor | None = None,
) -> AttackCurve:
    """Search for each sample the smallest of several radii within which an attack succeeds.

    What an attack with its whole budget at every radius says of every sample is found with less: a sample leaves at its
    first success and its place is taken by the next one; a success counts at every larger radius, and at every smaller
    one that it lies within or can be drawn into; a sample that has stood at a radius is not attacked within smaller
    ones. A sample stands at a radius only if the attack has failed there, or within a larger one, with all its steps.

    Gradients come from a faster form of the network (:class:`~monai_robust.attacks.fast_form.FastForm`) and, where the
    attack has a ``precision``, are computed in that. Every success is confirmed by the network itself in its own
    precision, and what stands is then tried once more in that precision.

    Args:
        network: any callable ``inputs -> outputs``.
        inputs: (N, C, *spatial), floating; as many as there is memory for five copies of.
        targets: whatever the task takes; ``"prediction_changed"`` needs none (``None``).
        radii: positive, in intensity units of the network's input; they are sorted.
        attack: run within each radius, its own ``eps`` does not matter; ``PGD()``, which is L2, by default. One that is
            nothing but steps (FGSM, BIM, PGD) is advanced step by step, any other is called.
        criterion: what counts as success: ``"incorrect"``, ``"prediction_changed"``, ``DiceBelow(level)`` or
            ``ScoreBeyond(level)``.
        task: how the network is run and what hurts it; by default the attack's, or else classification.
        batch_size: samples in one pass through the network.
        generator: source of the attack's random starts; one for each sample makes a start independent of the others.
        mask: (N, 1, *spatial), true where there is image and not padding.

    Raises:
        BadInputError: for an argument that cannot work.
    """
    attack = PGD() if attack is None else attack
    if not isinstance(attack, GradientAttack):  # such as one whose windows, and not the image, keep the radius
        raise BadInputError(f"radii are searched with a gradient attack such as PGD, not {type(attack).__name__}")
    if attack.mode == "train":
        raise BadInputError("in mode='train' a sample depends on its batch, and has no radius of its own; use 'eval'")
    _positive("batch_size", batch_size, int)
    with torch.inference_mode(False), torch.no_grad():
        clean = _checked(inputs)
        inside = None if mask is None else checked_mask(mask, clean)
        attack.bounds.check(clean, inside)
        rungs = _rungs(radii, clean)
        # tensors made in inference mode may not enter the attack's graph; their copies may
        targets = map_tensors(lambda x: x.clone() if x.is_inference() else x, targets)
        samples = Samples.of(clean, targets, rungs[0].repeat(len(clean)), generator, inside)
        network = bare(network)
        with untouched(network, attack.mode):
            chosen = task or attack.task or Classification()
            search = RadiusSearch(network, samples, rungs, attack, as_criterion(criterion), chosen, batch_size, inputs)
            search.run()
    ladder = search.ladder
    broken = torch.cat([rungs, rungs.new_tensor([torch.inf])])[ladder.breaks]
    radius = torch.where(ladder.distance == 0, 0.0, broken)
    return AttackCurve(rungs, radius, ladder.distance, search)


class RadiusSearch:
    """The samples on their ladder, and how an attack moves them up or down."""

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
        judged, aimed, already = [], [], []
        for rows in torch.arange(len(self.samples.clean)).split(self.batch_size):
            targets = select_rows(self.samples.targets, rows)
            outputs = self._outputs(self.network, self.samples.clean[rows], targets)
            already.append(criterion(self.task, outputs, targets, outputs).to(self.samples.clean.device))
            judged.append(criterion.attacked(self.task, targets, outputs))
            if self.attack.goal != "untargeted":
                aimed.append(self.task.aim(outputs, judged[-1], self.attack.goal))
        wanted = _joined(judged)
        return wanted, _joined(aimed) if aimed else wanted, criterion.absolute(), torch.cat(already)

    def run(self) -> None:
        """Settle every sample."""
        steps = type(self.attack)._search is GradientAttack._search
        fast = fast_form(self.network, self._own(self.samples.clean[: self.batch_size]))
        for attack in self._attacks():
            if steps:
                Climb(self, attack, fast).run()
            else:
                self._call(attack, fast)

    def _attacks(self) -> Iterator[GradientAttack]:
        """The attack, and after it, where it computes in half precision, the same in the network's own."""
        yield self.attack
        if self.attack.precision is not None:
            own = copy.copy(self.attack)
            own.precision = None
            self.ladder.doubt()
            yield own

    def _call(self, attack: GradientAttack, fast: Callable[..., Any]) -> None:
        """Attack as a whole, batch by batch, each sample within the radius that is its turn."""
        if isinstance(attack, WorstSearch):  # a worse point than the first success is not asked for
            attack = copy.copy(attack)
            attack.stop_at_success = True
        while len(rows := self.ladder.open.nonzero().flatten()):
            for some in rows.split(self.batch_size):
                trial = self.ladder.trial(some)
                own = self.samples.take(some)
                points = attack(
                    fast,
                    own.clean,
                    select_rows(self.judged, some),
                    self.ladder.radii[trial],
                    task=self.task,
                    generator=own.generator,
                    mask=own.inside,
                )
                won = self.confirmed(some, points)
                self.ladder.lost(some[~won], trial[~won], points[~won])

    def confirmed(self, rows: Tensor, points: Tensor) -> Tensor:
        """Which of the points (R, C, *spatial) are successes by the network itself, (R,) bool; those are noted, and
        drawn into smaller radii as long as they remain successes."""
        won = self._succeeds(rows, points)
        rows, points = rows[won], points[won]
        while len(rows):
            self.ladder.won(rows, points)
            rows = rows[self.ladder.open[rows]]
            points = self._projected(self.ladder.nearest, rows, self.ladder.radii[self.ladder.breaks[rows] - 1])
            still = self._succeeds(rows, points)
            rows, points = rows[still], points[still]
        return won

    def within(self, radius: float) -> Tensor:
        """See :meth:`AttackCurve.adversarial`."""
        ladder = self.ladder
        given = torch.full_like(ladder.distance, radius)
        if not bool(torch.isclose(ladder.radii, given[:1]).any()):
            listed = ", ".join(f"{rung:g}" for rung in ladder.radii.tolist())
            raise BadInputError(f"{radius:g} is not among the radii of this curve: {listed}")
        points = self._projected(ladder.withstood, torch.arange(len(given), device=given.device), given)
        broken = ladder.distance * (1 - ROUNDING) <= given
        points = torch.where(expand(broken, points), ladder.nearest, points).to(self.like.dtype)
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
        return self.task.forward(network, self._own(points), targets)

    def _own(self, points: Tensor) -> Tensor:
        """As the network is shown them: the search itself is in single precision at least."""
        return points.to(self.like.dtype)


def _rungs(radii: Sequence[float] | Tensor, clean: Tensor) -> Tensor:
    values = radii.detach().float().cpu() if isinstance(radii, Tensor) else torch.tensor([float(one) for one in radii])
    if values.ndim != 1 or not len(values):
        raise BadInputError("there is no radius to attack within; give a list of at least one")
    rungs = as_radius(values, len(values), clean.device).sort().values
    if bool((rungs[1:] == rungs[:-1]).any()):
        raise BadInputError(f"a radius is listed twice in {values.tolist()}; list each once")
    return rungs


def _joined(parts: Sequence[Any]) -> Any:
    """The targets of several batches as those of one."""
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat([torch.as_tensor(part) for part in parts])
    if isinstance(first, Mapping):
        return {key: _joined([part[key] for part in parts]) for key in first}
    if isinstance(first, (list, tuple)):
        return [entry for part in parts for entry in part]
    return first
