"""The smallest change that makes an attack succeed, for each sample."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from monai_robust.attacks.attack import Attack
from monai_robust.attacks.common.arguments import checked_attack, checked_inputs
from monai_robust.attacks.common.guard import bare, untouched
from monai_robust.attacks.common.objective import Objective
from monai_robust.attacks.common.samples import Generators, Samples
from monai_robust.attacks.criteria import Criterion, as_criterion
from monai_robust.attacks.fmn import FMN
from monai_robust.attacks.radius.engine import RadiusSearch
from monai_robust.attacks.square import Square
from monai_robust.attacks.steps import PGD
from monai_robust.attacks.table import follows_gradients
from monai_robust.attacks.threat import as_radius
from monai_robust.errors import BadInputError, require_choice
from monai_robust.scalars import is_number
from monai_robust.tasks import Classification, Task
from monai_robust.tasks.tensors import outside_inference

__all__ = ["MinimalRadius", "minimal_radius"]

METHODS = ("bisection", "minimum_norm")


@dataclass(frozen=True, eq=False)
class MinimalRadius:
    """What a search for the nearest success found.

    Attributes:
        radius: (B,), float32: norm of ``adversarial`` less the input, in intensity units of the network's input; 0 for
            a sample that fulfils the criterion as it is, infinite for one that no attack has moved.
        found: (B,) bool, whether there is a success.
        adversarial: (B, C, *spatial), the nearest success; the input itself where there is none.
    """

    radius: Tensor
    found: Tensor
    adversarial: Tensor


def minimal_radius(
    network: Callable[..., Any],
    inputs: Tensor,
    targets: Any,
    *,
    high: float | Tensor,
    tolerance: float | None = None,
    attack: Attack | None = None,
    criterion: str | Criterion = "prediction_changed",
    task: Task | None = None,
    method: Literal["bisection", "minimum_norm"] = "bisection",
    generator: torch.Generator | Sequence[torch.Generator] | None = None,
    mask: Tensor | None = None,
) -> MinimalRadius:
    """The smallest radius at which an attack succeeds, for each sample: an upper bound of its distance to a failure.

    ``"bisection"`` attacks within ``high``, and then halves for each sample the interval between the largest radius at
    which the attack has failed and its nearest success, which is pulled towards the input as long as it remains one
    (forward passes only). A sample is attacked no more once it has survived ``high`` or its interval is at most
    ``tolerance``. That an attack fails within a radius does not prove that there is nothing: a larger ball may hold a
    success nearer than the smaller one seemed to allow, and the nearest success that was seen is kept.

    ``"minimum_norm"`` runs :class:`FMN` with the norm, the bounds, the mode and the precision of ``attack`` within
    ``high``, and once more within the radius that it has found; its successes are pulled likewise, until the end of the
    interval is known along that line to ``tolerance``.

    Every success is confirmed by a forward pass in the network's own precision, on the tensor that is returned.

    Args:
        network: any callable ``inputs -> outputs``.
        inputs: (B, C, *spatial), floating.
        targets: whatever the task takes; ``"prediction_changed"`` needs none (``None``).
        high: the largest radius, in intensity units of the network's input: a number or (B,).
        tolerance: absolute, in the same units; by default a hundredth of ``high``.
        attack: run within each radius, its own ``eps`` does not matter; ``PGD()``, which is L2, by default.
        criterion: ``"prediction_changed"`` (from that of the clean input, so that a misclassified sample is not at
            radius 0), ``"incorrect"`` (where it is), ``DiceBelow(level)`` or ``ScoreBeyond(level)``.
        task: how the network is run and what hurts it; by default the attack's, or else classification, where the
            attack raises the margin of the logits and, if that fails, cross-entropy.
        method: ``"bisection"`` or ``"minimum_norm"``.
        generator: source of the attack's random starts; one for each sample makes a start independent of the batch.
        mask: (B, 1, *spatial), true where there is image and not padding.

    Raises:
        BadInputError: for an argument that cannot work.
    """
    require_choice("method", method, METHODS)
    criterion = as_criterion(criterion)
    attack = usable_attack(attack, method, criterion)
    with torch.inference_mode(False), torch.no_grad():
        clean = checked_inputs(inputs)
        inside = attack.region(clean, mask)
        attack.bounds.check(clean, inside, inputs.dtype)
        largest = as_radius(high, len(clean), clean.device)
        margin = largest / 100 if tolerance is None else torch.full_like(largest, checked_tolerance(tolerance, largest))
        samples = Samples.of(clean, outside_inference(targets), largest, generator, inside)
        judged = task or attack.task or Classification()
        with untouched(bare(network), attack.mode) as run:
            search = RadiusSearch(run, samples, attack.norm, criterion, judged, max(1, len(clean)), inputs)
            strategy = Bisection(largest, margin, generator, _losses(task or attack.task, attack))
            if method == "bisection":
                search.run(attack, strategy)
            else:
                _directly(search, attack, strategy)
    return MinimalRadius(search.distance, search.distance.isfinite(), search.returned(search.nearest))


class Bisection:
    """The largest radius first, then the middle between the last failure and the nearest success, which is pulled in.

    Args:
        largest: (N,).
        tolerance: (N,) width of an interval that is halved no more.
        generator: source of the attempts' random numbers, one for all or one for each sample.
        losses: what is raised, each where the ones before have failed.
    """

    def __init__(self, largest: Tensor, tolerance: Tensor, generator: Generators, losses: Sequence[Task]) -> None:
        self.largest = largest
        self.tolerance = tolerance
        self.generator = generator
        self._losses = losses

    def open(self, search: RadiusSearch) -> Tensor:
        wide = search.distance - search.failed > self.tolerance
        return torch.where(search.distance.isfinite(), wide, search.failed < self.largest)

    def radius(self, search: RadiusSearch, rows: Tensor) -> Tensor:
        found = search.distance[rows].isfinite()
        return torch.where(found, (search.failed + search.distance)[rows] / 2, self.largest[rows])

    def generators(self, rows: Tensor, eps: Tensor) -> Generators:
        given = self.generator
        return [given[row] for row in rows.tolist()] if isinstance(given, Sequence) else given

    def losses(self) -> Sequence[Task]:
        return self._losses

    def after(self, search: RadiusSearch, rows: Tensor, eps: Tensor, points: Tensor, success: Tensor) -> None:
        search.pull_in(rows[success], self.tolerance)


def _directly(search: RadiusSearch, attack: Attack, strategy: Bisection) -> None:
    """Look for the nearest success within the largest radius, then within what was found: where that is far too large,
    the first ball is too coarse a start."""
    rows, eps = search.distance.isinf().nonzero().flatten(), strategy.largest
    for _ in range(2):
        if not len(rows):
            return
        (loss,) = strategy.losses()
        points = search.attempt(attack, rows, eps[rows], loss, strategy.generators(rows, eps[rows]))
        search.confirm(rows, points, eps[rows])
        rows = rows[search.distance[rows].isfinite()]
        search.pull_in(rows, strategy.tolerance)
        eps = search.distance.clone()


def usable_attack(attack: Attack | None, method: str, criterion: Criterion) -> Attack:
    """The attack that a search runs: the one given, ``PGD()``, or :class:`FMN` with its threat.

    Raises:
        BadInputError: for one that cannot be searched with.
    """
    attack = PGD() if attack is None else attack
    checked_attack(attack)
    if not isinstance(attack, Attack):  # such as one whose windows, and not the image, keep the radius
        raise BadInputError(f"a radius is searched with a gradient attack such as PGD, not {type(attack).__name__}")
    if attack.mode == "train":
        raise BadInputError("in mode='train' a sample depends on its batch, and has no radius of its own; use 'eval'")
    if isinstance(attack, FMN) and method != "minimum_norm":
        raise BadInputError("FMN looks for the nearest success itself; use method='minimum_norm'")
    if method == "bisection":
        return attack
    if not follows_gradients(attack):
        name = type(attack).__name__
        raise BadInputError(f"method='minimum_norm' follows gradients, and {name} does not; use method='bisection'")
    if attack.goal != "untargeted":
        raise BadInputError(f"method='minimum_norm' has no goal {attack.goal!r}; use method='bisection'")
    if isinstance(attack, FMN):
        attack = copy.copy(attack)
        attack.criterion = criterion
        return attack
    return FMN(
        norm=attack.norm,
        bounds=attack.bounds.bounds,
        task=attack.task,
        mode=attack.mode,
        precision=attack.precision,
        channels=attack.channels,
        criterion=criterion,
    )


def _losses(task: Task | None, attack: Attack) -> Sequence[Task]:
    """What is raised in turn; an attack may bring a loss of its own, by name, or as :class:`FMN` does."""
    if task is not None:
        return (task,)
    brings = isinstance(attack, (FMN, Square)) or getattr(attack, "loss", None) is not None
    return (Classification(),) if brings else (Objective(Classification(), "margin"), Classification())


def checked_tolerance(tolerance: float, largest: Tensor) -> float:
    """``tolerance``, if it is at least a millionth of the radii, which is what single precision can tell apart.

    Raises:
        BadInputError: for anything else.
    """
    least = 1e-6 * float(largest.max()) if len(largest) else 0.0
    if not is_number(tolerance, least):
        raise BadInputError(
            f"tolerance is {tolerance!r}; it must be a number of at least {least:g}, a millionth of high"
        )
    return float(tolerance)
