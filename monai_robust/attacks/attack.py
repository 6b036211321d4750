"""What every attack on a ball around each input is: its threat, its task, and how it is called."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Literal

import torch
from monai.data import MetaTensor
from torch import Tensor

from monai_robust.attacks.common.arguments import checked_goal, checked_inputs, one_of
from monai_robust.attacks.common.guard import Mode, bare, untouched
from monai_robust.attacks.common.half_precision import tell_if_slow
from monai_robust.attacks.common.masks import bounding_box, checked_channels, checked_mask, within_channels
from monai_robust.attacks.common.samples import Generators, Samples
from monai_robust.attacks.threat import Bounds, BoundsSpec, Norm, as_norm, as_radius
from monai_robust.data.intensity import checked_radius
from monai_robust.errors import BadInputError, BadSamplesError, NotFiniteError
from monai_robust.networks.fast_form import gradients_of
from monai_robust.tasks import Classification, Task
from monai_robust.tasks.base import Goal, checked_task, total
from monai_robust.tasks.tensors import outside_inference

__all__ = ["Attack", "Limits", "Precision", "RandomStart", "clipped", "usable"]

Precision = Literal["bfloat16", "float16"]
RandomStart = bool | Literal["ball", "sphere"]
_NO_DIRECTION = (
    "the gradient that an attack follows is zero for every sample of a batch, so that it finds nothing there, whether "
    "the network is robust or not: outputs that are saturated or rounded have none (Square and strong_attack need none)"
)
Limits = tuple[Tensor, Tensor] | None
"""Lowest and highest intensities, each of a shape that broadcasts to (R, C, *spatial); None where anything goes."""


class Attack(ABC):
    """Search a ball around each input for the input that hurts a task most.

    Only gradients with respect to the input are computed, and the network is left exactly as it was found, also after
    an exception. A subclass says in :meth:`_search` how it searches.

    Args:
        norm: ``"l2"`` or ``"linf"``.
        eps: radius of the ball in intensity units of the network's input; may be given with each call instead. Text
            with a unit, such as ``"20HU"``, ``"3grey"`` or ``"5%"``, is what a trainer's or an evaluator's pipeline
            makes of it (``RobustUpdate``, ``UnderAttack``), and no radius without one.
        bounds: intensities allowed: ``(low, high)``, ``"per_image"`` or ``None``.
        goal: ``"untargeted"`` (raise the loss); or to lower the loss of other targets: ``"least_likely"`` or a class
            index for classes, ``"vanishing"`` (no boxes), ``"mislabelling"`` or a class index for detection.
        task: what to hurt; classification by cross-entropy by default.
        mode: run the network in ``"eval"`` or ``"train"`` mode (its batch statistics, then) or ``"keep"`` its mode.
        precision: run the network under autocast to ``"bfloat16"`` or ``"float16"``; the perturbation stays in the
            precision of the inputs. A processor without instructions for it takes several times as long, which is
            logged once.
        channels: those of the input that are image and may be changed, by index; all by default. The others, such as
            clicks of a person, stay as they are and count neither in norms nor in the range of an image.

    Raises:
        BadInputError: for an argument that cannot work.
    """

    _norm: ClassVar[str] = "l2"

    def __init__(
        self,
        *,
        norm: str | Norm | None = None,
        eps: float | Tensor | str | None = None,
        bounds: BoundsSpec = None,
        goal: Goal = "untargeted",
        task: Task | None = None,
        mode: Mode = "eval",
        precision: Precision | None = None,
        channels: Sequence[int] | None = None,
    ) -> None:
        self.norm = as_norm(self._norm if norm is None else norm)
        if isinstance(eps, str):
            number, unit = checked_radius(eps)
            eps = eps if unit else number
        elif eps is not None:
            as_radius(eps, len(eps) if isinstance(eps, Tensor) and eps.ndim else 1, "cpu")
        self.eps = eps
        self.bounds = Bounds(bounds)
        self.goal = checked_goal(goal)
        self.task = task
        self.mode = one_of("mode", mode, ("eval", "train", "keep"))
        self.precision = one_of("precision", precision, (None, "bfloat16", "float16"))
        self.channels = None if channels is None else checked_channels(channels)

    def __repr__(self) -> str:
        numbers = {name: value for name, value in {**self.settings(), "eps": self.eps}.items() if name != "attack"}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in numbers.items())})"

    @property
    def only_steps(self) -> bool:
        """Whether the attack is nothing but gradient steps, which a search may take itself."""
        return False

    @property
    def budget(self) -> int:
        """Gradient steps, or queries, of one run."""
        return 1

    def settings(self) -> dict[str, Any]:
        """The attack's numbers as primitives, for tables and reports."""
        return {
            "attack": type(self).__name__,
            "norm": self.norm.name,
            "bounds": list(self.bounds.bounds) if isinstance(self.bounds.bounds, tuple) else self.bounds.bounds,
            "goal": self.goal,
            "mode": self.mode,
            "precision": self.precision,
            **({} if self.channels is None else {"channels": list(self.channels)}),
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
            generator: source of random numbers; one for each sample makes a sample's result independent of its batch.
            mask: (B, 1, *spatial), true where there is image and not padding, which stays as it is and counts neither
                in norms nor in the range of an image.
            start: perturbation to begin with, (B, C, *spatial), instead of a random one; what lies outside the ball is
                projected, padding is left out. Only for attacks that are nothing but steps, such as PGD.
        """
        if start is not None:
            self._check_start(start, inputs)
        # An ordinary tensor even where the caller is in inference mode, whose tensors cannot enter a graph.
        with torch.inference_mode(False), torch.enable_grad():
            clean = checked_inputs(inputs)
            targets = outside_inference(targets)
            radius = as_radius(self._radius(eps), len(clean), clean.device)
            inside = self.region(clean, mask)
            self.bounds.check(clean, inside, inputs.dtype)
            samples = Samples.of(clean, targets, radius, generator, inside, _detached(start, clean))
            chosen = checked_task(task or self.task or Classification())
            with untouched(bare(network), self.mode) as network:
                # The perturbation is searched in single precision at least, and the network sees half precision
                run = network if clean.dtype == inputs.dtype else lambda x: network(x.to(inputs.dtype))
                adversarial = (self._search(run, samples, chosen) if len(clean) else clean).to(inputs.dtype)
        if not isinstance(inputs, MetaTensor):
            return adversarial
        return MetaTensor(adversarial).copy_meta_from(inputs)

    @abstractmethod
    def _search(self, network: Callable[..., Any], samples: Samples, task: Task) -> Tensor:
        """The adversarial inputs of ``samples``, (R, C, *spatial); their targets are those that were given."""

    def region(self, inputs: Tensor, mask: Tensor | None) -> Tensor | None:
        """Where inputs (B, C, *spatial) may be changed, of their shape, bool; None where everywhere.

        Args:
            inputs: the clean inputs.
            mask: (B, 1, *spatial), true where there is image and not padding.

        Raises:
            BadInputError: for a mask of another shape, and channels that the inputs do not have.
        """
        inside = None if mask is None else checked_mask(mask, inputs)
        return inside if self.channels is None else within_channels(self.channels, inputs, inside)

    def limits(self, samples: Samples) -> Limits:
        """The intensities that the bounds allow each sample; its padding stays as it is."""
        limits = self.bounds.limits(samples.clean, samples.inside)
        if limits is None or samples.inside is None:
            return limits
        low, high = limits
        return torch.where(samples.inside, low, samples.clean), torch.where(samples.inside, high, samples.clean)

    def projected(self, points: Tensor, samples: Samples, limits: Limits) -> Tensor:
        """Points (R, C, *spatial) projected to the ball of each sample, then clipped to the bounds."""
        return clipped(samples.clean + self.norm.project(points - samples.clean, samples.eps), limits)

    def gradient(self, network: Callable[..., Any], points: Tensor, targets: Any, task: Task) -> tuple[Tensor, Any]:
        """The gradient of the task's loss with respect to ``points``, and the outputs that it comes from.

        Args:
            network: ``inputs -> outputs``.
            points: (R, C, *spatial).
            targets: prepared by the task for these samples.
            task: its loss terms are summed up.

        Raises:
            BadSamplesError: where the loss does not depend on the points.
            BadInputError: for a network whose checkpoints of activations give gradients of its weights alone.
        """
        leaf = points.detach().requires_grad_(True)
        with self.autocast(leaf):
            outputs = task.forward(gradients_of(network), leaf, targets)
            loss = total(task.terms(outputs, targets)).sum()
            scale = _loss_scale(leaf.device)
        loss = loss * scale if scale != 1.0 else loss
        gradient = _gradient(loss, leaf) if loss.requires_grad else None
        if gradient is None:
            what = (
                "the loss does not depend on the network's input by any gradient, so there is nothing to follow; "
                "networks without one are attacked by Square"
            )
            raise BadSamplesError(what, range(len(leaf)))
        return gradient, outputs

    def autocast(self, inputs: Tensor) -> AbstractContextManager[Any]:
        """The precision in which the network is run."""
        if self.precision is None:
            return nullcontext()
        if inputs.device.type == "cpu":
            tell_if_slow(self.precision)
        return torch.autocast(inputs.device.type, dtype=getattr(torch, self.precision))

    def _aim(self, network: Callable[..., Any], samples: Samples, task: Task) -> tuple[Any, Literal[1, -1]]:
        """The targets to be left (1) or approached (-1)."""
        if self.goal == "untargeted":
            return samples.targets, 1
        with torch.no_grad(), self.autocast(samples.clean):
            outputs = task.forward(network, samples.clean, samples.targets)
        return task.aim(outputs, samples.targets, self.goal), -1

    def _random(self, samples: Samples, *, surface: bool) -> Tensor:
        """A random perturbation, (R, C, *spatial), in the ball of each sample or on its surface."""
        clean, eps, generator, inside = samples.clean, samples.eps, samples.generator, samples.inside
        if generator is None or isinstance(generator, torch.Generator):
            return self.norm.sample(clean, eps, generator, surface=surface, mask=inside)
        start = torch.zeros_like(clean)
        for index, own in enumerate(generator):
            # drawn for the image's own part of the batch, so that a start does not depend on how far it was padded
            box = (slice(index, index + 1), slice(None), *(() if inside is None else bounding_box(inside[index])))
            part = None if inside is None else inside[box]
            start[box] = self.norm.sample(clean[box], eps[index : index + 1], own, surface=surface, mask=part)
        return start

    def _radius(self, eps: float | Tensor | None) -> float | Tensor:
        chosen: float | Tensor | str | None = self.eps if eps is None else eps
        if chosen is None:
            raise BadInputError(f"{type(self).__name__} has no radius: give eps to the attack or to the call")
        if isinstance(chosen, str):
            raise BadInputError(
                f"the radius {chosen} is in a unit that only the pipeline of a trainer or an evaluator tells "
                "(RobustUpdate, UnderAttack); give the call eps, a number in units of the network's input"
            )
        return chosen

    def _check_start(self, start: Tensor, inputs: Tensor) -> None:
        if not self.only_steps:
            raise BadInputError(f"{type(self).__name__} begins where it chooses to; give start to PGD or BIM")
        if not isinstance(start, Tensor) or start.shape != inputs.shape or not start.is_floating_point():
            what = f"{start.dtype} {tuple(start.shape)}" if isinstance(start, Tensor) else type(start).__name__
            raise BadInputError(
                f"the attack's start is {what}; it must be a floating perturbation of the inputs' shape "
                f"{tuple(inputs.shape)}"
            )


def _gradient(loss: Tensor, leaf: Tensor) -> Tensor | None:
    """The gradient of ``loss`` with respect to ``leaf``, None where it does not depend on it."""
    try:
        return torch.autograd.grad(loss, leaf, allow_unused=True)[0]
    except RuntimeError as error:
        if "use_reentrant" not in str(error):
            raise
        raise BadInputError(
            "the network keeps its activations by torch.utils.checkpoint(use_reentrant=True), which gives no gradient "
            "of the input; give it use_reentrant=False"
        ) from error


def usable(gradient: Tensor, samples: Samples) -> Tensor:
    """The gradient, (R, C, *spatial), of the image and not of its padding.

    A gradient that is zero for all of the samples is told by a warning: what finds nothing then says nothing of the
    network.

    Raises:
        NotFiniteError: where it is NaN or infinite, and so no direction.
    """
    if samples.inside is not None:
        gradient = gradient.masked_fill(~samples.inside, 0.0)
    largest = gradient.flatten(1).abs().amax(dim=1)  # NaN and infinity stay; several times faster than isfinite of all
    finite = largest.isfinite()
    if not bool(finite.all()):
        what = "the attack met a loss whose gradient is NaN or infinite; check loss and network"
        raise NotFiniteError(what, samples.rows[~finite].tolist())
    if len(largest) and not bool(largest.any()):
        warnings.warn(_NO_DIRECTION, stacklevel=2)
    return gradient


def clipped(points: Tensor, limits: Limits) -> Tensor:
    """Points (R, C, *spatial) within the limits."""
    return points if limits is None else torch.maximum(torch.minimum(points, limits[1]), limits[0])


def _detached(start: Tensor | None, clean: Tensor) -> Tensor | None:
    """An ordinary tensor, also of one that was made in inference mode."""
    return None if start is None else start.detach().clone().to(clean)


def _loss_scale(device: torch.device) -> float:
    """Float16 underflows where gradients are small; the steepest direction does not depend on the scale."""
    half = torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type) is torch.float16
    return 1024.0 if half else 1.0
