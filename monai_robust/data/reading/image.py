"""What was read of one image file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.utils import MetaKeys, SpaceKeys
from numpy.typing import NDArray

__all__ = ["FileHeader", "LoadedImage", "is_invertible", "lps_affine"]


@dataclass(frozen=True)
class FileHeader:
    """What a file's header says of its image, as it will be read.

    Args:
        size: pixels along x, y (and z, ... where there are more); without channels.
        spacing: mm per pixel in x and y, or None where the format or the file tells nothing about the patient.
        orientation: how EXIF has the stored pixels turned or mirrored to stand upright, 1 to 8; 1 is not at all.
    """

    size: tuple[int, ...]
    spacing: tuple[float, float] | None
    orientation: int = 1


@dataclass(frozen=True)
class LoadedImage:
    """An image as it was read.

    Args:
        array: ``(X, Y[, Z, ...][, C])``.
        affine: from indices to RAS millimetres, (3, 3) for a 2-D image and (4, 4) otherwise.
        channels: whether the last axis of ``array`` holds channels.
        color: whether the channels are those of a colour picture (grey, red, green, blue, alpha).
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]
    channels: bool = False
    color: bool = False

    def meta(self, path: PathLike) -> dict[str, Any]:
        """Geometry and the file's name, as MONAI's own readers call them."""
        rank = len(self.affine) - 1
        return {
            MetaKeys.AFFINE: self.affine.copy(),
            MetaKeys.ORIGINAL_AFFINE: self.affine.copy(),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.SPATIAL_SHAPE: np.asarray(self.array.shape[:rank]),
            MetaKeys.ORIGINAL_CHANNEL_DIM: -1 if self.channels else float("nan"),
            "filename_or_obj": str(path),
        }

    def without_single_slice_axis(self) -> LoadedImage:
        """A volume of one slice as a 2-D image, which keeps the spacing in its plane and nothing else of the affine."""
        if len(self.affine) != 4 or self.array.shape[2] != 1:
            return self
        spacing = np.linalg.norm(self.affine[:3, :2], axis=0)
        return LoadedImage(
            self.array[:, :, 0], np.diag([-spacing[0], -spacing[1], 1.0]), self.channels, color=self.color
        )


def is_invertible(affine: NDArray[np.float64]) -> bool:
    """Whether an affine is finite and its axes, of whatever length, span the space."""
    axes = affine[:-1, :-1]
    lengths = np.linalg.norm(axes, axis=0)
    if not np.isfinite(affine).all() or not lengths.all():
        return False
    return abs(float(np.linalg.det(axes / lengths))) > 1e-6


def lps_affine(
    axes: NDArray[np.float64], origin: NDArray[np.float64] | tuple[float, ...] = (0.0, 0.0, 0.0)
) -> NDArray[np.float64]:
    """The affine in RAS of axes (columns, millimetres for one index) and an origin given in LPS, (n, n) and (n,)."""
    rank = len(axes)
    affine = np.eye(rank + 1)
    affine[:rank, :rank] = axes
    affine[:rank, -1] = origin[:rank]
    affine[:2] *= -1
    return affine
