"""Artefacts of B-mode ultrasound: log-compressed images, the transducer above.

Axes are as MONAI's readers order them: across first, away from the transducer second.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Generator, Tensor

from monai_robust.transforms.corruptions.corruption import Corruption, CorruptionKind
from monai_robust.transforms.corruptions.draws import over_planes, uniform_number
from monai_robust.transforms.corruptions.filters import filtered, gaussian_kernel, side_share
from monai_robust.transforms.corruptions.table import register_corruption

__all__ = ["CoherentSpeckle", "UltrasoundAttenuation", "UltrasoundGain", "UltrasoundShadow"]

SECTOR = 0.01  # what is darker is outside of the field of view


class _Ultrasound(Corruption):
    kind: ClassVar[CorruptionKind] = "artefact"
    dimensions = (2, 3)
    groups: ClassVar[tuple[str, ...]] = ("ultrasound",)


@register_corruption
class CoherentSpeckle(_Ultrasound):
    """x * (1 + severity * (r - 1)), r Rayleigh-distributed of mean 1 with grains that are wider than deep: fully
    developed speckle. It is the same in all channels.
    """

    name = "coherent_speckle"
    label = "Coherent speckle"
    kind = "noise"
    severity_label = "share of full speckle"
    meaning = "the share of fully developed speckle"
    lowest = 0.0
    highest = math.inf
    severities = (0.15, 0.3, 0.45, 0.6, 0.8)
    source = "ours; Wagner et al. 1983 give its statistics"
    groups = ("ultrasound", "oct")

    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        return over_planes(values, lambda planes: planes * (1 + self.severity * (self._grains(planes, generator) - 1)))

    def _grains(self, planes: Tensor, generator: Generator) -> Tensor:
        shape = (2, planes.shape[0], 1, *planes.shape[-2:])
        waves = torch.randn(shape, generator=generator, device=generator.device).to(planes)
        spatial = tuple(planes.shape[-2:])
        deep, wide = (max(0.4, side_share(percent, spatial)) for percent in (0.3, 0.7))
        waves = filtered(waves, gaussian_kernel(wide, deep).to(planes.dtype))
        size = waves.square().sum(dim=0).sqrt()
        return size / size.mean(dim=(-2, -1), keepdim=True)


@register_corruption
class UltrasoundAttenuation(_Ultrasound):
    """x - severity * depth, depth from 0 at the transducer to 1: too little gain for what is deep."""

    name = "us_attenuation"
    label = "Attenuation"
    severity_label = "loss at full depth"
    meaning = "the loss at full depth, as a share of the dynamic range (0.5 of 60 dB are 30 dB)"
    lowest = 0.0
    highest = math.inf
    severities = (0.15, 0.25, 0.35, 0.5, 0.7)
    source = "ours, loss in dB in proportion to depth"
    random = False

    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        depth = torch.linspace(0, 1, values.shape[2], dtype=values.dtype)
        return values - self.severity * depth.view(1, 1, -1, *[1] * (values.ndim - 3))


@register_corruption
class UltrasoundGain(_Ultrasound):
    """x + severity within the field of view, with the noise of the receiver: gain that is set too high."""

    name = "us_gain"
    label = "Too much gain"
    severity_label = "shift"
    meaning = "the shift of intensities, as a share of the dynamic range"
    lowest = 0.0
    highest = 1.0
    severities = (0.08, 0.15, 0.22, 0.3, 0.4)
    source = "ours, from a milky image to one whose bright parts are white"

    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        seen = values > SECTOR
        noise = torch.randn(values.shape, generator=generator, device=generator.device).to(values)
        return torch.where(seen, values + self.severity * (1 + 0.25 * noise), values)


@register_corruption
class UltrasoundShadow(_Ultrasound):
    """Nine tenths of the signal are missing below a drawn place, as behind a rib, a stone or air."""

    name = "us_shadow"
    label = "Acoustic shadow"
    kind = "occlusion"
    severity_label = "share of width"
    meaning = "the width of the shadow, as a share of the image's width"
    lowest = 0.0
    highest = 1.0
    severities = (0.08, 0.14, 0.2, 0.28, 0.38)
    source = "ours, up to three ribs' width"

    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        width, height = values.shape[1:3]
        middle = uniform_number(generator, 0.25, 0.75) * width
        begin = uniform_number(generator, 0.1, 0.35) * height
        rows = torch.arange(height, dtype=values.dtype)[None]
        columns = torch.arange(width, dtype=values.dtype)[:, None]
        half = self.severity * width / 2 * (0.85 + 0.3 * rows / height)  # rays spread
        soft = max(1.0, 0.015 * width)
        inside = torch.sigmoid((half - (columns - middle).abs()) / soft) * torch.sigmoid((rows - begin) / soft)
        inside = inside if self.severity else torch.zeros_like(inside)
        return values * (1 - 0.9 * (inside if values.ndim == 3 else inside[..., None]))
