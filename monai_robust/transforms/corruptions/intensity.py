"""Exposure, contrast and gamma: the same picture, brighter, darker, harder or flatter."""

from __future__ import annotations

import math

from torch import Generator, Tensor

from monai_robust.transforms.contrast_shift import ContrastShift
from monai_robust.transforms.corruptions.corruption import Corruption
from monai_robust.transforms.corruptions.table import register_corruption

__all__ = ["BrightnessDown", "BrightnessUp", "GammaDown", "GammaUp", "HighContrast", "LowContrast"]


class _Contrast(Corruption):
    """:class:`ContrastShift` with the severity as its factor; nothing is random."""

    kind = "contrast"
    severity_label = "factor"
    meaning = "the contrast factor"
    random = False

    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        return ContrastShift(self.severity)(values)


@register_corruption
class HighContrast(_Contrast):
    """clip(mean + severity * (x - mean)) with a factor of 1 or more.

    Source: Martinez-Martinez et al. 2025 (RTDA), Fig. 1; see :class:`ContrastShift`.
    """

    name = "contrast_high"
    label = "High contrast"
    lowest = 1.0
    highest = math.inf
    severities = (1.25, 1.5, 2.0, 2.5, 3.0)
    source = "Martinez-Martinez et al. 2025 (RTDA), Fig. 1; factors are ours"
    groups = ("common", "radiograph", "ct", "mr")


@register_corruption
class LowContrast(_Contrast):
    """clip(mean + severity * (x - mean)) with a factor from 0 to 1.

    Source: Martinez-Martinez et al. 2025 (RTDA), Fig. 1; see :class:`ContrastShift`.
    """

    name = "contrast_low"
    label = "Low contrast"
    lowest = 0.0
    highest = 1.0
    severities = (0.85, 0.7, 0.5, 0.4, 0.3)
    source = "Martinez-Martinez et al. 2025 (RTDA), Fig. 1; factors are ours"
    groups = ("common", "radiograph", "ct", "mr", "ultrasound", "oct", "dermoscopy", "microscopy")


class _Brightness(Corruption):
    """x + sign * severity."""

    kind = "intensity"
    severity_label = "shift"
    meaning = "the shift of all intensities, as a share of their range"
    lowest = 0.0
    highest = 1.0
    severities = (0.05, 0.1, 0.15, 0.22, 0.3)
    source = "ours; half of Hendrycks and Dietterich 2019, brightness, which leaves bright fields blank"
    random = False
    sign = 1.0

    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        return values + self.sign * self.severity


@register_corruption
class BrightnessUp(_Brightness):
    """x + severity."""

    name = "brightness_up"
    label = "Brighter"
    groups = ("common", "radiograph", "ct", "dermoscopy", "microscopy")


@register_corruption
class BrightnessDown(_Brightness):
    """x - severity."""

    name = "brightness_down"
    label = "Darker"
    groups = ("common", "radiograph", "ct", "ultrasound", "dermoscopy", "microscopy")
    sign = -1.0


class _Gamma(Corruption):
    """x ** severity."""

    kind = "intensity"
    severity_label = "exponent"
    meaning = "the exponent of the intensities"
    source = "Di Salvo et al. 2024 (MedMNIST-C) names it; exponents are ours"
    random = False

    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        return values**self.severity


@register_corruption
class GammaUp(_Gamma):
    """x ** severity with an exponent of 1 or more: middle grey becomes darker."""

    name = "gamma_up"
    label = "Gamma above 1"
    lowest = 1.0
    highest = math.inf
    severities = (1.25, 1.5, 2.0, 2.5, 3.0)
    groups = ("radiograph", "ct", "mr")


@register_corruption
class GammaDown(_Gamma):
    """x ** severity with an exponent below 1: middle grey becomes brighter."""

    name = "gamma_down"
    label = "Gamma below 1"
    lowest = 0.0
    highest = 1.0
    severities = (0.8, 0.65, 0.5, 0.4, 0.33)
    groups = ("radiograph", "ct", "mr")
