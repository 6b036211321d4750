"""MetaImage and NRRD, read by SimpleITK after their text headers and the length of their voxels were looked at.

Their headers may name other files, which a header from somebody else could use to have any file read; only files in
the header's own folder or below are.
"""

from __future__ import annotations

import bz2
import re
import zlib
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from monai_robust.data.reading.files import check_decoded_size, check_regular, unreadable
from monai_robust.data.reading.image import FileHeader, LoadedImage, is_invertible, lps_affine
from monai_robust.data.reading.volumes.lengths import in_millimetres, millimetres_of, warn_of_missing_spacing
from monai_robust.data.reading.volumes.meta_header import (
    SPACINGS,
    check_as_read,
    check_meta_header,
    intensities_of_meta,
)
from monai_robust.data.reading.volumes.nrrd_header import millimetres_of_nrrd, warn_of_axes_without_length

if TYPE_CHECKING:
    import SimpleITK as sitk  # noqa: N813

__all__ = ["itk_header", "read_itk_volume"]

_HEADER_BYTES = 2**20
_CHUNK = 2**20
_NUMBERED = re.compile(r"%[0-9.]*[a-z]")


def read_itk_volume(path: Path, kind: str, limit: int) -> LoadedImage:
    """Read a MetaImage or NRRD file, ``(X, Y[, Z[, ...]][, C])``.

    Args:
        path: the file.
        kind: "MetaImage" or "NRRD".
        limit: bytes that its voxels may take.

    Raises:
        BadSampleError: it is damaged, names files outside its folder, or holds what is not supported.
    """
    import SimpleITK as sitk  # noqa: N813  (the name its own documentation uses); here, since it is large

    reader, factor, (slope, offset) = _checked(path, kind, limit)
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise unreadable(path, f"its voxels are damaged or not supported ({_last_line(error)})") from error
    channels = image.GetNumberOfComponentsPerPixel() > 1
    array = sitk.GetArrayFromImage(image)
    array = np.moveaxis(array.T, 0, -1) if channels else array.T
    if array.dtype.kind == "c":
        raise unreadable(path, "it holds complex numbers, which are not supported; store magnitude or parts")
    if (slope, offset) != (1.0, 0.0):
        array = array * slope + offset
    affine = in_millimetres(_affine(image), factor)
    if not is_invertible(affine):
        raise unreadable(path, "its affine is not finite or cannot be inverted")
    color = channels and array.dtype in (np.uint8, np.uint16) and array.shape[-1] <= 4
    return LoadedImage(array, affine, channels or image.GetDimension() > 3, color=color)


def itk_header(path: Path, kind: str, limit: int) -> FileHeader:
    """Size and spacing of a MetaImage or NRRD file."""
    reader, factor, _ = _checked(path, kind, limit)
    spacing = [float(length) * factor for length in reader.GetSpacing()]
    return FileHeader(tuple(int(size) for size in reader.GetSize()), (spacing[0], spacing[1]))


def _checked(path: Path, kind: str, limit: int) -> tuple[sitk.ImageFileReader, float, tuple[float, float]]:
    """A reader of a file that can be trusted, how many millimetres its lengths are, and what makes intensities of its
    values, a slope and an offset."""
    import SimpleITK as sitk  # noqa: N813  (the name its own documentation uses); here, since it is large

    fields, end = _fields(path, kind)
    _check_data_files(path, kind, fields)
    if kind == "MetaImage":
        named = _data_file(kind, fields)
        stored = path.stat().st_size - end if named is None else (path.parent / named).stat().st_size
        check_meta_header(path, fields, stored)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO("MetaImageIO" if kind == "MetaImage" else "NrrdImageIO")
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise unreadable(path, f"its header is damaged or not supported ({_last_line(error)})") from error
    if kind == "MetaImage":
        check_as_read(path, fields, reader)
    size = [int(one) for one in reader.GetSize()]
    voxel = _voxel_bytes(path, kind, fields)
    decoded = prod(size) * voxel * reader.GetNumberOfComponents()
    intensities = intensities_of_meta(path, fields) if kind == "MetaImage" else (1.0, 0.0)
    check_decoded_size(path, decoded if intensities == (1.0, 0.0) else decoded // voxel * 8, limit)
    _check_length(path, kind, fields, end, decoded)
    return reader, _millimetres(path, kind, fields), intensities


def _millimetres(path: Path, kind: str, fields: dict[str, str]) -> float:
    if kind == "NRRD":
        warn_of_axes_without_length(path, fields)
        return millimetres_of_nrrd(path, fields)
    if not any(name in fields for name in SPACINGS):
        warn_of_missing_spacing(path)
    return millimetres_of(path, fields.get("distanceunits", ""))


def _fields(path: Path, kind: str) -> tuple[dict[str, str], int]:
    """The fields of a text header, names in small letters, and where the header ends."""
    with path.open("rb") as stream:
        text = stream.read(_HEADER_BYTES)
    fields: dict[str, str] = {}
    position = 0
    separator = "=" if kind == "MetaImage" else ":"
    while position < len(text):
        stop = text.find(b"\n", position)
        stop = len(text) if stop < 0 else stop
        line = text[position:stop].decode("latin-1").strip()
        position = stop + 1
        if kind == "NRRD" and not line:
            break
        name, found, value = line.partition(separator)
        if found and not line.startswith("#"):
            fields[name.strip().lower()] = value.lstrip("=").strip()
        if kind == "MetaImage" and name.strip().lower() == "elementdatafile":
            break
    return fields, min(position, len(text))


def _data_file(kind: str, fields: dict[str, str]) -> str | None:
    """The file that a header names for its voxels, None where they follow the header itself."""
    if kind == "NRRD":
        return fields.get("data file", fields.get("datafile"))
    named = fields.get("elementdatafile", "")
    return None if named.upper() == "LOCAL" else named


def _check_data_files(path: Path, kind: str, fields: dict[str, str]) -> None:
    named = _data_file(kind, fields)
    if named is None:
        return
    if not named or not named.isprintable():
        raise unreadable(path, "it is damaged or no image (its header does not say where its voxels are)")
    if named.upper().split()[0] == "LIST" or _NUMBERED.search(named):
        raise unreadable(path, "its voxels are spread over several files, which is not supported")
    file = path.parent / named
    if Path(named).is_absolute() or not file.resolve().is_relative_to(path.parent.resolve()):
        raise unreadable(path, f"it names a file outside its folder for its voxels, {named!r}, which is not read")
    if not file.exists():
        raise unreadable(path, f"the file of its voxels, {named}, does not exist")
    check_regular(file, 2**62)


def _voxel_bytes(path: Path, kind: str, fields: dict[str, str]) -> int:
    name = fields.get("elementtype" if kind == "MetaImage" else "type", "").lower()
    sizes = _META_BYTES if kind == "MetaImage" else _NRRD_BYTES
    if name not in sizes:
        raise unreadable(path, f"its voxels are of the type {name[:40]!r}, which is not supported")
    return sizes[name]


def _check_length(path: Path, kind: str, fields: dict[str, str], end: int, promised: int) -> None:
    """The voxels, unpacked where they are packed, must be as many bytes as the header says."""
    named = _data_file(kind, fields)
    file, start = (path, end) if named is None else (path.parent / named, 0)
    encoding = _encoding(path, kind, fields)
    if encoding == "text":
        raise unreadable(path, "voxels written as text are not supported")
    if encoding == "raw":
        skipped = _skipped(path, kind, fields)
        found = file.stat().st_size - start - max(skipped, 0)
        exact = found >= promised if skipped < 0 else found == promised
    else:
        found = _unpacked_length(path, file, start, encoding, promised)
        exact = found == promised
    if not exact:
        word = "cut off" if found < promised else "longer than its header says"
        raise unreadable(path, f"it is damaged, its voxels are {word}: {found} bytes instead of {promised}")


def _encoding(path: Path, kind: str, fields: dict[str, str]) -> str:
    if kind == "MetaImage":
        binary = fields.get("binarydata", "true").lower() == "true"
        packed = fields.get("compresseddata", "false").lower() == "true"
        return "text" if not binary else "zlib" if packed else "raw"
    name = fields.get("encoding", "").lower()
    known = {"raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"}
    return known.get(name, "text")


def _skipped(path: Path, kind: str, fields: dict[str, str]) -> int:
    """Bytes before the voxels; less than 0 where these stand at the end of the file."""
    text = fields.get("headersize" if kind == "MetaImage" else "byte skip", fields.get("byteskip", "0"))
    lines = fields.get("line skip", fields.get("lineskip", "0"))
    try:
        if int(lines):
            raise unreadable(path, "a header that skips lines of its voxels' file is not supported")
        return int(text)
    except ValueError as error:
        if str(path) in str(error):
            raise
        raise unreadable(path, f"its header is damaged: {text!r} or {lines!r} is no number of bytes to skip") from error


def _unpacked_length(path: Path, file: Path, start: int, encoding: str, promised: int) -> int:
    bits = {"zlib": zlib.MAX_WBITS, "gzip": zlib.MAX_WBITS | 16}
    total = 0
    with file.open("rb") as stream:
        stream.seek(start)
        unpack = bz2.BZ2Decompressor() if encoding == "bzip2" else zlib.decompressobj(bits[encoding])
        try:
            while not unpack.eof and total <= promised:
                if isinstance(unpack, bz2.BZ2Decompressor):
                    data = stream.read(_CHUNK) if unpack.needs_input else b""
                    stuck = unpack.needs_input and not data
                else:
                    data = unpack.unconsumed_tail or stream.read(_CHUNK)
                    stuck = not data
                if stuck:
                    raise unreadable(path, "it is damaged, its packed voxels are cut off")
                total += len(unpack.decompress(data, _CHUNK))
        except (zlib.error, OSError) as error:
            raise unreadable(path, f"it is damaged, its packed voxels fail their checks ({error})") from error
    return total


def _affine(image: sitk.Image) -> np.ndarray:
    dimension = image.GetDimension()
    rank = min(dimension, 3)
    direction = np.asarray(image.GetDirection()).reshape(dimension, dimension)[:rank, :rank]
    return lps_affine(direction * np.asarray(image.GetSpacing())[:rank], np.asarray(image.GetOrigin()[:rank]))


def _last_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1].removeprefix("sitk::ERROR: ")[:200] if lines else type(error).__name__


_META_BYTES = {
    "met_char": 1,
    "met_uchar": 1,
    "met_short": 2,
    "met_ushort": 2,
    "met_int": 4,
    "met_uint": 4,
    "met_long": 4,
    "met_ulong": 4,
    "met_long_long": 8,
    "met_ulong_long": 8,
    "met_float": 4,
    "met_double": 8,
}
_NRRD_BYTES = {
    **dict.fromkeys(("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8", "uint8_t"), 1),
    **dict.fromkeys(
        ("short", "short int", "signed short", "signed short int", "int16", "int16_t", "ushort", "unsigned short",
         "unsigned short int", "uint16", "uint16_t"),
        2,
    ),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t", "uint", "unsigned int", "uint32", "uint32_t"), 4),
    "float": 4,
    **dict.fromkeys(
        ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t",
         "ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t", "double"),
        8,
    ),
}  # fmt: skip
