"""Where in a padded batch there is image."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.scalars import is_whole

__all__ = ["bounding_box", "checked_channels", "checked_mask", "within_channels"]


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


def checked_channels(channels: Any) -> tuple[int, ...]:
    """Indices of channels, each once.

    Raises:
        BadInputError: for anything else.
    """
    listed = list(channels) if isinstance(channels, Iterable) and not isinstance(channels, str) else [channels]
    if not listed or not all(is_whole(one, 0) for one in listed) or len(set(listed)) != len(listed):
        raise BadInputError(f"channels is {channels!r}; it must list indices of channels, such as [0], each once")
    return tuple(map(int, listed))


def within_channels(channels: tuple[int, ...], inputs: Tensor, inside: Tensor | None) -> Tensor:
    """Where in inputs (B, C, *spatial) there is image, in some channels alone.

    Args:
        channels: by index.
        inputs: (B, C, *spatial).
        inside: of the inputs' shape, true where there is image; None where everywhere.

    Raises:
        BadInputError: for channels that the inputs do not have.
    """
    if max(channels) >= inputs.shape[1]:
        raise BadInputError(
            f"channels are {list(channels)}, but the inputs have the channels 0 to {inputs.shape[1] - 1}"
        )
    chosen = torch.zeros(inputs.shape[1], dtype=torch.bool, device=inputs.device)
    chosen[list(channels)] = True
    chosen = chosen.reshape(1, -1, *(1,) * (inputs.ndim - 2)).expand_as(inputs)
    return chosen if inside is None else inside & chosen


def bounding_box(inside: Tensor) -> tuple[slice, ...]:
    """The smallest box that holds the image, a slice for each spatial axis, of a sample's mask (C, *spatial)."""
    places = inside.any(dim=0).nonzero()
    low, high = places.amin(dim=0).tolist(), places.amax(dim=0).tolist()
    return tuple(slice(first, last + 1) for first, last in zip(low, high, strict=True))
