"""The smallest of several radii at which an attack breaks each sample, without attacking all samples at all radii."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from monai_robust.attacks.climb import Climb
from monai_robust.attacks.criteria import Criterion, Incorrect, as_criterion
from monai_robust.attacks.ensemble import AttackEnsemble
from monai_robust.attacks.fast_form import fast_form
from monai_robust.attacks.gradient import PGD, GradientAttack, _checked, _positive
from monai_robust.attacks.guard import bare, same_in_both_modes, untouched
from monai_robust.attacks.masks import checked_mask
from monai_robust.attacks.minimum_norm import FMN
from monai_robust.attacks.radius_search import RadiusSearch
from monai_robust.attacks.samples import Generators, Samples
from monai_robust.attacks.threat import as_radius
from monai_robust.attacks.worst_search import WorstSearch
from monai_robust.errors import BadInputError
from monai_robust.tasks import Classification, Task
from monai_robust.tasks.tensors import outside_inference, select_rows

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
        rungs = _rungs(radii, clean)
        targets = outside_inference(targets)
        samples = Samples.of(clean, targets, rungs[0].repeat(len(clean)), generator, inside)
        network = bare(network)
        with untouched(network, attack.mode):
            chosen = task or attack.task or Classification()
            search = RadiusSearch(network, samples, rungs, attack, as_criterion(criterion), chosen, batch_size, inputs)
            _settle(search, attack)
    ladder = search.ladder
    broken = torch.cat([rungs, rungs.new_tensor([torch.inf])])[ladder.breaks]
    radius = torch.where(ladder.distance == 0, 0.0, broken)
    return AttackCurve(rungs, radius, ladder.distance, search)


def _settle(search: RadiusSearch, attack: GradientAttack) -> None:
    """Attack until every sample is settled: then, where the attack computes in half precision, once more without."""
    fast = fast_form(search.network, search.task, search.own(search.samples.clean), search.judged)
    for one in _precisions(attack):
        if one is not attack:
            search.ladder.doubt()
        if _only_steps(one):
            Climb(search, one, fast).run()
        else:
            _call(search, one, fast)


def _only_steps(attack: GradientAttack) -> bool:
    kind = type(attack)
    return kind._search is GradientAttack._search and kind._gradient is GradientAttack._gradient


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


def _call(search: RadiusSearch, attack: GradientAttack, network: Callable[..., Any]) -> None:
    """Run an attack as a whole, batch by batch, each sample within the radius that is its turn."""
    if isinstance(attack, WorstSearch) and isinstance(search.criterion, Incorrect) and attack.goal == "untargeted":
        # its success is the criterion's, and a worse point than the first one is not asked for
        attack = copy.copy(attack)
        attack.stop_at_success = True
    while len(rows := search.ladder.open.nonzero().flatten()):
        for some in rows.split(search.batch_size):
            trial = search.ladder.trial(some)
            own = search.samples.take(some)
            points = attack(
                network,
                search.own(own.clean),
                select_rows(search.judged, some),
                search.ladder.radii[trial],
                task=search.task,
                generator=own.generator,
                mask=own.inside,
            ).to(own.clean)
            won = search.confirmed(some, points)
            search.ladder.lost(some[~won], trial[~won], points[~won])


def _is_training(network: Callable[..., Any]) -> bool:
    """Whether a network's answers depend on the mode that it is in now."""
    if not isinstance(network, nn.Module) or not any(module.training for module in network.modules()):
        return False
    return not same_in_both_modes(network)


def _rungs(radii: Sequence[float] | Tensor, clean: Tensor) -> Tensor:
    try:
        values = torch.as_tensor(radii, dtype=torch.float32).detach().cpu()
    except (TypeError, ValueError):
        raise BadInputError(f"the radii are {radii!r}; they must be a list of positive numbers") from None
    if values.ndim != 1 or not len(values):
        raise BadInputError("there is no radius to attack within; give a list of at least one")
    rungs = as_radius(values, len(values), clean.device).sort().values
    if bool((rungs[1:] == rungs[:-1]).any()):
        raise BadInputError(f"a radius is listed twice in {values.tolist()}; list each once")
    return rungs
