"""Whether the files that a ``dataset.json`` lists are there, are each listed once, and are all that lie beside it."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from monai_robust.data.lists.listed import NAMES_AT_DEBUG, listed_file, visible_files
from monai_robust.data.lists.same_files import real_paths, refuse_same_files
from monai_robust.data.lists.split_names import lists_of_splits
from monai_robust.data.segmentation.folders import is_volume
from monai_robust.errors import BadInputError

__all__ = ["check_files", "warn_of_other_images"]

_logger = logging.getLogger(__name__)
_IMAGES = "imagesTr"


def check_files(table: pd.DataFrame, path: Path) -> None:
    """Refuse files that are missing, an image or a label map of two cases, and an image that is a label map.

    Args:
        table: has a column ``image`` and a column ``mask`` of absolute paths.
        path: of ``dataset.json``.

    Raises:
        BadInputError: with the first.
    """
    files = [file for row in zip(table["image"], table["mask"], strict=True) for file in row]
    missing = [file for file in files if not os.path.exists(file)]
    if missing:
        raise BadInputError(
            f"{len(missing)} of {len(files)} files that {path.name} lists are missing in {path.parent}; first "
            f"{missing[0]}"
        )
    refuse_same_files(table["image"], path, "image")
    refuse_same_files(table["mask"], path, "label map")
    masks = set(real_paths(table["mask"]))
    both = next(
        (file for file, real in zip(table["image"], real_paths(table["image"]), strict=True) if real in masks), ""
    )
    if both:
        raise BadInputError(f"{path} lists {both} as an image and as a label map; it can be one of them")


def warn_of_other_images(content: Mapping[str, Any], path: Path) -> None:
    """Tell of a number of training cases that ``dataset.json`` does not list, and of images that nobody lists.

    Args:
        content: of ``dataset.json``.
        path: of it.
    """
    entries = lists_of_splits(content, path)
    count, said = sum(split in ("train", "trainval") for split, _, _ in entries), content.get("numTraining")
    if type(said) is int and said != count:
        _logger.warning("%s has numTraining %d and lists %d training cases", path, said, count)
    folder = path.parent / _IMAGES
    if not folder.is_dir():
        return
    named = [entry.get("image") if isinstance(entry, dict) else entry for _, _, entry in entries]
    files = [listed_file(path.parent, one, "") for one in named if isinstance(one, str) and one.strip("\0 ")]
    listed = set(real_paths(files))
    lying = [file for file in visible_files(folder) if is_volume(file)]
    others = [file for file, real in zip(lying, real_paths(lying), strict=True) if real not in listed]
    if others:
        _logger.warning(
            "%d images in %s are not listed in %s and left out%s", *(len(others), folder, path, NAMES_AT_DEBUG)
        )
        _logger.debug("not listed: %s", ", ".join(file.name for file in others))
