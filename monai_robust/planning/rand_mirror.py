"""Mirroring a slice and its labels together."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform

from monai_robust.errors import BadInputError
from monai_robust.scalars import is_whole
from monai_robust.transforms.arguments import checked_number

__all__ = ["RandMirrord"]


class RandMirrord(RandomizableTransform, MapTransform):
    """Mirror a 2-D slice along each axis with a probability of its own.

    MONAI's ``RandFlipd`` keeps a record for its inverse, which takes half the time of all of nnU-Net's augmentation.

    Args:
        keys: of the slices (C, H, W).
        axes: of the slice, 0 or 1.
        prob: probability of mirroring, for each axis.
        allow_missing_keys: do without keys that a sample lacks.

    Raises:
        BadInputError: for other axes, or a probability outside its range.
    """

    def __init__(
        self, keys: KeysCollection, axes: Sequence[int] = (0, 1), prob: float = 0.5, allow_missing_keys: bool = False
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob=checked_number(prob, "RandMirrord: prob", 0, 1))
        listed = list(axes) if isinstance(axes, Iterable) else [axes]
        if not all(is_whole(axis, 0) and axis <= 1 for axis in listed):
            raise BadInputError(f"RandMirrord: axes are {listed}; a slice has 0 and 1")
        self.axes = tuple(listed)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        dims = [axis + 1 for axis in self.axes if self.R.random() < self.prob]
        for key in self.key_iterator(result) if dims else ():
            result[key] = torch.flip(result[key], dims)
        return result
