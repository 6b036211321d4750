"""Gradient attacks: FGSM, BIM and PGD are one loop with three sets of numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from monai_robust.attacks.attack import Attack, Limits, Precision, RandomStart, clipped, usable
from monai_robust.attacks.common.arguments import one_of, positive
from monai_robust.attacks.common.guard import Mode
from monai_robust.attacks.common.samples import Samples
from monai_robust.attacks.threat import BoundsSpec, Norm, expand
from monai_robust.tasks import Task
from monai_robust.tasks.base import Goal

__all__ = ["BIM", "FGSM", "IFGSM", "PGD", "GradientAttack"]


class GradientAttack(Attack):
    """Search a ball around each input, by steepest ascent, for the input that hurts a task most.

    Each step ascends, projects to the ball, then clips to the bounds. Without a random start the result is a function
    of its arguments; with one, of ``generator`` too. A search of its own may take the steps one by one, by
    :meth:`begin`, :meth:`gradient` and :meth:`step`.

    Args:
        steps: number of gradient steps.
        step_size: length of a step in intensity units; by default ``relative_step * eps / steps`` for each sample.
        relative_step: what all steps together could travel, in radii.
        random_start: ``False`` (start at the input), ``"ball"`` (``True`` is the same) or ``"sphere"``.
        norm, eps, bounds, goal, task, mode, precision, channels: as for :class:`Attack`.

    Raises:
        BadInputError: for an argument that cannot work.
    """

    _steps: ClassVar[int] = 20
    _relative_step: ClassVar[float] = 2.5

    def __init__(
        self,
        *,
        norm: str | Norm | None = None,
        eps: float | Tensor | None = None,
        steps: int | None = None,
        step_size: float | None = None,
        relative_step: float | None = None,
        random_start: RandomStart = False,
        bounds: BoundsSpec = None,
        goal: Goal = "untargeted",
        task: Task | None = None,
        mode: Mode = "eval",
        precision: Precision | None = None,
        channels: Sequence[int] | None = None,
    ) -> None:
        super().__init__(
            norm=norm, eps=eps, bounds=bounds, goal=goal, task=task, mode=mode, precision=precision, channels=channels
        )
        self.steps = positive("steps", self._steps if steps is None else steps, int)
        self.step_size = None if step_size is None else positive("step_size", step_size, float)
        self.relative_step = positive(
            "relative_step", self._relative_step if relative_step is None else relative_step, float
        )
        self.random_start = one_of("random_start", random_start, (False, True, "ball", "sphere"))

    def settings(self) -> dict[str, Any]:
        """The attack's numbers as primitives, for tables and reports."""
        steps = {
            "steps": self.steps,
            "step_size": self.step_size,
            "relative_step": self.relative_step,
            "random_start": self.random_start,
        }
        return {**super().settings(), **steps}

    @property
    def budget(self) -> int:
        """Gradient steps."""
        return self.steps

    @property
    def only_steps(self) -> bool:
        """Whether :meth:`begin`, :meth:`gradient` and :meth:`step` are all that the attack does."""
        kind = type(self)
        return kind._search is GradientAttack._search and kind.gradient is Attack.gradient

    def _search(self, network: Callable[..., Any], samples: Samples, task: Task) -> Tensor:
        aimed, sign = self._aim(network, samples, task)
        samples = replace(samples, targets=task.prepared(samples.clean, aimed))
        limits = self.limits(samples)
        points = self.begin(samples, limits)
        for _ in range(self.steps):
            gradient, _ = self.gradient(network, points, samples.targets, task)
            points = self.step(points, sign * gradient, samples, limits)
        return points.detach()

    def begin(self, samples: Samples, limits: Limits) -> Tensor:
        """The points that the search begins at, (R, C, *spatial); ``limits`` are those of the samples."""
        if samples.start is not None:
            start = samples.start if samples.inside is None else samples.start.masked_fill(~samples.inside, 0.0)
            return self.projected(samples.clean + start, samples, limits)
        if not self.random_start:
            return samples.clean
        return clipped(samples.clean + self._random(samples, surface=self.random_start == "sphere"), limits)

    def step(self, points: Tensor, gradient: Tensor, samples: Samples, limits: Limits) -> Tensor:
        """One step up from ``points``, (R, C, *spatial): ascend along the steepest direction of ``gradient``, project
        to the ball, clip to the bounds."""
        clean, eps = samples.clean, samples.eps
        relative = self.relative_step / self.steps
        length = eps * relative if self.step_size is None else torch.full_like(eps, self.step_size)
        direction = self.norm.steepest(usable(gradient, samples))
        delta = points - clean + expand(length, clean).to(clean.dtype) * direction
        return clipped(clean + self.norm.project(delta, eps), limits)


class FGSM(GradientAttack):
    """Fast gradient sign method: one step of the whole radius, L-inf by default (Goodfellow et al. 2014).

    Papers: oncology-stability, Table S1; model-complexity, eq. 1.
    """

    _norm = "linf"
    _steps = 1
    _relative_step = 1.0


class BIM(GradientAttack):
    """Basic iterative method, also known as IFGSM: 10 steps of a tenth of the radius, L-inf by default.

    Kurakin et al. 2016; oncology-stability, Table S1.
    """

    _norm = "linf"
    _steps = 10
    _relative_step = 1.0


IFGSM = BIM


class PGD(GradientAttack):
    """Projected gradient descent (Madry et al. 2017): 20 steps of ``2.5 * eps / steps``, L2, from the input itself.

    These defaults are the evaluation attack of rtda section 4.2 (7 steps in training), whose step size is that of
    the toolbox it used.
    """
