"""DICOM headers: parsed with the file's name in every error, and numbers taken from them only if they are numbers."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset as Header
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

from monai_robust.data.reading.files import reason_of, telling, unreadable
from monai_robust.errors import BadSampleError

__all__ = ["PIXEL_KEYWORDS", "numbers", "parse_dicom", "whole_number"]

PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_CHUNK = 2**20


def parse_dicom(path: Path, limit: int, *, pixels: bool, preamble: bool = True) -> Header:
    """Parse a DICOM file.

    Args:
        path: a regular file.
        limit: bytes that a deflated file may grow to.
        pixels: read the pixel data too.
        preamble: whether the file has one; without it, it is taken for DICOM only if it describes an image.

    Raises:
        BadSampleError: it is no DICOM file, it is damaged, or its deflated data are.
    """
    if preamble:
        _check_deflated(path, limit)
    try:
        with telling(path):
            header = dcmread(path, stop_before_pixels=not pixels, force=not preamble)
    except BadSampleError:
        raise
    except InvalidDicomError as error:
        raise unreadable(path, "it is no DICOM file") from error
    except Exception as error:  # a damaged file ends the parser in many ways
        raise unreadable(path, f"its DICOM header is damaged ({reason_of(error)})") from error
    if not preamble and not ("Rows" in header and "Columns" in header):
        raise unreadable(path, "it is damaged or no image of a known format")
    return header


def numbers(path: Path, header: Header, keyword: str, count: int) -> NDArray[np.float64] | None:
    """The numbers of a header element, or None where it is absent or empty.

    Raises:
        BadSampleError: they are not ``count`` finite numbers; a decimal comma is none.
    """
    if keyword not in header:
        return None
    try:
        value: Any = header[keyword].value
        if value is None or value == "" or (hasattr(value, "__len__") and len(value) == 0):
            return None
        found = np.atleast_1d(np.asarray(value, dtype=np.float64))
    except Exception as error:
        raise unreadable(path, f"its {keyword} is no number as DICOM writes it ({reason_of(error)})") from error
    if found.shape != (count,) or not np.isfinite(found).all():
        raise unreadable(path, f"its {keyword} is {_shown(value)}; it needs {count} finite numbers")
    return found


def whole_number(path: Path, header: Header, keyword: str, default: int | None = None) -> int:
    """A whole number of 1 or more.

    Args:
        path: the file.
        header: of the file.
        keyword: of the element.
        default: where the element is absent or empty; None refuses that.

    Raises:
        BadSampleError: it is something else.
    """
    found = numbers(path, header, keyword, 1)
    if found is None:
        if default is None:
            raise unreadable(path, f"its header has no {keyword}")
        return default
    if found[0] != int(found[0]) or found[0] < 1:
        raise unreadable(path, f"its {keyword} is {found[0]:g}; it must be a whole number of 1 or more")
    return int(found[0])


def _check_deflated(path: Path, limit: int) -> None:
    """Inflate a deflated data set without keeping it: the parser takes what a damaged stream gives, of any size."""
    try:
        with telling(path):
            meta = read_file_meta_info(path)
    except BadSampleError:
        raise
    except Exception as error:
        raise unreadable(path, f"its DICOM header is damaged ({reason_of(error)})") from error
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    with path.open("rb") as stream:
        stream.seek(144 + int(meta.get("FileMetaInformationGroupLength") or 0))
        inflater, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
        try:
            while data := inflater.unconsumed_tail or stream.read(_CHUNK):
                total += len(inflater.decompress(data, _CHUNK))
                if total > limit + _CHUNK:
                    raise unreadable(path, f"its deflated data take more than the {limit / 2**20:.0f} MiB allowed")
                if inflater.eof:
                    break
        except zlib.error as error:
            raise unreadable(path, f"its deflated data are damaged ({error})") from error
        left = inflater.unused_data + stream.read(_CHUNK)
    if not inflater.eof or len(left) > 1 or left.strip(b"\x00"):
        raise unreadable(path, "its deflated data are damaged, they do not end where the file ends")


def _shown(value: Any) -> str:
    return repr(str(value)[:60])
