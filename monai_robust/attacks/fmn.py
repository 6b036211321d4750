"""Attacks that look for the nearest success instead of the worst point of a ball."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from monai_robust.attacks.attack import Attack, Precision, clipped, usable
from monai_robust.attacks.common.arguments import positive
from monai_robust.attacks.common.guard import Mode
from monai_robust.attacks.common.samples import Samples
from monai_robust.attacks.criteria import Criterion, as_criterion, fulfilled
from monai_robust.attacks.threat import BoundsSpec, Norm, expand
from monai_robust.errors import BadInputError
from monai_robust.losses.attack.classes import logit_margin
from monai_robust.tasks import Classification, Task, base_task

__all__ = ["FMN"]

# What is left at the end of the first factor and of the first step.
_LAST_FACTOR, _LAST_STEP = 0.02, 0.01


class FMN(Attack):
    """Fast minimum-norm attack (Pintor et al. 2021, Algorithm 1): the success nearest to each input.

    Each step ascends, projects to a ball and clips to the bounds, and then the ball of each sample shrinks by a factor
    where the attack has succeeded and grows by it where it has not, while steps and factors decay (cosine). Classes are
    attacked by their margin, the largest other logit less that of the class; other tasks by their loss terms.

    Two things differ from the publication, so that no number depends on the units of the intensities or on the loss:
    a step is a share of the ball's radius, along the norm's steepest direction; and the first ball is that of ``eps``,
    halved until it is too small, instead of a linear guess of the distance.

    A call takes the largest radius allowed as ``eps`` and returns for each sample the nearest input that fulfils the
    criterion in the network's own precision, or the clean input where none was found. The result depends on no random
    numbers.

    Args:
        norm: ``"l2"`` or ``"linf"``.
        eps: largest radius, in intensity units of the network's input; may be given with each call instead.
        steps: number of gradient steps.
        relative_step: length of the first step, in radii of the ball.
        shrink: share by which the ball first shrinks or grows.
        bounds: intensities allowed: ``(low, high)``, ``"per_image"`` or ``None``.
        task: what to hurt; classification by default.
        mode: as for :class:`Attack`.
        precision: as for :class:`Attack`; costs one more forward pass a step.
        criterion: when the attack has succeeded: ``"incorrect"``, ``"prediction_changed"`` or a :class:`Criterion`.

    Raises:
        BadInputError: for an argument that cannot work.
    """

    def __init__(
        self,
        *,
        norm: str | Norm | None = None,
        eps: float | Tensor | None = None,
        steps: int = 100,
        relative_step: float = 1.0,
        shrink: float = 0.05,
        bounds: BoundsSpec = None,
        task: Task | None = None,
        mode: Mode = "eval",
        precision: Precision | None = None,
        criterion: str | Criterion = "incorrect",
        channels: Sequence[int] | None = None,
    ) -> None:
        super().__init__(
            norm=norm, eps=eps, bounds=bounds, task=task, mode=mode, precision=precision, channels=channels
        )
        self.steps = positive("steps", steps, int)
        self.relative_step = positive("relative_step", relative_step, float)
        self.shrink = positive("shrink", shrink, float)
        if self.shrink >= 1:
            raise BadInputError(f"the attack's shrink is {shrink!r}; it must be below 1")
        self.criterion = as_criterion(criterion)

    @property
    def budget(self) -> int:
        """Gradient steps of one run."""
        return self.steps

    def settings(self) -> dict[str, Any]:
        """The attack's numbers as primitives, for tables and reports."""
        threat = {name: value for name, value in super().settings().items() if name != "goal"}
        search = {"steps": self.steps, "relative_step": self.relative_step, "shrink": self.shrink}
        return {**threat, **search, "criterion": repr(self.criterion)}

    def _search(self, network: Callable[..., Any], samples: Samples, task: Task) -> Tensor:
        clean, targets, eps = samples.clean, samples.targets, samples.eps
        aim = _Aim(task, self.criterion, targets, _outputs(network, clean, targets, task))
        aimed = aim.prepared(clean, aim.attacked)
        limits = self.limits(samples)
        nearest, distance = clean, torch.full_like(eps, math.inf)
        radius, too_small = eps, torch.zeros_like(eps, dtype=torch.bool)
        adversarial = clean
        for step in range(self.steps + 1):
            last = step == self.steps
            gradient = None if last else self.gradient(network, adversarial, aimed, aim)[0]
            if last or self.precision is not None:
                aim.outputs = _outputs(network, adversarial, targets, task)
            success, size = aim.succeeded().to(clean.device), self.norm.size(adversarial - clean)
            closer = success & (size < distance)
            nearest = torch.where(expand(closer, clean), adversarial, nearest)
            distance = torch.where(closer, size, distance)
            if gradient is None:
                break
            decay = 0.5 * (1 + math.cos(math.pi * step / self.steps))
            if step:  # the input itself says nothing of the first ball
                too_small |= ~success
                factor = self.shrink * (_LAST_FACTOR + (1 - _LAST_FACTOR) * decay)
                smaller = torch.where(too_small, radius * (1 - factor), radius / 2)
                radius = torch.where(success, smaller, radius * (1 + factor)).minimum(distance).minimum(eps)
            gradient = usable(gradient, samples)
            share = self.relative_step * (_LAST_STEP + (1 - _LAST_STEP) * decay)
            length = expand(share * radius, clean).to(clean.dtype)
            delta = adversarial - clean + length * self.norm.steepest(gradient)
            adversarial = clipped(clean + self.norm.project(delta, radius), limits)
        return nearest.detach()


class _Aim(Task):
    """What is raised on the way to a success: the margin of classes, or the task's own terms.

    The outputs of the last pass are kept, since they say whether there was a success.
    """

    name = "aim"

    def __init__(self, task: Task, criterion: Criterion, targets: Any, clean_outputs: Any) -> None:
        self.task = task
        self.criterion = criterion.absolute()
        self.clean_outputs = clean_outputs
        self.attacked = criterion.attacked(task, targets, clean_outputs)
        self.outputs: Any = clean_outputs

    def forward(self, network: Callable[..., Any], inputs: Tensor, targets: Any) -> Any:
        self.outputs = self.task.forward(network, inputs, targets)
        return self.outputs

    def prepared(self, inputs: Tensor, targets: Any) -> Any:
        return self.task.prepared(inputs, targets)

    def terms(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        base = base_task(self.task)
        if not isinstance(base, Classification):
            return self.task.terms(outputs, targets)
        return {"margin": logit_margin(*base.logits_and_labels(outputs, targets), 0.0)}

    @torch.no_grad()
    def succeeded(self) -> Tensor:
        """For each sample whether the last pass was a success, (B,) bool."""
        return fulfilled(self.criterion, self.task, self.outputs, self.attacked, self.clean_outputs)


@torch.no_grad()
def _outputs(network: Callable[..., Any], inputs: Tensor, targets: Any, task: Task) -> Any:
    return task.forward(network, inputs, targets)
