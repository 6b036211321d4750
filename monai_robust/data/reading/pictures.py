"""Everyday pictures: PNG, JPEG, TIFF and BMP, decoded by Pillow, which refuses what is cut off or fails its checksums.

Pillow has no mode for colour of 16 bits per channel; such pictures are decoded by SimpleITK after Pillow found them
whole.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from struct import unpack_from
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from monai_robust.data.reading.codestreams import DamagedStreamError, check_png, jpeg_stream
from monai_robust.data.reading.files import check_decoded_size, first_bytes, reason_of, telling, unreadable
from monai_robust.data.reading.image import FileHeader, LoadedImage, lps_affine
from monai_robust.data.reading.tiff_pages import check_pages
from monai_robust.errors import BadSampleError

__all__ = ["PICTURES", "picture_header", "read_picture"]

# Pillow's own limit of pixels is one for the whole process; these classes leave that to check_decoded_size.
PICTURES: dict[str, type[Image.Image]] = {
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,
    "TIFF": TiffImageFile,
    "BMP": BmpImageFile,
}
_ORIENTATION = 0x0112
_WIDTH, _HEIGHT, _BITS_PER_SAMPLE, _PHOTOMETRIC, _STRIP_OFFSETS = 256, 257, 258, 262, 273
_SAMPLES, _ROWS_PER_STRIP, _STRIP_COUNTS, _PLANAR = 277, 278, 279, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS, _SAMPLE_FORMAT = 322, 323, 324, 325, 339
_WHITE_IS_ZERO = 0
_SIGNED = 2  # of sample formats
_BYTES = {"1": 1, "L": 1, "P": 1, "LA": 2, "La": 2, "PA": 2, "I": 4, "F": 4, "RGB": 3, "YCbCr": 3, "LAB": 3}
_AS_IT_IS = {"L", "LA", "RGB", "RGBA", "I", "F"}
_CONVERTED = {
    "1": "L",
    "La": "LA",
    "PA": "RGBA",
    "RGBa": "RGBA",
    "RGBX": "RGB",
    "CMYK": "RGB",
    "YCbCr": "RGB",
}


def read_picture(path: Path, kind: str, limit: int) -> LoadedImage:
    """Read a picture upright, as its EXIF orientation has it: ``(X, Y[, C])``, or ``(X, Y, Z)`` for several pages.

    Args:
        path: the file.
        kind: key of :data:`PICTURES`.
        limit: bytes that the decoded picture may take.

    Raises:
        BadSampleError: it is damaged, or of a kind that is not supported.
    """
    with path.open("rb") as stream:
        picture = _opened(path, kind, stream)
        pages = _pages(path, kind, picture)
        deep = _has_deep_color(path, kind, picture)
        bands = _BYTES.get(picture.mode, 2 if picture.mode.startswith("I;16") else 4)
        check_decoded_size(path, prod(picture.size) * bands * pages * (2 if deep else 1), limit)
        _check_whole(path, kind)
        decoded = [_page(path, kind, picture, page, deep) for page in range(pages)]
    if any(page.shape != decoded[0].shape or page.dtype != decoded[0].dtype for page in decoded):
        raise unreadable(path, f"its {pages} pages differ in size or kind; they make no volume")
    channels = decoded[0].ndim == 3
    if pages == 1:
        return LoadedImage(np.swapaxes(decoded[0], 0, 1), lps_affine(np.eye(2)), channels, color=channels)
    return LoadedImage(np.swapaxes(np.stack(decoded), 0, 2), lps_affine(np.eye(3)), channels, color=channels)


def picture_header(path: Path, kind: str) -> FileHeader:
    """Size of a picture as it stands upright; its resolution is that of printing, and no spacing."""
    with path.open("rb") as stream:
        picture = _opened(path, kind, stream)
        size, orientation = picture.size, _orientation(path, picture)
        if kind != "TIFF" and orientation >= 5:  # of a TIFF, Pillow turns the size, too
            size = size[::-1]
        pages = _pages(path, kind, picture)
    return FileHeader(size if pages == 1 else (*size, pages), None, orientation)


def _pages(path: Path, kind: str, picture: Any) -> int:
    """How many slices a picture has."""
    if kind != "TIFF":
        return 1
    check_pages(path, picture.tag_v2, picture.n_frames)
    return int(picture.n_frames)


def _opened(path: Path, kind: str, stream: Any) -> Any:
    try:
        with telling(path):
            picture: Any = PICTURES[kind](stream)  # type: ignore[call-arg]  # with a name, Pillow garbles a turned TIFF
            if kind == "TIFF":
                _ = picture.n_frames  # follows all directories
    except BadSampleError:
        raise
    except Exception as error:
        text = reason_of(error)
        if "unknown pixel mode" in text or isinstance(error, NotImplementedError):
            raise unreadable(path, f"this kind of {kind} is not supported ({text})") from error
        raise unreadable(path, f"it is a {kind} whose header is damaged or not supported ({text})") from error
    if min(picture.size) < 1:
        raise unreadable(path, "its header tells of a picture without pixels")
    return picture


def _page(path: Path, kind: str, picture: Any, page: int, deep: bool) -> NDArray[Any]:
    """(rows, columns[, channels]) of one page, upright."""
    try:
        if kind == "TIFF":
            picture.seek(page)
            _check_strips(path, picture)
        tags = dict(picture.tag_v2) if kind == "TIFF" else {}
        picture.load()
        if deep:
            return _deep_color(path, kind, picture)
        upright = picture if kind == "TIFF" else ImageOps.exif_transpose(picture)  # Pillow turns TIFF itself
        return _pixels(path, upright, tags)
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, ArithmeticError) as error:
        if isinstance(error, ValueError) and str(path) in str(error):
            raise
        raise unreadable(path, f"it is damaged ({reason_of(error)})") from error


def _pixels(path: Path, picture: Image.Image, tags: dict[int, Any]) -> NDArray[Any]:
    mode = picture.mode
    if mode == "L" and _SIGNED in np.atleast_1d(tags.get(_SAMPLE_FORMAT, 1)):  # which Pillow takes for unsigned
        return np.asarray(picture).view(np.int8)
    if mode == "P":
        return np.asarray(picture.convert("RGBA" if "transparency" in picture.info else "RGB"))
    if mode.startswith("I;16"):
        values = np.asarray(picture).astype(np.uint16)
        return np.uint16(65535) - values if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else values
    if mode in ("I", "F") and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        raise unreadable(path, "a TIFF of more than 16 bits in which white is 0 is not supported")
    if mode == "I" and tags.get(_BITS_PER_SAMPLE) == (32,) and tags.get(_SAMPLE_FORMAT, (1,)) == (1,):
        return np.asarray(picture).view(np.uint32)
    if mode in _AS_IT_IS:
        return np.asarray(picture)
    if mode not in _CONVERTED:
        raise unreadable(path, f"pictures of the kind {mode} are not supported")
    return np.asarray(picture.convert(_CONVERTED[mode]))


def _has_deep_color(path: Path, kind: str, picture: Any) -> bool:
    """Whether several channels of 16 bits stand in the file, which Pillow would cut to 8."""
    if kind == "PNG":
        depth, color_type = unpack_from(">BB", first_bytes(path), 24)
        return bool(depth == 16 and color_type != 0)
    if kind != "TIFF":
        return False
    bits = picture.tag_v2.get(_BITS_PER_SAMPLE, (1,))
    return len(bits) > 1 and max(bits) > 8


def _deep_color(path: Path, kind: str, picture: Any) -> NDArray[Any]:
    import SimpleITK as sitk  # noqa: N813  (the name its own documentation uses); here, since it is large

    if _orientation(path, picture) != 1 or (kind == "TIFF" and picture.n_frames > 1):
        raise unreadable(path, "turned or several pictures with 16 bits per colour in one file are not supported")
    try:
        return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(path), imageIO=f"{kind}ImageIO")))
    except RuntimeError as error:
        raise unreadable(path, f"this kind of {kind} with 16 bits per colour is not supported") from error


def _orientation(path: Path, picture: Any) -> int:
    try:
        with telling(path):
            found = picture.getexif().get(_ORIENTATION, 1)
    except BadSampleError:
        raise
    except Exception as error:
        raise unreadable(path, f"its EXIF data are damaged ({reason_of(error)})") from error
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _check_whole(path: Path, kind: str) -> None:
    """Follow a JPEG or PNG to its end mark, which Pillow does not ask for."""
    try:
        if kind == "JPEG":
            jpeg_stream(path.read_bytes())
        elif kind == "PNG":
            check_png(path.read_bytes())
    except DamagedStreamError as error:
        raise unreadable(path, f"it is damaged: {error}") from error


def _check_strips(path: Path, picture: Any) -> None:
    """The parts of a TIFF must be as many as its pixels need, and lie within the file: Pillow fills what is missing."""
    tags, end = picture.tag_v2, path.stat().st_size
    tiled = _TILE_OFFSETS in tags
    offsets, counts = (_TILE_OFFSETS, _TILE_COUNTS) if tiled else (_STRIP_OFFSETS, _STRIP_COUNTS)
    starts, lengths = (np.atleast_1d(tags.get(one, ())).astype(float) for one in (offsets, counts))
    width, height = int(tags.get(_WIDTH, 0)), int(tags.get(_HEIGHT, 0))
    if tiled:
        across, down = int(tags[_TILE_WIDTH]), int(tags[_TILE_HEIGHT])
        parts = -(-width // across) * -(-height // down)
    else:
        parts = -(-height // min(int(tags.get(_ROWS_PER_STRIP, height)), height))
    if tags.get(_PLANAR, 1) == 2:
        parts *= int(tags.get(_SAMPLES, 1))
    if len(starts) != parts or (len(lengths) and starts.shape != lengths.shape):
        raise unreadable(path, f"it is damaged: {width} x {height} pixels need {parts} parts, but it has {len(starts)}")
    if (starts > end).any() or (len(lengths) and (starts + lengths > end).any()):
        raise unreadable(path, f"it is damaged, a part of its pixels lies beyond its {end} bytes")
