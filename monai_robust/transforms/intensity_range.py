"""The images that transforms are given, and the intensity range that they must lie in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from monai.config.type_definitions import NdarrayOrTensor
from monai.data import get_track_meta
from monai.utils import convert_to_dst_type, convert_to_tensor
from torch import Tensor

from monai_robust.errors import BadInputError, BadSampleError

__all__ = ["Bounds", "as_image", "checked_bounds", "like", "plain", "require_within"]

Bounds = tuple[float, float] | None

# Resampling and rescaling overshoot by rounding; what lies this share of the range outside is clipped, not refused.
OVERSHOOT = 1e-3


def checked_bounds(bounds: Sequence[float] | None, who: str) -> Bounds:
    """The pair (low, high) as floats, or None.

    Raises:
        BadInputError: for anything else.
    """
    if bounds is None:
        return None
    try:
        low, high = (float(value) for value in bounds)
    except (TypeError, ValueError) as error:
        raise BadInputError(f"{who}: bounds must be a pair (low, high) or None, got {bounds!r}.") from error
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise BadInputError(f"{who}: bounds must be finite with low < high, got ({low}, {high}).")
    return low, high


def as_image(img: NdarrayOrTensor) -> Tensor:
    """A tensor stays what it is; an array becomes what MONAI makes of it."""
    return img if isinstance(img, Tensor) else convert_to_tensor(img, track_meta=get_track_meta())


def plain(img: Tensor, who: str) -> Tensor:
    """The values of an image (C, *spatial) without metadata, in floating point of at least 32 bits.

    Raises:
        BadSampleError: for a tensor that cannot be an image with channel and space.
    """
    if img.ndim < 2 or img.numel() == 0:
        raise BadSampleError(f"{who}: an image must have shape (C, *spatial), got {tuple(img.shape)}.")
    values = img.as_subclass(Tensor)
    return values if values.dtype == torch.float64 else values.float()


def like(values: Tensor, img: Tensor) -> Any:
    """Values with the type, metadata, device and (where floating) dtype of an image."""
    dtype = img.dtype if img.is_floating_point() else values.dtype
    return convert_to_dst_type(values, img, dtype=dtype)[0]


def require_within(values: Tensor, bounds: Bounds, who: str) -> None:
    """Refuse an image outside the bounds instead of silently clipping it to something else.

    Raises:
        BadSampleError: with the range that was found, also for values that are not finite.
    """
    low, high = values.min().item(), values.max().item()
    if not (math.isfinite(low) and math.isfinite(high)):
        raise BadSampleError(f"{who}: the image holds values that are not finite (NaN or infinity).")
    if bounds is None:
        return
    slack = OVERSHOOT * (bounds[1] - bounds[0])
    if low < bounds[0] - slack or high > bounds[1] + slack:
        raise BadSampleError(
            f"{who}: the image ranges from {low:g} to {high:g}, outside {bounds[0]:g} to {bounds[1]:g}; "
            "scale it into that range first, or, where the transform has bounds, set those of all images, or "
            "None where each has a range of its own, such as after z-scores."
        )
