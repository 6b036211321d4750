"""The one door for image files: whatever reads a file, of any format, comes through here."""

from __future__ import annotations

from pathlib import Path

from monai_robust.data.reading.dicom import dicom_header, read_dicom
from monai_robust.data.reading.files import check_regular, first_bytes, format_of, reason_of, size_limit, unreadable
from monai_robust.data.reading.image import FileHeader, LoadedImage
from monai_robust.data.reading.pictures import PICTURES, picture_header, read_picture
from monai_robust.data.reading.volumes import itk_header, nifti_header, read_itk_volume, read_nifti
from monai_robust.errors import BadInputError

__all__ = ["file_header", "read_file"]


def read_file(path: Path, max_bytes: int | None = None) -> LoadedImage:
    """Read an image file.

    Args:
        path: a regular file in a format that is read here.
        max_bytes: what the decoded image may take, see :func:`~monai_robust.data.reading.files.size_limit`.

    Returns:
        The image with all axes that the file has, also those of length 1.

    Raises:
        BadSampleError: it is no file, damaged, larger than allowed, or not supported; names it in one line.
    """
    limit = size_limit(max_bytes)
    kind = _kind(path, limit)
    try:
        if kind.startswith("DICOM"):
            return read_dicom(path, limit, preamble=kind == "DICOM")
        if kind in PICTURES:
            return read_picture(path, kind, limit)
        if kind == "NIfTI":
            return read_nifti(path, limit)
        return read_itk_volume(path, kind, limit)
    except BadInputError:
        raise
    except MemoryError as error:
        raise unreadable(path, "there is not enough memory for it") from error
    except Exception as error:  # decoders of damaged files end in many ways
        raise unreadable(path, f"{_what(kind)} ({reason_of(error)})") from error


def file_header(path: Path, max_bytes: int | None = None) -> FileHeader:
    """Size and spacing of an image file as :func:`read_file` will give it, without its pixels.

    Raises:
        BadSampleError: as by :func:`read_file`, as far as the header tells.
    """
    limit = size_limit(max_bytes)
    kind = _kind(path, limit)
    try:
        if kind.startswith("DICOM"):
            return dicom_header(path, limit, preamble=kind == "DICOM")
        if kind in PICTURES:
            return picture_header(path, kind)
        if kind == "NIfTI":
            return nifti_header(path)
        return itk_header(path, kind, limit)
    except BadInputError:
        raise
    except MemoryError as error:
        raise unreadable(path, "there is not enough memory for it") from error
    except Exception as error:
        raise unreadable(path, f"{_what(kind)} ({reason_of(error)})") from error


def _kind(path: Path, limit: int) -> str:
    check_regular(path, limit)
    return format_of(path, first_bytes(path))


def _what(kind: str) -> str:
    """What an error that no check foresaw is about; pydicom converts elements of a header when they are asked for."""
    return "its DICOM header is damaged" if kind.startswith("DICOM") else f"decoding it as {kind} failed"
