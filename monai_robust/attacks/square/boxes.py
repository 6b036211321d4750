"""Squares and cubes at random places of images: the geometry of the Square attack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from monai_robust.attacks.common.masks import bounding_box

__all__ = ["Boxes", "Window", "bump"]


@dataclass(frozen=True, eq=False)
class Window:
    """A box in each of R images.

    Attributes:
        offsets: for each spatial axis the distance of its pixels from the window's lower end, (R, 1, ..., n, ..., 1).
        inside: (R, 1, *spatial), true within the window.
        side: (R, D) its size.
    """

    offsets: list[Tensor]
    inside: Tensor
    side: Tensor

    def bump(self, axis: Tensor) -> Tensor:
        """The window's :func:`bump`, of length one, split along ``axis`` (R,); 0 outside. (R, 1, *spatial)."""
        shape = bump(self.offsets, self.side, axis) * self.inside
        length = torch.linalg.vector_norm(shape.flatten(1), dim=1)
        return shape / length.reshape(-1, *[1] * (shape.ndim - 1))


@dataclass(frozen=True, eq=False)
class Boxes:
    """Where in a padded batch the image of each of R samples is.

    Attributes:
        low, size: (R, D), of the smallest box that holds the image.
        spatial: size of the padded images.
    """

    low: Tensor
    size: Tensor
    spatial: tuple[int, ...]

    @classmethod
    def of(cls, images: Tensor, inside: Tensor | None) -> Boxes:
        """Boxes of images (R, C, *spatial) that are true in ``inside``, of the same shape; None for all of them."""
        spatial = tuple(images.shape[2:])
        whole = tuple(slice(0, length) for length in spatial)
        slices = [whole if inside is None else bounding_box(inside[row]) for row in range(len(images))]
        low = torch.tensor([[one.start for one in own] for own in slices], device=images.device)
        high = torch.tensor([[one.stop for one in own] for own in slices], device=images.device)
        return cls(low, high - low, spatial)

    @property
    def dims(self) -> int:
        return len(self.spatial)

    def where(self, chosen: Tensor) -> Boxes:
        """Those of the samples that are chosen, (R,) bool."""
        return Boxes(self.low[chosen], self.size[chosen], self.spatial)

    def slices(self, row: int) -> tuple[slice, ...]:
        """The box of a sample, a slice for each spatial axis."""
        pairs = zip(self.low[row].tolist(), self.size[row].tolist(), strict=True)
        return tuple(slice(low, low + size) for low, size in pairs)

    def side(self, share: float, *, odd: bool = False) -> Tensor:
        """Side lengths (R, D) of a cube of that share of each box; odd, and at least 3, to have a centre."""
        side = (share * self.size.double().prod(dim=1)).pow(1 / self.dims).round().long()
        if odd:
            side = side.clamp(min=3) // 2 * 2 + 1
        return torch.minimum(side.clamp(min=1)[:, None], self.size)

    def window(self, side: Tensor, place: Tensor) -> Window:
        """Windows of that side, (R, D), of which ``place`` (R, D) says by numbers of [0, 1) where in the box."""
        free = self.size - side
        low = self.low + torch.minimum((place * (free + 1)).long(), free)
        axes = [torch.arange(length, device=low.device) for length in self.spatial]
        offsets = [_along(axis, self.dims, index) - _each(low[:, index], self.dims) for index, axis in enumerate(axes)]
        within = [(own >= 0) & (own < _each(side[:, index], self.dims)) for index, own in enumerate(offsets)]
        return Window(offsets, reduce(torch.logical_and, within), side)


def bump(offsets: Sequence[Tensor], side: Tensor, axis: Tensor) -> Tensor:
    """Two pyramids of opposite sign, side by side (Andriushchenko et al. 2020, Algorithm 3).

    In each half, a pixel at distance d (of its furthest axis) from the centre has ``sum_{j = d}^{n} 1 / (j + 1)^2``, n
    being the distance of the furthest one.

    Args:
        offsets: for each axis the pixels' places in the box, (R, 1, ..., n, ..., 1).
        side: (R, D) of the box.
        axis: (R,) the axis along which it is halved.
    """
    dims = len(offsets)
    sign: Tensor = torch.ones((), device=side.device)
    distances, furthest = [], []
    for index, own in enumerate(offsets):
        length, halved = _each(side[:, index], dims), _each(axis == index, dims)
        middle = length // 2
        second = halved & (own >= middle)
        sign = torch.where(second, -1.0, 1.0) * sign
        size = torch.where(halved, torch.where(second, length - middle, middle), length)
        distances.append((own - torch.where(second, middle, 0) - size // 2).abs())
        furthest.append(length // 2)
    # as good as in the half's own box; outside the window, where it does not matter, it stays a valid index
    n = reduce(torch.maximum, furthest)
    distance = torch.minimum(reduce(torch.maximum, distances), n)
    sums = torch.arange(1, int(n.max()) + 2, device=side.device).double().pow(-2).cumsum(dim=0).float()
    sums = torch.cat([sums.new_zeros(1), sums])
    return sign * (sums[n + 1] - sums[distance])


def _each(values: Tensor, dims: int) -> Tensor:
    return values.reshape(-1, 1, *[1] * dims)


def _along(values: Tensor, dims: int, index: int) -> Tensor:
    shape = [1] * (dims + 2)
    shape[index + 2] = len(values)
    return values.reshape(shape)
