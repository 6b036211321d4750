"""NIfTI, read by nibabel from bytes that were found complete: ITK turns NaN to 0, and nibabel checks neither end."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from monai_robust.data.reading.files import check_decoded_size, reason_of, unreadable
from monai_robust.data.reading.image import FileHeader, LoadedImage, is_invertible
from monai_robust.data.reading.volumes.nifti_geometry import nifti_affine

__all__ = ["nifti_header", "read_nifti"]

_HEADERS = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
_IMAGES = {348: nib.Nifti1Image, 540: nib.Nifti2Image}
_MOST_PER_BYTE = 1032  # what gzip makes of one byte at most
_SPATIAL_AXES, _MOST_AXES = 3, 5  # the fourth is time or nothing, the fifth channels
_COLORS = {128: 3, 2304: 4}


def read_nifti(path: Path, limit: int) -> LoadedImage:
    """Read a NIfTI file as nibabel scales it, ``(X, Y[, Z[, C]])``; axes beyond the third are channels.

    Raises:
        BadSampleError: it is cut off, longer than its header says, fails its checksum, holds complex numbers, or its
            affine cannot be inverted.
    """
    try:
        with _opened(path) as stream:
            header, start = _header(path, stream)
            _check_kind(path, header)
            whole = int(header["vox_offset"]) + _pixel_bytes(header)
            check_decoded_size(path, max(_pixel_bytes(header), _scaled_bytes(header)), limit)
            content = _complete(path, stream, start, whole)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise unreadable(path, f"it is damaged ({reason_of(error)})") from error
    except OSError as error:
        raise unreadable(path, error.strerror or reason_of(error)) from error
    try:
        image = _IMAGES[int(header["sizeof_hdr"])].from_bytes(cast(bytes, content))
        values: Any = np.asanyarray(image.dataobj).reshape(_shape(image.header))
    except Exception as error:
        raise unreadable(path, f"its header is damaged ({reason_of(error)})") from error
    return _image(path, values, nifti_affine(path, image.header))


def nifti_header(path: Path) -> FileHeader:
    """Size and spacing of a NIfTI file, of which only the header is read."""
    try:
        with _opened(path) as stream:
            header, _ = _header(path, stream)
            _check_kind(path, header)
            spacing = np.linalg.norm(nifti_affine(path, header)[:3, :2], axis=0)
            return FileHeader(_shape(header), (float(spacing[0]), float(spacing[1])))
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(path, f"it is damaged ({reason_of(error)})") from error


def _opened(path: Path) -> BinaryIO:
    with path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path, "rb") if packed else path.open("rb"))


def _header(path: Path, stream: BinaryIO) -> tuple[Any, bytes]:
    """The header, and the bytes that were read for it."""
    start = stream.read(4)
    size = next(
        (int.from_bytes(start, order) for order in ("little", "big") if int.from_bytes(start, order) in _HEADERS),
        None,
    )
    if size is None:
        raise unreadable(path, "it is damaged or no image (it does not begin as NIfTI does)")
    start += stream.read(size - 4)
    if len(start) < size:
        raise unreadable(path, "it is damaged, it ends within its header")
    try:
        header = _HEADERS[size](start, check=False)  # the check mends what it finds
    except Exception as error:
        raise unreadable(path, f"its header is damaged ({reason_of(error)})") from error
    if bytes(header["magic"].item())[:3] not in (b"n+1", b"n+2"):
        raise unreadable(path, "its header says that its voxels are in another file, or it is damaged")
    return header, start


def _shape(header: Any) -> tuple[int, ...]:
    """Its size along each axis; some programs declare seven, the last ones of length 1, which are none."""
    shape = tuple(int(size) for size in header.get_data_shape())
    if len(shape) <= _MOST_AXES:
        return shape
    while len(shape) > _SPATIAL_AXES and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _check_kind(path: Path, header: Any) -> None:
    try:
        shape, kind = _shape(header), header.get_data_dtype()
        affine = np.asarray(header.get_best_affine(), dtype=np.float64)
    except Exception as error:
        raise unreadable(path, f"its header is damaged ({reason_of(error)})") from error
    if not 2 <= len(shape) <= _MOST_AXES or min(shape) < 1:
        raise unreadable(path, f"its header tells of an image of shape {shape}")
    if kind.kind == "c":
        raise unreadable(path, "it holds complex numbers, which are not supported; store magnitude or parts")
    if kind.kind not in "iuf" and int(header["datatype"]) not in _COLORS:
        raise unreadable(path, f"its voxels are of a type that is not supported ({kind})")
    if int(header["bitpix"]) != kind.itemsize * 8:
        raise unreadable(
            path, f"it is damaged: voxels of its datatype have {kind.itemsize * 8} bits, not {header['bitpix']}"
        )
    if not is_invertible(affine):
        raise unreadable(path, "its affine is not finite or cannot be inverted")
    if not np.isfinite(float(header["vox_offset"])) or int(header["vox_offset"]) < int(header["sizeof_hdr"]):
        raise unreadable(path, f"it is damaged: its voxels begin at {header['vox_offset']}, within its header")


def _pixel_bytes(header: Any) -> int:
    return int(np.prod(header.get_data_shape(), dtype=object)) * int(header.get_data_dtype().itemsize)


def _scaled_bytes(header: Any) -> int:
    slope, intercept = header.get_slope_inter()
    scaled = slope is not None and (slope, intercept) != (1.0, 0.0)
    return int(np.prod(header.get_data_shape(), dtype=object)) * 8 if scaled else 0


def _complete(path: Path, stream: BinaryIO, start: bytes, whole: int) -> bytearray:
    """All bytes of the file, which must be as many as the header says; gzip's checksum is verified at its end."""
    if whole > path.stat().st_size * (_MOST_PER_BYTE if isinstance(stream, gzip.GzipFile) else 1):
        raise unreadable(path, "it is damaged, cut off: its header promises more voxels than it can hold")
    content = bytearray(whole)
    content[: len(start)] = start
    view, filled = memoryview(content), len(start)
    while filled < whole:
        read = stream.readinto(view[filled:])  # type: ignore[attr-defined]
        if not read:
            raise unreadable(path, f"it is damaged, cut off after {filled} of {whole} bytes")
        filled += read
    view.release()
    if stream.read(1):
        raise unreadable(path, f"it is damaged: it is longer than the {whole} bytes its header promises")
    return content


def _image(path: Path, values: Any, affine: NDArray[np.float64]) -> LoadedImage:
    color = values.dtype.fields is not None
    if color:
        names = values.dtype.names
        values = np.stack([values[name] for name in names], axis=-1)
    if not values.dtype.isnative:  # which torch does not take
        values = values.astype(values.dtype.newbyteorder("="))
    rank = values.ndim - color
    if rank == 5 and values.shape[3] == 1:  # how NIfTI stores vectors
        values, rank = np.squeeze(values, 3), 4
    if rank == 5 or (color and rank > 3):
        raise unreadable(path, f"it has {rank} axes, which are not supported")
    if rank == 2:
        spacing = np.linalg.norm(affine[:3, :2], axis=0)
        plane = affine[np.ix_([0, 1, 3], [0, 1, 3])]
        flat = np.allclose(np.linalg.norm(plane[:2, :2], axis=0), spacing)
        return LoadedImage(values, plane if flat else np.diag([*spacing, 1.0]), color, color=color)
    return LoadedImage(values, affine, channels=color or rank == 4, color=color)
