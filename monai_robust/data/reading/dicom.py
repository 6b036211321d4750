"""One DICOM file: its header, and its image with the place it has in the patient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_robust.data.reading.dicom_frames import check_one_volume, stack_of_frames
from monai_robust.data.reading.dicom_geometry import pixel_spacing, warn_of_aspect
from monai_robust.data.reading.dicom_header import parse_dicom, whole_number
from monai_robust.data.reading.dicom_pixels import modality_pixels
from monai_robust.data.reading.image import FileHeader, LoadedImage, lps_affine

__all__ = ["dicom_header", "read_dicom"]


def read_dicom(path: Path, limit: int, *, preamble: bool = True) -> LoadedImage:
    """Read a DICOM file, ``(X, Y, Z[, C])``, in the units of its modality, frames in spatial order.

    Raises:
        BadSampleError: it is damaged, contradicts itself, holds no image, or one that is not supported.
    """
    header = parse_dicom(path, limit, pixels=True, preamble=preamble)
    pixels, color = modality_pixels(path, header, limit)
    warn_of_aspect(path, header)
    stack = stack_of_frames(path, header, len(pixels))
    if stack.order is not None and stack.order != list(range(len(pixels))):
        pixels = pixels[stack.order]
    return LoadedImage(_xyz(pixels), lps_affine(stack.axes, stack.origin), channels=color, color=color)


def dicom_header(path: Path, limit: int, *, preamble: bool = True) -> FileHeader:
    """Size and spacing of a DICOM file, whose pixels are not read."""
    header = parse_dicom(path, limit, pixels=False, preamble=preamble)
    frames = whole_number(path, header, "NumberOfFrames", 1)
    check_one_volume(path, header, frames)
    size = (whole_number(path, header, "Columns"), whole_number(path, header, "Rows"), frames)
    warn_of_aspect(path, header)
    spacing = pixel_spacing(path, header)
    return FileHeader(size, None if spacing is None else (float(spacing[0]), float(spacing[1])))


def _xyz(frames: NDArray[Any]) -> NDArray[Any]:
    """(z, y, x[, c]) to (x, y, z[, c])."""
    return np.swapaxes(frames, 0, 2)
