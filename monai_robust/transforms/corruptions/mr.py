"""Artefacts of magnetic resonance, on magnitude images of two or three dimensions.

Lines of k-space run along all axes but one, the phase-encoding axis, which is drawn.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from monai.transforms import GibbsNoise, KSpaceSpikeNoise, RandBiasField, RandRicianNoise
from torch import Generator, Tensor

from monai_robust.transforms.corruptions.corruption import Corruption, CorruptionKind
from monai_robust.transforms.corruptions.draws import choice, seed_from, uniform_number
from monai_robust.transforms.corruptions.filters import pixel_grid, sampled, side_share
from monai_robust.transforms.corruptions.table import register_corruption

__all__ = ["MrBiasField", "MrGhosting", "MrGibbs", "MrLowResolution", "MrMotion", "MrRician", "MrSpike"]

_SOURCE = "physics as in {}; levels are ours"


class _Mr(Corruption):
    kind: ClassVar[CorruptionKind] = "artefact"
    dimensions = (2, 3)
    groups: ClassVar[tuple[str, ...]] = ("mr",)


@register_corruption
class MrBiasField(_Mr):
    """Multiplied by a smooth field, exp of a polynomial of degree 3, whose largest value is 1: coils hear what is far
    away less. The field is that of MONAI's ``RandBiasField`` and is the same for all channels.
    """

    name = "mr_bias_field"
    label = "Bias field"
    severity_label = "coefficient"
    meaning = "the largest coefficient of the field's polynomial"
    lowest = 0.0
    highest = math.inf
    severities = (0.1, 0.2, 0.35, 0.5, 0.8)
    source = _SOURCE.format("Van Leemput et al. 1999 (MONAI's RandBiasField)")

    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        transform = RandBiasField(prob=1.0, degree=3, coeff_range=(-self.severity, self.severity))
        transform.set_random_state(seed_from(generator))
        field = torch.as_tensor(transform(torch.ones(1, *values.shape[1:]))).as_subclass(Tensor)
        return values * (field / field.max()).to(values)


@register_corruption
class MrGibbs(_Mr):
    """The outer part of k-space is left out (MONAI's ``GibbsNoise``): edges ring."""

    name = "mr_gibbs"
    label = "Gibbs ringing"
    severity_label = "share left out"
    meaning = "the share of the radius of k-space that is left out"
    lowest = 0.0
    highest = 1.0
    severities = (0.55, 0.66, 0.75, 0.81, 0.86)
    source = _SOURCE.format("MONAI's GibbsNoise")
    random = False

    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        return _plain(GibbsNoise(alpha=self.severity)(values), values)


@register_corruption
class MrSpike(_Mr):
    """One point of k-space is far too large (MONAI's ``KSpaceSpikeNoise``): stripes over the whole image."""

    name = "mr_spike"
    label = "k-space spike"
    severity_label = "amplitude"
    meaning = "the amplitude of the stripes, as a share of the range of intensities"
    lowest = 0.0
    highest = math.inf
    severities = (0.05, 0.1, 0.17, 0.27, 0.4)
    source = _SOURCE.format("MONAI's KSpaceSpikeNoise")

    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        spatial = np.array(values.shape[1:])
        direction = np.array([uniform_number(generator, -1.0, 1.0) for _ in spatial])
        distance = uniform_number(generator, 0.06, 0.3)  # of the side, from the centre: 3 to 17 periods
        offset = distance * spatial * direction / max(np.linalg.norm(direction), 1e-6)
        place = np.clip(np.round(spatial // 2 + offset), 0, spatial - 1).astype(int)
        if (place == spatial // 2).all():
            place[0] = min(place[0] + 1, spatial[0] - 1)
        if self.severity == 0:
            return values
        intensity = math.log(self.severity * float(spatial.prod()))
        spike = KSpaceSpikeNoise(tuple(int(index) for index in place), intensity)
        return _plain(spike(values), values)


@register_corruption
class MrRician(_Mr):
    """The magnitude of the signal with Gaussian noise in both of its parts (MONAI's ``RandRicianNoise``)."""

    name = "mr_rician"
    label = "Rician noise"
    kind = "noise"
    severity_label = "SD"
    meaning = "the standard deviation of the noise in each part, as a share of the range of intensities"
    lowest = 0.0
    highest = math.inf
    severities = (0.03, 0.06, 0.1, 0.15, 0.22)
    source = _SOURCE.format("Gudbjartsson and Patz 1995 (MONAI's RandRicianNoise)")

    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        noise = RandRicianNoise(prob=1.0, std=self.severity, sample_std=False)
        noise.set_random_state(seed_from(generator))
        return _plain(noise(values), values)


@register_corruption
class MrGhosting(_Mr):
    """Phases of lines of k-space swing with a period of three to six lines, as by breathing or pulsation: faint copies
    of the image along the phase-encoding axis, ``|F^-1(F(x) exp(i severity cos(2 pi j / period + start)))|``.
    """

    name = "mr_ghosting"
    label = "Ghosting"
    severity_label = "phase error in radians"
    meaning = "the amplitude of the error of phase, in radians"
    lowest = 0.0
    highest = math.pi
    severities = (0.25, 0.4, 0.6, 0.85, 1.15)
    source = "ours; Wood and Henkelman 1985 tell of the phase errors that periodic motion makes"

    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        axis = 1 + choice(generator, values.ndim - 1)
        period, start = 3 + choice(generator, 4), uniform_number(generator, 0.0, 2 * math.pi)
        lines = torch.arange(values.shape[axis], dtype=values.dtype)
        error = self.severity * torch.cos(2 * math.pi * lines / period + start)
        shape = [-1 if place == axis else 1 for place in range(values.ndim)]
        kspace = torch.fft.fft(values, dim=axis) * torch.polar(torch.ones_like(error), error).view(shape)
        return torch.fft.ifft(kspace, dim=axis).abs()


@register_corruption
class MrMotion(_Mr):
    """Lines of k-space from an image that moved between them: the middle of k-space is that of the image as it is, and
    so is the place of everything; some of the outer lines were read while it was turned and shifted.
    """

    name = "mr_motion"
    label = "Motion"
    severity_label = "degrees, % of side"
    meaning = "the largest turn in degrees, and the largest shift in percent of the shorter side"
    lowest = 0.0
    highest = 45.0
    severities = (1.5, 3.0, 5.0, 7.5, 11.0)
    source = "ours; physics as in Shaw et al. 2019"

    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        axis = 1 + choice(generator, values.ndim - 1)
        count = values.shape[axis]
        still = _kspace(values)
        mixed = still.clone()
        for side in (-1, 1):  # before and after the middle lines
            begin = uniform_number(generator, 0.015, 0.06)
            for end in (uniform_number(generator, 0.15, 0.3), 0.5):
                low, high = round((0.5 + side * begin) * count), round((0.5 + side * end) * count)
                lines = range(max(0, min(low, high)), min(count, max(low, high)))
                begin = end
                index = torch.tensor([*lines], dtype=torch.long)
                moved = _kspace(self._moved(values, generator))
                mixed.index_copy_(axis, index, moved.index_select(axis, index))
        dims = tuple(range(1, values.ndim))
        return torch.fft.ifftn(torch.fft.ifftshift(mixed, dims), dim=dims).abs()

    def _moved(self, values: Tensor, generator: Generator) -> Tensor:
        spatial = tuple(values.shape[1:])
        angle = math.radians(self.severity) * uniform_number(generator, -1.0, 1.0)
        shift = [side_share(self.severity, spatial) * uniform_number(generator, -1.0, 1.0) for _ in spatial]
        places = pixel_grid(spatial)
        centre = ((torch.tensor(spatial) - 1) / 2).view(-1, *[1] * len(spatial))
        turned = places - centre
        turned[:2] = torch.stack(
            [
                math.cos(angle) * turned[0] - math.sin(angle) * turned[1],
                math.sin(angle) * turned[0] + math.cos(angle) * turned[1],
            ]
        )
        return sampled(values, turned + centre + torch.tensor(shift).view_as(centre))


@register_corruption
class MrLowResolution(_Mr):
    """Averaged along one drawn axis, as by thick slices, and interpolated linearly back to the same grid."""

    name = "mr_low_resolution"
    label = "Low resolution"
    kind = "resolution"
    severity_label = "pixels merged along an axis"
    meaning = "how many pixels along one axis become one"
    lowest = 1.0
    highest = math.inf
    severities = (1.5, 2.0, 3.0, 4.0, 6.0)
    source = "ours; Billot et al. 2023 train on slices of up to 9 mm for 1 mm"

    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        axis = 1 + choice(generator, values.ndim - 1)
        rows = values.movedim(axis, -1)
        flat = rows.reshape(-1, 1, rows.shape[-1])
        small = F.adaptive_avg_pool1d(flat, max(1, round(rows.shape[-1] / self.severity)))
        back = F.interpolate(small, rows.shape[-1], mode="linear", align_corners=False)
        return back.reshape(rows.shape).movedim(-1, axis)


def _kspace(values: Tensor) -> Tensor:
    """Fourier transform over space, its centre in the middle."""
    dims = tuple(range(1, values.ndim))
    return torch.fft.fftshift(torch.fft.fftn(values, dim=dims), dims)


def _plain(found: object, values: Tensor) -> Tensor:
    """What a transform of MONAI returned, as values."""
    return torch.as_tensor(found).as_subclass(Tensor).to(values)
