"""Data sets with one JSON file for many pictures, as of COCO."""

from __future__ import annotations

import logging
import os
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

from monai_robust.data.detection.annotations import (
    AnnotatedImage,
    AnnotatedObject,
    claimed_size,
    shown_path,
)
from monai_robust.data.files.schemas import shown
from monai_robust.data.files.side_files import read_json
from monai_robust.data.lists.listed import finite_number, is_hidden, listed_file
from monai_robust.data.lists.patients import with_patient_id
from monai_robust.data.lists.split_names import split_of, split_of_file
from monai_robust.errors import BadInputError

__all__ = ["find_coco_files", "read_coco"]

_logger = logging.getLogger(__name__)

_EXPORTED = "_annotations.coco.json"
_NO_BOX = (0.0, 0.0, 0.0, 0.0)
_CROWD = "a crowd (iscrowd), which marks no single object"
_YES, _NO = (True, 1, "1", "true", "True"), (False, 0, None, "", "0", "false", "False")


def find_coco_files(root: Path) -> list[tuple[Path, str]]:
    """Annotation files of a folder, each with its split.

    Looked for: ``annotations/instances_{train,val,test,trainval}*.json``, then
    ``{train,valid,test}/_annotations.coco.json``.
    """
    official = [
        (path, path.stem.removeprefix("instances_")) for path in (root / "annotations").glob("instances_*.json")
    ]
    exported = [(path, path.parent.name) for path in root.glob(f"*/{_EXPORTED}")]
    found = [(path, split_of_file(name)) for path, name in official or exported if not is_hidden(path.name)]
    return sorted((path, split) for path, split in found if split)


def read_coco(root: Path, path: Path, split: str) -> list[AnnotatedImage]:
    """Read the pictures of one file; those without annotations are pictures without objects.

    Pictures lie beside the file, in ``root`` or its ``images``, or in a folder named as the file there
    (``instances_train2017.json``: ``train2017``). Ids may be texts or numbers, and an image's id ``1`` is an
    annotation's ``"1"``. Crowds (``iscrowd``) mark no single object and are left out, and so is what is to be ignored
    (``ignore``).

    Args:
        root: the data set's folder.
        path: the file.
        split: of its pictures, or "" to take what an image's own ``split`` says, if it has one.

    Raises:
        BadInputError: for a file that is no such list.
    """
    content = _content(path)
    names = _category_names(content["categories"], path)
    annotations = defaultdict(list)
    for one in content["annotations"]:
        annotations[_id(one, "image_id", path, "annotation")].append(one)
    _warn_of_repeated_ids(content["annotations"], path)
    ids: set[str] = set()
    for image in content["images"]:
        one = _id(image, "id", path, "image")
        if one in ids:
            raise BadInputError(
                f"{path}: two images have the id {one}, so that nobody knows whose annotations are whose"
            )
        ids.add(one)
    stray = next((image_id for image_id in annotations if image_id not in ids), None)
    if stray is not None:
        raise BadInputError(
            f"{path}: annotation {shown(annotations[stray][0].get('id'))} is of image {stray}, which is not under "
            "images"
        )
    folders = _image_folders(root, path)
    order = tuple(dict.fromkeys(names[number] for number in sorted(names, key=lambda one: one.zfill(12))))
    found = []
    for one in content["images"]:
        image = _image(one, folders, root, path, split)
        objects = tuple(_object(each, names) for each in annotations[_id(one, "id", path, "image")])
        found.append(replace(image, objects=objects, categories=order))
    return _without_other_splits(found, path)


def _without_other_splits(found: list[AnnotatedImage], path: Path) -> list[AnnotatedImage]:
    """Without pictures of another split, or of none, in a file that says the split of its pictures."""
    known = [image for image in found if image.split]
    if not known or len(known) == len(found):
        return found
    _logger.warning("%d pictures of %s belong to other splits and are left out", len(found) - len(known), path)
    return known


def _content(path: Path) -> dict[str, Any]:
    content = read_json(path, "COCO file")
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise BadInputError(f"{path} has no list {key!r}; a COCO file needs images, annotations and categories")
    return dict(content)


def _category_names(categories: list[Any], path: Path) -> dict[str, str]:
    """Name of each category by its id."""
    names: dict[str, str] = {}
    for one in categories:
        number, name = _id(one, "id", path, "category"), one.get("name")
        if not isinstance(name, (str, int)) or isinstance(name, bool) or not str(name).strip():
            raise BadInputError(f"{path}: category {number} has the name {shown(name)}; it needs one")
        if names.setdefault(number, str(name).strip()) != str(name).strip():
            raise BadInputError(f"{path}: category {number} has two names, {names[number]!r} and {name!r}")
    return names


def _id(entry: Any, key: str, path: Path, kind: str) -> str:
    """An id as text: 7, 7.0 and "7" are one."""
    if not isinstance(entry, dict) or key not in entry:
        raise BadInputError(f"{path}: the {kind} {shown(entry)} has no {key!r}, so that nobody knows whose it is")
    found = _text_of_id(entry[key])
    if found is None:
        raise BadInputError(f"{path}: {key!r} of the {kind} is {shown(entry[key])}; it needs a number or a text")
    return found


def _text_of_id(value: Any) -> str | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() if isinstance(value, (str, int)) and not isinstance(value, bool) else None


def _image_folders(root: Path, path: Path) -> list[Path]:
    name = path.stem.removeprefix("instances_")
    return [path.parent, root / name, root / "images" / name, root / "images", root]


def _image(entry: dict[str, Any], folders: list[Path], root: Path, path: Path, split: str) -> AnnotatedImage:
    if "file_name" not in entry:
        raise BadInputError(f"{path}: the image {shown(entry)} has no 'file_name', so that nobody knows which it is")
    places = [listed_file(folder, entry["file_name"], f"{path}: 'file_name' of an image") for folder in folders]
    image = next((place for place in places if os.path.isfile(place)), places[-2])
    sample_id = shown_path(image, root)
    size = claimed_size(entry.get("width"), entry.get("height"))
    entry = with_patient_id(entry, f"{path}: the image {sample_id}")
    patient_id = entry.get("patient_id")
    own_split = split or split_of(str(entry.get("split") or ""))
    columns = {str(key): str(value) for key, value in entry.items() if isinstance(value, (str, int, float))}
    return AnnotatedImage(image, path, sample_id, patient_id, own_split, size=size, may_be_empty=True, columns=columns)


def _object(annotation: dict[str, Any], names: dict[str, str]) -> AnnotatedObject:
    number = annotation.get("id")
    place = f"annotation {number if type(number) is int else shown(number)}"  # a file has hundreds of thousands
    category, box, crowd = annotation.get("category_id"), annotation.get("bbox"), annotation.get("iscrowd")
    name = names.get(_text_of_id(category) or "", "")
    if not name:
        return AnnotatedObject(place, name, _NO_BOX, f"category {shown(category)} is not under categories")
    if crowd not in _NO and crowd not in _YES:
        return AnnotatedObject(place, name, _NO_BOX, f"iscrowd is {shown(crowd)}; it can be 0 or 1")
    if crowd in _YES:
        return AnnotatedObject(place, name, _NO_BOX, passed_over=_CROWD)
    ignored = annotation.get("ignore")
    if ignored not in _NO and ignored not in _YES:
        return AnnotatedObject(place, name, _NO_BOX, f"ignore is {shown(ignored)}; it can be 0 or 1")
    if ignored in _YES:
        return AnnotatedObject(place, name, _NO_BOX, passed_over="to be ignored (ignore)")
    numbers = [finite_number(value) for value in box] if isinstance(box, list) else []
    x, y, width, height = (value for value in (*numbers, *[None] * 4)[:4])
    if len(numbers) != 4 or x is None or y is None or width is None or height is None:
        return AnnotatedObject(place, name, _NO_BOX, f"bbox is {repr(box)[:80]}; it needs [x, y, width, height]")
    fault = "" if width > 0 and height > 0 else f"bbox [{x:g}, {y:g}, {width:g}, {height:g}] has no area"
    fault = fault or _turned(annotation)
    return AnnotatedObject(place, name, (x, y, x + width, y + height), fault)


def _turned(annotation: dict[str, Any]) -> str:
    """What is wrong with a box that a tool such as CVAT has turned about its centre: its corners are elsewhere."""
    attributes = annotation.get("attributes")
    angle = finite_number(attributes.get("rotation")) if isinstance(attributes, dict) else None
    if angle is None or angle % 180 == 0:
        return ""
    return f"it is turned by {angle:g} degrees (attributes.rotation); write the upright box around it"


def _warn_of_repeated_ids(annotations: list[Any], path: Path) -> None:
    ids = Counter(_text_of_id(one.get("id")) for one in annotations if one.get("id") is not None)
    repeated = sum(times > 1 for times in ids.values())
    if repeated:
        _logger.warning("%s: %d ids of annotations occur more than once; all annotations are used", path, repeated)
