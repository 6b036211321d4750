"""Reading the outcomes table: one row for each sample, perturbation and severity.

Columns, in this order (:func:`~monai_robust.evaluation.tables.schema.outcome_columns`): ``sample_id, patient_id,
perturbation, severity, norm``, the group columns of the data set (such as ``source``), ``radius`` where severities are
in a unit of the file (that of the sample, in units of the network's input), ``distance`` (size of the perturbation
that was applied, in ``norm`` or, where that is empty, in L2), ``contrast`` (standard deviation of the intensities the
network was shown), ``input_norm`` (L2 norm of the clean input), the columns of the task, and last, among the task's,
its ``score``. The clean inputs are the perturbation ``clean`` at severity 0. A number that does not exist, such as the
score of a slice without foreground, is an empty cell in the file and NaN in memory.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from monai_robust.data.files.side_files import as_number, read_table
from monai_robust.errors import BadInputError
from monai_robust.evaluation.tables.parts import FOLDER as PARTS
from monai_robust.evaluation.tables.schema import KEYS, MEASURED, RADIUS
from monai_robust.evaluation.tables.stored import read_frame, read_parquet, read_schema, stored
from monai_robust.evaluation.tables.writer import OUTCOMES_TABLE

__all__ = ["read_outcomes"]

TEXT = tuple(name for name, kind in KEYS.items() if kind is str)
NUMBERS = ("severity", *RADIUS, *MEASURED, "score")
FINITE = ("severity", "score")
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")


def read_outcomes(path: str | Path, groups: Iterable[str] = (), without: Collection[str] = ()) -> pd.DataFrame:
    """Read an outcomes table.

    Args:
        path: a run's folder, of which the Parquet file is read, or the CSV file where that was changed since it was
            written or stands alone; or one of the two files.
        groups: group columns; they are kept as text, whatever they look like.
        without: ids of samples to leave out, on which something failed.

    Returns:
        One row for each sample, perturbation and severity. Ids, perturbation, norm and groups are text, the measured
        columns and the score float64 (the very numbers that were written), other columns int64 or float64 where every
        value is one or missing. A missing number is NaN.

    Raises:
        BadInputError: if the file is missing, empty, damaged or cut short, lacks a column, holds something that is
            not a number where one must be, or holds a sample twice; file, line and column are named.
    """
    path = Path(path)
    if path.is_dir():
        path = stored(path, OUTCOMES_TABLE)
    if not path.exists():
        stopped = path.with_name(PARTS).is_dir()
        why = "the measurement was stopped; start it again and it continues" if stopped else "there is no such file"
        raise BadInputError(f"the outcomes table {path} cannot be read: {why}")
    is_csv = path.suffix != ".parquet"
    kept = None if is_csv or not len(without) else _kept(path, without)
    table = read_table(path, "outcomes table", whole=True) if is_csv else read_frame(path, kept)
    if not len(table) and not (kept is not None and len(kept)):
        raise BadInputError(f"the outcomes table {path} holds no rows")
    if is_csv and len(without) and "sample_id" in table:
        table = table[~table["sample_id"].isin(list(without))]
    if not len(table):
        raise BadInputError(f"something failed on every sample of {path}; run.json beside it says what")
    missing = [name for name in (*KEYS, *groups, *MEASURED, "score") if name not in table]
    if missing:
        raise BadInputError(f"{path} has no column {missing[0]!r}; its columns are {_listed(table.columns)}")
    texts = {*TEXT, *groups}
    if is_csv:
        frame = pd.DataFrame({name: _typed(path, table[name], name in texts) for name in table})
    else:
        frame = table
        _check_types(path, frame, texts)
    twice = frame.duplicated(["sample_id", "perturbation", "severity"])
    if twice.any():
        place = int(np.flatnonzero(twice)[0])
        raise BadInputError(
            f"{path}, {_row(table, place, is_csv)}: this sample, perturbation and severity already have a row"
        )
    return frame


def _kept(path: Path, without: Collection[str]) -> pa.ChunkedArray | None:
    """Which rows of a Parquet file are of other samples than these, (N,) of bool; None where no column tells."""
    if "sample_id" not in read_schema(path).names:
        return None
    samples = read_parquet(path, ["sample_id"])["sample_id"].cast(pa.string())
    return pc.invert(pc.is_in(samples, value_set=pa.array(list(without), pa.string())))


def _row(table: pd.DataFrame, place: int, is_csv: bool) -> str:
    return f"line {table.index[place]}" if is_csv else f"row {place + 1}"


def _check_types(path: Path, frame: pd.DataFrame, texts: Collection[str]) -> None:
    """Refuse columns of a Parquet file that are not what an outcomes table holds there."""
    for name in frame:
        is_number = frame[name].dtype.kind in "if"
        if is_number if name in texts else (not is_number and name in NUMBERS):
            raise BadInputError(f"{path}: {name} must hold {'text' if name in texts else 'numbers'}")
    for name in FINITE:
        values = frame[name].to_numpy()
        if np.isinf(values).any() or (name == "severity" and np.isnan(values).any()):
            raise BadInputError(f"{path}: {name} must be a finite number")


def _listed(names: Iterable[Any]) -> str:
    text = ", ".join(map(str, names))
    return text if len(text) < 400 else f"{text[:400]}..."


def _typed(path: Path, cells: pd.Series, is_text: bool) -> pd.Series | np.ndarray:
    """A column as text, as numbers where it must hold them, and else as numbers where every cell is one."""
    if is_text:
        return pd.Series(cells.to_numpy(), dtype=str)
    if str(cells.name) in NUMBERS:
        return _numbers(path, cells)
    values = [as_number(cell) if cell else math.nan for cell in cells]
    if any(value is None for value in values):
        return pd.Series(cells.to_numpy(), dtype=str)
    if all(_WHOLE.fullmatch(cell) for cell in cells):
        return np.array([int(cell) for cell in cells], dtype=np.int64)
    return np.array(values, dtype=np.float64)


def _numbers(path: Path, cells: pd.Series) -> np.ndarray:
    name = str(cells.name)
    found = np.full(len(cells), np.nan)
    for place, cell in enumerate(cells):
        if not cell and name != "severity":
            continue
        value = as_number(cell)
        if value is None:
            raise BadInputError(f"{path}, line {cells.index[place]}: {name} is {cell[:60]!r}, which is no number")
        if name in FINITE and not math.isfinite(value):
            raise BadInputError(f"{path}, line {cells.index[place]}: {name} is {cell!r}, which must be a finite number")
        found[place] = value
    return found
