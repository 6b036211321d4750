"""Folders named by classes, with or without folders of splits above them, and which files in them are images."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from monai_robust.data.images import is_no_image
from monai_robust.data.lists.listed import NAMES_AT_DEBUG, visible_files, visible_folders
from monai_robust.data.lists.split_names import split_of
from monai_robust.data.reading import file_header
from monai_robust.data.reading.files import first_bytes, format_of
from monai_robust.errors import BadInputError, BadSampleError

__all__ = ["folder_rows"]

_logger = logging.getLogger(__name__)

_NAMED = (
    *(".dcm", ".dicom", ".ima", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"),
    *(".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr"),
)
_HEADERS, _VOXELS = (".mhd", ".nhdr"), (".raw", ".zraw", ".raw.gz", ".gz", ".bz2")
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")  # of a DICOM file without preamble, in either byte order


@dataclass
class _Found:
    """What folders hold: samples, folders without any, and files that are no images."""

    rows: list[dict[str, str]] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    left_out: list[Path] = field(default_factory=list)


def folder_rows(root: Path) -> list[dict[str, str]]:
    """``image``, ``label`` and perhaps ``split`` of every image in ``root/SPLIT/CLASS`` or else in ``root/CLASS``.

    An image is what is named like one, and whatever else begins as a file that is read here does: DICOM files are often
    named by their UID. Other files are left out, and told of but for texts; so are classes without an image.

    Raises:
        BadInputError: there are no such folders with images.
    """
    found = _split_folders(root)
    found = found if found.rows else _class_folders(root)
    if len({row["label"] for row in found.rows}) < 2 and not any("split" in row for row in found.rows):
        others = f"; {len(found.left_out)} files in its folders are no images that are read" if found.left_out else ""
        raise BadInputError(
            f"no samples found in {root}: looked for index.csv, for folders train, val, test with class folders "
            f"in them, and for two or more class folders with images{others}; a data list can be given by datalist="
        )
    _warn_of_left_out(found, root)
    return found.rows


def _split_folders(root: Path) -> _Found:
    found, others = _Found(), []
    for folder in visible_folders(root):
        own = _class_folders(folder)
        if split_of(folder.name):
            found.rows += [{**row, "split": folder.name} for row in own.rows]
            found.empty += [f"{folder.name}/{name}" for name in own.empty]
            found.left_out += own.left_out
        elif own.rows:
            others.append(folder.name)
    if found.rows and others:
        _logger.warning("folders %s of %s are no splits, so nothing in them is used", ", ".join(others), root)
    return found


def _class_folders(folder: Path) -> _Found:
    found = _Found()
    for part in visible_folders(folder):
        files = [path for path in visible_files(part) if not is_no_image(path)]
        images = [path for path in files if _is_image(path)]
        found.rows += [{"image": str(path), "label": part.name} for path in images]
        found.left_out += _without_voxels(sorted(set(files) - set(images)), images)
        if not images:
            found.empty.append(part.name)
    return found


def _is_image(path: Path) -> bool:
    if path.name.lower().endswith(_NAMED) or not path.is_file():
        return True  # the check of all images tells why one cannot be read
    try:
        head = first_bytes(path)
    except BadSampleError:
        return True
    try:
        if format_of(path, head) == "DICOM?":
            return head.startswith(_FIRST_GROUPS) and bool(file_header(path))
    except BadSampleError:
        return False
    return True


def _without_voxels(files: Sequence[Path], images: Sequence[Path]) -> list[Path]:
    """Without the voxels of images whose header is a file of its own."""
    stems = {path.with_suffix("") for path in images if path.name.lower().endswith(_HEADERS)}
    return [
        path
        for path in files
        if not any(path.name.lower().endswith(end) and Path(str(path)[: -len(end)]) in stems for end in _VOXELS)
    ]


def _warn_of_left_out(found: _Found, root: Path) -> None:
    if found.empty:
        named = ", ".join(found.empty)
        _logger.warning("folders of %s without an image, of which no class or sample comes: %s", root, named)
    if found.left_out:
        kinds = Counter(path.suffix.lower() or "none" for path in found.left_out).most_common(5)
        ends = ", ".join(f"{count} of {suffix}" for suffix, count in kinds)
        _logger.warning(
            "%d files in class folders of %s are no images that are read, and are left out; by their endings %s%s",
            *(len(found.left_out), root, ends, NAMES_AT_DEBUG),
        )
        _logger.debug("no images: %s", ", ".join(path.relative_to(root).as_posix() for path in found.left_out[:100]))
