"""Noise: electronic, of the detector's elements, and of the photons that are counted."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from monai_robust.transforms.corruptions.corruption import Corruption
from monai_robust.transforms.corruptions.draws import normal, poisson, uniform
from monai_robust.transforms.corruptions.table import register_corruption

__all__ = ["GaussianCorruption", "SaltAndPepperCorruption", "ShotNoise", "SpeckleCorruption"]


@register_corruption
class GaussianCorruption(Corruption):
    """x + n with n ~ N(0, severity), independent for each pixel and channel.

    Source: Martinez-Martinez and Nabavi 2023, section III B: variance 0.1 to 1.
    """

    name = "gaussian"
    label = "Gaussian"
    kind = "noise"
    severity_label = "variance"
    meaning = "the variance of the noise"
    lowest = 0.0
    highest = math.inf
    severities = (0.005, 0.01, 0.02, 0.05, 0.1)
    source = "Martinez-Martinez and Nabavi 2023, section III B (variance 0.1 to 1); levels 1 to 4 are ours, below it"
    groups = ("common", "radiograph")

    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        return values + normal(values, self.severity, generator)


@register_corruption
class SpeckleCorruption(Corruption):
    """x + x * n with n ~ N(0, severity), independent for each pixel and channel.

    Source: Martinez-Martinez and Nabavi 2023, section III B: variance 0.1 to 1.
    """

    name = "speckle"
    label = "Speckle"
    kind = "noise"
    severity_label = "variance"
    meaning = "the variance of the multiplicative noise"
    lowest = 0.0
    highest = math.inf
    severities = (0.05, 0.1, 0.2, 0.4, 0.7)
    source = "Martinez-Martinez and Nabavi 2023, section III B (variance 0.1 to 1); level 1 is ours"
    groups = ("radiograph",)

    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        return values + values * normal(values, self.severity, generator)


@register_corruption
class SaltAndPepperCorruption(Corruption):
    """Each pixel is replaced with probability ``severity``, by 1 (salt) or 0 (pepper) with equal chance.

    A pixel is replaced in all of its channels at once: it is white or black, as a dead or saturated element of a
    detector is, the share of replaced pixels is the severity whatever the number of channels, and a grey image that was
    repeated to three channels stays grey. With ``per_channel`` every channel is drawn by itself, as scikit-image does,
    so that of three channels 1 - (1 - severity)^3 of the pixels are touched.

    Source: Martinez-Martinez and Nabavi 2023, section III B: "replacing random pixels", amount 0.1 to 1.

    Args:
        severity: the share of replaced pixels, 0 to 1.
        seed: of the noise, where no generator is given.
        per_channel: draw every channel by itself.
    """

    name = "salt_and_pepper"
    label = "S&P"
    kind = "noise"
    severity_label = "share of pixels"
    meaning = "the share of replaced pixels"
    lowest = 0.0
    highest = 1.0
    severities = (0.01, 0.02, 0.05, 0.1, 0.2)
    source = "Martinez-Martinez and Nabavi 2023, section III B (amount 0.1 to 1); levels 1 to 3 are ours, below it"
    groups = ("radiograph",)

    def __init__(self, severity: float, seed: int = 0, *, per_channel: bool = False) -> None:
        super().__init__(severity, seed)
        self.per_channel = per_channel

    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        drawn = values if self.per_channel else values[:1]
        replaced = uniform(drawn, generator) < self.severity
        salt = uniform(drawn, generator) < 0.5
        return torch.where(replaced, salt.to(values.dtype), values)


@register_corruption
class ShotNoise(Corruption):
    """Poisson(severity * x) / severity: quantum noise of a detector that counts ``severity`` photons where it is white.

    Drawn for each pixel and channel. Source: Hendrycks and Dietterich 2019, "shot noise".
    """

    name = "shot_noise"
    label = "Shot noise"
    kind = "noise"
    severity_label = "photons"
    meaning = "the photons counted in a pixel of the highest intensity; fewer are worse"
    lowest = 0.5
    highest = math.inf
    severities = (100.0, 50.0, 25.0, 12.0, 6.0)
    source = "Hendrycks and Dietterich 2019, shot noise, from 60 to 3; counts are ours"
    groups = ("radiograph", "microscopy")

    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        return (poisson(self.severity * values, generator) / self.severity).to(values)
