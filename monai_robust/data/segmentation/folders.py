"""Every volume below a folder, for inference."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from monai_robust.data.lists.listed import visible_files
from monai_robust.errors import BadInputError

__all__ = ["is_volume", "volumes_below", "without_suffix"]

_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_NOT_DICOM = {".csv", ".json", ".md", ".txt", ".yaml", ".yml", ".html", ".xml", ".log"}
_DECATHLON = ("imagesTs", "imagesTr")


def volumes_below(path: str | PathLike[str]) -> list[dict[str, Any]]:
    """Items (``image``, ``case_id``) for a volume file, a folder with a DICOM series, or all of either below a folder.

    Of a data set in the Decathlon's layout only the images are listed, not the labels. A folder counts as a DICOM
    series if it holds files, and none of another volume format. Hidden files and folders are left out, links to
    folders are followed.

    Args:
        path: a file or a folder.

    Raises:
        BadInputError: when there is nothing there, or two volumes have one name but for their format.
    """
    root = Path(path).expanduser().absolute()
    if root.exists() and not root.is_dir():
        return [_item(root, root.parent)]
    if not root.is_dir():
        raise BadInputError(f"there is no file or folder {path}")
    parts = [root / name for name in _DECATHLON if (root / name).is_dir()] if (root / "dataset.json").is_file() else []
    found = [item for part in parts or [root] for item in _volumes(part)]
    if not found:
        raise BadInputError(f"{path} holds no volumes (NIfTI, NRRD, MetaImage, or folders with a DICOM series)")
    names: dict[str, str] = {}
    for item in found:
        other = names.setdefault(item["case_id"], item["image"])
        if other != item["image"]:
            raise BadInputError(f"{other} and {item['image']} are both called {item['case_id']}; rename or remove one")
    return found


def _volumes(root: Path) -> list[dict[str, Any]]:
    files = list(visible_files(root))
    volumes = [one for one in files if is_volume(one)]
    folders = {one.parent for one in files} - {one.parent for one in volumes}
    slices = {one.parent for one in files if one.suffix.lower() not in _NOT_DICOM}
    return [_item(one, root) for one in (*volumes, *sorted(folders & slices))]


def _item(path: Path, root: Path) -> dict[str, Any]:
    name = path.relative_to(root).as_posix() if path != root else path.name
    return {"image": str(path), "case_id": without_suffix(name)}


def is_volume(path: Path) -> bool:
    """Whether a file is named as a volume."""
    return path.name.lower().endswith(_SUFFIXES)


def without_suffix(name: str) -> str:
    """The name of a volume's file without what tells its format."""
    suffix = next((suffix for suffix in _SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)]
