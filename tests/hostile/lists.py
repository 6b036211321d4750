"""Data lists and annotations of the four tasks; the references are the standard library's JSON, CSV and XML."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import nibabel
import numpy as np
from PIL import Image

from hostile.judging import Kind, difference
from hostile.text_fields import damage_csv, damage_json, damage_xml
from monai_robust.data import (
    classification_datalist,
    detection_datalist,
    landmark_datalist,
    segmentation_datalist,
)

__all__ = ["KINDS", "csv_rows", "json_content"]

_COUNT = 6
_SPLITS = ["train", "train", "train", "val", "val", "test"]
_KEYS = {"train": "training", "val": "validation", "test": "test"}
_WIDTH, _HEIGHT = 12, 10
_BOXES = [[1.0, 2.0, 5.0, 6.0], [3.0, 3.0, 8.0, 9.0]]
_MARKS = ("sella", "nasion")


def json_content(path: Path) -> Any:
    """What the standard library reads, strictly: what JSON's own standard does not know is refused."""

    def refuse(text: str) -> Any:
        raise ValueError(f"{text} is no JSON")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a name twice")
        return dict(pairs)

    def finite(text: str) -> float:
        return float(text) if math.isfinite(float(text)) else refuse(text)

    return json.loads(_text(path), parse_constant=refuse, object_pairs_hook=once, parse_float=finite)


def _text(path: Path) -> str:
    content = path.read_bytes()
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") and content[2:4] != b"\0\0" else "utf-8-sig"
    return content.decode("utf-32" if content[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff") else encoding)


def csv_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a table whose lines all have as many cells as the first; lines without any character are no rows."""
    lines = [line for line in csv.reader(io.StringIO(_text(path), newline=""), strict=True) if line not in ([], [""])]
    header = lines[0]
    if len(set(header)) < len(header) or any(len(line) != len(header) for line in lines):
        raise ValueError("columns twice, or lines of other lengths")
    return [dict(zip(header, line, strict=True)) for line in lines[1:]]


def _write_pictures(folder: Path) -> list[str]:
    for index in range(_COUNT):
        values = np.add.outer(np.arange(_HEIGHT), np.arange(_WIDTH)).astype(np.uint8) + index
        Image.fromarray(values).save(folder / f"p{index}.png")
    return [f"p{index}.png" for index in range(_COUNT)]


@contextmanager
def _told() -> Iterator[list[str]]:
    """Warnings that are logged meanwhile."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    listener = Listener(logging.WARNING)
    logging.getLogger("monai_robust").addHandler(listener)
    try:
        yield said
    finally:
        logging.getLogger("monai_robust").removeHandler(listener)


def _read_list(find: Callable[[Path], Any], value: Callable[[Any, dict[str, Any]], Any]) -> Callable[[Path], Any]:
    """The product's list as ``{entries: {file: value}, skipped: files, told: whether something was logged}``."""

    def read(folder: Path) -> Any:
        with _told() as said:
            found = find(folder)
        entries: dict[str, Any] = {}
        for split, items in found.items.items():
            for item in items:
                name = Path(item["image"]).name
                entries[name] = [*entries.get(name, []), [split, value(found, item)]]
        skipped = {Path(one["file"]).name for one in getattr(found, "skipped", [])}
        skipped |= {Path(one["sample_id"]).name for one in getattr(found, "skipped", [])}
        return {"entries": entries, "skipped": skipped, "told": bool(said)}

    return read


def _all_there(found: Any, expected: Mapping[str, Any]) -> str:
    """Every entry of the file is there with its values, or was left out with a word; None is one that must be left out."""
    more = set(found["entries"]) - set(expected)
    if more:
        return f"{sorted(more)[:3]} are in the list, but not in the file"
    splits = {value[0] for values in expected.values() for value in values or [] if isinstance(value[0], str)}
    for name, values in expected.items():
        if values is None:
            if name in found["entries"] and not found["told"]:
                return f"{name} cannot be used, and is in the list"
            values = []
        if name in found["entries"]:
            if not {"train", "val", "test"} <= splits:  # the product draws a split that the file does not have
                values = [[split, value] for split, _ in found["entries"][name] for _, value in values]
            wrong = difference(sorted(found["entries"][name], key=repr), sorted(values, key=repr), f".{name}")
            if wrong and not (found["told"] or name in found["skipped"]):
                return wrong
        elif name not in found["skipped"] and Path(name).with_suffix(".xml").name not in found["skipped"] and not found["told"]:
            return f"{name} is left out in silence"
    return ""


# Classification


def _class_rows() -> list[dict[str, str]]:
    return [
        {"file": f"p{index}.png", "label": "covid" if index % 2 else "normal", "patient_id": f"a{index}", "split": split}
        for index, split in enumerate(["train", "train", "val", "val", "test", "test"])
    ]


def _write_class_csv(folder: Path) -> None:
    _write_pictures(folder)
    rows = _class_rows()
    lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    (folder / "index.csv").write_text("\n".join(lines) + "\n")


def _write_class_json(folder: Path) -> None:
    _write_pictures(folder)
    content: dict[str, Any] = {}
    for row in _class_rows():
        entry = {"image": row["file"], "label": row["label"], "patient_id": row["patient_id"]}
        content.setdefault(_KEYS[row["split"]], []).append(entry)
    (folder / "datalist.json").write_text(json.dumps(content))


def _label(found: Any, item: dict[str, Any]) -> list[str]:
    return [found.classes[item["label"]], item["patient_id"]]


def _split_named(text: str) -> str:
    names = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}
    return names.get(text.strip().lower(), text.strip().lower())


def _class_csv_reference(folder: Path) -> Any:
    entries: dict[str, Any] = {}
    for row in csv_rows(folder / "index.csv"):
        file = Path((row.get("file") or row["image"]).strip()).name
        value = [_split_named(row["split"]), [row["label"].strip(), row.get("patient_id", "").strip() or file]]
        if value not in entries.setdefault(file, []):
            entries[file].append(value)
    return entries


def _class_json_reference(folder: Path) -> Any:
    entries: dict[str, Any] = {}
    for key, listed in json_content(folder / "datalist.json").items():
        for entry in listed if isinstance(listed, list) else []:
            label = entry["label"]
            if not isinstance(label, (str, int)) or isinstance(label, bool) or not isinstance(entry["image"], str):
                raise ValueError("no label, or no name")
            file = Path(entry["image"].strip()).name
            patient = entry.get("patient_id")
            if isinstance(patient, (dict, list, bool)):
                raise ValueError("no patient")
            value = [_split_named(key), [str(label).strip(), file if patient in (None, "") else str(patient).strip()]]
            if value not in entries.setdefault(file, []):
                entries[file].append(value)
    return entries


# Detection


def _write_coco(folder: Path) -> None:
    names = _write_pictures(folder)
    content = {
        "images": [{"id": index + 1, "file_name": name, "width": _WIDTH, "height": _HEIGHT, "split": split}
                   for index, (name, split) in enumerate(zip(names, _SPLITS, strict=True))],
        "categories": [{"id": 1, "name": "red"}, {"id": 2, "name": "white"}],
        "annotations": [{"id": 10 * index + place, "image_id": index + 1, "category_id": place + 1, "iscrowd": 0,
                         "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]], "area": 16}
                        for index in range(_COUNT) for place, box in enumerate(_BOXES)],
    }  # fmt: skip
    (folder / "coco.json").write_text(json.dumps(content))


def _boxes(found: Any, item: dict[str, Any]) -> list[Any]:
    return sorted([found.classes[index], *map(float, box)] for index, box in zip(item["classes"], item["boxes"], strict=True))


def _clipped(name: str, xmin: float, ymin: float, xmax: float, ymax: float) -> list[Any]:
    return [name, max(xmin, 0.0), max(ymin, 0.0), min(xmax, float(_WIDTH)), min(ymax, float(_HEIGHT))]


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
    splits = {file: _split_named(str(one.get("split", ""))) for file, one in zip(boxes, content["images"], strict=True)}
    return {file: None if own is None or splits[file] not in _KEYS else [[splits[file], sorted(own)]]
            for file, own in boxes.items()}  # fmt: skip


def _write_voc(folder: Path) -> None:
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    for index, file in enumerate(_write_pictures(folder / "JPEGImages")):
        objects = "".join(
            f"<object><name>{name}</name><difficult>0</difficult><bndbox>"
            + "".join(f"<{corner}>{int(value) + (place < 2)}</{corner}>" for place, (corner, value) in
                      enumerate(zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)))  # fmt: skip
            + "</bndbox></object>"
            for name, box in zip(("red", "white"), _BOXES, strict=True)
        )
        size = f"<size><width>{_WIDTH}</width><height>{_HEIGHT}</height><depth>1</depth></size>"
        text = f"<annotation><filename>{file}</filename>{size}{objects}</annotation>"
        (folder / "Annotations" / f"p{index}.xml").write_text(text)
    for split in ("train", "val", "test"):
        stems = [f"p{index}" for index in range(_COUNT) if _SPLITS[index] == split]
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(stems) + "\n")


def _voc_reference(folder: Path) -> Any:
    """Boxes count from 0 where one of them says so, from 1 otherwise, as documented."""
    read: dict[str, Any] = {}
    for split in _KEYS:
        for stem in (line.strip() for line in _text(folder / "ImageSets" / "Main" / f"{split}.txt").splitlines()):
            if stem:
                read[f"{stem}.png"] = split, _voc_objects(folder / "Annotations" / f"{stem}.xml")
    shift = 0 if any(0 in one[1:3] for _, objects in read.values() for one in objects or []) else 1
    return {
        name: objects and [[split, sorted(_clipped(one[0], one[1] - shift, one[2] - shift, *one[3:]) for one in objects)]]
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
    return [str(element.findtext("name")).strip(), *corners]


# Landmarks


def _write_marks_csv(folder: Path) -> None:
    names = _write_pictures(folder)
    header = ["file", "patient_id", "split", "mm_per_px_x", "mm_per_px_y"] + [f"{name}_{axis}" for name in _MARKS for axis in "xy"]
    rows = [[name, f"a{index}", _SPLITS[index], "0.2", "0.1", f"{index + 1}.5", "2.25", "7", "8"] for index, name in enumerate(names)]
    (folder / "landmarks.csv").write_text("\n".join(",".join(row) for row in [header, *rows]) + "\n")


def _points(found: Any, item: dict[str, Any]) -> Any:
    points = {name: list(map(float, point)) for name, point in zip(found.classes, item["points"], strict=True)}
    return {"points": points, "spacing": list(map(float, item["spacing"]))}


def _marks_csv_reference(folder: Path) -> Any:
    entries: dict[str, Any] = {}
    for row in csv_rows(folder / "landmarks.csv"):
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
            entries.setdefault(file, []).append([_split_named(row["split"]), {"points": points, "spacing": spacing}])
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
            values = np.add.outer(np.arange(_HEIGHT), np.arange(_WIDTH)).astype(np.uint8) + number
            Image.fromarray(values).save(folder / "RawImage" / part / f"{stem}.bmp")
            text = f"{number},2\n3,{number + 1}\n7,8\n1\n2\n"
            (folder / "AnnotationsByMD" / "400_senior" / f"{stem}.txt").write_text(text)


def _isbi_points(found: Any, item: dict[str, Any]) -> Any:
    return [list(map(float, point)) for point in item["points"]]


def _isbi_reference(folder: Path) -> Any:
    """Points alone: the split between training and validation is drawn."""
    pictures = sorted((folder / "RawImage").glob("*/*.bmp"))
    marks = {path.name: _isbi_marks(folder / "AnnotationsByMD" / "400_senior" / f"{path.stem}.txt") for path in pictures}
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
    return lines if len(lines) == 3 and all(len(line) == 2 and all(map(math.isfinite, line)) for line in lines) else None


def _same_points(found: Any, expected: Mapping[str, Any]) -> str:
    entries = {name: [["", value] for _, value in values] for name, values in found["entries"].items()}
    told = {name: own and [["", value] for value in own] for name, own in expected.items()}
    return _all_there({**found, "entries": entries}, told)


# Segmentation


def _write_decathlon(folder: Path) -> None:
    names = [f"case{index}.nii" for index in range(_COUNT)]
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir()
        for name in names:
            nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4)), folder / part / name)
    content = {
        "name": "x", "modality": {"0": "MR"}, "labels": {"0": "background", "1": "head", "2": "tail"},
        "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names],
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(content))
    rows = [f"case{index},b{index},{split}" for index, split in enumerate(_SPLITS)]
    (folder / "index.csv").write_text("\n".join(["case_id,patient_id,split", *rows]) + "\n")


def _case(found: Any, item: dict[str, Any]) -> Any:
    return {"label": Path(item["label"]).name, "patient": item["patient_id"], "classes": list(found.classes),
            "modalities": list(found.modalities)}  # fmt: skip


def _decathlon_reference(folder: Path) -> Any:
    content = json_content(folder / "dataset.json")
    about = {row["case_id"].strip(): row for row in csv_rows(folder / "index.csv")}
    names = {key: [str(content[key][str(place)]) for place in range(len(content[key]))] for key in ("labels", "modality")}
    entries = {}
    for key, listed in content.items():
        for entry in listed if isinstance(listed, list) and key != "test" else []:
            file = Path(entry["image"]).name
            row = about[file.removesuffix(".nii")]
            value = {"label": Path(entry["label"]).name, "patient": row.get("patient_id", "").strip() or file.removesuffix(".nii"),
                     "classes": names["labels"][1:], "modalities": names["modality"]}  # fmt: skip
            entries[file] = [[_split_named(row["split"]), value]]
    return entries


def _skipping(find: Callable[..., Any], **more: Any) -> Callable[[Path], Any]:
    return lambda folder: find(folder, on_bad_sample="skip", **more)


_FIELDS = {".csv": damage_csv, ".json": damage_json, ".xml": damage_xml}
KINDS = [
    Kind("list_class_csv", _write_class_csv, ["index.csv"], _FIELDS, _read_list(classification_datalist, _label),
         _class_csv_reference, _all_there),
    Kind("list_class_json", _write_class_json, ["datalist.json"], _FIELDS,
         _read_list(lambda folder: classification_datalist(folder, datalist="datalist.json"), _label),
         _class_json_reference, _all_there),
    Kind("list_coco", _write_coco, ["coco.json"], _FIELDS,
         _read_list(_skipping(detection_datalist, datalist="coco.json"), _boxes), _coco_reference, _all_there),
    Kind("list_voc", _write_voc, ["Annotations/*.xml", "Annotations/*.xml", "ImageSets/Main/*"], _FIELDS,
         _read_list(_skipping(detection_datalist, empty="keep"), _boxes), _voc_reference, _all_there),
    Kind("list_landmarks_csv", _write_marks_csv, ["landmarks.csv"], _FIELDS,
         _read_list(_skipping(landmark_datalist), _points), _marks_csv_reference, _all_there),
    Kind("list_landmarks_text", _write_isbi, ["AnnotationsByMD/400_senior/*"], _FIELDS,
         _read_list(_skipping(landmark_datalist), _isbi_points), _isbi_reference, _same_points),
    Kind("list_decathlon", _write_decathlon, ["dataset.json", "index.csv"], _FIELDS,
         _read_list(segmentation_datalist, _case), _decathlon_reference, _all_there),
]  # fmt: skip
