"""Write a shipped bundle into a folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from monai_robust.errors import BadInputError, require_choice

__all__ = ["bundle", "shipped_bundle", "shipped_bundles", "write_bundle"]

# Of an installed wheel, and of a checkout.
_PLACES = (
    Path(__file__).resolve().parents[1] / "bundles" / "shipped",
    Path(__file__).resolve().parents[2] / "bundles",
)
_PARTS = ("LICENSE", "configs", "docs")
_LINK_OUTSIDE = re.compile(r"\[([^\]]*)\]\((?:\.\./){2,}docs/([\w/]+)\.md[^)]*\)")


def bundle(
    name: Annotated[str, typer.Argument(help="Of the bundle; what cannot be found is answered by the list of them.")],
    folder: Annotated[Path, typer.Argument(help="The folder to write, new or empty.")],
) -> None:
    """Write a bundle of monai-robust into a folder, as files of your own: configurations, documentation, licence.

    Bundles: blood_cell_detection, cephalometric_landmarks, chest_xray_classification, hippocampus_mri_segmentation.

    Example: monai-robust bundle chest_xray_classification my_bundle
    """
    print(f"bundle {name} in {write_bundle(name, folder)}")


def shipped_bundles() -> dict[str, Path]:
    """The bundles that came with this installation, by name: of the wheel, or of the checkout."""
    place = next((one for one in _PLACES if one.is_dir()), None)
    if place is None:
        raise BadInputError("this installation has no bundles; install monai-robust from its wheel or a checkout")
    return {path.parent.name: path.parent for path in sorted(place.glob("*/configs"))}


def shipped_bundle(name: str) -> Path:
    """The folder of a bundle that came with this installation; nothing is to be written there.

    Raises:
        BadInputError: when there is none of that name.
    """
    found = shipped_bundles()
    require_choice("the bundle", name, list(found))
    return found[name]


def write_bundle(name: str, folder: str | Path) -> Path:
    """Copy a shipped bundle; links of its documentation to other pages become their names.

    Args:
        name: of the bundle, as in :func:`shipped_bundles`.
        folder: a new or an empty one.

    Returns:
        ``folder``.

    Raises:
        BadInputError: when there is no such bundle, the folder holds something, or cannot be written.
    """
    from monai_robust.data.files.whole import write_whole

    source, folder = shipped_bundle(name), Path(folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise BadInputError(f"{folder} is no empty folder; name a new one")
    for path in sorted(path for part in _PARTS for path in [source / part, *(source / part).rglob("*")]):
        if path.is_file():
            content = path.read_bytes()
            if path.suffix == ".md":
                content = _LINK_OUTSIDE.sub(r"\1 (documentation: \2)", content.decode()).encode()
            write_whole(folder / path.relative_to(source), content)
    return folder
