"""A few samples on which an attack is tried in other ways than it was measured: shorter, unlimited, by guessing."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_robust.attacks import APGD, FMN, Attack, AttackEnsemble, GradientAttack, Square, WindowAttack
from monai_robust.attacks.common.objective import Objective
from monai_robust.attacks.table import follows_gradients
from monai_robust.attacks.threat import Bounds, as_radius, expand
from monai_robust.evaluation.measure.perturbations import AttackSweep, EvaluatedBatch, seeded
from monai_robust.tasks import Classification, base_task
from monai_robust.tasks.base import total
from monai_robust.tasks.probabilities import OutputWatch

__all__ = ["Harm", "Probe", "limited", "members_of", "single", "unlimited", "unmoved"]

AnyAttack = Attack | WindowAttack
_NOTHING = 1e-30  # length of a step that single precision does not notice


@dataclass(frozen=True, eq=False)
class Harm:
    """What some points do to a task, (n,) each.

    Attributes:
        harm: what the attack raises, or the score (an error, or the negative of a merit) where it keeps success.
        score: the task's score, NaN for a sample without one.
        won: whether the attack's goal is reached, for classes: another class than the label, or the one aimed at.
    """

    harm: np.ndarray
    score: np.ndarray
    won: np.ndarray


class Probe:
    """A sweep's attack on a few samples.

    Args:
        sweep: whose attack is probed.
        batches: batches of samples.
        radius: at which it is probed, one of the sweep's severities.
    """

    def __init__(self, sweep: AttackSweep, batches: Sequence[EvaluatedBatch], radius: float) -> None:
        self.sweep = sweep
        self.attack = sweep.attack
        self.batches = batches
        self.radius = radius
        self.single = single(sweep.attack)
        self.task = batches[0].task
        self.classes = isinstance(base_task(self.task), Classification)
        self.by_score = _keeps_success(self.single, self.classes)
        self.black_box = not follows_gradients(self.attack)
        self.eot = max(getattr(one, "eot", 1) for one in (self.single, *members_of(self.attack)))

    @property
    def samples(self) -> int:
        return sum(len(batch.inputs) for batch in self.batches)

    @property
    def clean(self) -> list[Tensor]:
        return [batch.inputs for batch in self.batches]

    def points(self, attack: AnyAttack | None = None, radius: float | None = None) -> list[Tensor]:
        """What the sweep's attack, or another, makes of the samples at the radius, or at another."""
        eps = self.radius if radius is None else radius
        return [self._attacked(attack or self.attack, batch, self.sweep.radius(eps, batch)) for batch in self.batches]

    def farthest(self) -> list[Tensor]:
        """What the attack makes of the samples when it may turn each into any other image of its intensities.

        Raises:
            FloatingPointError: where the network's loss overflows so far out.
        """
        attack = unlimited(self.attack)
        return [self._attacked(attack, batch, self._diameter(batch)) for batch in self.batches]

    def wiped(self) -> list[Tensor]:
        """The samples without content: every intensity is the mean of its image."""
        found = []
        for batch in self.batches:
            inside = _inside(batch, self.attack)
            mean = (batch.inputs * inside).flatten(1).sum(dim=1) / inside.flatten(1).sum(dim=1)
            blank = expand(mean, batch.inputs).to(batch.inputs.dtype).expand_as(batch.inputs)
            found.append(torch.where(inside, blank, batch.inputs))
        return found

    def harm(self, points: Sequence[Tensor]) -> Harm:
        """What the points, one for each batch, do to the task.

        Raises:
            FloatingPointError: for outputs whose loss is not finite.
        """
        parts = [self._harm(batch, own) for batch, own in zip(self.batches, points, strict=True)]
        return Harm(*(np.concatenate(own) for own in zip(*parts, strict=True)))

    def gradients(self) -> tuple[int, int, int]:
        """Of the samples that have a loss: how many, with a gradient of zero, and with one that is not finite."""
        counted = zero = broken = 0
        for batch in self.batches:
            objective, prepared = self._objective(batch)
            with torch.inference_mode(False), torch.enable_grad():
                leaf = batch.inputs.detach().clone().requires_grad_(True)
                outputs = objective.forward(batch.network, leaf, prepared)
                loss = total(objective.terms(outputs, prepared)).sum()
                gradient = torch.autograd.grad(loss, leaf, allow_unused=True)[0] if loss.requires_grad else None
            gradient = (torch.zeros_like(leaf) if gradient is None else gradient) * _inside(batch, self.attack)
            has = _has_loss(batch, outputs)
            finite = gradient.isfinite().flatten(1).all(dim=1)
            counted += int(has.sum())
            zero += int((has & (gradient == 0).flatten(1).all(dim=1)).sum())
            broken += int((has & ~finite).sum())
        return counted, zero, broken

    @torch.no_grad()
    def watched(self) -> OutputWatch:
        """What the outputs for the clean samples look like."""
        watch = OutputWatch()
        for batch in self.batches:
            outputs = batch.task.forward(batch.network, batch.inputs, batch.targets)
            watch.see(batch.task, outputs, batch.targets)
        return watch

    @torch.no_grad()
    def answers(self) -> list[list[Tensor]]:
        """The tensors in the network's outputs for the clean samples, batch by batch."""
        return [_leaves(batch.task.forward(batch.network, batch.inputs, batch.targets)) for batch in self.batches]

    def black_box_attack(self, queries: int) -> AnyAttack:
        """Square, within the same threat."""
        own = self.single
        square = Square(
            queries=queries, norm=own.norm, bounds=own.bounds.bounds, goal=own.goal, mode=own.mode, eot=self.eot
        )
        if not isinstance(self.attack, WindowAttack):
            return square
        windows = copy.copy(self.attack)
        windows.attack = square
        return windows

    def _attacked(self, attack: AnyAttack, batch: EvaluatedBatch, eps: float | Tensor) -> Tensor:
        starts = [seeded(batch.seed, self.sweep.name, self.radius, sample) for sample in batch.sample_ids]
        masked = {} if batch.mask is None else {"mask": batch.mask}
        return attack(batch.network, batch.inputs, batch.targets, eps, task=batch.task, generator=starts, **masked)

    @torch.no_grad()
    def _harm(self, batch: EvaluatedBatch, points: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        objective, prepared = self._objective(batch)
        outputs = objective.forward(batch.network, points, prepared)
        objective.terms(outputs, prepared)
        loss = objective.values.double().cpu()
        if not bool(loss.isfinite().all()):
            raise FloatingPointError("the loss is NaN or infinite; check loss and network")
        score = batch.task.score(outputs, batch.targets).double().cpu()
        merit = -score if batch.task.higher_is_better else score
        return (merit if self.by_score else loss).numpy(), score.numpy(), objective.succeeded().cpu().numpy()

    def _objective(self, batch: EvaluatedBatch) -> tuple[Objective, Any]:
        """What the attack raises, and the targets it leaves or approaches."""
        loss, goal = getattr(self.single, "loss", None), self.single.goal
        targets = batch.targets
        if goal != "untargeted" and not isinstance(self.single, AttackEnsemble):
            with torch.no_grad():
                targets = batch.task.aim(batch.task.forward(batch.network, batch.inputs, targets), targets, goal)
        else:
            goal = "untargeted"
        objective = Objective(batch.task, loss, goal)
        return objective, objective.prepared(batch.inputs, targets)

    def _diameter(self, batch: EvaluatedBatch) -> Tensor:
        """(B,) the norm of the widest change within the bounds, or within the range of the image itself.

        At least twice the sweep's largest radius, for images that are nearly constant.
        """
        inside = _inside(batch, self.attack)
        limits = self.attack.bounds.limits(batch.inputs, inside) or Bounds("per_image").limits(batch.inputs, inside)
        assert limits is not None  # the range of an image always exists
        span = (limits[1] - limits[0]).expand(len(batch.inputs), *batch.inputs.shape[1:]) * inside
        widest = self.attack.norm.size(span)
        largest = self.sweep.radius(2 * max(self.sweep.severities), batch)
        return torch.maximum(widest, as_radius(largest, len(widest), widest.device))


def members_of(attack: AnyAttack) -> tuple[Attack, ...]:
    """The attacks that an ensemble is made of; of any other attack itself."""
    own = single(attack)
    return tuple(own.members) if isinstance(own, AttackEnsemble) else (own,)


def single(attack: AnyAttack) -> Attack:
    """The attack itself; of an attack on windows that on each window."""
    return attack.attack if isinstance(attack, WindowAttack) else attack


def limited(attack: AnyAttack, steps: Callable[[int], int]) -> AnyAttack:
    """The attack with another number of steps, ``steps(its own)``."""
    return _changed(attack, lambda one: _set_budget(one, steps(one.budget)))


def unmoved(attack: AnyAttack) -> AnyAttack:
    """The attack with no more than its random start; of an ensemble only members that start so and follow gradients."""
    return _changed(attack, _stay, lambda one: bool(getattr(one, "random_start", False)))


def unlimited(attack: AnyAttack) -> AnyAttack:
    """The attack as it can be used at any radius: its steps in proportion to it, from the image itself, since a random
    start so far out would be no image."""
    return _changed(attack, _free)


def _changed(
    attack: AnyAttack,
    change: Callable[[Attack], None],
    kept: Callable[[Attack], bool] = lambda member: True,
) -> AnyAttack:
    """A copy whose own attack, members (those ``kept``) or windows are changed; the one given is left alone."""
    copied = copy.copy(attack)
    if isinstance(copied, WindowAttack):
        inner = _changed(copied.attack, change, kept)
        assert isinstance(inner, Attack)
        copied.attack = inner
    elif isinstance(copied, AttackEnsemble):
        copied.members = tuple(_changed(one, change) for one in copied.members if kept(one))  # type: ignore[misc]
    else:
        change(copied)
    return copied


def _set_budget(attack: Attack, budget: int) -> None:
    setattr(attack, "queries" if isinstance(attack, Square) else "steps", budget)


def _stay(attack: Attack) -> None:
    _set_budget(attack, 1)
    if isinstance(attack, (GradientAttack, APGD)):
        attack.step_size = _NOTHING


def _keeps_success(attack: Attack, classes: bool) -> bool:
    """Whether an attack looks for a success or a bad score, and so not for the highest of its loss."""
    if isinstance(attack, (AttackEnsemble, FMN)) or getattr(attack, "keep", "") == "score":
        return True
    return bool(getattr(attack, "stop_at_success", False)) if classes else getattr(attack, "loss", None) is not None


def _free(attack: Attack) -> None:
    if isinstance(attack, (GradientAttack, APGD)):
        attack.step_size, attack.random_start = None, False
    if isinstance(attack, APGD):
        attack.restarts = 1


def _inside(batch: EvaluatedBatch, attack: Any) -> Tensor:
    """(B, C, *spatial) bool, true where there is image that the attack may change."""
    inside: Tensor | None = attack.region(batch.inputs, batch.mask)
    return torch.ones_like(batch.inputs, dtype=torch.bool) if inside is None else inside


@torch.no_grad()
def _has_loss(batch: EvaluatedBatch, outputs: Any) -> Tensor:
    """(B,) bool, whether a sample has any loss: one without a visible landmark has none."""
    names = batch.task.terms(outputs, batch.targets)
    defined = batch.task.defined(outputs, batch.targets)
    size, device = len(batch.inputs), batch.inputs.device
    everywhere = torch.ones(size, dtype=torch.bool, device=device)
    return torch.stack([defined.get(name, everywhere).to(device) for name in names]).any(dim=0)


def _leaves(outputs: Any) -> list[Tensor]:
    if isinstance(outputs, Tensor):
        return [outputs]
    if isinstance(outputs, dict):
        return [leaf for value in outputs.values() for leaf in _leaves(value)]
    if isinstance(outputs, (list, tuple)):
        return [leaf for value in outputs for leaf in _leaves(value)]
    return []
