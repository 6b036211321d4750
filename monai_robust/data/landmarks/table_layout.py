"""Landmarks in a table: one row a picture, two columns a landmark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from monai_robust.data.landmarks.annotated import Annotated, BadSamples, PlacedMark, number
from monai_robust.data.landmarks.columns import SPACING_COLUMNS, check_places, landmark_names, with_usual_names
from monai_robust.data.landmarks.splits import known_splits
from monai_robust.data.lists.listed import list_table, listed_file
from monai_robust.data.lists.patients import patients_of
from monai_robust.errors import BadInputError, BadSampleError

__all__ = ["read_table"]

_SEEN = {
    "": True,
    "0": False,
    "0.0": False,
    "false": False,
    "1": True,
    "1.0": True,
    "2": True,
    "2.0": True,
    "true": True,
}


def read_table(
    root: Path, path: Path, test_split: str, names: Sequence[str] | None, bad: BadSamples
) -> tuple[tuple[str, ...], list[Annotated]]:
    """Read a CSV file with a column ``file`` (or ``image``) and columns ``<name>_x``, ``<name>_y`` in pixels.

    Optional columns: ``patient_id``, ``sample_id``, ``split_clean`` or ``split``, ``mm_per_px_x`` and ``mm_per_px_y``
    (or ``pixel_spacing`` and the like), and ``<name>_v``, 0 for a landmark that is missing; for ``landmarks.csv`` they
    may stand in an ``index.csv`` beside it. An empty cell is a missing landmark.

    Args:
        root: from which the paths start.
        path: of the table.
        test_split: "test1", "test2" or "both".
        names: of the landmarks to use, in order; by default all of the table.
        bad: takes the samples that cannot be used.

    Returns:
        Names of the landmarks, and the pictures of the splits in use.

    Raises:
        BadInputError: the table has no such columns, others that only look so, or lists a picture twice.
    """
    table = with_usual_names(_with_index(_read(path), path), path)
    columns = landmark_names(table, path)
    names = columns if names is None else tuple(names)
    absent = [name for name in names if name not in columns]
    if absent:
        raise BadInputError(f"{path} has no columns {absent[0]}_x and {absent[0]}_y; it has {', '.join(columns)}")
    check_places(table, names, path)
    if "patient_id" in table:
        own = [_sample_id(row) for row in table.to_dict("records")]
        table["patient_id"] = patients_of(table["patient_id"], own, path, list(table["written"]), "pictures")
    column = next((one for one in ("split_clean", "split") if one in table), None)
    named = [""] * len(table) if column is None else list(table[column])
    splits = known_splits(list(table["image"]), named, test_split, str(path))
    found = []
    for row, split in zip(table.to_dict("records"), splits, strict=True):
        if split is not None:
            values = {str(key): str(value) for key, value in row.items()}
            try:
                found.append(_annotated(values, split, root, names))
            except BadSampleError as error:
                bad.add(_sample_id(values), root / values["image"], error)
    return tuple(names), found


def _read(path: Path) -> pd.DataFrame:
    table = list_table(path, "picture")
    if "image" not in table:
        raise BadInputError(f"{path} has no column 'file'; it has {', '.join(map(str, table.columns))}")
    table = table.assign(written=[f"{path} line {line}" for line in table.index]).reset_index(drop=True)
    unnamed = table[table["image"] == ""]
    if len(unnamed):
        raise BadInputError(f"{unnamed['written'].iloc[0]}: the row names no file")
    repeated = table[table["image"].duplicated()]
    if len(repeated):
        where, which = repeated[["written", "image"]].iloc[0]
        raise BadInputError(
            f"{where}: {which} is listed a second time; a picture has one row, so of several readers keep one, or the "
            "means of their points"
        )
    return table


def _with_index(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """One row for each picture of index.csv, with what landmarks.csv says of it, where there are both."""
    beside = path.with_name("index.csv")
    if path.name != "landmarks.csv" or not beside.is_file():
        return table
    index = _read(beside)
    unlisted = table[~table["image"].isin(index["image"])]
    if len(unlisted):
        raise BadInputError(f"{unlisted['written'].iloc[0]}: {unlisted['image'].iloc[0]} is not in {beside}")
    own = [name for name in table if name in ("image", "written") or name not in index]
    merged = index.merge(table[own], on="image", how="left", suffixes=("_index", ""))
    merged["written"] = merged["written"].fillna(merged["written_index"])
    return merged.drop(columns="written_index").fillna("")


def _annotated(row: dict[str, str], split: str, root: Path, names: Sequence[str]) -> Annotated:
    written = row["written"]
    marks = []
    for name in names:
        place = f"{written}, {name}"
        mark = PlacedMark(number(row[f"{name}_x"], place), number(row[f"{name}_y"], place), written)
        marks.append(mark if _seen(row, name) else PlacedMark(math.nan, math.nan, written))
    sample_id = _sample_id(row)
    image = listed_file(root, row["image"], f"{written}: the file")
    own = {"image", "written", *(f"{name}_{axis}" for name in names for axis in "xyv")}
    columns = {name: cell for name, cell in row.items() if name not in own}
    return Annotated(image, sample_id, row.get("patient_id") or sample_id, split, marks, _spacing(row), columns)


def _seen(row: dict[str, str], name: str) -> bool:
    """Whether a landmark was placed, as the numbers of COCO's key points say it: 0 is not, 1 is hidden, 2 is seen."""
    said = row.get(f"{name}_v", "").casefold()
    if said not in _SEEN:
        raise BadSampleError(f"{row['written']}: {name}_v is {said[:60]!r}; it can be 0 (missing), 1, 2 or empty")
    return _SEEN[said]


def _sample_id(row: Mapping[Any, Any]) -> str:
    return str(row.get("sample_id") or row["image"])


def _spacing(row: dict[str, str]) -> tuple[float, float] | None:
    x, y = (number(row.get(name, ""), f"{row['written']}, {name}") for name in SPACING_COLUMNS)
    if math.isnan(x) and math.isnan(y):
        return None
    if not (0 < x < math.inf and 0 < y < math.inf):
        raise BadSampleError(
            f"{row['written']}: {' and '.join(SPACING_COLUMNS)} are {x:g} and {y:g}; both must be above 0"
        )
    return x, y
