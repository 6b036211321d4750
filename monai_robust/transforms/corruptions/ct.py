"""Artefacts of computed tomography, in image space and within the window that the network sees.

Rows and columns are the first two axes of space, slices the third.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Generator, Tensor

from monai_robust.transforms.corruptions.corruption import Corruption, CorruptionKind
from monai_robust.transforms.corruptions.draws import choice, over_planes, uniform_number
from monai_robust.transforms.corruptions.filters import filtered, gaussian_kernel, pixel_grid
from monai_robust.transforms.corruptions.table import register_corruption

__all__ = ["CtDoseNoise", "CtKernelSharp", "CtKernelSoft", "CtRings", "CtStreaks"]

RAYS = 12


class _Ct(Corruption):
    kind: ClassVar[CorruptionKind] = "artefact"
    dimensions = (2, 3)
    groups: ClassVar[tuple[str, ...]] = ("ct",)


@register_corruption
class CtDoseNoise(_Ct):
    """Noise as filtered back-projection makes it: its power grows with frequency and falls off at the highest ones,
    and it is stronger where the body absorbs more. A fourth of the dose doubles it.
    """

    name = "ct_dose_noise"
    label = "Low dose"
    kind = "noise"
    severity_label = "SD"
    meaning = "the largest standard deviation of the noise, as a share of the window"
    lowest = 0.0
    highest = math.inf
    severities = (0.03, 0.06, 0.1, 0.15, 0.22)
    source = "ours; Riederer et al. 1978 give the spectrum of the noise"

    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        return over_planes(values, lambda planes: planes + self.severity * self._noise(planes, generator))

    def _noise(self, planes: Tensor, generator: Generator) -> Tensor:
        height, width = planes.shape[-2:]
        white = torch.randn(planes.shape, generator=generator, device=generator.device).to(planes)
        radius = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None])
        amplitude = (radius * torch.exp(-((radius / 0.35) ** 2))).sqrt().to(planes)
        coloured = torch.fft.irfft2(torch.fft.rfft2(white) * amplitude, s=(height, width))
        spread = coloured.std(dim=(-2, -1), keepdim=True).nan_to_num()  # a single pixel has none
        coloured = coloured / spread.clamp_min(1e-12)
        around = filtered(planes, gaussian_kernel(0.12 * min(height, width)).to(planes.dtype)).clamp_min(0)
        absorbed = around / around.amax(dim=(-2, -1), keepdim=True).clamp_min(1e-6)
        return coloured * (0.3 + 0.7 * absorbed)


@register_corruption
class CtStreaks(_Ct):
    """Dark and bright streaks from two dense places and a dark band between them, as beam hardening and metal leave."""

    name = "ct_streaks"
    label = "Streaks"
    severity_label = "amplitude"
    meaning = "the largest change of intensity, as a share of the window"
    lowest = 0.0
    highest = math.inf
    severities = (0.12, 0.22, 0.35, 0.5, 0.75)
    source = "ours, chosen so that level 5 hides what lies between; Barrett and Keat 2004 show such"

    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        height, width = values.shape[1:3]
        density = values.mean(dim=0)
        first, slice_of_it = _dense_place(density, generator)
        second, _ = _dense_place(density if density.ndim == 2 else density[..., slice_of_it], generator)
        pattern = _star(height, width, first, generator) + _star(height, width, second, generator)
        pattern = pattern - 1.2 * _band(height, width, first, second)
        pattern = (pattern / pattern.abs().max().clamp_min(1e-6)).to(values)
        if values.ndim == 3:
            return values + self.severity * pattern
        slices = torch.arange(values.shape[-1], dtype=values.dtype)
        near = torch.exp(-(((slices - slice_of_it) / max(1.0, 0.15 * len(slices))) ** 2))
        return values + self.severity * pattern[..., None] * near


@register_corruption
class CtRings(_Ct):
    """Rings about the centre of rotation, from elements of the detector that are not calibrated."""

    name = "ct_rings"
    label = "Rings"
    severity_label = "amplitude"
    meaning = "the standard deviation of the rings' intensities, as a share of the window"
    lowest = 0.0
    highest = math.inf
    severities = (0.03, 0.06, 0.1, 0.16, 0.25)
    source = "ours; Barrett and Keat 2004 show such"

    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        height, width = values.shape[1:3]
        rows, columns = pixel_grid((height, width))
        radius = torch.hypot(rows - (height - 1) / 2, columns - (width - 1) / 2)
        length = int(radius.max()) + 2
        wrong = torch.rand(length, generator=generator, device=generator.device) < 0.25
        size = torch.randn(length, generator=generator, device=generator.device)
        profile = torch.where(wrong, size, torch.zeros_like(size))
        below = radius.floor().long()
        share = radius - below
        rings = (1 - share) * profile[below] + share * profile[below + 1]
        rings = rings if values.ndim == 3 else rings[..., None]
        return values + self.severity * rings.to(values)


@register_corruption
class CtKernelSharp(_Ct):
    """A harder reconstruction kernel: x + severity * (x - smooth(x)); edges overshoot, noise grows."""

    name = "ct_kernel_sharp"
    label = "Sharp kernel"
    kind = "blur"
    severity_label = "gain of details"
    meaning = "how much of the details, finer than a Gaussian of one pixel, is added"
    lowest = 0.0
    highest = math.inf
    severities = (0.5, 1.0, 1.8, 3.0, 5.0)
    source = "ours, from a body kernel to a bone kernel and beyond"
    random = False

    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        kernel = gaussian_kernel(1.0).to(values.dtype)
        return over_planes(values, lambda planes: planes + self.severity * (planes - filtered(planes, kernel)))


@register_corruption
class CtKernelSoft(_Ct):
    """A softer reconstruction kernel: convolved with a Gaussian."""

    name = "ct_kernel_soft"
    label = "Soft kernel"
    kind = "blur"
    severity_label = "SD in pixels"
    meaning = "the standard deviation of the Gaussian, in pixels"
    lowest = 0.0
    highest = math.inf
    severities = (0.6, 0.9, 1.3, 1.9, 2.8)
    source = "ours, from a body kernel to thrice its width"
    random = False

    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        kernel = gaussian_kernel(self.severity).to(values.dtype)
        return over_planes(values, lambda planes: filtered(planes, kernel))


def _dense_place(density: Tensor, generator: Generator) -> tuple[tuple[float, float], int]:
    """Row and column of one of the densest 2 % of the pixels, and its slice."""
    count = max(1, density.numel() // 50)
    places = density.flatten().topk(count).indices
    place = int(places[choice(generator, count)])
    if density.ndim == 2:
        return (float(place // density.shape[1]), float(place % density.shape[1])), 0
    row, rest = divmod(place, density.shape[1] * density.shape[2])
    column, depth = divmod(rest, density.shape[2])
    return (float(row), float(column)), depth


def _star(height: int, width: int, place: tuple[float, float], generator: Generator) -> Tensor:
    """Rays of either sign through a place, which fade with the distance."""
    rows, columns = pixel_grid((height, width))
    down, right = rows - place[0], columns - place[1]
    angle, distance = torch.atan2(down, right), torch.hypot(down, right)
    found = torch.zeros(height, width)
    for ray in range(RAYS):
        middle, spread = uniform_number(generator, 0.0, math.pi), uniform_number(generator, 0.02, 0.07)
        off = torch.remainder(angle - middle + math.pi / 2, math.pi) - math.pi / 2  # to both sides
        found += (1 if ray % 2 else -1) * torch.exp(-((off / spread) ** 2))
    return found * torch.exp(-distance / (0.35 * min(height, width)))


def _band(height: int, width: int, first: tuple[float, float], second: tuple[float, float]) -> Tensor:
    """1 on the line from one place to another, falling off across it."""
    rows, columns = pixel_grid((height, width))
    down, right = second[0] - first[0], second[1] - first[1]
    length = max(down**2 + right**2, 1e-6)
    along = (((rows - first[0]) * down + (columns - first[1]) * right) / length).clamp(0, 1)
    away = torch.hypot(rows - first[0] - along * down, columns - first[1] - along * right)
    return torch.exp(-((away / (0.03 * min(height, width) + 1)) ** 2))
