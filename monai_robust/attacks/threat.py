"""The threat model: how a perturbation is measured, bounded and moved, with a radius for every sample."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.scalars import is_number

__all__ = ["L2", "Bounds", "BoundsSpec", "Linf", "Norm", "as_norm", "as_radius", "expand", "uniform"]

BoundsSpec = Sequence[float] | Literal["per_image"] | None


def expand(values: Tensor, like: Tensor) -> Tensor:
    """View ``values``, shape (B,), as (B, 1, ...) so that it broadcasts against ``like``, shape (B, C, *spatial)."""
    return values.reshape(-1, *([1] * (like.ndim - 1)))


class Norm(ABC):
    """One way to measure a perturbation. All methods work sample by sample on (B, C, *spatial)."""

    name: ClassVar[str]

    @abstractmethod
    def size(self, delta: Tensor) -> Tensor:
        """Size of each sample's perturbation, shape (B,), in intensity units of the network's input."""

    @abstractmethod
    def project(self, delta: Tensor, eps: Tensor) -> Tensor:
        """The nearest perturbation whose size is at most ``eps``, shape (B,)."""

    @abstractmethod
    def steepest(self, gradient: Tensor) -> Tensor:
        """The direction of size one along which a loss with this gradient rises fastest (0 where it is 0)."""

    @abstractmethod
    def sample(
        self,
        like: Tensor,
        eps: Tensor,
        generator: torch.Generator | None,
        *,
        surface: bool,
        mask: Tensor | None = None,
    ) -> Tensor:
        """A random perturbation, uniform in the ball of radius ``eps``, or of size exactly ``eps`` (``surface``).

        With a ``mask`` (of the shape of ``like``, 1 or 0) the ball is that of the entries where it is 1.
        """


class L2(Norm):
    """Euclidean length over all channels and voxels of a sample."""

    name = "l2"

    def size(self, delta: Tensor) -> Tensor:
        return torch.linalg.vector_norm(delta.flatten(1).float(), dim=1)

    def project(self, delta: Tensor, eps: Tensor) -> Tensor:
        factor = (eps / self.size(delta).clamp_min(torch.finfo(torch.float32).tiny)).clamp(max=1.0)
        return delta * expand(factor, delta).to(delta.dtype)

    def steepest(self, gradient: Tensor) -> Tensor:
        # Scaled by its largest entry first: gradients of confident networks are so small that squares underflow.
        largest = gradient.flatten(1).abs().amax(dim=1).clamp_min(torch.finfo(gradient.dtype).tiny)
        scaled = gradient / expand(largest, gradient)
        size = self.size(scaled).clamp_min(torch.finfo(torch.float32).tiny)
        return scaled / expand(size, scaled).to(scaled.dtype)

    def sample(
        self,
        like: Tensor,
        eps: Tensor,
        generator: torch.Generator | None,
        *,
        surface: bool,
        mask: Tensor | None = None,
    ) -> Tensor:
        drawn = _randn(like, generator)
        direction = self.steepest(drawn if mask is None else drawn * mask)
        if surface:
            return direction * expand(eps, like).to(like.dtype)
        dimension = like[0].numel() if mask is None else mask.flatten(1).sum(dim=1).clamp_min(1)
        length = eps * uniform(like.new_empty(len(like), dtype=torch.float32), generator) ** (1.0 / dimension)
        return direction * expand(length, like).to(like.dtype)


class Linf(Norm):
    """Largest absolute change of any voxel of a sample."""

    name = "linf"

    def size(self, delta: Tensor) -> Tensor:
        return delta.flatten(1).abs().amax(dim=1).float()

    def project(self, delta: Tensor, eps: Tensor) -> Tensor:
        limit = expand(eps, delta).to(delta.dtype)
        return torch.maximum(torch.minimum(delta, limit), -limit)

    def steepest(self, gradient: Tensor) -> Tensor:
        return gradient.sign()

    def sample(
        self,
        like: Tensor,
        eps: Tensor,
        generator: torch.Generator | None,
        *,
        surface: bool,
        mask: Tensor | None = None,
    ) -> Tensor:
        delta = 2.0 * uniform(like, generator) - 1.0
        delta = delta if mask is None else delta * mask
        if surface:
            delta = delta / expand(self.size(delta).clamp_min(torch.finfo(torch.float32).tiny), delta).to(delta.dtype)
        return delta * expand(eps, like).to(like.dtype)


_NORMS: dict[str, Norm] = {norm.name: norm for norm in (L2(), Linf())}


def as_norm(norm: str | Norm) -> Norm:
    """The norm called ``"l2"`` or ``"linf"``; a :class:`Norm` is handed through.

    Raises:
        BadInputError: when there is no norm of that name.
    """
    if isinstance(norm, Norm):
        return norm
    if not isinstance(norm, str) or norm not in _NORMS:
        raise BadInputError(f"norm is {norm!r}; it must be one of {', '.join(map(repr, _NORMS))}")
    return _NORMS[norm]


def as_radius(eps: float | Tensor, batch_size: int, device: torch.device | str) -> Tensor:
    """A radius for every sample, float32, shape (B,), from one number or from a (B,) tensor.

    Raises:
        BadInputError: for a radius that is not a positive finite number, or a tensor of another length.
    """
    if not is_number(eps) and (not isinstance(eps, Tensor) or eps.dtype is torch.bool):
        raise BadInputError(f"the attack's radius eps is {eps!r}; it must be a positive number or a (B,) tensor")
    if isinstance(eps, Tensor):
        radius = eps.detach().to(device=device, dtype=torch.float32)
        if radius.ndim > 1 or (radius.ndim == 1 and len(radius) != batch_size):
            raise BadInputError(
                f"the attack's radius eps has shape {tuple(eps.shape)} for a batch of {batch_size} samples; "
                f"it must be a number or have shape ({batch_size},)"
            )
        radius = radius.expand(batch_size) if radius.ndim == 0 else radius
    else:
        radius = torch.full((batch_size,), float(eps), device=device)
    usable = torch.isfinite(radius) & (radius > 0)
    if not bool(usable.all()):
        raise BadInputError(
            f"the attack's radius eps is {float(radius[~usable][0])}; it must be a positive finite number "
            "(radius 0 is the clean input and needs no attack)"
        )
    return radius


class Bounds:
    """The intensities an input may take: a pair, the range of each image, or anything (``None``).

    Args:
        bounds: ``(low, high)``, ``"per_image"`` (each sample's own minimum and maximum) or ``None``.

    Raises:
        BadInputError: for anything else, and by :meth:`check` for inputs that lie outside.
    """

    def __init__(self, bounds: BoundsSpec) -> None:
        if isinstance(bounds, str):
            if bounds != "per_image":
                raise BadInputError(f"bounds is {bounds!r}; it must be (low, high), 'per_image' or None")
        elif bounds is not None:
            pair = tuple(bounds) if isinstance(bounds, Iterable) else (bounds,)
            numbers = len(pair) == 2 and all(map(is_number, pair))
            if not numbers or not pair[0] < pair[1]:
                raise BadInputError(f"bounds is {bounds!r}; it must be (low, high) with low < high, or None")
            bounds = (float(pair[0]), float(pair[1]))
        self.bounds = bounds

    def limits(self, inputs: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor] | None:
        """Lowest and highest intensity for each sample, shape (B, 1, ...), or ``None`` where anything goes.

        With a ``mask`` of the shape of ``inputs``, a sample's own range is that of its entries where it is true.
        """
        if self.bounds is None:
            return None
        if isinstance(self.bounds, str):
            lows = inputs if mask is None else inputs.masked_fill(~mask, math.inf)
            highs = inputs if mask is None else inputs.masked_fill(~mask, -math.inf)
            return expand(lows.flatten(1).amin(dim=1), inputs), expand(highs.flatten(1).amax(dim=1), inputs)
        low, high = self.bounds
        return inputs.new_tensor(low), inputs.new_tensor(high)

    def check(self, inputs: Tensor, mask: Tensor | None = None, dtype: torch.dtype | None = None) -> None:
        """Refuse inputs that clipping would move: the result would silently not lie within the radius.

        Args:
            inputs: (B, C, *spatial).
            mask: of their shape, true where there is image; everywhere by default.
            dtype: in which they were given, that of ``inputs`` by default. A bound need not be a number of half
                precision, where the one nearest to it is not outside.

        Raises:
            BadInputError: names the range of the inputs.
        """
        if self.bounds is None or isinstance(self.bounds, str) or not len(inputs):
            return
        low, high = self.bounds
        lowest, highest = torch.tensor(self.bounds, dtype=torch.float64).to(dtype or inputs.dtype).tolist()
        slack = 1e-6 * (high - low)
        inputs = inputs if mask is None else inputs[mask]
        least, most = float(inputs.min()), float(inputs.max())
        if least < min(low, lowest) - slack or most > max(high, highest) + slack:
            raise BadInputError(
                f"the inputs range from {least:.6g} to {most:.6g}, outside the attack's bounds ({low:g}, {high:g}); "
                "scale them, or give the attack bounds='per_image' or bounds=None"
            )


def _randn(like: Tensor, generator: torch.Generator | None) -> Tensor:
    return _draw(torch.randn, like, generator)


def uniform(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Numbers of [0, 1), of the shape, dtype and device of ``like``."""
    return _draw(torch.rand, like, generator)


def _draw(draw, like: Tensor, generator: torch.Generator | None) -> Tensor:  # type: ignore[no-untyped-def]
    # Drawn where the generator lives, so that a CPU generator gives the same start on every device.
    device = like.device if generator is None else generator.device
    return draw(like.shape, generator=generator, device=device, dtype=torch.float32).to(like.device, like.dtype)
