"""Every image below a folder, for inference."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from monai_robust.data.lists.listed import visible_files
from monai_robust.errors import BadInputError

__all__ = ["images_below", "is_no_image"]

_NOT_IMAGES = {".csv", ".json", ".md", ".txt", ".yaml", ".yml", ".html", ".xml", ".pt", ".ts", ".log", ".py"}
_NAMES = ("DICOMDIR", "SHA256SUMS", "LICENSE")


def images_below(folder: str | PathLike[str]) -> list[dict[str, Any]]:
    """Items (``image``, ``sample_id``) for the files below a folder that may be images, sorted by path.

    DICOM files often have no suffix, so every file counts whose suffix is not that of a text or weights file; hidden
    files and those in hidden folders do not. Links to folders are followed.

    Raises:
        BadInputError: when there is no such folder, or no such file in it.
    """
    root = Path(folder).expanduser().absolute()
    if not root.is_dir():
        raise BadInputError(f"there is no folder {folder}")
    files = [path for path in visible_files(root) if not is_no_image(path)]
    if not files:
        raise BadInputError(f"{folder} holds no images (DICOM, PNG, JPEG, TIFF, NIfTI)")
    return [{"image": str(path), "sample_id": path.relative_to(root).as_posix()} for path in files]


def is_no_image(path: Path) -> bool:
    """Whether a file's name says that it holds text or weights."""
    return path.suffix.lower() in _NOT_IMAGES or path.name in _NAMES
