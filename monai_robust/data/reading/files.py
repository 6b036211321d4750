"""Opening an image file: what may be opened at all, which format its first bytes tell, and how large it may become."""

from __future__ import annotations

import logging
import os
import re
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from monai_robust.errors import BadInputError, BadSampleError

__all__ = [
    "SIZE_LIMIT_VARIABLE",
    "check_decoded_size",
    "check_regular",
    "first_bytes",
    "format_of",
    "is_folder",
    "reason_of",
    "size_limit",
    "telling",
    "unreadable",
    "warn_of",
]

_logger = logging.getLogger(__name__)

SIZE_LIMIT_VARIABLE = "MONAI_ROBUST_MAX_IMAGE_BYTES"
_DEFAULT_LIMIT = 2 * 1024**3
_HEAD = 512
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_CUT_OFF = ("Corrupt EXIF data", "Truncated File Read")  # as Pillow says it
_telling = threading.RLock()  # Python's record of warnings is one for all threads

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    (b"BM", "BMP"),
    (b"NRRD000", "NRRD"),
)
_SUFFIXES = {
    "NIfTI": (".nii", ".nii.gz"),
    "MetaImage": (".mha", ".mhd"),
    "NRRD": (".nrrd", ".nhdr"),
    "DICOM": (".dcm", ".dicom", ".ima"),
}
_OTHERS = {
    b"GIF8": "a GIF",
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip archive",
    b"\x89HDF": "an HDF5 file",
    b"\x00\x00\x00\x0cjP  ": "a bare JPEG 2000 picture",
    b"\xff\x4f\xff\x51": "a bare JPEG 2000 picture",
    b"RIFF": "a RIFF file (WebP or video)",
    b"# vtk": "a VTK file",
}


def unreadable(path: Path, reason: object) -> BadSampleError:
    """The error for a file that cannot be read; its message names the file and takes one line."""
    return BadSampleError(" ".join(f"image {path} cannot be read: {reason}".split()))


def reason_of(error: BaseException) -> str:
    """The kind of an error and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__


def size_limit(given: int | None = None) -> int:
    """How many bytes the decoded image of one file may take.

    Args:
        given: what a caller asks for; without it the environment variable ``MONAI_ROBUST_MAX_IMAGE_BYTES`` counts,
            and without that 2 GiB.

    Raises:
        BadInputError: it is no whole number above 0.
    """
    text = os.environ.get(SIZE_LIMIT_VARIABLE, "") if given is None else str(given)
    if not text:
        return _DEFAULT_LIMIT
    if not text.isdecimal() or int(text) < 1:
        name = SIZE_LIMIT_VARIABLE if given is None else "max_bytes"
        raise BadInputError(f"{name} is {text!r}; it can be a whole number of bytes above 0")
    return int(text)


def check_decoded_size(path: Path, decoded: int, limit: int) -> None:
    """Refuse, before anything is decoded, a file whose header asks for more memory than is allowed.

    Args:
        path: the file.
        decoded: bytes that its image takes, as its header has it.
        limit: as :func:`size_limit` gives it.

    Raises:
        BadSampleError: it asks for more, or for nothing.
    """
    if decoded <= 0:
        raise unreadable(path, "its header tells of an image without pixels")
    if decoded > limit:
        raise unreadable(
            path,
            f"its header asks for {decoded / 2**20:.0f} MiB, more than the {limit / 2**20:.0f} MiB allowed for one "
            f"image ({SIZE_LIMIT_VARIABLE} sets the limit, in bytes)",
        )


def check_regular(path: Path, limit: int) -> None:
    """Refuse what cannot be an image before it is opened: opening a pipe would wait for ever.

    Raises:
        BadSampleError: there is nothing, it is no regular file, it is empty, or larger than ``limit`` bytes.
    """
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            raise BadSampleError(" ".join(f"image {path} does not exist".split())) from error
        raise unreadable(path, f"{getattr(error, 'strerror', None) or error}") from error
    if not stat.S_ISREG(found.st_mode):
        kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
        kind = next((name for test, name in kinds if test(found.st_mode)), "a device")
        raise unreadable(path, f"it is {kind}, not a file")
    if found.st_size == 0:
        raise unreadable(path, "it is damaged: the file is empty")
    if found.st_size > limit + 2**26:
        raise unreadable(
            path,
            f"the file has {found.st_size / 2**20:.0f} MiB, more than the {limit / 2**20:.0f} MiB allowed for one "
            f"image ({SIZE_LIMIT_VARIABLE} sets the limit, in bytes)",
        )


def is_folder(path: Path) -> bool:
    """Whether a path is a folder; one that cannot even be looked at is none."""
    try:
        return path.is_dir()
    except OSError:
        return False


def first_bytes(path: Path) -> bytes:
    """The first 512 bytes of a file.

    Raises:
        BadSampleError: it may not be opened.
    """
    try:
        with path.open("rb") as stream:
            return stream.read(_HEAD)
    except OSError as error:
        raise unreadable(path, error.strerror or error) from error


def format_of(path: Path, head: bytes) -> str:
    """The format of a file by its first bytes, or, for formats without such a mark, by its name.

    Args:
        path: the file; for NIfTI, MetaImage and DICOM without preamble its suffix counts.
        head: as :func:`first_bytes` gives it.

    Returns:
        "DICOM", "PNG", "JPEG", "TIFF", "BMP", "NIfTI", "MetaImage", "NRRD", or "DICOM?" for a file that may be DICOM
        without its preamble.

    Raises:
        BadSampleError: it is in a format that is not read here.
    """
    if head[128:132] == b"DICM":
        return "DICOM"
    by_mark = next((name for mark, name in _MAGIC if head.startswith(mark)), None)
    name = path.name.lower()
    by_name = next((kind for kind, endings in _SUFFIXES.items() if name.endswith(endings)), None)
    if by_mark == "BMP" and by_name is not None:
        by_mark = None  # two letters are a weak sign
    if by_mark or by_name:
        return by_mark or ("DICOM?" if by_name == "DICOM" else str(by_name))
    if head[344:348] in (b"n+1\x00", b"ni1\x00"):
        return "NIfTI"
    other = next((kind for mark, kind in _OTHERS.items() if head.startswith(mark)), None)
    if other:
        raise unreadable(path, f"it is {other}; formats read are DICOM, PNG, JPEG, TIFF, BMP, NIfTI, MetaImage, NRRD")
    return "DICOM?"


def _free_lock() -> None:
    """A process that is forked while another thread reads would wait for that thread, which it does not have."""
    global _telling
    _telling = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free_lock)


@contextmanager
def telling(path: Path) -> Iterator[None]:
    """Let the warnings of a decoder pass, without the name of the file, which stands in the log at level DEBUG.

    Raises:
        BadSampleError: a warning says that the file ends too early.
    """
    with _telling, warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        yield
    for warning in heard:
        if str(warning.message).startswith(_CUT_OFF):
            raise unreadable(path, f"it is damaged ({warning.message})")
        if not issubclass(warning.category, (DeprecationWarning, PendingDeprecationWarning, ResourceWarning)):
            said = str(warning.message).replace(str(path), "it").replace(path.name, "it")
            said = _QUOTED.sub("(a value)", said)  # of the header, and perhaps a name
            warn_of(f"image {path}", f"has a fault: {said}", warning.category, stacklevel=4)


def warn_of(name: str, said: str, category: type[Warning] = UserWarning, stacklevel: int = 3) -> None:
    """Warn of an image without the name of its file, which can be a patient's: that goes to the log at level DEBUG.

    Args:
        name: what it is about, with the file, such as ``slices in /data/a``; the first word stays.
        said: what is said of it.
        category: of the warning.
        stacklevel: of the warning.
    """
    said = " ".join(said.split())
    _logger.debug("%s %s", name, said)
    what = name.partition(" ")[0]
    named = what if what == "image" else f"{what} of an image"
    warnings.warn(f"{named} {said}; the log at level DEBUG names the file", category, stacklevel=stacklevel)
