"""Data sets with one XML file a picture, as of Pascal VOC."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd

from monai_robust.data.detection.annotations import (
    AnnotatedImage,
    AnnotatedObject,
    Box,
    claimed_size,
    number,
    shown_path,
    split_of,
)
from monai_robust.data.splits import SPLITS
from monai_robust.errors import BadInputError

__all__ = ["read_index", "read_voc_folder"]

_logger = logging.getLogger(__name__)

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_NO_BOX = (0.0, 0.0, 0.0, 0.0)


def read_voc_folder(root: Path) -> list[AnnotatedImage]:
    """Read ``Annotations/*.xml`` and ``JPEGImages``, divided by ``ImageSets/Main/{train,val,test}.txt`` if these exist.

    A picture is the one named as its XML file, of whatever image format, or else the one that the XML names.
    Annotations that no list names are left out, and counted in the log.

    Raises:
        BadInputError: for an empty folder, or a name that stands in two lists.
    """
    splits = _image_sets(root)
    stems = list(splits) or sorted(path.stem for path in (root / "Annotations").glob("*.xml"))
    if not stems:
        raise BadInputError(f"{root / 'Annotations'} holds no XML files, and {root} no lists under ImageSets/Main")
    unlisted = len({path.stem for path in (root / "Annotations").glob("*.xml")} - set(stems))
    if unlisted:
        _logger.warning("%d annotations of %s are in no list under ImageSets/Main and are left out", unlisted, root)
    pictures = {path.stem: path for path in sorted((root / "JPEGImages").glob("*")) if path.suffix}
    found = [_read(root / "Annotations" / f"{stem}.xml", pictures.get(stem), root) for stem in stems]
    return _counted_from_zero(
        [replace(one, split=splits.get(stem, "")) for stem, one in zip(stems, found, strict=True)]
    )


def read_index(root: Path, path: Path) -> list[AnnotatedImage]:
    """Read a CSV table with columns ``image``, ``annotation`` (an XML file) and perhaps ``split``, ``patient_id``.

    Paths start from ``root``. Rows of other splits than train, val and test are left out and counted in the log.

    Raises:
        BadInputError: for a file that is no such table.
    """
    table = _table(path)
    splits = table["split"].map(split_of) if "split" in table else pd.Series("", index=table.index)
    if "split" in table and (table["split"] != "").any():
        others = int((splits == "").sum())
        if others == len(table):
            raise BadInputError(
                f"{path} has no split train, val or test; it has {', '.join(sorted(set(table['split'])))}"
            )
        if others:
            _logger.warning("%d rows of %s belong to other splits and are left out", others, path)
        table, splits = table[splits != ""], splits[splits != ""]
    found = []
    for row, split in zip(table.to_dict("records"), splits, strict=True):
        one = _read(root / str(row["annotation"]), root / str(row["image"]), root)
        sample_id = str(row.get("sample_id") or one.sample_id)
        found.append(replace(one, split=split, sample_id=sample_id, patient_id=str(row.get("patient_id") or sample_id)))
    return _counted_from_zero(found)


def _table(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} is no CSV table ({error})") from error
    for column in ("image", "annotation"):
        if column not in table:
            raise BadInputError(f"{path} has no column {column!r}; it has {', '.join(map(str, table.columns))}")
        empty = table.index[table[column] == ""]
        if len(empty):
            raise BadInputError(f"{path}, line {int(empty[0]) + 2}: column {column!r} is empty; it needs a file's name")
    return table


def _image_sets(root: Path) -> dict[str, str]:
    """Name and split of each picture that a list names."""
    splits: dict[str, str] = {}
    for split in SPLITS:
        path = root / "ImageSets" / "Main" / f"{split}.txt"
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        for place, line in enumerate(lines, start=1):
            name = line.split()[0] if line.strip() else ""
            if name in splits:
                raise BadInputError(f"{path}, line {place}: {name} is in the list of split {splits[name]!r} too")
            if name:
                splits[name] = split
    return splits


def _read(path: Path, image: Path | None, root: Path) -> AnnotatedImage:
    """One XML file, with boxes as in the file."""
    guess = image or root / "JPEGImages" / path.stem
    sample_id = shown_path(guess, root)
    unread = AnnotatedImage(guess, path, sample_id, sample_id, split="")
    try:
        tree = ElementTree.parse(path).getroot()
    except OSError as error:
        return replace(unread, fault=f"the file cannot be read ({error.strerror})")
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the latter two for what its encoding is
        return replace(unread, fault=f"it is no XML ({error})")  # which tells line and column
    if image is None:
        named = root / "JPEGImages" / (tree.findtext("filename") or path.stem).strip()
        sample_id = shown_path(named, root)
        unread = replace(unread, image=named, sample_id=sample_id, patient_id=sample_id)
    objects = tuple(_object(f"object {place}", one) for place, one in enumerate(tree.iterfind("object"), start=1))
    size = claimed_size(tree.findtext("size/width"), tree.findtext("size/height"))
    return replace(unread, objects=objects, size=size)


def _object(place: str, element: ElementTree.Element) -> AnnotatedObject:
    name = (element.findtext("name") or "").strip()
    texts = {corner: element.findtext(f"bndbox/{corner}") for corner in _CORNERS}
    values = [number(text) for text in texts.values()]
    odd = [
        f"{corner} is {text!r}" for (corner, text), value in zip(texts.items(), values, strict=True) if value is None
    ]
    if not name or odd:
        return AnnotatedObject(place, name, _NO_BOX, "it has no name" if not name else f"{odd[0]}, which is no number")
    xmin, ymin, xmax, ymax = (value for value in values if value is not None)
    # Told before pixels are counted from 0: one corner twice is a slip of the hand, not an object of one pixel.
    fault = "" if xmin < xmax and ymin < ymax else _shape_fault(xmin, ymin, xmax, ymax)
    return AnnotatedObject(place, name, (xmin, ymin, xmax, ymax), fault)


def _shape_fault(xmin: float, ymin: float, xmax: float, ymax: float) -> str:
    what = "is inverted" if xmax < xmin or ymax < ymin else "has no area"
    return f"box [{xmin:g}, {ymin:g}, {xmax:g}, {ymax:g}] {what}"


def _counted_from_zero(images: list[AnnotatedImage]) -> list[AnnotatedImage]:
    """Continuous coordinates: VOC counts pixels from 1 and includes the last, unless a 0 says that the tool did not."""
    boxes = [one.box for image in images for one in image.objects if not one.fault]
    if any(0 in box[:2] for box in boxes):
        return images
    return [replace(image, objects=tuple(_shifted(image.objects))) for image in images]


def _shifted(objects: tuple[AnnotatedObject, ...]) -> Iterator[AnnotatedObject]:
    for one in objects:
        xmin, ymin, xmax, ymax = one.box
        box: Box = (xmin - 1, ymin - 1, xmax, ymax)
        yield one if one.fault else replace(one, box=box)
