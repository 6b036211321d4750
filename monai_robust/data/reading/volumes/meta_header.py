"""The text header of a MetaImage file, looked at before MetaIO reads it.

MetaIO takes what it cannot read for absent: of an ``Offset`` with a value missing it forgets the spacing, too, of
packed voxels without their length it hands out memory that nobody wrote, and a huge ``NDims`` ends the process.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from monai_robust.data.reading.files import unreadable

if TYPE_CHECKING:
    import SimpleITK as sitk  # noqa: N813

__all__ = ["SPACINGS", "check_as_read", "check_meta_header", "intensities_of_meta"]

_MOST_AXES = 10  # of MetaIO
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.| \[\]()-]*")  # ITK writes dim[0] of NIfTI and 0010|0020 of DICOM
_PLACES = ("offset", "origin", "position")
SPACINGS = ("elementspacing", "elementsize")  # the fields that tell it, in small letters
_MATRICES = ("transformmatrix", "rotation", "orientation")
_SWITCHES = ("binarydata", "binarydatabyteordermsb", "elementbyteordermsb", "compresseddata")
_ROUNDED = 1e-2  # of direction cosines that a program wrote with few digits


def check_meta_header(path: Path, fields: Mapping[str, str], packed_bytes: int) -> None:
    """Refuse a header that MetaIO would misread.

    Args:
        path: the file.
        fields: of its header, names in small letters.
        packed_bytes: how long the voxels are as they are stored.

    Raises:
        BadSampleError: names the file and the field.
    """
    odd = next((name for name in fields if not _NAME.fullmatch(name)), None)
    if odd is not None:
        raise unreadable(path, f"its header is damaged: {odd[:40]!r} is no name of a field")
    unclear = next((name for name in _SWITCHES if fields.get(name, "true").lower() not in ("true", "false")), None)
    if unclear is not None:  # MetaIO looks at the first letter
        raise unreadable(path, f"its header is damaged: {unclear} is {fields[unclear][:40]!r}, not True or False")
    axes = _axes(path, fields)
    for name in _PLACES:
        _numbers(path, fields, name, axes)
    sizes = _numbers(path, fields, "dimsize", axes)
    if sizes is None or not all(size >= 1 and size == round(size) for size in sizes):
        raise unreadable(path, f"its header is damaged: DimSize needs {axes} whole numbers of 1 or more")
    for name in SPACINGS:
        spacing = _numbers(path, fields, name, axes)
        if spacing is not None and min(spacing) <= 0:
            raise unreadable(path, f"its header says a spacing of {fields[name]!r}, which must be above 0")
    for name in _MATRICES:
        values = _numbers(path, fields, name, axes * axes)
        if values is not None and not _is_rotation(np.reshape(values, (axes, axes))):
            raise unreadable(path, f"its header says axes in the directions {fields[name][:80]!r}, which are none")
    if fields.get("compresseddata", "").lower() == "true" and fields.get("compresseddatasize") != str(packed_bytes):
        said = fields.get("compresseddatasize", "nothing")
        raise unreadable(path, f"its packed voxels have {packed_bytes} bytes, but CompressedDataSize says {said[:40]}")


def check_as_read(path: Path, fields: Mapping[str, str], reader: sitk.ImageFileReader) -> None:
    """Refuse a file of which MetaIO took note of another size or spacing than the header says.

    Raises:
        BadSampleError: names the file and the field.
    """
    spacing = next((name for name in SPACINGS if name in fields), None)
    for name, found in (("dimsize", reader.GetSize()), (spacing, reader.GetSpacing())):
        if name is not None and not np.allclose(found, [float(one) for one in fields[name].split()], rtol=1e-6):
            raise unreadable(path, f"its header is damaged: {name} {fields[name][:80]!r} was read as {found}")


def intensities_of_meta(path: Path, fields: Mapping[str, str]) -> tuple[float, float]:
    """Slope and offset that make intensities of stored values, which ITK reads and does not apply; 1 and 0 by default.

    Raises:
        BadSampleError: they are no numbers, or the slope is 0.
    """
    slope, offset = (_numbers(path, fields, f"elementtointensityfunction{name}", 1) for name in ("slope", "offset"))
    if slope == [0.0]:
        raise unreadable(path, "its ElementToIntensityFunctionSlope is 0, which makes all voxels alike")
    return 1.0 if slope is None else slope[0], 0.0 if offset is None else offset[0]


def _axes(path: Path, fields: Mapping[str, str]) -> int:
    text = fields.get("ndims", "")
    if not text.isdecimal() or not 1 <= int(text[:9]) <= _MOST_AXES:
        raise unreadable(path, f"its header is damaged: NDims is {text[:40]!r}, which is no number of axes")
    return int(text)


def _numbers(path: Path, fields: Mapping[str, str], name: str, count: int) -> list[float] | None:
    if name not in fields:
        return None
    try:
        found = [float(one) for one in fields[name].split()]
    except ValueError:
        found = []
    if len(found) != count or not all(map(math.isfinite, found)):
        raise unreadable(path, f"its header is damaged: {name} is {fields[name][:80]!r}; it needs {count} numbers")
    return found


def _is_rotation(matrix: np.ndarray) -> bool:
    return bool(np.abs(matrix @ matrix.T - np.eye(len(matrix))).max() <= _ROUNDED)
