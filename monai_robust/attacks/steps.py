"""Gradient attacks: FGSM, BIM and PGD are one loop with three sets of numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from numbers import Real
from typing import Any, ClassVar, Literal

import torch
from monai.data import MetaTensor
from torch import Tensor

from monai_robust.attacks.guard import Mode, bare, untouched
from monai_robust.attacks.masks import bounding_box, checked_mask
from monai_robust.attacks.samples import Generators, Samples
from monai_robust.attacks.threat import Bounds, BoundsSpec, Norm, as_norm, as_radius, expand
from monai_robust.errors import BadInputError, BadSamplesError, NotFiniteError
from monai_robust.tasks import Classification, Task
from monai_robust.tasks.base import Goal, total
from monai_robust.tasks.tensors import outside_inference

__all__ = ["BIM", "FGSM", "IFGSM", "PGD", "GradientAttack", "usable"]

RandomStart = bool | Literal["ball", "sphere"]
Limits = tuple[Tensor, Tensor] | None
Precision = Literal["bfloat16", "float16"]
GOALS = ("untargeted", "least_likely", "vanishing", "mislabelling")


class GradientAttack:
    """Search a ball around each input, by steepest ascent, for the input that hurts a task most.

    Each step ascends, projects to the ball, then clips to the bounds. Only the gradient with respect to the input is
    computed, and the network is left exactly as it was found, also after an exception. Without a random start the
    result is a function of its arguments; with one, of ``generator`` too.

    Args:
        norm: ``"l2"`` or ``"linf"``.
        eps: radius of the ball in intensity units of the network's input; may be given with each call instead.
        steps: number of gradient steps.
        step_size: length of a step in intensity units; by default ``relative_step * eps / steps`` for each sample.
        relative_step: what all steps together could travel, in radii.
        random_start: ``False`` (start at the input), ``"ball"`` (``True`` is the same) or ``"sphere"``.
        bounds: intensities allowed: ``(low, high)``, ``"per_image"`` or ``None``.
        goal: ``"untargeted"`` (raise the loss); or to lower the loss of other targets: ``"least_likely"`` or a class
            index for classes, ``"vanishing"`` (no boxes), ``"mislabelling"`` or a class index for detection.
        task: what to hurt; classification by cross-entropy by default.
        mode: run the network in ``"eval"`` or ``"train"`` mode (its batch statistics, then) or ``"keep"`` its mode.
        precision: run the network under autocast to ``"bfloat16"`` or ``"float16"``; the perturbation stays in the
            precision of the inputs.

    Raises:
        BadInputError: for an argument that cannot work.
    """

    _norm: ClassVar[str] = "l2"
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
    ) -> None:
        self.norm = as_norm(self._norm if norm is None else norm)
        if eps is not None:
            as_radius(eps, len(eps) if isinstance(eps, Tensor) and eps.ndim else 1, "cpu")
        self.eps = eps
        self.steps = _positive("steps", self._steps if steps is None else steps, int)
        self.step_size = None if step_size is None else _positive("step_size", step_size, float)
        self.relative_step = _positive(
            "relative_step", self._relative_step if relative_step is None else relative_step, float
        )
        self.random_start = _one_of("random_start", random_start, (False, True, "ball", "sphere"))
        self.bounds = Bounds(bounds)
        self.goal = _goal(goal)
        self.task = task
        self.mode = _one_of("mode", mode, ("eval", "train", "keep"))
        self.precision = _one_of("precision", precision, (None, "bfloat16", "float16"))

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(norm={self.norm.name!r}, eps={self.eps}, steps={self.steps}, "
            f"step_size={self.step_size}, relative_step={self.relative_step}, random_start={self.random_start!r}, "
            f"bounds={self.bounds.bounds}, goal={self.goal!r}, mode={self.mode!r}, precision={self.precision!r})"
        )

    def settings(self) -> dict[str, Any]:
        """The attack's numbers as primitives, for tables and reports."""
        return {
            "attack": type(self).__name__,
            "norm": self.norm.name,
            "steps": self.steps,
            "step_size": self.step_size,
            "relative_step": self.relative_step,
            "random_start": self.random_start,
            "bounds": list(self.bounds.bounds) if isinstance(self.bounds.bounds, tuple) else self.bounds.bounds,
            "goal": self.goal,
            "mode": self.mode,
            "precision": self.precision,
        }

    def __call__(
        self,
        network: Callable[..., Any],
        inputs: Tensor,
        targets: Any,
        eps: float | Tensor | None = None,
        *,
        task: Task | None = None,
        generator: Generators = None,
        mask: Tensor | None = None,
        start: Tensor | None = None,
    ) -> Tensor:
        """Adversarial inputs, detached, of the shape, dtype, device and metadata of ``inputs``.

        Args:
            network: any callable ``inputs -> outputs``.
            inputs: (B, C, *spatial), floating; images of different sizes are padded to one
                (:func:`monai_robust.data.padded_batch`).
            targets: whatever the task takes.
            eps: radius: a number or a (B,) tensor; overrides the configured one.
            task: overrides the configured task.
            generator: source of the random start; one for each sample makes a sample's start independent of its batch.
            mask: (B, 1, *spatial), true where there is image and not padding, which stays as it is and counts neither
                in norms nor in the range of an image.
            start: perturbation to begin with, (B, C, *spatial), instead of a random one; what lies outside the ball is
                projected, padding is left out. Only for attacks that are nothing but steps, such as PGD.
        """
        if start is not None:
            self._check_start(start, inputs)
        # An ordinary tensor even where the caller is in inference mode, whose tensors cannot enter a graph.
        with torch.inference_mode(False), torch.enable_grad():
            clean = _checked(inputs)
            targets = outside_inference(targets)
            radius = as_radius(self._radius(eps), len(clean), clean.device)
            inside = None if mask is None else checked_mask(mask, clean)
            self.bounds.check(clean, inside)
            samples = Samples.of(clean, targets, radius, generator, inside, _detached(start, clean))
            chosen = task or self.task or Classification()
            with untouched(bare(network), self.mode) as network:
                # The perturbation is searched in single precision at least, and the network sees half precision
                run = network if clean.dtype == inputs.dtype else lambda x: network(x.to(inputs.dtype))
                adversarial = (self._search(run, samples, chosen) if len(clean) else clean).to(inputs.dtype)
        if not isinstance(inputs, MetaTensor):
            return adversarial
        return MetaTensor(adversarial).copy_meta_from(inputs)

    def _radius(self, eps: float | Tensor | None) -> float | Tensor:
        chosen = self.eps if eps is None else eps
        if chosen is None:
            raise BadInputError(f"{type(self).__name__} has no radius: give eps to the attack or to the call")
        return chosen

    def _search(self, network: Callable[..., Any], samples: Samples, task: Task) -> Tensor:
        """The adversarial inputs of ``samples``; their targets are those that were given."""
        aimed, sign = self._aim(network, samples.clean, samples.targets, task)
        samples = replace(samples, targets=task.prepared(samples.clean, aimed))
        limits = self._bounds_of(samples)
        adversarial = self._begin(samples, limits)
        for _ in range(self.steps):
            gradient = self._gradient(network, adversarial, samples.targets, task)
            adversarial = self._step(adversarial, sign * gradient, samples, limits)
        return adversarial.detach()

    def _begin(self, samples: Samples, limits: Limits) -> Tensor:
        """The points that the search begins at, (R, C, *spatial)."""
        if samples.start is not None:
            start = samples.start if samples.inside is None else samples.start.masked_fill(~samples.inside, 0.0)
            return self._within(samples.clean + start, samples, limits)
        return _clip(samples.clean + self._start(samples), limits) if self.random_start else samples.clean

    def _step(self, points: Tensor, gradient: Tensor, samples: Samples, limits: Limits) -> Tensor:
        """One step up: ascend along the steepest direction, project to the ball, clip to the bounds."""
        clean, eps = samples.clean, samples.eps
        relative = self.relative_step / self.steps
        length = eps * relative if self.step_size is None else torch.full_like(eps, self.step_size)
        gradient = usable(gradient, samples)
        delta = points - clean + expand(length, clean).to(clean.dtype) * self.norm.steepest(gradient)
        return _clip(clean + self.norm.project(delta, eps), limits)

    def _within(self, points: Tensor, samples: Samples, limits: Limits) -> Tensor:
        """Points projected to the ball of each sample, then clipped to the bounds."""
        return _clip(samples.clean + self.norm.project(points - samples.clean, samples.eps), limits)

    def _bounds_of(self, samples: Samples) -> Limits:
        """Limits that leave padding as it is."""
        return _limits(self.bounds.limits(samples.clean, samples.inside), samples.clean, samples.inside)

    def _start(self, samples: Samples) -> Tensor:
        """A random perturbation, (R, C, *spatial)."""
        clean, eps, generator, inside = samples.clean, samples.eps, samples.generator, samples.inside
        surface = self.random_start == "sphere"
        if generator is None or isinstance(generator, torch.Generator):
            return self.norm.sample(clean, eps, generator, surface=surface, mask=inside)
        start = torch.zeros_like(clean)
        for index, own in enumerate(generator):
            # drawn for the image's own part of the batch, so that a start does not depend on how far it was padded
            box = (slice(index, index + 1), slice(None), *(() if inside is None else bounding_box(inside[index])))
            part = None if inside is None else inside[box]
            start[box] = self.norm.sample(clean[box], eps[index : index + 1], own, surface=surface, mask=part)
        return start

    def _check_start(self, start: Tensor, inputs: Tensor) -> None:
        if type(self)._search is not GradientAttack._search:
            raise BadInputError(f"{type(self).__name__} begins where it chooses to; give start to PGD or BIM")
        if not isinstance(start, Tensor) or start.shape != inputs.shape or not start.is_floating_point():
            what = f"{start.dtype} {tuple(start.shape)}" if isinstance(start, Tensor) else type(start).__name__
            raise BadInputError(
                f"the attack's start is {what}; it must be a floating perturbation of the inputs' shape "
                f"{tuple(inputs.shape)}"
            )

    def _aim(self, network: Callable[..., Any], clean: Tensor, targets: Any, task: Task) -> tuple[Any, Literal[1, -1]]:
        if self.goal == "untargeted":
            return targets, 1
        with torch.no_grad(), self._autocast(clean):
            outputs = task.forward(network, clean, targets)
        return task.aim(outputs, targets, self.goal), -1

    def _gradient(self, network: Callable[..., Any], adversarial: Tensor, targets: Any, task: Task) -> Tensor:
        return self._pass(network, adversarial, targets, task)[0]

    def _pass(self, network: Callable[..., Any], adversarial: Tensor, targets: Any, task: Task) -> tuple[Tensor, Any]:
        """The gradient of the loss with respect to the inputs, and the outputs that it comes from."""
        leaf = adversarial.detach().requires_grad_(True)
        with self._autocast(leaf):
            outputs = task.forward(network, leaf, targets)
            loss = total(task.terms(outputs, targets)).sum()
            scale = _loss_scale(leaf.device)
        loss = loss * scale if scale != 1.0 else loss
        (gradient,) = torch.autograd.grad(loss, leaf, allow_unused=True) if loss.requires_grad else (None,)
        if gradient is None:
            what = "the loss does not depend on the network's input, so there is nothing to attack"
            raise BadSamplesError(what, range(len(leaf)))
        return gradient, outputs

    def _autocast(self, inputs: Tensor) -> AbstractContextManager[Any]:
        if self.precision is None:
            return nullcontext()
        return torch.autocast(inputs.device.type, dtype=getattr(torch, self.precision))


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


def usable(gradient: Tensor, samples: Samples) -> Tensor:
    """The gradient, (R, C, *spatial), of the image and not of its padding.

    Raises:
        NotFiniteError: where it is NaN or infinite, and so no direction.
    """
    if samples.inside is not None:
        gradient = gradient.masked_fill(~samples.inside, 0.0)
    finite = gradient.isfinite().flatten(1).all(dim=1)
    if not bool(finite.all()):
        what = "the attack met a loss whose gradient is NaN or infinite; check loss and network"
        raise NotFiniteError(what, samples.rows[~finite].tolist())
    return gradient


def _checked(inputs: Tensor) -> Tensor:
    if not isinstance(inputs, Tensor) or not inputs.is_floating_point() or inputs.ndim < 2:
        what = f"{inputs.dtype} {tuple(inputs.shape)}" if isinstance(inputs, Tensor) else type(inputs).__name__
        raise BadInputError(f"an attack takes floating inputs of shape (B, C, *spatial), not {what}")
    clean = (inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs).detach().clone()
    clean = clean.float() if clean.dtype in (torch.float16, torch.bfloat16) else clean
    if len(clean) and not clean[0].numel():
        raise BadInputError(f"an attack takes images with pixels, and these have shape {tuple(inputs.shape)}")
    if not bool(torch.isfinite(clean).all()):
        bad = torch.nonzero(~torch.isfinite(clean).flatten(1).all(dim=1)).flatten().tolist()
        raise BadSamplesError("the inputs hold NaN or infinite values", bad)
    return clean


def _detached(start: Tensor | None, clean: Tensor) -> Tensor | None:
    """An ordinary tensor, also of one that was made in inference mode."""
    return None if start is None else start.detach().clone().to(clean)


def _limits(limits: Limits, clean: Tensor, inside: Tensor | None) -> Limits:
    """Limits that leave padding as it is."""
    if limits is None or inside is None:
        return limits
    return torch.where(inside, limits[0], clean), torch.where(inside, limits[1], clean)


def _loss_scale(device: torch.device) -> float:
    """Float16 underflows where gradients are small; the steepest direction does not depend on the scale."""
    half = torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type) is torch.float16
    return 1024.0 if half else 1.0


def _clip(inputs: Tensor, limits: Limits) -> Tensor:
    return inputs if limits is None else torch.maximum(torch.minimum(inputs, limits[1]), limits[0])


def _positive(name: str, value: Any, kind: type[int] | type[float]) -> Any:
    number = not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)
    if not number or value <= 0 or kind(value) != value:
        what = "a whole number of at least 1" if kind is int else "a positive number"
        raise BadInputError(f"the attack's {name} is {value!r}; it must be {what}")
    return kind(value)


def _one_of(name: str, value: Any, choices: tuple[Any, ...]) -> Any:
    if not any(value is choice or (isinstance(choice, str) and value == choice) for choice in choices):
        raise BadInputError(f"the attack's {name} is {value!r}; it must be one of {', '.join(map(repr, choices))}")
    return value


def _goal(goal: Goal) -> Goal:
    index = isinstance(goal, int) and not isinstance(goal, bool) and goal >= 0
    if not index and goal not in GOALS:
        named = ", ".join(map(repr, GOALS))
        raise BadInputError(f"the attack's goal is {goal!r}; it must be one of {named} or a class index")
    return goal
