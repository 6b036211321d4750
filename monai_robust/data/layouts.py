"""The layouts in which classification data sets are distributed, each read into one table of samples."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pandas as pd

from monai_robust.errors import BadInputError

__all__ = ["find_table"]

_logger = logging.getLogger(__name__)

_IMAGE_SUFFIXES = (".dcm", ".dicom", ".ima", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_VOLUME_SUFFIXES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd")
_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def find_table(root: Path, datalist: Path | None = None) -> pd.DataFrame:
    """Read the data set's own list of samples, or make one from its folders.

    Args:
        root: the data set's folder.
        datalist: a JSON or CSV file to read instead, as it stands or inside ``root``.

    Returns:
        One row per sample with text columns ``image`` (absolute path), ``label``, ``sample_id``, ``patient_id``,
        ``split`` ("train", "val" or "test", or all "" where there is none), and whatever else the list has.

    Raises:
        BadInputError: there is no such folder or file, or nothing usable in it.
    """
    if not root.is_dir():
        raise BadInputError(f"there is no data set folder {root}")
    if datalist is not None:
        return _finished(_read_list(root, datalist), root, str(datalist))
    if (root / "index.csv").is_file():
        return _finished(_read_csv(root / "index.csv"), root, str(root / "index.csv"))
    rows = _split_folders(root) or _class_folders(root)
    if not rows:
        raise BadInputError(
            f"no samples found in {root}: looked for index.csv, for folders train, val, test with class folders "
            f"in them, and for two or more class folders with images; a data list can be given by datalist="
        )
    return _finished(pd.DataFrame(rows), root, str(root))


def _finished(table: pd.DataFrame, root: Path, name: str) -> pd.DataFrame:
    table = table.rename(columns={"file": "image"}) if "image" not in table else table
    for column in ("image", "label"):
        if column not in table:
            raise BadInputError(
                f"data list {name} has no column {column!r}; it has {', '.join(map(str, table.columns))}"
            )
        empty = int((table[column] == "").sum())
        if empty:
            raise BadInputError(f"data list {name} has {empty} entries without {column!r}")
    listed = table["image"]
    table["image"] = [str(root / file) for file in listed]
    if "sample_id" not in table:
        table["sample_id"] = [_relative(root / file, root) for file in listed]
    patients = table["patient_id"] if "patient_id" in table else pd.Series("", index=table.index)
    table["patient_id"] = patients.where(patients != "", table["sample_id"])
    return _without_repeats(_with_known_splits(table, name), name).reset_index(drop=True)


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _with_known_splits(table: pd.DataFrame, name: str) -> pd.DataFrame:
    if "split" not in table or (table["split"] == "").all():
        return table.assign(split="")
    splits = table["split"].str.lower().map(_SPLIT_NAMES)
    known = splits.notna()
    if not known.any():
        raise BadInputError(f"data list {name} has no split train, val or test; it has {_names(table['split'])}")
    if not known.all():
        _logger.warning(
            "%d samples of %s belong to other splits (%s) and are left out",
            int((~known).sum()),
            name,
            _names(table.loc[~known, "split"]),
        )
    return table.assign(split=splits)[known]


def _without_repeats(table: pd.DataFrame, name: str) -> pd.DataFrame:
    repeated = table.duplicated(["image", "label", "sample_id", "patient_id", "split"])
    if repeated.any():
        _logger.warning("%d samples of %s are listed twice and used once", int(repeated.sum()), name)
    return table[~repeated]


def _names(values: pd.Series[str]) -> str:
    return ", ".join(sorted({value or "none" for value in values}))


def _read_list(root: Path, datalist: Path) -> pd.DataFrame:
    path = datalist if datalist.is_file() else root / datalist
    if not path.is_file():
        raise BadInputError(f"there is no data list {datalist}, neither as it stands nor in {root}")
    if path.suffix.lower() == ".json":
        return _read_json(path)
    if path.suffix.lower() == ".csv":
        return _read_csv(path)
    raise BadInputError(f"data list {path} is neither a .json nor a .csv file")


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise BadInputError(f"data list {path} is no CSV table ({error})") from error
    if table.empty:
        raise BadInputError(f"data list {path} lists no sample")
    return table


def _read_json(path: Path) -> pd.DataFrame:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"data list {path} is no JSON ({error})") from error
    splits = {key: value for key, value in content.items() if key in _SPLIT_NAMES} if isinstance(content, dict) else {}
    rows = [_json_row(entry, key, path) for key, entries in splits.items() for entry in entries]
    if not rows:
        raise BadInputError(f"data list {path} has no sample under training, validation or test")
    return pd.DataFrame(rows).fillna("")


def _json_row(entry: Any, split: str, path: Path) -> dict[str, str]:
    if not isinstance(entry, dict) or not {"image", "label"} <= entry.keys():
        raise BadInputError(
            f'an entry of {split!r} in data list {path} is not {{"image": ..., "label": ...}}: {entry!r}'
        )
    return {**{str(key): "" if value is None else str(value) for key, value in entry.items()}, "split": split}


def _split_folders(root: Path) -> list[dict[str, str]]:
    rows = []
    for folder in _folders(root):
        split = _SPLIT_NAMES.get(folder.name.lower())
        if split is not None:
            rows += [{**row, "split": split} for row in _rows_of_class_folders(folder)]
    return rows


def _class_folders(root: Path) -> list[dict[str, str]]:
    rows = _rows_of_class_folders(root)
    return rows if len({row["label"] for row in rows}) > 1 else []


def _rows_of_class_folders(folder: Path) -> list[dict[str, str]]:
    return [{"image": str(file), "label": part.name} for part in _folders(folder) for file in _images(part)]


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    files = (path for path in folder.rglob("*") if not path.name.startswith(".") and path.is_file())
    return sorted(path for path in files if _is_image(path))


def _is_image(path: Path) -> bool:
    if path.suffix:
        return path.name.lower().endswith(_IMAGE_SUFFIXES + _VOLUME_SUFFIXES)
    with path.open("rb") as stream:  # DICOM files often have no suffix
        return stream.read(132)[128:] == b"DICM"
