"""Cutting a volume into slices, and putting slices together again."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from monai_robust.errors import BadInputError

__all__ = ["slices_of_volume", "volume_of_slices"]


def slices_of_volume(volume: Tensor, slice_axis: int, pad_to: Sequence[int] | None = None) -> Tensor:
    """Cut a volume along one of its axes.

    Args:
        volume: (C, x, y, z).
        slice_axis: 0, 1 or 2, the axis to count slices on; the two others keep their order.
        pad_to: pixels (H, W) that a slice has at least; smaller ones get zeros on both sides, the odd one at the end.
            After z-scoring, 0 is the volume's mean.

    Returns:
        (slices, C, H, W), contiguous.

    Raises:
        BadInputError: for an axis or a size that is none.
    """
    check_slicing(slice_axis, pad_to)
    slices = volume.movedim(slice_axis + 1, 0)
    if pad_to is not None:
        before, after = zip(
            *(_margins(size, wanted) for size, wanted in zip(slices.shape[2:], pad_to, strict=True)), strict=True
        )
        slices = F.pad(slices, (before[1], after[1], before[0], after[0]))
    return slices.contiguous()


def volume_of_slices(slices: Tensor, slice_axis: int, size: Sequence[int]) -> Tensor:
    """The inverse of :func:`slices_of_volume`, for what a network made of the slices.

    Args:
        slices: (slices, C, H, W), in order.
        slice_axis: as they were cut.
        size: pixels (height, width) of a slice before padding.

    Returns:
        (C, x, y, z).

    Raises:
        BadInputError: for an axis that is none, or slices smaller than ``size``.
    """
    check_slicing(slice_axis, size)
    if slices.ndim != 4 or any(has < wanted for has, wanted in zip(slices.shape[2:], size, strict=True)):
        raise BadInputError(f"slices of shape {tuple(slices.shape)} hold no (slices, C, {size[0]}, {size[1]})")
    (top, _), (left, _) = (_margins(wanted, has) for has, wanted in zip(slices.shape[2:], size, strict=True))
    return slices[:, :, top : top + size[0], left : left + size[1]].movedim(0, slice_axis + 1)


def check_slicing(slice_axis: int, size: Sequence[int] | None) -> None:
    """Refuse a slice axis that a volume has not, and a size that is not two positive whole numbers."""
    if slice_axis not in (0, 1, 2):
        raise BadInputError(f"slice_axis is {slice_axis!r}; it can be 0, 1 or 2")
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise BadInputError(f"the size of a slice is {size!r}; it needs two positive whole numbers")


def _margins(size: int, wanted: int) -> tuple[int, int]:
    missing = max(wanted - size, 0)
    return missing // 2, missing - missing // 2
