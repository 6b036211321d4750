"""The smallest of several radii at which an attack breaks each sample."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from monai_robust.attacks.criteria import Criterion, as_criterion
from monai_robust.attacks.draws import Draws, RadiusGenerators
from monai_robust.attacks.ensemble import AttackEnsemble
from monai_robust.attacks.fmn import FMN
from monai_robust.attacks.guard import bare, same_in_both_modes, untouched
from monai_robust.attacks.masks import checked_mask
from monai_robust.attacks.radius.climb import Climb
from monai_robust.attacks.radius.search import RadiusSearch
from monai_robust.attacks.samples import Samples
from monai_robust.attacks.steps import PGD, GradientAttack, _checked, _positive
from monai_robust.attacks.threat import as_radius
from monai_robust.errors import BadInputError
from monai_robust.tasks import Classification, Task
from monai_robust.tasks.tensors import outside_inference

__all__ = ["AttackCurve", "attack_curve", "searchable"]


@dataclass(frozen=True, eq=False)
class AttackCurve:
    """What attacks within several radii have done.

    Attributes:
        radii: (K,), float32, ascending.
        broken: (K, N) bool, which samples the attack has broken within each radius; of a search, within it or a smaller
            one.
        radius: (N,), float32, the smallest of the radii within which the attack broke a sample; 0 for a sample that
            fulfils the criterion as it is, infinite for one that stands at all of them.
        distance: (N,), float32, norm of the nearest success; infinite where there is none.
        searched: whether the smallest radius was searched; otherwise every sample was attacked within every radius.
    """

    radii: Tensor
    broken: Tensor
    radius: Tensor
    distance: Tensor
    searched: bool
    _points: Callable[[int], Tensor]

    def standing(self) -> Tensor:
        """The share of samples that stand at each radius, (K,), float32; robust accuracy for ``"incorrect"``."""
        return (~self.broken).float().mean(dim=1)

    def adversarial(self, radius: float) -> Tensor:
        """The inputs (N, C, *spatial) that are held against the samples within one of the radii.

        Of a search that is the nearest success, where there is one; else where the attack within this radius has ended.
        """
        rung = int((self.radii - radius).abs().argmin())
        if not bool(torch.isclose(self.radii[rung], torch.full_like(self.radii[rung], radius))):
            listed = ", ".join(f"{rung:g}" for rung in self.radii.tolist())
            raise BadInputError(f"{radius:g} is not among the radii of this curve: {listed}")
        return self._points(rung)


def searchable(attack: GradientAttack) -> bool:
    """Whether a success of the attack within a radius is one within every larger radius, and is the same when the
    network is asked again.

    It is not for a goal other than ``"untargeted"``: what approaches a class may leave a wrong one for the right one.
    Nor for an attack that averages over the answers of a random network.
    """
    members = attack.members if isinstance(attack, AttackEnsemble) else ()
    return attack.goal == "untargeted" and all(getattr(one, "eot", 1) == 1 for one in (attack, *members))


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
    generator: RadiusGenerators = None,
    mask: Tensor | None = None,
) -> AttackCurve:
    """Search for each sample the smallest of several radii within which an attack succeeds.

    A sample is broken at a radius where the attack within it, or within any smaller one of the list, has succeeded; it
    is attacked within one radius after the other, the smallest first, and leaves at its first success, on whatever step
    that is. So no sample stands at a radius where attacks at the listed radii up to that one, with all their steps and
    the same random numbers, break it: that an attack fails within a radius says nothing of a smaller one, and none is
    left out. (But for rounding, where the network's answer for a sample depends on the samples beside it.) Every
    success was confirmed by the network itself, in its own precision, on the tensor that is returned. Where the attack
    has a ``precision``, what stands is attacked once more without.

    An attack that is not :func:`searchable` is called for every sample within every radius.

    Args:
        network: any callable ``inputs -> outputs``.
        inputs: (N, C, *spatial), floating; as many as there is memory for K + 4 copies of, K radii.
        targets: whatever the task takes; ``"prediction_changed"`` needs none (``None``).
        radii: positive, in intensity units of the network's input; they are sorted.
        attack: run within each radius, its own ``eps`` does not matter; ``PGD()``, which is L2, by default. One that is
            nothing but steps (FGSM, BIM, PGD) is advanced step by step, any other is called.
        criterion: what counts as success: ``"incorrect"``, ``"prediction_changed"``, ``DiceBelow(level)`` or
            ``ScoreBeyond(level)``.
        task: how the network is run and what hurts it; by default the attack's, or else classification.
        batch_size: samples in one pass through the network.
        generator: source of the attack's random numbers: one for each sample, in whose present state the attack within
            each radius begins, or a function that makes them of a radius; of a single one (or of torch's own, where
            none is given) a seed is drawn for each sample. So neither the batch nor other radii matter.
        mask: (N, 1, *spatial), true where there is image and not padding.

    Raises:
        BadInputError: for an argument that cannot work.
    """
    attack = PGD() if attack is None else attack
    if not isinstance(attack, GradientAttack):  # such as one whose windows, and not the image, keep the radius
        raise BadInputError(f"radii are searched with a gradient attack such as PGD, not {type(attack).__name__}")
    if isinstance(attack, FMN):
        raise BadInputError("FMN looks for the nearest success itself; use minimal_radius(method='minimum_norm')")
    if attack.mode == "train" or (attack.mode == "keep" and _is_training(network)):
        raise BadInputError("in training mode a sample depends on its batch or on chance; use mode='eval'")
    _positive("batch_size", batch_size, int)
    with torch.inference_mode(False), torch.no_grad():
        clean = _checked(inputs)
        if not len(clean):
            raise BadInputError("there are no samples to attack; give at least one")
        inside = None if mask is None else checked_mask(mask, clean)
        attack.bounds.check(clean, inside)
        values, rungs = _rungs(radii, clean)
        draws = Draws(generator, len(clean), values, asked=_draws(attack))
        samples = Samples.of(clean, outside_inference(targets), rungs[0].repeat(len(clean)), None, inside)
        chosen = task or attack.task or Classification()
        with untouched(bare(network), attack.mode) as run:
            search = RadiusSearch(
                run, samples, rungs, attack.norm, as_criterion(criterion), chosen, batch_size, draws, inputs
            )
            return _searched(search, attack) if searchable(attack) else _attacked_at_each(search, attack)


def _searched(search: RadiusSearch, attack: GradientAttack) -> AttackCurve:
    """Attack until every sample is settled: then, where the attack computes in half precision, once more without."""
    ladder = search.ladder
    for one in _precisions(attack):
        if one is not attack:
            ladder.doubt()
        if _only_steps(one):
            Climb(search, one).run()
        else:
            _call(search, one)
    broken = ladder.breaks <= torch.arange(len(ladder.radii), device=ladder.breaks.device)[:, None]
    return AttackCurve(
        ladder.radii,
        broken,
        _smallest(search, broken),
        ladder.distance,
        True,
        lambda rung: search.returned(ladder.points(rung)),
    )


def _attacked_at_each(search: RadiusSearch, attack: GradientAttack) -> AttackCurve:
    """Attack every sample within every radius, whatever the others did."""
    clean, radii = search.samples.clean, search.ladder.radii
    distance = torch.where(search.already, 0.0, torch.inf).to(radii)
    everything = torch.arange(len(clean), device=clean.device)
    broken, ends = [], []
    for rung in range(len(radii)):
        points = torch.cat(
            [search.called(attack, rows, torch.full_like(rows, rung)) for rows in everything.split(search.batch_size)]
        )
        won = search.succeeds(everything, points)
        size = search.ladder.norm.size(points - clean).to(radii)
        distance = torch.where(won, torch.minimum(distance, size), distance)
        broken.append(won)
        ends.append(points)
    every = torch.stack(broken)
    return AttackCurve(
        radii, every, _smallest(search, every), distance, False, lambda rung: search.returned(ends[rung])
    )


def _smallest(search: RadiusSearch, broken: Tensor) -> Tensor:
    """The smallest radius at which each sample is broken, (N,), as :class:`AttackCurve` tells it."""
    first = torch.where(broken, search.ladder.radii[:, None], torch.inf).amin(dim=0)
    return torch.where(search.already, 0.0, first)


def _is_training(network: Callable[..., Any]) -> bool:
    """Whether a network's answers depend on the mode that it is in now."""
    if not isinstance(network, nn.Module) or not any(module.training for module in network.modules()):
        return False
    return not same_in_both_modes(network)


def _only_steps(attack: GradientAttack) -> bool:
    kind = type(attack)
    return kind._search is GradientAttack._search and kind._gradient is GradientAttack._gradient


def _draws(attack: GradientAttack) -> bool:
    """Whether an attack asks for random numbers."""
    return bool(attack.random_start) or not _only_steps(attack)


def _precisions(attack: GradientAttack) -> list[GradientAttack]:
    members = attack.members if isinstance(attack, AttackEnsemble) else ()
    half = any(one.precision is not None for one in (attack, *members))
    return [attack, _in_own_precision(attack)] if half else [attack]


def _in_own_precision(attack: GradientAttack) -> GradientAttack:
    attack = copy.copy(attack)
    attack.precision = None
    if isinstance(attack, AttackEnsemble):
        attack.members = tuple(map(_in_own_precision, attack.members))
    return attack


def _call(search: RadiusSearch, attack: GradientAttack) -> None:
    """Run an attack as a whole, batch by batch, each sample within the radius that is its turn."""
    ladder = search.ladder
    while len(rows := ladder.open.nonzero().flatten()):
        for some in rows.split(search.batch_size):
            trial = ladder.trial(some)
            points = search.called(attack, some, trial)
            won = search.confirmed(some, points)
            ladder.lost(some[~won], trial[~won], points[~won])


def _rungs(radii: Sequence[float] | Tensor, clean: Tensor) -> tuple[list[float], Tensor]:
    """The radii in ascending order, as they were given and (K,) float32."""
    try:
        values = sorted(radii.detach().tolist() if isinstance(radii, Tensor) else map(float, radii))
        rungs = torch.tensor(values, dtype=torch.float32)
    except (TypeError, ValueError):
        raise BadInputError(f"the radii are {radii!r}; they must be a list of positive numbers") from None
    if rungs.ndim != 1 or not len(rungs):
        raise BadInputError("there is no radius to attack within; give a list of at least one")
    rungs = as_radius(rungs, len(rungs), clean.device)
    if bool((rungs[1:] == rungs[:-1]).any()):
        raise BadInputError(f"a radius is listed twice in {rungs.tolist()}; list each once")
    return values, rungs
