"""Where in a padded batch there is image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from monai_robust.errors import BadInputError

__all__ = ["bounding_box", "checked_mask"]


def checked_mask(mask: Any, inputs: Tensor) -> Tensor:
    """A mask (B, 1, *spatial) for every channel: bool, of the shape and on the device of ``inputs``.

    Raises:
        BadInputError: for another shape, or a sample without any image.
    """
    mask = torch.as_tensor(mask.as_tensor() if hasattr(mask, "as_tensor") else mask).to(inputs.device)
    shape = inputs.shape
    if mask.ndim != inputs.ndim or mask.shape not in (shape, (shape[0], 1, *shape[2:])):
        raise BadInputError(
            f"the mask has shape {tuple(mask.shape)}, the inputs {tuple(shape)}; it must be (B, 1, *spatial)"
        )
    inside = mask.bool().expand_as(inputs)
    if not bool(inside.flatten(1).any(dim=1).all()):
        raise BadInputError("the mask of a sample is false everywhere, so there is no image to attack")
    return inside


def bounding_box(inside: Tensor) -> tuple[slice, ...]:
    """The smallest box that holds the image, a slice for each spatial axis, of a sample's mask (C, *spatial)."""
    places = inside.any(dim=0).nonzero()
    low, high = places.amin(dim=0).tolist(), places.amax(dim=0).tolist()
    return tuple(slice(first, last + 1) for first, last in zip(low, high, strict=True))
