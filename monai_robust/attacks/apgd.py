"""Auto-PGD: projected gradient ascent that finds its own step size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor

from monai_robust.attacks.attack import Precision, RandomStart, usable
from monai_robust.attacks.common.arguments import one_of, positive
from monai_robust.attacks.common.guard import Mode
from monai_robust.attacks.common.objective import Objective
from monai_robust.attacks.common.samples import Samples
from monai_robust.attacks.common.worst_case import WorstCase, WorstCaseAttack
from monai_robust.attacks.radius_schedule import RadiusSchedule, checked_schedule, phases
from monai_robust.attacks.threat import BoundsSpec, Norm, expand
from monai_robust.errors import BadInputError, naming
from monai_robust.losses.attack.classes import wrong_classes
from monai_robust.tasks import Classification, Task, base_task
from monai_robust.tasks.base import Goal

__all__ = ["APGD"]

# Croce and Hein 2020, section 3: momentum, share of steps that must rise, and where the first checkpoints lie.
_MOMENTUM, _RISING = 0.75, 0.75
_FIRST_PERIOD, _SHORTER, _SHORTEST = 0.22, 0.03, 0.06


class APGD(WorstCaseAttack):
    """Auto-PGD (Croce and Hein 2020, Algorithm 1): L2 or L-inf, 100 steps, any task.

    The first step is as long as the ball is wide. At checkpoints, which follow each other ever faster, a sample's step
    is halved and it goes back to its highest point where fewer than three quarters of the steps since the last
    checkpoint have raised its loss, or where neither its step nor its highest loss has changed since. Each step keeps a
    quarter of the last one's movement. The worst point of each sample is returned: a success before any other where
    the task tells one (classes), then what ``keep`` says. After going back, there is no movement to be kept.

    With a ``radius_schedule`` a run is a row of searches, first in larger balls (Croce et al. 2024, section 3.5): the
    worst point of one is projected to the next ball, where the search goes on with a new first step. Only points of
    the last one, whose ball is the radius asked for, are returned.

    Args:
        loss: what is raised instead of the task's own loss: for classes ``"ce"``, ``"dlr"``, ``"targeted_dlr"``,
            ``"margin"``; for several labels (B, C) ``"bce"``, ``"margin"``; for pixels ``"ce"``, ``"masked_ce"``,
            ``"balanced_masked_ce"``, ``"segpgd"``, ``"js"``, ``"masked_spherical"``; for landmarks ``"heatmap"``,
            ``"offset"``, ``"radial_error"``; for boxes ``"classification"``, ``"box_regression"``.
        steps: number of gradient steps of each run, all balls together.
        step_size, relative_step: length of the first step, absolute or (2 by default) in radii.
        random_start: ``False``, ``"ball"`` or ``"sphere"``; by default the input for one run, ``"sphere"`` for more.
        restarts: runs from different random starts; samples that have been broken are left out of further runs.
        classes: wrong classes that ``"targeted_dlr"`` steers to one after the other, the most likely first.
        radius_schedule: pairs of a ball's radius, in radii, and its share of the steps, such as
            ``((2.0, 0.3), (1.5, 0.3), (1.0, 0.4))``; radii fall to 1. The ball alone by default.
        eot, stop_at_success, keep: as for :class:`WorstCaseAttack`.
        norm, eps, bounds, goal, task, mode, precision, channels: as for :class:`Attack`.

    Raises:
        BadInputError: for an argument that cannot work.
    """

    def __init__(
        self,
        *,
        loss: str | None = None,
        norm: str | Norm | None = None,
        eps: float | Tensor | None = None,
        steps: int = 100,
        step_size: float | None = None,
        relative_step: float = 2.0,
        random_start: RandomStart | None = None,
        restarts: int = 1,
        classes: int = 9,
        radius_schedule: RadiusSchedule | None = None,
        eot: int = 1,
        stop_at_success: bool = False,
        keep: Literal["loss", "score"] = "loss",
        bounds: BoundsSpec = None,
        goal: Goal = "untargeted",
        task: Task | None = None,
        mode: Mode = "eval",
        precision: Precision | None = None,
        channels: Sequence[int] | None = None,
    ) -> None:
        super().__init__(
            loss=loss,
            eot=eot,
            stop_at_success=stop_at_success,
            keep=keep,
            norm=norm,
            eps=eps,
            bounds=bounds,
            goal=goal,
            task=task,
            mode=mode,
            precision=precision,
            channels=channels,
        )
        self.steps = positive("steps", steps, int)
        self.step_size = None if step_size is None else positive("step_size", step_size, float)
        self.relative_step = positive("relative_step", relative_step, float)
        self.restarts = positive("restarts", restarts, int)
        start = ("sphere" if self.restarts > 1 else False) if random_start is None else random_start
        self.random_start = one_of("random_start", start, (False, True, "ball", "sphere"))
        self.classes = positive("classes", classes, int)
        self.radius_schedule = checked_schedule(radius_schedule)
        if self.restarts > 1 and not self.random_start:
            raise BadInputError(f"restarts is {restarts}, but without a random_start all of them would be the same")

    @property
    def budget(self) -> int:
        """Gradient steps of one run."""
        return self.steps

    def settings(self) -> dict[str, Any]:
        """The attack's numbers as primitives, for tables and reports."""
        schedule = None if self.radius_schedule is None else [list(phase) for phase in self.radius_schedule]
        numbers = {
            "steps": self.steps,
            "step_size": self.step_size,
            "relative_step": self.relative_step,
            "random_start": self.random_start,
            "restarts": self.restarts,
            "classes": self.classes,
            "radius_schedule": schedule,
        }
        return {**super().settings(), **numbers}

    def _search(self, network: Callable[..., Any], samples: Samples, task: Task) -> Tensor:
        objective = self._objective(task, self.loss)
        samples = self._aimed(network, samples, task)
        worst = WorstCase(samples.clean)
        classes: Sequence[Tensor | None] = [None]
        if self.loss == "targeted_dlr":
            classes = self._classes(network, samples.clean, samples.targets["aimed"], task)
        for toward in classes:
            steered = samples if toward is None else replace(samples, targets={**samples.targets, "toward": toward})
            for _ in range(self.restarts):
                standing = ~worst.success
                if bool(standing.any()):
                    self._run(network, steered.at(standing), objective, worst)
        return worst.points

    @torch.no_grad()
    def _classes(self, network: Callable[..., Any], clean: Tensor, targets: Any, task: Task) -> Sequence[Tensor]:
        """The wrong classes to steer to, (B,) each, the most likely first."""
        base = base_task(task)
        outputs = task.forward(network, clean, task.prepared(clean, targets))
        reader = base if isinstance(base, Classification) else Classification()
        return wrong_classes(*reader.logits_and_labels(outputs, targets))[:, : self.classes].unbind(dim=1)

    def _run(self, network: Callable[..., Any], samples: Samples, objective: Objective, worst: WorstCase) -> None:
        """One run of ``samples``, ball after ball; the points of the last one are offered to ``worst``."""
        start: Tensor | None = None
        *wider, (_, last) = phases(self.radius_schedule, self.steps)
        for factor, steps in wider:
            # a batch of its own: what is found here lies outside the ball that was asked for
            wide = replace(samples, eps=factor * samples.eps, rows=torch.arange(len(samples.rows)).to(samples.rows))
            found = WorstCase(wide.clean)
            with naming(samples.rows):
                self._ascend(network, wide, objective, found, start, steps, leave=False)
            start = found.points
        self._ascend(network, samples, objective, worst, start, last, leave=self.stop_at_success)

    def _ascend(
        self,
        network: Callable[..., Any],
        samples: Samples,
        objective: Objective,
        worst: WorstCase,
        start: Tensor | None,
        steps: int,
        *,
        leave: bool,
    ) -> None:
        """One search of ``samples`` in one ball, whose points are offered to ``worst``, from ``start`` if it is given;
        ``leave`` a sample at its first success."""
        limits, prepared = self.limits(samples), self._prepared(objective, samples)
        if start is None:
            start = samples.clean
            if self.random_start:
                start = start + self._random(samples, surface=self.random_start == "sphere")
        start = self.projected(start, samples, limits)
        first = (
            samples.eps * self.relative_step if self.step_size is None else torch.full_like(samples.eps, self.step_size)
        )
        path, checkpoints, last = _Ascent.at(start, first), _checkpoints(steps), 0
        for step in range(steps + 1):
            objective.progress = step / max(steps, 1)
            seen = self._judged(network, samples, path.point, objective, prepared, gradient=step < steps)
            worst.update(samples.rows, path.point, seen)
            if step == steps:
                break
            path = path.judged(seen.loss, usable(seen.gradient, samples))
            if leave and bool(seen.success.any()):
                standing = ~seen.success
                samples, path = samples.at(standing), path.where(standing)
                if not len(samples.rows):
                    return
                limits, prepared = self.limits(samples), self._prepared(objective, samples)
            if step in checkpoints:
                path, last = path.at_checkpoint(step - last), step
            length = expand(path.step, path.point).to(path.point.dtype)
            ahead = self.projected(path.point + length * self.norm.steepest(path.gradient), samples, limits)
            if step:
                movement = _MOMENTUM * (ahead - path.point) + (1 - _MOMENTUM) * (path.point - path.previous)
                ahead = self.projected(path.point + movement, samples, limits)
            path = path.moved(ahead)


@dataclass(frozen=True, eq=False)
class _Ascent:
    """Where R samples are on their way; every attribute has R entries.

    Attributes:
        point, previous, highest: (R, C, *spatial).
        loss, top, top_before: of ``point``, of ``highest``, and of ``highest`` at the last checkpoint.
        gradient, steepness: (R, C, *spatial) at ``point`` and at ``highest``.
        step: length of a step.
        rises: how many steps since the last checkpoint have raised the loss.
        halved: whether the step was halved at the last checkpoint.
    """

    point: Tensor
    previous: Tensor
    highest: Tensor
    loss: Tensor
    top: Tensor
    top_before: Tensor
    gradient: Tensor
    steepness: Tensor
    step: Tensor
    rises: Tensor
    halved: Tensor

    @classmethod
    def at(cls, start: Tensor, step: Tensor) -> _Ascent:
        low = torch.full(step.shape, -math.inf, dtype=torch.float64, device=step.device)
        flat, none = torch.zeros_like(start), torch.zeros_like(step)
        halved = torch.ones_like(step, dtype=torch.bool)
        # the start has nothing before it above which it could have risen
        return cls(start, start, start, -low, low, low, flat, flat, step, none, halved)

    def where(self, chosen: Tensor) -> _Ascent:
        return _Ascent(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})

    def judged(self, loss: Tensor, gradient: Tensor) -> _Ascent:
        higher = loss > self.top
        wide = expand(higher, gradient)
        return replace(
            self,
            loss=loss,
            gradient=gradient,
            rises=self.rises + (loss > self.loss),
            top=torch.where(higher, loss, self.top),
            highest=torch.where(wide, self.point, self.highest),
            steepness=torch.where(wide, gradient, self.steepness),
        )

    def moved(self, point: Tensor) -> _Ascent:
        return replace(self, previous=self.point, point=point)

    def at_checkpoint(self, period: int) -> _Ascent:
        """Halve the step and go back to the highest point where the last ``period`` steps have led nowhere."""
        stuck = ~self.halved & (self.top <= self.top_before)
        back = (self.rises < _RISING * period) | stuck
        wide = expand(back, self.point)
        point = torch.where(wide, self.highest, self.point)
        return replace(
            self,
            point=point,
            previous=torch.where(wide, point, self.previous),
            gradient=torch.where(wide, self.steepness, self.gradient),
            loss=torch.where(back, self.top, self.loss),
            step=torch.where(back, self.step / 2, self.step),
            rises=torch.zeros_like(self.rises),
            top_before=self.top,
            halved=back,
        )


def _checkpoints(steps: int) -> set[int]:
    """Croce and Hein 2020, section 3: ``ceil(p_j steps)``, p growing by ever shorter periods."""
    places, share, period = set(), _FIRST_PERIOD, _FIRST_PERIOD
    while share <= 1:
        places.add(math.ceil(round(share * steps, 6)))
        period = max(period - _SHORTER, _SHORTEST)
        share += period
    return places
