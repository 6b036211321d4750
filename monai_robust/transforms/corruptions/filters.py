"""Point spread functions, and resampling at coordinates given in pixels."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["disk", "filtered", "gaussian_kernel", "line", "pixel_grid", "sampled", "side_share"]


def side_share(percent: float, spatial: tuple[int, ...]) -> float:
    """A length in pixels from one in percent of the shorter of the first two sides."""
    return percent / 100 * min(spatial[:2])


def filtered(planes: Tensor, kernel: Tensor) -> Tensor:
    """Planes convolved with a kernel, the border continued by its own intensities.

    Args:
        planes: (..., H, W).
        kernel: (h, w), of odd sides; it is made to sum to 1.
    """
    height, width = (side // 2 for side in kernel.shape)
    flat = planes.reshape(-1, 1, *planes.shape[-2:])
    padded = F.pad(flat, (width, width, height, height), mode="replicate")
    response = torch.zeros(padded.shape[-2:], dtype=padded.dtype)
    response[: kernel.shape[0], : kernel.shape[1]] = kernel / kernel.sum()
    response = response.roll((-height, -width), dims=(0, 1))
    spread = torch.fft.irfft2(torch.fft.rfft2(padded) * torch.fft.rfft2(response), s=padded.shape[-2:])
    inside = spread[..., height : height + planes.shape[-2], width : width + planes.shape[-1]]
    return inside.reshape(planes.shape)


def gaussian_kernel(sigma: float, sigma_across: float | None = None) -> Tensor:
    """A Gaussian of a standard deviation in pixels along rows and, where given, another across."""
    parts = []
    for width in (sigma, sigma if sigma_across is None else sigma_across):
        reach = max(1, math.ceil(3 * width))
        places = torch.arange(-reach, reach + 1, dtype=torch.float64)
        parts.append(torch.exp(-0.5 * (places / max(width, 1e-6)) ** 2))
    return parts[0][:, None] * parts[1][None]


def disk(radius: float) -> Tensor:
    """The picture of a point that is out of focus: a disk of a radius in pixels, its edge smoothed."""
    reach = math.ceil(radius) + 1
    places = torch.arange(-reach, reach + 1, dtype=torch.float64)
    return (radius + 0.5 - torch.hypot(places[:, None], places[None])).clamp(0, 1)


def line(length: float, angle: float) -> Tensor:
    """The way of a point that moves ``length`` pixels while it is exposed, at an angle in radians."""
    reach = math.ceil(length / 2) + 1
    places = torch.arange(-reach, reach + 1, dtype=torch.float64)
    along = places[:, None] * math.sin(angle) + places[None] * math.cos(angle)
    across = places[:, None] * math.cos(angle) - places[None] * math.sin(angle)
    beyond = (along.abs() - length / 2).clamp_min(0)
    return (1 - torch.hypot(across, beyond)).clamp_min(0)


def pixel_grid(spatial: tuple[int, ...]) -> Tensor:
    """The index of every pixel, (dimensions, *spatial)."""
    return torch.stack(torch.meshgrid(*(torch.arange(side, dtype=torch.float32) for side in spatial), indexing="ij"))


def sampled(values: Tensor, coordinates: Tensor, mode: str = "bilinear") -> Tensor:
    """An image (C, *spatial), two or three spatial dimensions, at coordinates (dimensions, *other) in pixels.

    Outside stands what is nearest at the border.
    """
    sides = torch.tensor(values.shape[1:], dtype=coordinates.dtype).view(-1, *[1] * (coordinates.ndim - 1))
    grid = ((2 * coordinates + 1) / sides - 1).flip(0).movedim(0, -1)
    found = F.grid_sample(values[None], grid[None].to(values), mode=mode, padding_mode="border", align_corners=False)
    return found[0]
