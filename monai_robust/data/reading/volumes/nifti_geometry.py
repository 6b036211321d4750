"""Where the voxels of a NIfTI file lie: its header tells it up to three times, and not always the same.

Source: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h, "3D image (volume) orientation and location".
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_robust.data.reading.files import warn_of
from monai_robust.data.reading.volumes.lengths import in_millimetres, millimetres_of

__all__ = ["nifti_affine"]

_SAME_LENGTH = 1e-2
_SAME_DIRECTION = 1e-2


def nifti_affine(path: Path, header: Any) -> NDArray[np.float64]:
    """The affine in RAS millimetres: that of the sform, else of the qform, else the voxel sizes along nibabel's axes.

    A contradiction between them is warned of, and so is that there is neither.

    Args:
        path: the file.
        header: of it, whose affine can be inverted.
    """
    factor = millimetres_of(path, _unit(header))
    said = _contradiction(header, factor)
    if said:
        warn_of(f"image {path}", said)
    return in_millimetres(np.asarray(header.get_best_affine(), dtype=np.float64), factor)


def _unit(header: Any) -> str:
    try:
        return str(header.get_xyzt_units()[0])
    except KeyError:  # a code that the format does not have
        return f"unit {int(header['xyzt_units']) & 7}"


def _contradiction(header: Any, factor: float) -> str:
    """What is wrong with the places that the header tells, or nothing."""
    axes = min(len(header.get_data_shape()), 3)
    sizes = np.abs(np.asarray(header["pixdim"][1 : axes + 1], dtype=np.float64)) * factor
    has_qform, has_sform = int(header["qform_code"]) > 0, int(header["sform_code"]) > 0
    if not has_sform:
        return "" if has_qform else f"is placed by neither its qform nor its sform: voxels of {_shown(sizes)} are taken"
    columns = np.asarray(header.get_sform(), dtype=np.float64)[:3, :axes] * factor
    lengths = np.linalg.norm(columns, axis=0)
    if not np.allclose(sizes, lengths, rtol=_SAME_LENGTH):
        other = "its qform" if has_qform else "its pixdim"
        return f"is contradictory: {other} has voxels of {_shown(sizes)}, its sform, which is taken, {_shown(lengths)}"
    if has_qform and not _same_directions(header, columns / lengths):
        return "is contradictory: its qform and its sform have axes in other directions; the sform is taken"
    return ""


def _same_directions(header: Any, directions: NDArray[np.float64]) -> bool:
    try:
        columns = np.asarray(header.get_qform(), dtype=np.float64)[:3, : directions.shape[1]]
    except ValueError:  # the numbers are of no rotation
        return False
    return bool(np.abs(columns / np.linalg.norm(columns, axis=0) - directions).max() <= _SAME_DIRECTION)


def _shown(sizes: NDArray[np.float64]) -> str:
    return " x ".join(f"{size:.4g}" for size in sizes) + " mm"
