"""Data sets with one JSON file for many pictures, as of COCO."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from monai_robust.data.detection.annotations import (
    AnnotatedImage,
    AnnotatedObject,
    claimed_size,
    number,
    shown_path,
    split_of,
)
from monai_robust.errors import BadInputError

__all__ = ["category_order", "find_coco_files", "read_coco"]

_EXPORTED = "_annotations.coco.json"
_NO_BOX = (0.0, 0.0, 0.0, 0.0)


def find_coco_files(root: Path) -> list[tuple[Path, str]]:
    """Annotation files of a folder, each with its split.

    Looked for: ``annotations/instances_{train,val,test}*.json``, then ``{train,valid,test}/_annotations.coco.json``.
    """
    official = [
        (path, path.stem.removeprefix("instances_")) for path in (root / "annotations").glob("instances_*.json")
    ]
    exported = [(path, path.parent.name) for path in root.glob(f"*/{_EXPORTED}")]
    return sorted((path, split_of(name)) for path, name in official or exported if split_of(name))


def read_coco(root: Path, path: Path, split: str) -> list[AnnotatedImage]:
    """Read the pictures of one file; those without annotations are pictures without objects.

    Pictures lie beside the file, in ``root`` or its ``images``, or in a folder named as the file there
    (``instances_train2017.json``: ``train2017``). Crowds (``iscrowd``) mark no single object and are left out.

    Args:
        root: the data set's folder.
        path: the file.
        split: of its pictures, or "" to take what an image's own ``split`` says, if it has one.

    Raises:
        BadInputError: for a file that is no such list.
    """
    content = _content(path)
    names = {_of(category, "id", path, "category"): str(category.get("name")) for category in content["categories"]}
    annotations = defaultdict(list)
    for one in content["annotations"]:
        annotations[_of(one, "image_id", path, "annotation")].append(one)
    ids = {_of(image, "id", path, "image") for image in content["images"]}
    stray = [image_id for image_id in annotations if image_id not in ids]
    if stray:
        raise BadInputError(
            f"{path}: annotation {annotations[stray[0]][0].get('id')} is of image {stray[0]}, which is not under images"
        )
    folders = _image_folders(root, path)
    return [_image(one, annotations[one["id"]], names, folders, root, path, split) for one in content["images"]]


def category_order(annotations: Iterable[Path]) -> list[str]:
    """Names of the categories of COCO files in the order of their ids, each once."""
    order: dict[str, None] = {}
    for path in sorted(annotations):
        if path.suffix.lower() == ".json":
            categories = sorted(_content(path)["categories"], key=lambda one: str(one.get("id")).zfill(12))
            order |= dict.fromkeys(str(one.get("name")) for one in categories)
    return list(order)


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} is no JSON ({error})") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise BadInputError(f"{path} has no list {key!r}; a COCO file needs images, annotations and categories")
    return dict(content)


def _of(entry: Any, key: str, path: Path, kind: str) -> Any:
    if not isinstance(entry, dict) or key not in entry:
        raise BadInputError(f"{path}: the {kind} {entry!r} has no {key!r}, so that nobody knows whose it is")
    return entry[key]


def _image_folders(root: Path, path: Path) -> list[Path]:
    name = path.stem.removeprefix("instances_")
    return [path.parent, root / name, root / "images" / name, root / "images", root]


def _image(
    entry: dict[str, Any],
    annotations: list[dict[str, Any]],
    names: dict[Any, str],
    folders: list[Path],
    root: Path,
    path: Path,
    split: str,
) -> AnnotatedImage:
    file = str(_of(entry, "file_name", path, "image"))
    places = [folder / file for folder in folders]
    image = next((place for place in places if place.is_file()), folders[-2] / file)
    sample_id = shown_path(image, root)
    size = claimed_size(entry.get("width"), entry.get("height"))
    objects = tuple(_object(one, names) for one in annotations if not one.get("iscrowd"))
    patient_id = str(entry.get("patient_id") or sample_id)
    own_split = split or split_of(str(entry.get("split", "")))
    return AnnotatedImage(image, path, sample_id, patient_id, own_split, objects, size, may_be_empty=True)


def _object(annotation: dict[str, Any], names: dict[Any, str]) -> AnnotatedObject:
    place = f"annotation {annotation.get('id')}"
    category, box = annotation.get("category_id"), annotation.get("bbox")
    name = names.get(category, "")
    if not name:
        return AnnotatedObject(place, name, _NO_BOX, f"category {category!r} is not under categories")
    if not isinstance(box, list) or len(box) != 4 or any(number(value) is None for value in box):
        return AnnotatedObject(place, name, _NO_BOX, f"bbox is {box!r}; it needs [x, y, width, height]")
    x, y, width, height = map(float, box)
    fault = "" if width > 0 and height > 0 else f"bbox [{x:g}, {y:g}, {width:g}, {height:g}] has no area"
    return AnnotatedObject(place, name, (x, y, x + width, y + height), fault)
