"""The layouts in which classification data sets are distributed, each read into one table of samples."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd

from monai_robust.data.classification.class_folders import folder_rows
from monai_robust.data.files.side_files import read_json
from monai_robust.data.lists.listed import data_list_file, list_table, listed_file
from monai_robust.data.lists.patients import patient_text, patients_of, places_of, with_patient_id
from monai_robust.data.lists.split_names import in_known_splits, lists_of_splits, warn_of_other_lists
from monai_robust.errors import BadInputError

__all__ = ["find_findings_table", "find_table"]

_logger = logging.getLogger(__name__)


def find_table(root: Path, datalist: Path | None = None) -> pd.DataFrame:
    """Read the data set's own list of samples, or make one from its folders.

    Args:
        root: the data set's folder.
        datalist: a JSON or CSV file to read instead, as it stands or inside ``root``.

    Returns:
        One row per sample with text columns ``image`` (absolute path), ``label``, ``sample_id``, ``patient_id``,
        ``split`` ("train", "val" or "test", or all "" where there is none), and whatever else the list has.

    Raises:
        BadInputError: there is no such file, or nothing usable in the folder.
    """
    if datalist is not None:
        path = data_list_file(root, datalist)
        return _finished(_read_list(path), root, str(path))
    if (root / "index.csv").exists():
        return _finished(list_table(root / "index.csv"), root, str(root / "index.csv"))
    return _finished(pd.DataFrame(folder_rows(root)), root, str(root))


def find_findings_table(root: Path, datalist: Path | None = None) -> pd.DataFrame:
    """Read the table of a data set that has a column for each finding in place of a label.

    Args:
        root: the data set's folder, with ``index.csv``.
        datalist: a CSV file to read instead, as it stands or inside ``root``.

    Returns:
        As :func:`find_table`, but for ``label``, which is empty.

    Raises:
        BadInputError: there is no such file, or it is no CSV file.
    """
    path = root / "index.csv" if datalist is None else data_list_file(root, datalist)
    if path.suffix.lower() == ".json":
        raise BadInputError(f"data list {path} is JSON; several findings in an image are listed in a CSV file")
    if not path.exists():
        raise BadInputError(
            f"{root} has no index.csv with a column for each finding, as several findings in an image need; name "
            "another file by datalist"
        )
    table = list_table(path).assign(label="none")
    return _finished(table, root, str(path)).assign(label="")


def _finished(table: pd.DataFrame, root: Path, name: str) -> pd.DataFrame:
    for column in ("image", "label"):
        if column not in table:
            raise BadInputError(
                f"data list {name} has no column {column!r}; it has {', '.join(map(str, table.columns))}"
            )
        empty = int((table[column] == "").sum())
        if empty:
            raise BadInputError(f"data list {name} has {empty} entries without {column!r}")
    files = [listed_file(root, file, f"an image in data list {name}") for file in table["image"]]
    table = table.assign(image=[str(file) for file in files])
    own = table["sample_id"] if "sample_id" in table else pd.Series("", index=table.index)
    table["sample_id"] = own.where(own != "", [_relative(file, root) for file in files])
    patients = table.get("patient_id")
    table["patient_id"] = patients_of(patients, list(table["sample_id"]), f"data list {name}", places_of(table))
    table = table if "split" in table else table.assign(split="")
    known = in_known_splits(table, list(table["sample_id"]), f"data list {name}", "samples")
    return _without_repeats(known, name).reset_index(drop=True)


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _without_repeats(table: pd.DataFrame, name: str) -> pd.DataFrame:
    repeated = table.duplicated(["image", "label", "sample_id", "patient_id", "split"])
    if repeated.any():
        _logger.warning("%d samples of %s are listed twice and used once", int(repeated.sum()), name)
    return table[~repeated]


def _read_list(path: Path) -> pd.DataFrame:
    if path.suffix.lower() == ".json":
        return _read_json(path)
    if path.suffix.lower() == ".csv":
        return list_table(path)
    raise BadInputError(f"data list {path} is neither a .json nor a .csv file")


def _read_json(path: Path) -> pd.DataFrame:
    content = read_json(path, "data list")
    lists = lists_of_splits(content, path) if isinstance(content, dict) else []
    rows = [_json_row(entry, name, path) for _, name, entry in lists]
    if not rows:
        raise BadInputError(f"data list {path} has no sample under training, validation or test")
    if len({isinstance(entry["label"], bool) for _, _, entry in lists}) > 1:
        raise BadInputError(f"data list {path} has labels that are true or false beside other ones; write all alike")
    warn_of_other_lists(content, path)
    return pd.DataFrame(rows).fillna("")


def _json_row(entry: Any, split: str, path: Path) -> dict[str, str]:
    if not isinstance(entry, dict) or not {"image", "label"} <= entry.keys():
        raise BadInputError(
            f'an entry of {split!r} in data list {path} is not {{"image": ..., "label": ...}}: {entry!r}'
        )
    entry = with_patient_id(entry, f"an entry of {split!r} in data list {path}")
    label = entry["label"]
    if not isinstance(label, (str, int, float)) and label is not None:
        raise BadInputError(f"data list {path} has the label {label!r}; an image has one, a name or a whole number")
    if isinstance(entry.get("sample_id"), (bool, list, dict)):
        raise BadInputError(f"data list {path} has the sample_id {entry['sample_id']!r}; it takes a name or a number")
    if patient_text(entry.get("patient_id")) is None:
        raise BadInputError(
            f"data list {path} has the patient_id of an entry of {split!r} as a {type(entry['patient_id']).__name__}; "
            "it takes a name or a number"
        )
    image = str(listed_file(Path(), entry["image"], f"an image of {split!r} in data list {path}"))
    row = {str(key): "" if value is None else str(value).strip() for key, value in entry.items()}
    return {**row, "image": image, "split": split}
