"""Annotations: boxes as of COCO and Pascal VOC, points in a table and in a challenge's text files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from hostile.judging import Kind
from hostile.list_reading import (
    COUNT,
    HEIGHT,
    SPLITS,
    WIDTH,
    all_there,
    csv_rows,
    json_content,
    read_list,
    read_text,
    split_named,
    write_pictures,
)
from hostile.text_fields import damage_csv, damage_json, damage_xml
from monai_robust.data import detection_datalist, landmark_datalist

__all__ = ["KINDS"]

_BOXES = [[1.0, 2.0, 5.0, 6.0], [3.0, 3.0, 8.0, 9.0]]
_MARKS = ("sella", "nasion")
_PARTS = ("train", "val", "test")


# Detection


def _write_coco(folder: Path) -> None:
    names = write_pictures(folder)
    content = {
        "images": [
            {"id": index + 1, "file_name": name, "width": WIDTH, "height": HEIGHT, "split": split}
            for index, (name, split) in enumerate(zip(names, SPLITS, strict=True))
        ],
        "categories": [{"id": 1, "name": "red"}, {"id": 2, "name": "white"}],
        "annotations": [
            {
                "id": 10 * index + place,
                "image_id": index + 1,
                "category_id": place + 1,
                "iscrowd": 0,
                "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                "area": 16,
            }
            for index in range(COUNT)
            for place, box in enumerate(_BOXES)
        ],
    }
    (folder / "coco.json").write_text(json.dumps(content))


def _boxes(found: Any, item: dict[str, Any]) -> list[Any]:
    return sorted(
        [found.classes[index], *map(float, box)] for index, box in zip(item["classes"], item["boxes"], strict=True)
    )


def _clipped(name: str, xmin: float, ymin: float, xmax: float, ymax: float) -> list[Any]:
    return [name, max(xmin, 0.0), max(ymin, 0.0), min(xmax, float(WIDTH)), min(ymax, float(HEIGHT))]


def _coco_reference(folder: Path) -> Any:
    content = json_content(folder / "coco.json")
    names = {str(one["id"]): str(one["name"]).strip() for one in content["categories"]}
    files = {str(one["id"]): Path(str(one["file_name"]).strip()).name for one in content["images"]}
    if len(files) < len(content["images"]) or len(names) < len(content["categories"]):
        raise ValueError("an id twice")
    boxes: dict[str, Any] = {file: [] for file in files.values()}
    for one in content["annotations"]:
        found, file = boxes[files[str(one["image_id"])]], files[str(one["image_id"])]
        if found is not None and not one.get("iscrowd"):
            try:
                x, y, width, height = map(float, one["bbox"])
                found.append(_clipped(names[str(one["category_id"])], x, y, x + width, y + height))
            except (ValueError, KeyError, TypeError):
                boxes[file] = None
    splits = {file: split_named(str(one.get("split", ""))) for file, one in zip(boxes, content["images"], strict=True)}
    return {
        file: None if own is None or splits[file] not in _PARTS else [[splits[file], sorted(own)]]
        for file, own in boxes.items()
    }


def _write_voc(folder: Path) -> None:
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    for index, file in enumerate(write_pictures(folder / "JPEGImages")):
        objects = "".join(
            f"<object><name>{name}</name><difficult>0</difficult><bndbox>"
            + "".join(
                f"<{corner}>{int(value) + (place < 2)}</{corner}>"
                for place, (corner, value) in enumerate(zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
            )
            + "</bndbox></object>"
            for name, box in zip(("red", "white"), _BOXES, strict=True)
        )
        size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>1</depth></size>"
        text = f"<annotation><filename>{file}</filename>{size}{objects}</annotation>"
        (folder / "Annotations" / f"p{index}.xml").write_text(text)
    for split in ("train", "val", "test"):
        stems = [f"p{index}" for index in range(COUNT) if SPLITS[index] == split]
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(stems) + "\n")


def _voc_reference(folder: Path) -> Any:
    """Boxes count from 0 where one of them says so, from 1 otherwise, as documented."""
    read: dict[str, Any] = {}
    for split in _PARTS:
        for stem in (line.strip() for line in read_text(folder / "ImageSets" / "Main" / f"{split}.txt").splitlines()):
            if stem:
                read[f"{stem}.png"] = split, _voc_objects(folder / "Annotations" / f"{stem}.xml")
    shift = 0 if any(0 in one[1:3] for _, objects in read.values() for one in objects or []) else 1
    return {
        name: objects
        and [[split, sorted(_clipped(one[0], one[1] - shift, one[2] - shift, *one[3:]) for one in objects)]]
        for name, (split, objects) in read.items()
    }


def _voc_objects(path: Path) -> list[Any] | None:
    try:
        return [_voc_object(one) for one in ElementTree.parse(path).getroot().iterfind("object")]
    except (ElementTree.ParseError, OSError, ValueError, LookupError):
        return None


def _voc_object(element: ElementTree.Element) -> list[Any]:
    corners = [float(str(element.findtext(f"bndbox/{name}"))) for name in ("xmin", "ymin", "xmax", "ymax")]
    if not all(map(math.isfinite, corners)):
        raise ValueError("no box")
    return [" ".join(str(element.findtext("name")).split()), *corners]


# Landmarks


def _write_marks_csv(folder: Path) -> None:
    names = write_pictures(folder)
    header = ["file", "patient_id", "split", "mm_per_px_x", "mm_per_px_y"] + [
        f"{name}_{axis}" for name in _MARKS for axis in "xy"
    ]
    rows = [
        [name, f"a{index}", SPLITS[index], "0.2", "0.1", f"{index + 1}.5", "2.25", "7", "8"]
        for index, name in enumerate(names)
    ]
    (folder / "landmarks.csv").write_text("\n".join(",".join(row) for row in [header, *rows]) + "\n")


def _points(found: Any, item: dict[str, Any]) -> Any:
    points = {name: list(map(float, point)) for name, point in zip(found.classes, item["points"], strict=True)}
    return {"points": points, "spacing": list(map(float, item["spacing"]))}


def _marks_csv_reference(folder: Path) -> Any:
    entries: dict[str, Any] = {}
    for row in csv_rows(folder / "landmarks.csv", spreadsheet=True):
        names = [column.removesuffix("_x") for column in row if column.endswith("_x") and f"{column[:-2]}_y" in row]
        file = Path((row.get("file") or row["image"]).strip()).name
        try:
            points = {name: _point(row[f"{name}_x"], row[f"{name}_y"]) for name in names if name != "mm_per_px"}
            spacing = [float(row["mm_per_px_x"]), float(row["mm_per_px_y"])]
            if not all(0 < edge < math.inf for edge in spacing):
                raise ValueError("no spacing")
        except ValueError:
            entries[file] = None
        else:
            entries.setdefault(file, []).append(
                [split_named(row.get("split", "")), {"points": points, "spacing": spacing}]
            )
    return entries


def _point(*texts: str) -> list[float]:
    values = [float(text) if text.strip() else math.nan for text in texts]
    if any(map(math.isinf, values)):
        raise ValueError("no coordinate")
    return values if not any(map(math.isnan, values)) else [math.nan] * len(values)


def _write_isbi(folder: Path) -> None:
    (folder / "AnnotationsByMD" / "400_senior").mkdir(parents=True)
    for place, part in enumerate(("TrainingData", "Test1Data")):
        (folder / "RawImage" / part).mkdir(parents=True)
        for number in range(1, 6):
            stem = f"{5 * place + number:03d}"
            values = np.add.outer(np.arange(HEIGHT), np.arange(WIDTH)).astype(np.uint8) + number
            Image.fromarray(values).save(folder / "RawImage" / part / f"{stem}.bmp")
            text = f"{number},2\n3,{number + 1}\n7,8\n1\n2\n"
            (folder / "AnnotationsByMD" / "400_senior" / f"{stem}.txt").write_text(text)


def _isbi_points(found: Any, item: dict[str, Any]) -> Any:
    return [list(map(float, point)) for point in item["points"]]


def _isbi_reference(folder: Path) -> Any:
    """Points alone: the split between training and validation is drawn."""
    pictures = sorted((folder / "RawImage").glob("*/*.bmp"))
    marks = {
        path.name: _isbi_marks(folder / "AnnotationsByMD" / "400_senior" / f"{path.stem}.txt") for path in pictures
    }
    return {name: own if own is None else [own] for name, own in marks.items()}


def _isbi_marks(path: Path) -> list[list[float]] | None:
    try:
        lines = []
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
            if "," not in line:
                break
            lines.append([float(part) for part in line.split(",")])
    except ValueError:
        return None
    return (
        lines if len(lines) == 3 and all(len(line) == 2 and all(map(math.isfinite, line)) for line in lines) else None
    )


def _same_points(found: Any, expected: Mapping[str, Any]) -> str:
    entries = {name: [["", value] for _, value in values] for name, values in found["entries"].items()}
    told = {name: own and [["", value] for value in own] for name, own in expected.items()}
    return all_there({**found, "entries": entries}, told)


def _skipping(find: Callable[..., Any], **more: Any) -> Callable[[Path], Any]:
    return lambda folder: find(folder, on_bad_sample="skip", **more)


_FIELDS = {".csv": damage_csv, ".json": damage_json, ".xml": damage_xml}
KINDS = [
    Kind(
        "list_coco",
        _write_coco,
        ["coco.json"],
        _FIELDS,
        read_list(_skipping(detection_datalist, datalist="coco.json"), _boxes),
        _coco_reference,
        all_there,
    ),
    Kind(
        "list_voc",
        _write_voc,
        ["Annotations/*.xml", "Annotations/*.xml", "ImageSets/Main/*"],
        _FIELDS,
        read_list(_skipping(detection_datalist, empty="keep"), _boxes),
        _voc_reference,
        all_there,
    ),
    Kind(
        "list_landmarks_csv",
        _write_marks_csv,
        ["landmarks.csv"],
        _FIELDS,
        read_list(_skipping(landmark_datalist), _points),
        _marks_csv_reference,
        all_there,
    ),
    Kind(
        "list_landmarks_text",
        _write_isbi,
        ["AnnotationsByMD/400_senior/*"],
        _FIELDS,
        read_list(_skipping(landmark_datalist), _isbi_points),
        _isbi_reference,
        _same_points,
    ),
]
