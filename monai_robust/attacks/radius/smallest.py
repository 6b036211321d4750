"""The smallest change that makes an attack succeed, for each sample."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

import torch
from monai.data import MetaTensor
from torch import Tensor

from monai_robust.attacks.criteria import Criterion, as_criterion, fulfilled
from monai_robust.attacks.fmn import FMN, LogitMargin
from monai_robust.attacks.guard import bare, untouched
from monai_robust.attacks.masks import checked_mask
from monai_robust.attacks.steps import PGD, GradientAttack, _checked
from monai_robust.attacks.threat import as_radius, expand
from monai_robust.errors import BadInputError, naming, require_choice
from monai_robust.tasks import Classification, Task
from monai_robust.tasks.tensors import outside_inference, select_rows

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
    attack: GradientAttack | None = None,
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
        clean = _checked(inputs)
        inside = None if mask is None else checked_mask(mask, clean)
        attack.bounds.check(clean, inside)
        largest = as_radius(high, len(clean), clean.device)
        margin = largest / 100 if tolerance is None else torch.full_like(largest, checked_tolerance(tolerance, largest))
        with untouched(bare(network), attack.mode) as network:
            own = clean.to(inputs.dtype)
            losses = _losses(task or attack.task, attack)
            search = _Search(network, own, targets, losses, attack, criterion, generator, inside)
            search.within(largest, margin) if method == "bisection" else search.directly(largest, margin)
    adversarial = search.nearest
    if isinstance(inputs, MetaTensor):
        adversarial = MetaTensor(adversarial).copy_meta_from(inputs)
    return MinimalRadius(search.radius, search.radius.isfinite(), adversarial)


class _Search:
    """The nearest success of each sample so far, ``nearest`` at ``radius``, and how to come by a nearer one."""

    def __init__(
        self,
        network: Callable[..., Any],
        clean: Tensor,
        targets: Any,
        losses: Sequence[Task],
        attack: GradientAttack,
        criterion: Criterion,
        generator: torch.Generator | Sequence[torch.Generator] | None,
        inside: Tensor | None,
    ) -> None:
        if isinstance(generator, Sequence) and len(generator) != len(clean):
            raise BadInputError(f"there are {len(generator)} generators for {len(clean)} samples; give one for each")
        self.network = network
        self.clean = clean
        self.wide = torch.promote_types(clean.dtype, torch.float32)  # to measure in, where inputs are half precision
        self.targets = outside_inference(targets)
        self.task = task = losses[0]
        self.losses = losses
        self.attack = attack
        self.criterion = criterion
        self.generator = generator
        self.inside = inside
        self.clean_outputs = task.forward(network, clean, self.targets)
        self.attacked = criterion.attacked(task, self.targets, self.clean_outputs)
        already = fulfilled(criterion, task, self.clean_outputs, self.targets, self.clean_outputs).to(clean.device)
        self.nearest = clean.clone()
        self.radius = torch.where(already, 0.0, torch.full(already.shape, math.inf, device=clean.device))

    def within(self, largest: Tensor, tolerance: Tensor) -> None:
        """Attack what is not settled within ``largest`` (B,), then within the middle of its interval."""
        failed, trial = torch.zeros_like(largest), largest
        rows = self.radius.isinf().nonzero().flatten()
        while len(rows):
            won = torch.zeros_like(rows, dtype=torch.bool)
            for loss in self.losses:
                won[~won] = self._attack(rows[~won], trial, loss)
            failed[rows[~won]] = trial[rows[~won]]
            self._pull_in(rows[won], failed, tolerance)
            wide = self.radius.isfinite() & (self.radius - failed > tolerance)
            rows = rows[wide[rows]]
            trial = (failed + self.radius) / 2

    def directly(self, largest: Tensor, tolerance: Tensor) -> None:
        """Attack within ``largest`` (B,), then within what was found: where ``largest`` is far too large, the first
        ball is too coarse a start."""
        failed, trial = torch.zeros_like(largest), largest
        rows = self.radius.isinf().nonzero().flatten()
        for _ in range(2):
            for loss in self.losses:
                self._attack(rows, trial, loss)
            rows = rows[self.radius[rows].isfinite()]
            self._pull_in(rows, failed, tolerance)
            trial = self.radius

    def _attack(self, rows: Tensor, eps: Tensor, loss: Task) -> Tensor:
        """Attack ``rows`` by one loss, each within its entry of ``eps`` (B,); where it succeeded, (R,) bool."""
        if not len(rows):
            return torch.zeros_like(rows, dtype=torch.bool)
        generator = self.generator
        with naming(rows):
            candidates = self.attack(
                self.network,
                self.clean[rows],
                select_rows(self.attacked, rows),
                eps[rows],
                task=loss,
                generator=[generator[row] for row in rows.tolist()] if isinstance(generator, Sequence) else generator,
                mask=None if self.inside is None else self.inside[rows],
            )
        return self._take(rows, candidates)

    def _take(self, rows: Tensor, candidates: Tensor) -> Tensor:
        """Keep those of the candidates for ``rows`` that succeed nearer than anything before; which ones, (R,) bool."""
        targets, clean_outputs = select_rows(self.targets, rows), select_rows(self.clean_outputs, rows)
        outputs = self.task.forward(self.network, candidates, targets)
        won = fulfilled(self.criterion, self.task, outputs, targets, clean_outputs).to(rows.device)
        distance = self.attack.norm.size(candidates.to(self.wide) - self.clean[rows].to(self.wide))
        won &= distance < self.radius[rows]
        self.nearest[rows[won]] = candidates[won]
        self.radius[rows[won]] = distance[won]
        return won

    def _pull_in(self, rows: Tensor, failed: Tensor, tolerance: Tensor) -> None:
        """Halve the interval on the line from the input to its nearest success, down to ``tolerance``.

        Both the norm's ball and the bounds are convex, so that the line stays within them.
        """
        clean, end, length = self.clean.to(self.wide), self.nearest.to(self.wide), self.radius.clone()
        lower, upper = failed / length, torch.ones_like(length)
        while len(rows := rows[((upper - lower) * length > tolerance)[rows]]):
            middle = (lower + upper) / 2
            share = expand(middle[rows], clean).to(self.wide)
            won = self._take(rows, torch.lerp(clean[rows], end[rows], share).to(self.clean.dtype))
            upper[rows[won]] = middle[rows[won]]
            lower[rows[~won]] = middle[rows[~won]]


def usable_attack(attack: GradientAttack | None, method: str, criterion: Criterion) -> GradientAttack:
    """The attack that a search runs: the one given, ``PGD()``, or :class:`FMN` with its threat.

    Raises:
        BadInputError: for one that cannot be searched with.
    """
    attack = PGD() if attack is None else attack
    if not isinstance(attack, GradientAttack):  # such as one whose windows, and not the image, keep the radius
        raise BadInputError(f"a radius is searched with a gradient attack such as PGD, not {type(attack).__name__}")
    if attack.mode == "train":
        raise BadInputError("in mode='train' a sample depends on its batch, and has no radius of its own; use 'eval'")
    if isinstance(attack, FMN) and method != "minimum_norm":
        raise BadInputError("FMN looks for the nearest success itself; use method='minimum_norm'")
    if method == "bisection":
        return attack
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
        criterion=criterion,
    )


def _losses(task: Task | None, attack: GradientAttack) -> Sequence[Task]:
    """What is raised in turn; an attack may bring a loss of its own, by name, or as :class:`FMN` does."""
    if task is not None:
        return (task,)
    own = isinstance(attack, FMN) or getattr(attack, "loss", None) is not None
    return (Classification(),) if own else (LogitMargin(), Classification())


def checked_tolerance(tolerance: float, largest: Tensor) -> float:
    """``tolerance``, if it is at least a millionth of the radii, which is what single precision can tell apart.

    Raises:
        BadInputError: for anything else.
    """
    least = 1e-6 * float(largest.max())
    number = isinstance(tolerance, Real) and not isinstance(tolerance, bool) and math.isfinite(tolerance)
    if not number or tolerance < least:
        raise BadInputError(
            f"tolerance is {tolerance!r}; it must be a number of at least {least:g}, a millionth of high"
        )
    return float(tolerance)
