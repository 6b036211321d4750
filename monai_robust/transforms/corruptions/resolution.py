"""What storing and sending takes: pixels, and lossy compression."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Generator, Tensor

from monai_robust.transforms.corruptions.corruption import RGB, Corruption
from monai_robust.transforms.corruptions.draws import over_planes
from monai_robust.transforms.corruptions.table import register_corruption

__all__ = ["Jpeg", "Jpeg2000", "Pixelate"]

_EVERYWHERE = ("common", "radiograph", "ct", "ultrasound", "oct", "dermoscopy", "microscopy")


@register_corruption
class Pixelate(Corruption):
    """Averaged over squares, in which every pixel then has the mean; slices of volumes one by one."""

    name = "pixelate"
    label = "Pixelate"
    kind = "resolution"
    severity_label = "pixels merged along a side"
    meaning = "how many pixels along a side become one"
    lowest = 1.0
    highest = math.inf
    severities = (1.5, 2.0, 2.5, 3.3, 5.0)
    source = "Hendrycks and Dietterich 2019, pixelate (1.7 to 4); levels are ours"
    groups = tuple(group for group in _EVERYWHERE if group != "ct")
    dimensions = (2, 3)
    random = False

    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        def change(planes: Tensor) -> Tensor:
            height, width = (max(1, round(side / self.severity)) for side in planes.shape[-2:])
            return F.interpolate(
                F.adaptive_avg_pool2d(planes, (height, width)), planes.shape[-2:], mode="nearest-exact"
            )

        return over_planes(values, change)


class _Coding(Corruption):
    """Coded and decoded by Pillow in 8 bits: three channels as colours, others each by itself, volumes by slices."""

    kind = "compression"
    dimensions = (2, 3)
    random = False
    groups = _EVERYWHERE

    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        return over_planes(values, lambda planes: torch.stack([self._coded(plane) for plane in planes]))

    def _coded(self, plane: Tensor) -> Tensor:
        """A plane (C, H, W)."""
        levels = (255 * plane).round().byte().cpu().numpy()
        pictures = [levels.transpose(1, 2, 0)] if len(levels) == RGB else list(levels)
        decoded = [np.asarray(self._decoded(np.ascontiguousarray(picture))) for picture in pictures]
        found = decoded[0].transpose(2, 0, 1) if len(levels) == RGB else np.stack(decoded)
        return torch.from_numpy(found / 255).to(plane)

    def _decoded(self, picture: np.ndarray[Any, Any]) -> Image.Image:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, **self._options(picture.shape[:2]))
        return Image.open(buffer)

    def _options(self, shape: tuple[int, ...]) -> dict[str, Any]:
        raise NotImplementedError


@register_corruption
class Jpeg(_Coding):
    """JPEG: blocks of eight pixels, whose details are left out."""

    name = "jpeg"
    label = "JPEG"
    severity_label = "quality"
    meaning = "the quality of the coder, 1 to 95; less is worse"
    lowest = 1.0
    highest = 95.0
    severities = (25.0, 18.0, 15.0, 10.0, 7.0)
    source = "Hendrycks and Dietterich 2019, JPEG compression"

    def _options(self, shape: tuple[int, ...]) -> dict[str, Any]:
        return {"format": "JPEG", "quality": round(self.severity)}


@register_corruption
class Jpeg2000(_Coding):
    """JPEG 2000, the lossy coding of many DICOM archives: wavelets, which smooth and ring."""

    name = "jpeg2000"
    label = "JPEG 2000"
    severity_label = "PSNR in dB"
    meaning = "the peak signal-to-noise ratio that the coder keeps to, in decibels; less is worse"
    lowest = 1.0
    highest = 100.0
    severities = (40.0, 36.0, 34.0, 32.0, 30.0)
    source = "ours, from what a reader does not see to what hides small structures"

    def _options(self, shape: tuple[int, ...]) -> dict[str, Any]:
        resolutions = max(1, min(6, int(math.log2(min(shape))) - 1))
        return {
            "format": "JPEG2000",
            "quality_mode": "dB",
            "quality_layers": [self.severity],
            "irreversible": True,
            "num_resolutions": resolutions,
        }
