"""Images of different sizes as one batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.data import MetaTensor
from monai.data.utils import collate_meta_tensor
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
        The batch (B, C, *spatial), with the metadata of all images where they are MetaTensors, and a mask (B, 1,
        *spatial), bool, true where there is image: what an attack takes as its ``mask``.

    Raises:
        BadInputError: for no images, images that differ in more than size, or sides that nothing is a multiple of.
    """
    if not images:
        raise BadInputError("there are no images to make a batch of")
    first = images[0]
    if len({(one.ndim, one.shape[0], one.dtype, one.device) for one in images}) > 1 or first.ndim < 2:
        shapes = ", ".join(f"{str(one.dtype).removeprefix('torch.')} {tuple(one.shape)}" for one in images)
        raise BadInputError(
            f"a batch needs images (C, *spatial) with equal channels, of one type and device, not {shapes}"
        )
    dims = first.ndim - 1
    factors = [divisible] * dims if isinstance(divisible, int) else list(divisible)
    if len(factors) != dims or any(factor < 1 for factor in factors):
        raise BadInputError(
            f"divisible is {divisible!r}; it must be a whole number of at least 1, or one for each axis"
        )
    largest = [max(one.shape[axis + 1] for one in images) for axis in range(dims)]
    size = [-(-length // factor) * factor for length, factor in zip(largest, factors, strict=True)]
    batch = torch.full((len(images), first.shape[0], *size), value, dtype=first.dtype, device=first.device)
    mask = torch.zeros(len(images), 1, *size, dtype=torch.bool, device=first.device)
    for index, image in enumerate(images):
        place = (slice(None), *(slice(length) for length in image.shape[1:]))
        batch[index][place] = image.as_subclass(Tensor)
        mask[index][place] = True
    if not all(isinstance(one, MetaTensor) for one in images):
        return batch, mask
    with_meta = [MetaTensor(own, meta=one.meta) for own, one in zip(batch, images, strict=True)]  # type: ignore[attr-defined]
    return collate_meta_tensor(with_meta), mask
