"""The smallest of several radii at which an attack breaks each sample."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from monai_robust.attacks.attack import Attack
from monai_robust.attacks.common.arguments import checked_attack, checked_inputs, positive
from monai_robust.attacks.common.draws import Draws, RadiusGenerators
from monai_robust.attacks.common.guard import bare, same_in_both_modes, untouched
from monai_robust.attacks.common.samples import Generators, Samples
from monai_robust.attacks.criteria import Criterion, as_criterion
from monai_robust.attacks.ensemble import AttackEnsemble
from monai_robust.attacks.fmn import FMN
from monai_robust.attacks.radius.engine import RadiusSearch
from monai_robust.attacks.radius.stepwise import StepwiseSearch
from monai_robust.attacks.steps import PGD, GradientAttack
from monai_robust.attacks.threat import as_radius
from monai_robust.errors import BadInputError
from monai_robust.networks.fast_form import forms_kept
from monai_robust.tasks import Classification, Task
from monai_robust.tasks.tensors import outside_inference

__all__ = ["AttackCurve", "attack_curve", "searchable"]

# A perturbation that was projected to a radius may exceed it by rounding.
_ROUNDING = 1e-5


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
        place = int((self.radii - radius).abs().argmin())
        if not bool(torch.isclose(self.radii[place], torch.full_like(self.radii[place], radius))):
            listed = ", ".join(f"{one:g}" for one in self.radii.tolist())
            raise BadInputError(f"{radius:g} is not among the radii of this curve: {listed}")
        return self._points(place)


def searchable(attack: Attack) -> bool:
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
    attack: Attack | None = None,
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
    checked_attack(attack)
    if not isinstance(attack, Attack):  # such as one whose windows, and not the image, keep the radius
        raise BadInputError(f"radii are searched with a gradient attack such as PGD, not {type(attack).__name__}")
    if isinstance(attack, FMN):
        raise BadInputError("FMN looks for the nearest success itself; use minimal_radius(method='minimum_norm')")
    if attack.mode == "train" or (attack.mode == "keep" and _is_training(network)):
        raise BadInputError("in training mode a sample depends on its batch or on chance; use mode='eval'")
    positive("batch_size", batch_size, int)
    with torch.inference_mode(False), torch.no_grad():
        clean = checked_inputs(inputs)
        if not len(clean):
            raise BadInputError("there are no samples to attack; give at least one")
        inside = attack.region(clean, mask)
        attack.bounds.check(clean, inside, inputs.dtype)
        values, listed = _listed(radii, clean)
        draws = Draws(generator, len(clean), values, asked=_draws(attack))
        samples = Samples.of(clean, outside_inference(targets), listed[0].repeat(len(clean)), None, inside)
        chosen = task or attack.task or Classification()
        with untouched(bare(network), attack.mode) as run, forms_kept():
            search = RadiusSearch(run, samples, attack.norm, as_criterion(criterion), chosen, batch_size, inputs)
            return (
                _searched(search, attack, listed, draws) if searchable(attack) else _each(search, attack, listed, draws)
            )


class ListedRadii:
    """From the smallest of several radii to the largest, until the first success.

    A success within a radius is one within every larger radius; but every radius below the first success has to be
    tried, since an attack that fails within a radius may succeed within a smaller one.

    Args:
        radii: (K,), ascending.
        draws: the attempts' random numbers.
        task: what is raised.
    """

    def __init__(self, radii: Tensor, draws: Draws, task: Task) -> None:
        self.radii = radii
        self.draws = draws
        self.task = task
        # where attacks have ended in vain within each radius, by sample
        self._ends: list[dict[int, Tensor]] = [{} for _ in radii]

    def broken_from(self, search: RadiusSearch) -> Tensor:
        """The place in the list of the smallest radius that holds a success of each sample, (N,); K for none.

        A success found within a listed radius counts within it, also if it measures a little more by rounding.
        """
        by_distance = torch.searchsorted(self.radii, search.distance * (1 - _ROUNDING))
        return torch.minimum(by_distance, torch.searchsorted(self.radii, search.within))

    def open(self, search: RadiusSearch) -> Tensor:
        return self._next(search.failed) < self.broken_from(search)

    def radius(self, search: RadiusSearch, rows: Tensor) -> Tensor:
        return self.radii[self._next(search.failed[rows])]

    def generators(self, rows: Tensor, eps: Tensor) -> Generators:
        return self.draws.at(rows, torch.searchsorted(self.radii, eps))

    def losses(self) -> Sequence[Task]:
        return (self.task,)

    def after(self, search: RadiusSearch, rows: Tensor, eps: Tensor, points: Tensor, success: Tensor) -> None:
        places = torch.searchsorted(self.radii, eps)[~success].tolist()
        for row, place, point in zip(rows[~success].tolist(), places, points[~success], strict=True):
            self._ends[place][row] = point

    def points(self, search: RadiusSearch, place: int) -> Tensor:
        """What is held against each sample within a listed radius, (N, C, *spatial): the nearest success, where there
        is one, else where the attack within that radius has ended."""
        points, broken_from = search.nearest.clone(), self.broken_from(search)
        for row, point in self._ends[place].items():
            if broken_from[row] > place:
                points[row] = point
        return points

    def _next(self, failed: Tensor) -> Tensor:
        """The place of the first radius above those that have failed; K for none."""
        return torch.searchsorted(self.radii, failed, right=True)


def _searched(search: RadiusSearch, attack: Attack, radii: Tensor, draws: Draws) -> AttackCurve:
    """Attack until every sample is settled: then, where the attack computes in half precision, once more without."""
    strategy = ListedRadii(radii, draws, search.task)
    for one in _precisions(attack):
        search.forget_failures()
        if isinstance(one, GradientAttack) and one.only_steps:
            StepwiseSearch(search, one, strategy).run()
        else:
            search.run(one, strategy)
    broken = strategy.broken_from(search) <= torch.arange(len(radii), device=radii.device)[:, None]
    return AttackCurve(
        radii,
        broken,
        _smallest(search, radii, broken),
        search.distance,
        True,
        lambda place: search.returned(strategy.points(search, place)),
    )


def _each(search: RadiusSearch, attack: Attack, radii: Tensor, draws: Draws) -> AttackCurve:
    """Attack every sample within every radius, whatever the others did."""
    everything = torch.arange(len(search.samples.clean), device=radii.device)
    broken, ends = [], []
    for place, radius in enumerate(radii):
        parts = []
        for rows in everything.split(search.batch_size):
            eps = radius.repeat(len(rows))
            generators = draws.at(rows, torch.full_like(rows, place))
            parts.append(search.attempt(attack, rows, eps, search.task, generators))
        points = torch.cat(parts)
        broken.append(search.succeeds(everything, points))
        search.confirm(everything, points, radius.repeat(len(everything)))
        ends.append(points)
    every = torch.stack(broken)
    return AttackCurve(
        radii,
        every,
        _smallest(search, radii, every),
        search.distance,
        False,
        lambda place: search.returned(ends[place]),
    )


def _smallest(search: RadiusSearch, radii: Tensor, broken: Tensor) -> Tensor:
    """The smallest radius at which each sample is broken, (N,), as :class:`AttackCurve` tells it."""
    first = torch.where(broken, radii[:, None], torch.inf).amin(dim=0)
    return torch.where(search.already, 0.0, first)


def _is_training(network: Callable[..., Any]) -> bool:
    """Whether a network's answers depend on the mode that it is in now."""
    if not isinstance(network, nn.Module) or not any(module.training for module in network.modules()):
        return False
    return not same_in_both_modes(network)


def _draws(attack: Attack) -> bool:
    """Whether an attack asks for random numbers."""
    return not attack.only_steps or bool(getattr(attack, "random_start", False))


def _precisions(attack: Attack) -> list[Attack]:
    members = attack.members if isinstance(attack, AttackEnsemble) else ()
    half = any(one.precision is not None for one in (attack, *members))
    return [attack, _in_own_precision(attack)] if half else [attack]


def _in_own_precision(attack: Attack) -> Attack:
    attack = copy.copy(attack)
    attack.precision = None
    if isinstance(attack, AttackEnsemble):
        attack.members = tuple(map(_in_own_precision, attack.members))
    return attack


def _listed(radii: Sequence[float] | Tensor, clean: Tensor) -> tuple[list[float], Tensor]:
    """The radii in ascending order, as they were given and (K,) float32."""
    try:
        values = sorted(radii.detach().tolist() if isinstance(radii, Tensor) else map(float, radii))
        listed = torch.tensor(values, dtype=torch.float32)
    except (TypeError, ValueError):
        raise BadInputError(f"the radii are {radii!r}; they must be a list of positive numbers") from None
    if listed.ndim != 1 or not len(listed):
        raise BadInputError("there is no radius to attack within; give a list of at least one")
    listed = as_radius(listed, len(listed), clean.device)
    if bool((listed[1:] == listed[:-1]).any()):
        raise BadInputError(f"a radius is listed twice in {listed.tolist()}; list each once")
    return values, listed
