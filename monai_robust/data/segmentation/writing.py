"""Writing a predicted label map where its volume lies."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import SpatialResample
from numpy.typing import NDArray
from torch import Tensor

from monai_robust.data.files.whole import write_whole
from monai_robust.data.segmentation.orientation import turn_to
from monai_robust.errors import BadInputError

__all__ = ["VolumeGrid", "label_map_on", "write_label_map"]

_FAST = 1  # label maps are packed to a hundredth at any level


@dataclass(frozen=True)
class VolumeGrid:
    """Where the voxels of a volume lie.

    Args:
        shape: voxels (x, y, z).
        affine: (4, 4), from voxel indices to RAS millimetres.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    @classmethod
    def of_file(cls, image: MetaTensor) -> VolumeGrid:
        """The grid of the file that an image was loaded from, also after the image was resampled.

        Args:
            image: (C, x, y, z), loaded by ``load_volume``; without metadata of a file, its own grid is returned.
        """
        known = "original_affine" in image.meta and "spatial_shape" in image.meta
        shape = image.meta["spatial_shape"] if known else image.shape[1:]
        affine = np.asarray(image.meta["original_affine"] if known else image.affine, dtype=np.float64)
        if len(shape) != 3 or affine.shape != (4, 4):
            raise BadInputError(f"an image of shape {tuple(image.shape)} has no 3-D grid; it needs (C, x, y, z)")
        x, y, z = (int(size) for size in shape)
        return cls((x, y, z), affine)


def label_map_on(grid: VolumeGrid, scores: Tensor, affine: NDArray[np.float64] | Tensor) -> NDArray[np.uint8]:
    """The most probable class of each voxel of a file's grid, from scores on the grid a network worked on.

    Scores are resampled linearly, then compared: borders come out smoother than those of resampled labels. Voxels
    beyond the network's grid take the nearest score. Scores on the very grid of the file, or on one that has its axes
    in another order or direction, are not resampled.

    Args:
        grid: of the file.
        scores: (C, x, y, z), probabilities or logits of each class.
        affine: (4, 4), of the scores.

    Returns:
        (x, y, z) of the file's shape.

    Raises:
        BadInputError: for scores that are not (C, x, y, z) with at most 256 classes.
    """
    if scores.ndim != 4 or not 2 <= len(scores) <= 256:
        raise BadInputError(f"scores have shape {tuple(scores.shape)}; they need (C, x, y, z) with 2 to 256 classes")
    values = scores.detach().cpu().as_subclass(Tensor).float()
    turn = turn_to("".join(nib.aff2axcodes(grid.affine)))
    turned = cast(MetaTensor, turn(MetaTensor(values, affine=torch.as_tensor(np.asarray(affine, dtype=np.float64)))))
    own, values = torch.as_tensor(turned.affine), turned.as_tensor()
    if values.shape[1:] != grid.shape or not np.allclose(own.numpy(), grid.affine, atol=1e-5):
        resample = SpatialResample(mode="bilinear", padding_mode="border", align_corners=False)
        resampled = resample(
            MetaTensor(values, affine=own), dst_affine=torch.as_tensor(grid.affine), spatial_size=grid.shape
        )
        values = torch.as_tensor(resampled).as_subclass(Tensor)
    return np.asarray(values.argmax(dim=0).numpy(), dtype=np.uint8)


def write_label_map(
    labels: NDArray[np.integer[Any]] | Tensor, like: VolumeGrid | MetaTensor, path: str | PathLike[str]
) -> Path:
    """Write a label map as NIfTI that lies voxel by voxel on the volume it was made of.

    Args:
        labels: (x, y, z), whole numbers from 0 to 65535, on the grid of ``like``.
        like: the volume's grid, or the image as ``load_volume`` gave it, of a NIfTI file or of a DICOM series.
        path: to write, ending in .nii or .nii.gz; folders on the way are made, a file there is replaced.

    Returns:
        The path.

    Raises:
        BadInputError: for another suffix, labels of another shape than the grid, or that are no such numbers.
    """
    target = Path(path).expanduser()
    if not target.name.lower().endswith((".nii", ".nii.gz")):
        raise BadInputError(f"label maps are written as .nii or .nii.gz, not as {target.name}")
    grid = like if isinstance(like, VolumeGrid) else VolumeGrid.of_file(like)
    values = checked_label_map(labels, grid.shape)
    volume = nib.Nifti1Image(values, grid.affine)
    volume.header.set_xyzt_units("mm")
    volume.set_sform(grid.affine, code="scanner")
    # A quaternion cannot tell of shear: then the sform alone holds.
    volume.set_qform(grid.affine, code="scanner" if _is_rotation(grid.affine) else "unknown")
    content = volume.to_bytes()
    packed = target.name.lower().endswith(".gz")
    return write_whole(target, gzip.compress(content, compresslevel=_FAST, mtime=0) if packed else content)


def checked_label_map(labels: NDArray[np.integer[Any]] | Tensor, shape: Sequence[int]) -> NDArray[np.integer[Any]]:
    """Labels as the smallest fitting unsigned type, refused unless they are whole numbers of the right shape."""
    values = labels.detach().cpu().as_subclass(Tensor).numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if values.shape != tuple(shape):
        raise BadInputError(f"the label map has shape {values.shape}, but its volume {tuple(shape)}")
    if not np.issubdtype(values.dtype, np.integer) and values.dtype != bool:
        raise BadInputError(f"the label map holds values of type {values.dtype}; it needs whole numbers")
    if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
        raise BadInputError(f"the label map holds {values.min()} to {values.max()}; labels are from 0 to 65535")
    return values.astype(np.uint8 if values.max() <= np.iinfo(np.uint8).max else np.uint16)


def _is_rotation(affine: NDArray[np.float64]) -> bool:
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.allclose(axes.T @ axes, np.eye(3), atol=1e-4))
