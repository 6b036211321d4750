"""Data lists of classification and segmentation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from hostile.judging import Kind
from hostile.list_reading import (
    COUNT,
    SPLITS,
    all_there,
    csv_rows,
    json_content,
    patient_named,
    read_list,
    split_named,
    write_pictures,
)
from hostile.text_fields import damage_csv, damage_json
from monai_robust.data import classification_datalist, segmentation_datalist

__all__ = ["KINDS"]

_KEYS = {"train": "training", "val": "validation", "test": "test"}


# Classification


def _class_rows() -> list[dict[str, str]]:
    return [
        {
            "file": f"p{index}.png",
            "label": "covid" if index % 2 else "normal",
            "patient_id": f"a{index}",
            "split": split,
        }
        for index, split in enumerate(["train", "train", "val", "val", "test", "test"])
    ]


def _write_class_csv(folder: Path) -> None:
    write_pictures(folder)
    rows = _class_rows()
    lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    (folder / "index.csv").write_text("\n".join(lines) + "\n")


def _write_class_json(folder: Path) -> None:
    write_pictures(folder)
    content: dict[str, Any] = {}
    for row in _class_rows():
        entry = {"image": row["file"], "label": row["label"], "patient_id": row["patient_id"]}
        content.setdefault(_KEYS[row["split"]], []).append(entry)
    (folder / "datalist.json").write_text(json.dumps(content))


def _label(found: Any, item: dict[str, Any]) -> list[str]:
    return [found.classes[item["label"]], item["patient_id"]]


def _class_csv_reference(folder: Path) -> Any:
    entries: dict[str, Any] = {}
    for row in csv_rows(folder / "index.csv", spreadsheet=True):
        file = Path((row.get("file") or row["image"]).strip()).name
        value = [split_named(row.get("split", "")), [row["label"].strip(), patient_named(row, file)]]
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
            value = [split_named(key), [str(label).strip(), patient_named(entry, file)]]
            if value not in entries.setdefault(file, []):
                entries[file].append(value)
    return entries


# Segmentation


def _write_decathlon(folder: Path) -> None:
    names = [f"case{index}.nii" for index in range(COUNT)]
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir()
        for name in names:
            nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4)), folder / part / name)
    content = {
        "name": "x",
        "modality": {"0": "MR"},
        "labels": {"0": "background", "1": "head", "2": "tail"},
        "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names],
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    rows = [f"case{index},b{index},{split}" for index, split in enumerate(SPLITS)]
    (folder / "index.csv").write_text("\n".join(["case_id,patient_id,split", *rows]) + "\n")


def _case(found: Any, item: dict[str, Any]) -> Any:
    return {
        "label": Path(item["label"]).name,
        "patient": item["patient_id"],
        "classes": list(found.classes),
        "modalities": list(found.modalities),
    }


def _decathlon_reference(folder: Path) -> Any:
    content = json_content(folder / "dataset.json")
    about = {row["case_id"].strip(): row for row in csv_rows(folder / "index.csv", spreadsheet=True)}
    names = {
        key: [str(content[key][str(place)]) for place in range(len(content[key]))] for key in ("labels", "modality")
    }
    entries = {}
    for key, listed in content.items():
        for entry in listed if isinstance(listed, list) and key != "test" else []:
            file = Path(entry["image"]).name
            row = about[file.removesuffix(".nii")]
            value = {
                "label": Path(entry["label"]).name,
                "patient": patient_named(row, patient_named(entry, file.removesuffix(".nii"))),
                "classes": names["labels"][1:],
                "modalities": names["modality"],
            }
            entries[file] = [[split_named(row.get("split", "")), value]]
    return entries


_FIELDS = {".csv": damage_csv, ".json": damage_json}
KINDS = [
    Kind(
        "list_class_csv",
        _write_class_csv,
        ["index.csv"],
        _FIELDS,
        read_list(classification_datalist, _label),
        _class_csv_reference,
        all_there,
    ),
    Kind(
        "list_class_json",
        _write_class_json,
        ["datalist.json"],
        _FIELDS,
        read_list(lambda folder: classification_datalist(folder, datalist="datalist.json"), _label),
        _class_json_reference,
        all_there,
    ),
    Kind(
        "list_decathlon",
        _write_decathlon,
        ["dataset.json", "index.csv"],
        _FIELDS,
        read_list(segmentation_datalist, _case),
        _decathlon_reference,
        all_there,
    ),
]
