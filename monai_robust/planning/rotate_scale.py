"""Turning and resizing a slice and its labels together, by one resampling."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.scalars import is_above_zero, is_number
from monai_robust.transforms.arguments import checked_number

__all__ = ["RandRotateScaled", "are_factors"]

_Draw = tuple[float, float]


class RandRotateScaled(RandomizableTransform, MapTransform):
    """Rotate a 2-D slice about its centre and scale it alike on both axes, each with its own probability.

    MONAI's ``RandAffined`` draws both or neither, and a factor for each axis. What comes in from outside is 0, for
    images that have been standardised and for labels the background.

    Args:
        keys: of the slices (C, H, W), floating point ones bilinear, others (labels) by the nearest pixel.
        rotation: largest angle in degrees, either way.
        scale: smallest and largest factor; above 1 shows more, so that objects become smaller. One below 1 is drawn
            as often as one above.
        rotation_prob: probability of a rotation.
        scale_prob: probability of a scaling.
        allow_missing_keys: do without keys that a sample lacks.

    Raises:
        BadInputError: for an angle, a factor or a probability outside its range.
    """

    def __init__(
        self,
        keys: KeysCollection,
        rotation: float = 180.0,
        scale: tuple[float, float] = (0.7, 1.4),
        rotation_prob: float = 0.2,
        scale_prob: float = 0.2,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob=1.0)
        self.rotation = checked_number(rotation, "RandRotateScaled: rotation", 0, 180)
        self.rotation_prob = checked_number(rotation_prob, "RandRotateScaled: rotation_prob", 0, 1)
        self.scale_prob = checked_number(scale_prob, "RandRotateScaled: scale_prob", 0, 1)
        if not are_factors(scale):
            raise BadInputError(f"RandRotateScaled: scale is {scale}; it is a factor up to 1, and one of 1 or more")
        self.scale = scale

    def draw(self) -> _Draw:
        """An angle in radians and a factor, 0 and 1 where they are not to change."""
        angle, factor = 0.0, 1.0
        if self.prob == 0:
            return angle, factor
        if self.R.random() < self.rotation_prob:
            angle = math.radians(self.R.uniform(-self.rotation, self.rotation))
        if self.R.random() < self.scale_prob:
            low, high = self.scale
            factor = self.R.uniform(low, 1) if self.R.random() < 0.5 else self.R.uniform(1, high)
        return angle, factor

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        draw = self.draw()
        if draw == (0.0, 1.0):
            return result
        grid: Tensor | None = None
        for key in self.key_iterator(result):
            if grid is None or grid.shape[1:3] != result[key].shape[1:]:
                grid = _grid(draw, result[key].shape[1:])
            result[key] = _resampled(result[key], grid)
        return result


def _grid(draw: _Draw, size: torch.Size) -> Tensor:
    """Where each pixel of the result lies in the slice, (1, H, W, 2), in grid_sample's coordinates (x = axis 1)."""
    angle, factor = draw
    height, width = size
    cosine, sine = factor * math.cos(angle), factor * math.sin(angle)
    # grid_sample measures each axis in its own half length; the turn is one of pixels
    theta = torch.tensor([[[cosine, sine * height / width, 0.0], [-sine * width / height, cosine, 0.0]]])
    return F.affine_grid(theta, [1, 1, height, width], align_corners=False)


def _resampled(values: Tensor, grid: Tensor) -> Tensor:
    smooth = values.is_floating_point()
    moved = F.grid_sample(
        values[None].to(grid.dtype), grid, mode="bilinear" if smooth else "nearest", align_corners=False
    )
    return moved[0].to(values.dtype)


def are_factors(scale: Any) -> bool:
    """Whether it is a smallest factor, above 0 and up to 1, and a largest, of 1 or more."""
    pair = tuple(scale) if isinstance(scale, Iterable) else ()
    return len(pair) == 2 and is_above_zero(pair[0], 1) and is_number(pair[1], 1)
