"""Images without labels, for evaluations that compare a network with its own answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from monai_robust.data.images import images_below
from monai_robust.data.lists.division import data_set_folder, group_columns
from monai_robust.data.lists.listed import data_list_file, list_table, listed_file
from monai_robust.data.lists.patients import patients_of, places_of
from monai_robust.data.lists.same_files import refuse_same_files
from monai_robust.data.reading import file_header
from monai_robust.data.segmentation.folders import volumes_below, without_suffix
from monai_robust.errors import BadInputError, require_choice

__all__ = ["UNLABELLED_TASKS", "UnlabelledDatalist", "unlabelled_datalist"]

UNLABELLED_TASKS = ("classification", "multi_label", "segmentation", "detection", "landmarks")


@dataclass(frozen=True)
class UnlabelledDatalist:
    """Images of which nobody has said what they show.

    Args:
        classes: what the network tells apart, in the order of its outputs.
        items: all of them under ``"test"``, as the data list of the task has them, with no truth where labels are:
            class 0, unknown findings, no boxes, missing points; volumes have no ``label``.
        skipped: nothing.
        swaps: nothing.
    """

    classes: tuple[str, ...]
    items: dict[str, list[dict[str, Any]]]
    skipped: list[dict[str, str]] = field(default_factory=list)
    swaps: tuple[tuple[int, int], ...] = ()


def unlabelled_datalist(
    task: str,
    dataset_dir: str | PathLike[str],
    classes: Sequence[str] | None,
    *,
    datalist: str | PathLike[str] | None = None,
    groups: Sequence[str] = (),
    limit: int | None = None,
    spacing: Sequence[float] | None = None,
) -> UnlabelledDatalist:
    """List images without labels: those of ``index.csv`` (columns ``file`` or ``image``, and perhaps ``sample_id``,
    ``patient_id`` and others), or all below a folder.

    Args:
        task: one of :data:`UNLABELLED_TASKS`.
        dataset_dir: the folder.
        classes: that the network was trained to tell apart, in the order of its outputs.
        datalist: a CSV file in place of ``index.csv``.
        groups: further columns to hand on.
        limit: use at most so many, spread over the list.
        spacing: of landmarks, mm per pixel in x and y, where the headers of pictures do not say.

    Raises:
        BadInputError: without classes, for a folder without images, a file that is missing, or ids that occur
            twice.
    """
    require_choice("task", task, UNLABELLED_TASKS)
    if not classes:
        raise BadInputError("labels is false, and nothing is trained without labels; give it to monai-robust evaluate")
    root = data_set_folder(dataset_dir)
    path = data_list_file(root, datalist) if datalist is not None else root / "index.csv"
    rows = _listed(path, root, groups) if path.exists() else _found(task, root, groups)
    rows = rows if limit is None else rows[:: max(1, -(-len(rows) // limit))][:limit]
    return UnlabelledDatalist(
        tuple(classes), {"train": [], "val": [], "test": [_item(task, row, classes, spacing) for row in rows]}
    )


def _listed(path: Path, root: Path, groups: Sequence[str]) -> list[dict[str, Any]]:
    table = list_table(path, "image")
    if "image" not in table:
        raise BadInputError(f"data list {path} has no column 'file' or 'image'; it has {', '.join(map(str, table))}")
    group_columns(groups, table.columns, root)
    files = [listed_file(root, file, f"an image in data list {path}") for file in table["image"]]
    missing = [file for file in files if not file.exists()]
    if missing:
        raise BadInputError(f"{len(missing)} of {len(files)} listed files are missing in {root}; first {missing[0]}")
    names = pd.Series([_name(file, root) for file in files], table.index)
    ids = table["sample_id"].where(table["sample_id"] != "", names) if "sample_id" in table else names
    if ids.duplicated().any():
        raise BadInputError(f"{int(ids.duplicated().sum())} images of data list {path} are listed twice")
    refuse_same_files(files, f"data list {path}", "image")
    given = table.get("patient_id")
    patients = patients_of(given, list(ids), f"data list {path}", places_of(table), "images")
    kept = {group: list(table[group]) for group in groups}
    rows = zip(files, ids, patients, strict=True)
    return [
        {"image": str(file), "sample_id": one, "patient_id": patient, **{name: kept[name][place] for name in groups}}
        for place, (file, one, patient) in enumerate(rows)
    ]


def _found(task: str, root: Path, groups: Sequence[str]) -> list[dict[str, Any]]:
    group_columns(groups, [], root)
    if task == "segmentation":
        return [{**item, "sample_id": item["case_id"], "patient_id": item["case_id"]} for item in volumes_below(root)]
    return [{**item, "patient_id": item["sample_id"]} for item in images_below(root)]


def _item(task: str, row: Mapping[str, Any], classes: Sequence[str], spacing: Sequence[float] | None) -> dict[str, Any]:
    """An image as the data list of a task has it, with nothing where its truth would be."""
    if task == "classification":
        return {**row, "label": 0}
    if task == "multi_label":
        return {**row, "label": np.full(len(classes), -1, dtype=np.float32)}
    if task == "detection":
        return {**row, "boxes": np.zeros((0, 4), dtype=np.float32), "classes": []}
    if task == "landmarks":
        own = spacing or file_header(Path(row["image"])).spacing or (1.0, 1.0)
        return {**row, "points": [[np.nan, np.nan]] * len(classes), "spacing": list(own)}
    return {"case_id": row["sample_id"], **{name: value for name, value in row.items() if name != "sample_id"}}


def _name(file: Path, root: Path) -> str:
    """What an image is called: its path below the folder, without the end that volumes have."""
    name = file.relative_to(root) if file.is_relative_to(root) else file
    return without_suffix(name.as_posix())
