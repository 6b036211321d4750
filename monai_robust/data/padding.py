"""Images of different sizes as one batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from monai_robust.errors import BadInputError

__all__ = ["padded_batch"]


def padded_batch(
    images: Sequence[Tensor], *, divisible: int | Sequence[int] = 1, value: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Images of different sizes as one tensor, padded at the end of each axis, and where in it there is image.

    Args:
        images: B images (C, *spatial) with the same number of channels.
        divisible: a multiple of which every side of the batch has to be, one for all axes or one for each.
        value: of the padding.

    Returns:
        The batch (B, C, *spatial), and a mask (B, 1, *spatial), bool, true where there is image: what an attack takes
        as its ``mask``.

    Raises:
        BadInputError: for no images, or images that differ in more than size.
    """
    if not images:
        raise BadInputError("there are no images to make a batch of")
    first = images[0]
    odd = next((one for one in images if one.ndim != first.ndim or one.shape[0] != first.shape[0]), None)
    if odd is not None or first.ndim < 2:
        shapes = [tuple(one.shape) for one in images]
        raise BadInputError(f"a batch needs images (C, *spatial) with equal channels, not of the shapes {shapes}")
    dims = first.ndim - 1
    factors = [divisible] * dims if isinstance(divisible, int) else list(divisible)
    largest = [max(one.shape[axis + 1] for one in images) for axis in range(dims)]
    size = [-(-length // factor) * factor for length, factor in zip(largest, factors, strict=True)]
    batch = first.new_full((len(images), first.shape[0], *size), value)
    mask = torch.zeros(len(images), 1, *size, dtype=torch.bool, device=first.device)
    for index, image in enumerate(images):
        place = (slice(None), *(slice(length) for length in image.shape[1:]))
        batch[index][place] = image.as_subclass(Tensor)
        mask[index][place] = True
    return batch, mask
