"""Blur: out of focus, moved while it was exposed."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Generator, Tensor

from monai_robust.transforms.corruptions.corruption import Corruption
from monai_robust.transforms.corruptions.draws import over_planes, uniform_number
from monai_robust.transforms.corruptions.filters import (
    disk,
    filtered,
    gaussian_kernel,
    line,
    pixel_grid,
    sampled,
    side_share,
)
from monai_robust.transforms.corruptions.table import register_corruption

__all__ = ["Defocus", "GaussianBlur", "MotionBlur", "ZoomBlur"]

ZOOM_STEPS = 9
_LENGTHS = "in percent of the image's shorter side"


class _Blur(Corruption):
    """Planes convolved with a kernel."""

    kind = "blur"
    lowest = 0.0
    highest = 100.0
    dimensions = (2, 3)
    random = False

    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        kernel = self._kernel(side_share(self.severity, tuple(values.shape[1:])), generator)
        return over_planes(values, lambda planes: filtered(planes, kernel.to(planes.dtype)))

    def _kernel(self, pixels: float, generator: Generator) -> Tensor:
        raise NotImplementedError


@register_corruption
class GaussianBlur(_Blur):
    """Convolved with a Gaussian."""

    name = "gaussian_blur"
    label = "Gaussian blur"
    severity_label = "SD, % of side"
    meaning = f"the standard deviation, {_LENGTHS}"
    severities = (0.5, 0.9, 1.3, 1.8, 2.7)
    source = "Hendrycks and Dietterich 2019, Gaussian blur (1, 2, 3, 4, 6 of 224 pixels)"
    groups = ("common", "radiograph")

    def _kernel(self, pixels: float, generator: Generator) -> Tensor:
        return gaussian_kernel(pixels)


@register_corruption
class Defocus(_Blur):
    """Convolved with a disk, the picture of a point out of focus."""

    name = "defocus"
    label = "Defocus"
    severity_label = "radius, % of side"
    meaning = f"the radius of the disk that a point becomes, {_LENGTHS}"
    severities = (0.8, 1.3, 2.0, 2.8, 4.0)
    source = "Hendrycks and Dietterich 2019, defocus blur (3 to 10 of 224 pixels)"
    groups = ("oct", "dermoscopy", "microscopy")

    def _kernel(self, pixels: float, generator: Generator) -> Tensor:
        return disk(pixels)


@register_corruption
class MotionBlur(_Blur):
    """Convolved with a straight line of drawn direction, the way of a point while it was exposed.

    It blurs to both sides alike, so that nothing moves.
    """

    name = "motion_blur"
    label = "Motion blur"
    severity_label = "length, % of side"
    meaning = f"the way that a point moves, {_LENGTHS}"
    severities = (2.0, 3.5, 5.0, 7.0, 10.0)
    source = "Di Salvo et al. 2024 (MedMNIST-C) names it; lengths are ours"
    groups = ("ultrasound", "oct", "dermoscopy", "microscopy")
    random: ClassVar[bool] = True

    def _kernel(self, pixels: float, generator: Generator) -> Tensor:
        return line(pixels, uniform_number(generator, 0.0, math.pi))


@register_corruption
class ZoomBlur(Corruption):
    """The mean of the image and of enlarged ones up to a factor of 1 + severity, about its centre."""

    name = "zoom_blur"
    label = "Zoom blur"
    kind = "blur"
    severity_label = "enlargement"
    meaning = "how much larger the largest of the pictures is that are averaged"
    lowest = 0.0
    highest = 1.0
    severities = (0.04, 0.08, 0.12, 0.18, 0.26)
    source = "Hendrycks and Dietterich 2019, zoom blur (0.1 to 0.3)"
    groups = ("dermoscopy", "microscopy")
    dimensions = (2, 3)
    random = False

    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        return over_planes(values, self._zoomed)

    def _zoomed(self, planes: Tensor) -> Tensor:
        spatial = planes.shape[-2:]
        flat = planes.reshape(-1, *spatial)
        places = pixel_grid(tuple(spatial))
        centre = (torch.tensor(spatial, dtype=places.dtype)[:, None, None] - 1) / 2
        factors = torch.linspace(1, 1 + self.severity, ZOOM_STEPS)
        parts = [sampled(flat, centre + (places - centre) / float(factor)) for factor in factors]
        return torch.stack(parts).mean(dim=0).reshape(planes.shape)
