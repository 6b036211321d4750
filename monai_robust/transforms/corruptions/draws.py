"""Random numbers of corruptions, and the planes of volumes."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

__all__ = ["choice", "normal", "over_planes", "poisson", "seed_from", "uniform", "uniform_number"]


def normal(values: Tensor, variance: float, generator: Generator) -> Tensor:
    """N(0, variance) of the values' shape.

    Drawn where the generator lives and in one precision, so that the noise does not depend on the image's device.
    """
    noise = torch.randn(values.shape, generator=generator, device=generator.device)
    return (math.sqrt(variance) * noise).to(values)


def uniform(values: Tensor, generator: Generator) -> Tensor:
    """U(0, 1) of the values' shape, single precision."""
    return torch.rand(values.shape, generator=generator, device=generator.device).to(values.device)


def poisson(expected: Tensor, generator: Generator) -> Tensor:
    """Counts of the expected mean, of its shape, double precision, on the CPU: smallest k with P(X <= k) >= U(0, 1).

    One number is drawn a pixel whatever is expected there, and a count grows with it: draws with generators of one
    seed are the same draw at every mean, which those of ``torch.poisson`` are not.
    """
    mean = expected.double().cpu()
    share = uniform(mean, generator).double().cpu()
    normal_share = torch.special.ndtri(share).clamp(-9, 9)
    count = (mean + normal_share * mean.sqrt() + (normal_share**2 - 1) / 6).floor().clamp_min(0)  # Cornish-Fisher
    flat, shares, means = count.flatten(), share.flatten(), mean.flatten()
    left = torch.arange(len(flat))
    while len(left):
        k, u, m = flat[left], shares[left], means[left]
        too_small = torch.special.gammaincc(k + 1, m) < u  # P(X <= k) is the regularised Q(k + 1, m)
        too_large = (k > 0) & ~too_small & (torch.special.gammaincc(k.clamp_min(1), m) >= u)
        flat[left] = k + too_small.double() - too_large.double()
        left = left[too_small | too_large]
    return flat.view_as(expected)


def uniform_number(generator: Generator, low: float = 0.0, high: float = 1.0) -> float:
    """One number from low to high."""
    return low + (high - low) * float(torch.rand((), generator=generator, device=generator.device))


def choice(generator: Generator, count: int) -> int:
    """One of 0 ... count - 1."""
    return int(torch.randint(count, (), generator=generator, device=generator.device))


def seed_from(generator: Generator) -> int:
    """A seed for what draws by NumPy."""
    return choice(generator, 2**31 - 1)


def over_planes(values: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """A change of planes, done to an image or to each slice of a volume along its last axis.

    Args:
        values: (C, H, W) or (C, H, W, D).
        change: takes (D, C, H, W) and returns the same shape.
    """
    if values.ndim == 3:
        return change(values[None])[0]
    return change(values.movedim(-1, 0)).movedim(0, -1)
