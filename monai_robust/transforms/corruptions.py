"""Corruptions of known strength, which an evaluation measures a network under."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Generator, Tensor

from monai_robust.errors import BadInputError
from monai_robust.transforms.arguments import checked_number
from monai_robust.transforms.contrast_shift import ContrastShift
from monai_robust.transforms.intensity_range import like, plain, require_within

__all__ = [
    "CORRUPTIONS",
    "Corruption",
    "CorruptionKind",
    "GaussianCorruption",
    "HighContrast",
    "LowContrast",
    "SaltAndPepperCorruption",
    "SpeckleCorruption",
    "corruption",
]

CorruptionKind = Literal["noise", "contrast", "other"]


class Corruption(ABC):
    """A corruption of one severity for images in [0, 1].

    The noise is drawn from a generator that the caller gives, so that an image is corrupted alike whatever was
    corrupted before it.

    A subclass says what tables, figures and reports write of it, and stands in :data:`CORRUPTIONS`.

    Args:
        severity: how strong; what it means and which values it may have is said by each corruption.
        seed: of the noise, where no generator is given.

    Raises:
        BadInputError: for a severity that the corruption does not have.
    """

    name: ClassVar[str]
    """In outcomes tables and configurations."""
    label: ClassVar[str]
    """What people call it, in figures and reports."""
    kind: ClassVar[CorruptionKind]
    """What is corrupted, so that those of a kind are shown together."""
    severity_label: ClassVar[str]
    """What the severity is, at an axis."""
    meaning: ClassVar[str]
    """What the severity is, in a sentence."""
    lowest: ClassVar[float]
    highest: ClassVar[float]

    def __init__(self, severity: float, seed: int = 0) -> None:
        what = f"corruption {self.name}: severity ({self.meaning})"
        self.severity = checked_number(severity, what, self.lowest, self.highest)
        self.seed = seed

    def __call__(self, image: Tensor, generator: Generator | None = None) -> Tensor:
        """The corrupted image, clipped to [0, 1].

        Args:
            image: (C, *spatial), in [0, 1].
            generator: where the noise comes from; None draws the same noise, that of the seed, at each call.

        Raises:
            BadSampleError: for an image outside [0, 1] (named with its range) or with values that are not finite.
        """
        values = plain(image, f"corruption {self.name}")
        require_within(values, (0.0, 1.0), f"corruption {self.name}")
        source = Generator().manual_seed(self.seed) if generator is None else generator
        return like(self._corrupted(values.clamp(0, 1), source).clamp(0, 1), image)

    @abstractmethod
    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        """Values (C, *spatial) in [0, 1] corrupted, not yet clipped."""


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

    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        return values + _normal(values, self.severity, generator)


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

    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        return values + values * _normal(values, self.severity, generator)


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

    def __init__(self, severity: float, seed: int = 0, *, per_channel: bool = False) -> None:
        super().__init__(severity, seed)
        self.per_channel = per_channel

    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        drawn = values if self.per_channel else values[:1]
        replaced = _uniform(drawn, generator) < self.severity
        salt = _uniform(drawn, generator) < 0.5
        return torch.where(replaced, salt.to(values.dtype), values)


class _Contrast(Corruption):
    """:class:`ContrastShift` with the severity as its factor; nothing is random."""

    kind = "contrast"
    severity_label = "factor"
    meaning = "the contrast factor"

    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        return ContrastShift(self.severity)(values)


class HighContrast(_Contrast):
    """clip(mean + severity * (x - mean)) with a factor of 1 or more.

    Source: Martinez-Martinez et al. 2025 (RTDA), Fig. 1; see :class:`ContrastShift`.
    """

    name = "contrast_high"
    label = "High contrast"
    lowest = 1.0
    highest = math.inf


class LowContrast(_Contrast):
    """clip(mean + severity * (x - mean)) with a factor from 0 to 1.

    Source: Martinez-Martinez et al. 2025 (RTDA), Fig. 1; see :class:`ContrastShift`.
    """

    name = "contrast_low"
    label = "Low contrast"
    lowest = 0.0
    highest = 1.0


CORRUPTIONS: dict[str, type[Corruption]] = {
    kind.name: kind
    for kind in (GaussianCorruption, SpeckleCorruption, SaltAndPepperCorruption, HighContrast, LowContrast)
}
"""The one table of corruptions, by name, which evaluations, figures and reports read; add one of your own to it."""


def corruption(name: str, severity: float, seed: int = 0) -> Corruption:
    """The corruption of that name and severity.

    Args:
        name: a key of :data:`CORRUPTIONS`.
        severity: as the corruption defines it: a variance, an amount or a factor.
        seed: of the noise.

    Raises:
        BadInputError: for an unknown name (the message lists those there are) or a severity it does not have.
    """
    if name not in CORRUPTIONS:
        raise BadInputError(f"no corruption {name!r}; there are {', '.join(CORRUPTIONS)}.")
    return CORRUPTIONS[name](severity, seed)


def _normal(values: Tensor, variance: float, generator: Generator) -> Tensor:
    # drawn where the generator lives and in one precision, so that the noise does not depend on the image's device
    noise = torch.randn(values.shape, generator=generator, device=generator.device)
    return (math.sqrt(variance) * noise).to(values)


def _uniform(values: Tensor, generator: Generator) -> Tensor:
    return torch.rand(values.shape, generator=generator, device=generator.device).to(values.device)
