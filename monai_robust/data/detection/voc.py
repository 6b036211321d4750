"""Data sets with one XML file a picture, as of Pascal VOC."""

from __future__ import annotations

import logging
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import Element

import pandas as pd

from monai_robust.data.detection.annotations import AnnotatedImage, AnnotatedObject, Box, claimed_size, shown_path
from monai_robust.data.files.side_files import read_text
from monai_robust.data.files.xml_text import read_xml
from monai_robust.data.lists.listed import NAMES_AT_DEBUG, finite_number, is_hidden, list_table, listed_file
from monai_robust.data.lists.split_names import in_known_splits, split_of, without_trainval
from monai_robust.data.lists.splits import SPLITS
from monai_robust.errors import BadInputError

__all__ = ["read_index", "read_voc_folder"]

_logger = logging.getLogger(__name__)

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_NO_BOX = (0.0, 0.0, 0.0, 0.0)


def read_voc_folder(root: Path) -> list[AnnotatedImage]:
    """Read ``Annotations/*.xml`` and ``JPEGImages``, divided by the lists in ``ImageSets/Main`` if these exist.

    Lists are ``train.txt``, ``val.txt``, ``test.txt`` and ``trainval.txt``, of which the last is divided where it says
    more than the others. A picture is the one named as its XML file, of whatever image format, or else the one that
    the XML names. Annotations that no list names and pictures without any are left out, and counted in the log.

    Raises:
        BadInputError: for an empty folder, or a name that stands in two lists.
    """
    xml = _xml_files(root / "Annotations")
    splits = _image_sets(root, set(xml))
    stems = list(splits) or sorted(xml)
    if not stems:
        raise BadInputError(f"{root / 'Annotations'} holds no XML files, and {root} no lists under ImageSets/Main")
    unlisted = len(set(xml) - set(stems))
    if unlisted:
        _logger.warning("%d annotations of %s are in no list under ImageSets/Main and are left out", unlisted, root)
    pictures: dict[str, list[Path]] = defaultdict(list)
    for path in _visible(root / "JPEGImages"):
        if path.suffix:
            pictures[path.stem].append(path)
    files = [xml.get(stem, root / "Annotations" / f"{stem}.xml") for stem in stems]
    found = [_read(file, pictures[stem], root) for stem, file in zip(stems, files, strict=True)]
    _warn_of_bare(root, pictures, set(xml), found)
    _warn_of_other_names(root, found)
    return _counted_from_zero(
        [replace(one, split=splits.get(stem, "")) for stem, one in zip(stems, found, strict=True)], root
    )


def read_index(root: Path, path: Path) -> list[AnnotatedImage]:
    """Read a CSV table with columns ``image``, ``annotation`` (an XML file) and perhaps ``split``, ``patient_id``.

    Paths start from ``root``. Rows of other splits than train, val and test are left out and counted in the log.

    Raises:
        BadInputError: for a file that is no such table.
    """
    table = _table(path)
    table = table if "split" in table else table.assign(split="")
    table = in_known_splits(table, list(table["image"]), path, "rows")
    found = []
    for line, row in zip(table.index, table.to_dict("records"), strict=True):
        image, xml = (listed_file(root, row[key], f"{path}, line {line}: {key}") for key in ("image", "annotation"))
        one = _read(xml, [image], root)
        sample_id = str(row.get("sample_id") or one.sample_id)
        found.append(
            replace(
                one,
                split=row["split"],
                sample_id=sample_id,
                patient_id=row.get("patient_id"),
                columns={str(name): str(cell) for name, cell in row.items() if name not in ("image", "annotation")},
            )
        )
    _warn_of_other_names(root, found)
    return _counted_from_zero(found, path)


def _xml_files(folder: Path) -> dict[str, Path]:
    """The XML files of a folder by their names.

    Raises:
        BadInputError: for two whose names differ in capitals of their end alone.
    """
    found: dict[str, Path] = {}
    for path in _visible(folder):
        if path.suffix.lower() == ".xml" and found.setdefault(path.stem, path) != path:
            raise BadInputError(f"{found[path.stem]} and {path} are of one picture; keep one")
    return found


def _warn_of_other_names(root: Path, found: Sequence[AnnotatedImage]) -> None:
    """Tell of annotations whose ``<filename>`` is that of another picture of the data set."""
    others = [one for one in found if one.named and os.path.isfile(one.image.parent / one.named)]
    if others:
        _logger.warning(
            "%d annotations of %s name another picture as <filename> than the one they are taken for%s",
            *(len(others), root, NAMES_AT_DEBUG),
        )
        _logger.debug("taken for another picture: %s", ", ".join(one.annotation.name for one in others))


def _warn_of_bare(root: Path, pictures: dict[str, list[Path]], xml: set[str], found: Sequence[AnnotatedImage]) -> None:
    """Tell of files in ``JPEGImages`` that no XML is named as, and none names."""
    used = {one.image for one in found}
    bare = sorted(path for files in pictures.values() for path in files if path not in used and path.stem not in xml)
    if bare:
        where = root / "JPEGImages"
        _logger.warning("%d files in %s have no annotation and are left out%s", len(bare), where, NAMES_AT_DEBUG)
        _logger.debug("without annotation: %s", ", ".join(path.name for path in bare))


def _visible(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not is_hidden(path.name))


def _table(path: Path) -> pd.DataFrame:
    table = list_table(path)
    for column in ("image", "annotation"):
        if column not in table:
            raise BadInputError(f"{path} has no column {column!r}; it has {', '.join(map(str, table.columns))}")
        empty = table.index[table[column] == ""]
        if len(empty):
            raise BadInputError(f"{path}, line {int(empty[0])}: column {column!r} is empty; it needs a file's name")
    return table


def _image_sets(root: Path, annotated: set[str]) -> dict[str, str]:
    """Name and split of each picture that a list names; "trainval" is the last to be asked."""
    places: list[tuple[str, str]] = []
    listed: dict[str, str] = {}
    lists = [
        (split_of(path.stem), path) for path in _visible(root / "ImageSets" / "Main") if path.suffix.lower() == ".txt"
    ]
    for split, path in sorted(lists, key=lambda one: (*SPLITS, "trainval", "").index(one[0])):
        lines = read_text(path, "list of pictures").splitlines() if split else []
        for place, line in enumerate(lines, start=1):
            name = _listed_name(line, annotated)
            if name in listed and split != "trainval":
                raise BadInputError(f"{path}, line {place}: {name} is in the list of split {listed[name]!r} too")
            if name:
                places.append((name, split))
                listed.setdefault(name, split)
    divided = without_trainval([name for name, _ in places], [split for _, split in places])
    return {name: split for (name, _), split in zip(places, divided, strict=True) if split is not None}


def _listed_name(line: str, annotated: set[str]) -> str:
    """The picture that a line names as ``im 1``, ``im 1.jpg``, ``JPEGImages/im 1.jpg``, or ``im 1 -1`` with a flag."""
    whole = line.strip()
    flagged = re.fullmatch(r"(.*\S)\s+[+-]?[01]", whole)
    names = [whole, flagged.group(1) if flagged else whole]
    names += [Path(name.replace("\\", "/")).name for name in names]
    names += [Path(name).stem for name in names]
    return next((name for name in names if name in annotated), names[0])


def _read(path: Path, pictures: Sequence[Path], root: Path) -> AnnotatedImage:
    """One XML file, with boxes as in the file; of several pictures of its name, the one that it names itself."""
    guess = pictures[0] if pictures else root / "JPEGImages" / path.stem
    sample_id = shown_path(guess, root)
    unread = AnnotatedImage(guess, path, sample_id, None, split="")
    try:
        tree = read_xml(path)
    except BadInputError as error:
        return replace(unread, fault=str(error).replace(str(path), "it", 1))
    named = _named_picture(tree, path, pictures, root)
    if named is None:
        return replace(unread, fault=f"pictures {', '.join(one.name for one in pictures)} are both named so; keep one")
    sample_id = shown_path(named, root)
    objects = tuple(_object(f"object {place}", one) for place, one in enumerate(tree.iterfind("object"), start=1))
    size = claimed_size(tree.findtext("size/width"), tree.findtext("size/height"))
    other = _file_name(tree, "")
    return replace(
        unread,
        image=named,
        sample_id=sample_id,
        objects=objects,
        size=size,
        named="" if other == named.name else other,
    )


def _file_name(tree: Element, otherwise: str) -> str:
    """The name of the picture's file that an annotation has, without folders."""
    name = (tree.findtext("filename") or "").strip().replace("\\", "/").replace("\0", "")
    return Path(name).name or otherwise


def _named_picture(tree: Element, path: Path, pictures: Sequence[Path], root: Path) -> Path | None:
    if len(pictures) == 1:
        return pictures[0]
    name = (tree.findtext("filename") or path.stem).strip().replace("\\", "/")
    if pictures:
        return next((one for one in pictures if one.name == Path(name).name), None)
    return root / "JPEGImages" / (name.replace("\0", "") or path.stem)


def _object(place: str, element: Element) -> AnnotatedObject:
    name = " ".join((element.findtext("name") or "").split())
    texts = {corner: element.findtext(f"bndbox/{corner}") for corner in _CORNERS}
    values = [finite_number(text) for text in texts.values()]
    boxes = len(element.findall("bndbox"))
    if boxes > 1:
        return AnnotatedObject(place, name, _NO_BOX, f"it has {boxes} boxes (bndbox); give each an object of its own")
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


def _counted_from_zero(images: list[AnnotatedImage], source: Path) -> list[AnnotatedImage]:
    """Continuous coordinates: VOC counts pixels from 1 and includes the last, unless a corner is below 1."""
    boxes = [(one.box, image.size) for image in images for one in image.objects if not one.fault]
    low = sum(any(-1 <= corner < 1 for corner in box[:2]) for box, _ in boxes)
    high = sum(size is not None and (box[2] == size[0] or box[3] == size[1]) for box, size in boxes)
    said = (
        "0 (a corner is below 1), and taken as they stand" if low else "1 (no corner is below 1), and the last included"
    )
    _logger.info("boxes of %s are taken as counted from %s", source, said)
    if low and high:
        _logger.warning(
            "%d boxes of %s begin below 1, as where pixels are counted from 0, and %d end at the picture's width or "
            "height, as where they are counted from 1; all are taken as counted from 0, as they stand",
            *(low, source, high),
        )
    return images if low else [replace(image, objects=tuple(_shifted(image.objects))) for image in images]


def _shifted(objects: tuple[AnnotatedObject, ...]) -> Iterator[AnnotatedObject]:
    for one in objects:
        xmin, ymin, xmax, ymax = one.box
        box: Box = (xmin - 1, ymin - 1, xmax, ymax)
        yield one if one.fault else replace(one, box=box)
