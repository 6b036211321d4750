"""The outcomes table: one row for each sample, perturbation and severity, written batch by batch as a run goes.

Columns, in this order (:func:`outcome_columns`): ``sample_id, patient_id, perturbation, severity, norm``, the group
columns of the data set (such as ``source``), ``distance`` (size of the perturbation that was applied, in ``norm`` or,
where that is empty, in L2), ``contrast`` (standard deviation of the intensities the network was shown),
``input_norm`` (L2 norm of the clean input), the columns of the task, and last, among the task's, its ``score``.
The clean inputs are the perturbation ``clean`` at severity 0. A number that does not exist, such as the score of a
slice without foreground, is an empty cell in the file and NaN in memory.
"""

from __future__ import annotations

import csv
import math
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pandas as pd

from monai_robust.data.files.csv_cells import csv_line, plain_cell
from monai_robust.data.files.side_files import as_number, read_table, regular_file
from monai_robust.errors import BadInputError, writing

__all__ = ["CLEAN", "OutcomesWriter", "outcome_columns", "read_outcomes"]

CLEAN = "clean"
KEYS = ("sample_id", "patient_id", "perturbation", "severity", "norm")
MEASURED = ("distance", "contrast", "input_norm")
TEXT = ("sample_id", "patient_id", "perturbation", "norm")
NUMBERS = ("severity", *MEASURED, "score")
FINITE = ("severity", "score")
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")


def outcome_columns(task_columns: Iterable[str], groups: Iterable[str] = ()) -> list[str]:
    """All columns of an outcomes table.

    Args:
        task_columns: columns of the task, ``score`` among them.
        groups: group columns of the data set.

    Raises:
        BadInputError: if a name occurs twice, or there is no ``score``.
    """
    columns = [*KEYS, *groups, *MEASURED, *task_columns]
    twice = [name for name, times in Counter(columns).items() if times > 1]
    if twice:
        raise BadInputError(f"the outcomes table would have the column {twice[0]!r} twice; rename the group or column")
    if "score" not in columns:
        raise BadInputError(
            "the task's columns hold no 'score'; an outcomes table needs one number that rates a sample"
        )
    return columns


class OutcomesWriter:
    """Append outcomes to a table batch by batch, and continue a table that a stopped run left behind.

    A batch is written by one call and flushed to the disk. When an existing file is opened, what a killed process
    left of its last batch is cut off, so that a continued run computes that batch again, with the same companions,
    and the finished file is byte for byte that of a run that was never stopped.

    Args:
        path: the table.
        columns: its columns, from :func:`outcome_columns`.
        sample_ids: all samples, in the order in which they are measured.
        batches: samples in a batch, where the last batch of a perturbation may be smaller; or the size of each batch
            in turn.

    Raises:
        BadInputError: for sample ids that are empty or occur twice, batches that do not hold them all, and for an
            existing table with other columns, other samples, or damaged otherwise than by having been cut short.
    """

    def __init__(
        self, path: str | Path, columns: Sequence[str], sample_ids: Sequence[str], batches: int | Sequence[int] = 1
    ) -> None:
        self.path = Path(path)
        self.columns = list(columns)
        self.sample_ids = _checked_ids(sample_ids)
        self._ends = _batch_ends(batches, len(self.sample_ids))
        self._done: Counter[tuple[str, float]] = Counter()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = self._recover(regular_file(self.path, "table").read_bytes()) if self.path.exists() else 0
        self._file = open(self.path, "r+b" if self.path.exists() else "w+b")  # noqa: SIM115 (closed by close)
        self._file.truncate(kept)
        self._file.seek(kept)
        if not kept:
            self._write(csv_line(self.columns))

    def done(self, perturbation: str, severity: float) -> int:
        """How many leading samples the table already holds for a perturbation at a severity."""
        return self._done[(perturbation, float(severity))]

    def append(self, perturbation: str, severity: float, rows: pd.DataFrame | Mapping[str, Sequence[Any]]) -> None:
        """Append the next batch of a perturbation at a severity.

        Args:
            perturbation: its name.
            severity: its severity.
            rows: every other column of the table, as lists, arrays or tensors of equal length.

        Raises:
            BadInputError: if columns are missing or unknown, or the samples are not the next whole batch.
        """
        key = (perturbation, float(severity))
        given: dict[str, list[Any]] = {str(name): _values(column) for name, column in rows.items()}
        known = given.keys() | {"perturbation", "severity"}
        if known != set(self.columns):
            odd = ", ".join(sorted(known ^ set(self.columns)))
            raise BadInputError(
                f"{self.path}: the batch and the table do not have the same columns; they differ in {odd}"
            )
        start = self._done[key]
        size = len(given["sample_id"])
        expected = self.sample_ids[start : start + size]
        if [str(sample) for sample in given["sample_id"]] != expected or not self._is_next_batch(start, size):
            raise BadInputError(
                f"{self.path}: {perturbation} at severity {severity:g} has {start} of {len(self.sample_ids)} samples, "
                "and a batch must hold the samples of the next batch in order"
            )
        given |= {"perturbation": [perturbation] * size, "severity": [float(severity)] * size}
        table = zip(*(given[name] for name in self.columns), strict=True)
        self._write("".join(csv_line([_text(value) for value in row]) for row in table))
        self._done[key] += size

    def close(self) -> None:
        with writing(self.path):  # of what a full disk did not take
            self._file.close()

    def __enter__(self) -> OutcomesWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, text: str) -> None:
        with writing(self.path):
            self._file.write(text.encode())
            self._file.flush()
            os.fsync(self._file.fileno())

    def _is_next_batch(self, start: int, size: int) -> bool:
        return start + size == min((end for end in self._ends if end > start), default=start)

    def _recover(self, content: bytes) -> int:
        """Count the whole batches in an existing table; the length in bytes of the part to keep."""
        header = csv_line(self.columns).encode()
        if header.startswith(content):
            return 0 if len(content) < len(header) else len(header)
        if not content.startswith(header):
            found = content.split(b"\n", 1)[0].decode(errors="replace")
            raise BadInputError(
                f"{self.path} has the columns {found!r}, this run has {','.join(self.columns)!r}; "
                "choose another output folder"
            )
        kept = position = len(header)
        current: tuple[str, float] | None = None
        count: Counter[tuple[str, float]] = Counter()
        for line in content[position:].splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break
            key = self._next_row(line, count)
            if current is not None and key != current:
                raise self._damaged(f"{key[0]} at severity {key[1]:g} begins within a batch of {current[0]}")
            count[key] += 1
            position += len(line)
            current = key
            if count[key] in self._ends:
                kept, current, self._done[key] = position, None, count[key]
        return kept

    def _next_row(self, line: bytes, count: Counter[tuple[str, float]]) -> tuple[str, float]:
        try:
            cells = [plain_cell(cell) for cell in next(csv.reader([line.decode()], strict=True))]
            row = dict(zip(self.columns, cells, strict=True))
            key = (row["perturbation"], float(row["severity"]))
        except (ValueError, csv.Error, StopIteration):
            raise self._damaged(f"this is no row of it: {line.decode(errors='replace').strip()!r}") from None
        place = count[key]
        if place >= len(self.sample_ids) or row["sample_id"] != self.sample_ids[place]:
            raise self._damaged(
                f"sample {row['sample_id']!r} of {key[0]} is not the one that this run has in its place"
            )
        return key

    def _damaged(self, reason: str) -> BadInputError:
        return BadInputError(f"{self.path} cannot be continued: {reason}; choose another output folder")


def read_outcomes(path: str | Path, groups: Iterable[str] = (), without: Collection[str] = ()) -> pd.DataFrame:
    """Read an outcomes table.

    Args:
        path: the table.
        groups: group columns; they are kept as text, whatever they look like.
        without: ids of samples to leave out, on which something failed.

    Returns:
        One row for each sample, perturbation and severity. Ids, perturbation, norm and groups are text, the measured
        columns and the score float64 (the very numbers that were written), other columns int64 or float64 where every
        value is one. An empty cell among the measured columns and the score is NaN.

    Raises:
        BadInputError: if the file is missing, empty, damaged or cut short, lacks a column, holds something that is
            not a number where one must be, or holds a sample twice; file, line and column are named.
    """
    path = Path(path)
    if not path.exists():
        raise BadInputError(f"the outcomes table {path} cannot be read: there is no such file")
    table = read_table(path, "outcomes table", whole=True)
    if table.empty:
        raise BadInputError(f"the outcomes table {path} holds no rows")
    if len(without) and "sample_id" in table:
        table = table[~table["sample_id"].isin(list(without))]
        if table.empty:
            raise BadInputError(f"something failed on every sample of {path}; run.json beside it says what")
    missing = [name for name in (*KEYS, *groups, *MEASURED, "score") if name not in table]
    if missing:
        raise BadInputError(f"{path} has no column {missing[0]!r}; its columns are {_listed(table.columns)}")
    texts = {*TEXT, *groups}
    frame = pd.DataFrame({name: _typed(path, table[name], name in texts) for name in table})
    twice = frame.duplicated(["sample_id", "perturbation", "severity"])
    if twice.any():
        line = table.index[np.flatnonzero(twice)[0]]
        raise BadInputError(f"{path}, line {line}: this sample, perturbation and severity already have a row")
    return frame


def _checked_ids(sample_ids: Sequence[str]) -> list[str]:
    ids = [_text(str(sample)) for sample in sample_ids]
    twice = [sample for sample, times in Counter(ids).items() if times > 1]
    if twice:
        raise BadInputError(f"the sample id {twice[0]!r} occurs twice; every sample needs its own")
    if not all(ids):
        raise BadInputError("a sample has an empty id; every sample needs one")
    return ids


def _batch_ends(batches: int | Sequence[int], samples: int) -> frozenset[int]:
    """How many samples are done after each batch."""
    if isinstance(batches, int):
        if batches < 1:
            raise BadInputError(f"a batch must hold at least 1 sample, got {batches}")
        return frozenset([*range(batches, samples, batches), samples])
    if sum(batches) != samples or any(size < 1 for size in batches):
        raise BadInputError(f"the batches hold {sum(batches)} samples in all, but there are {samples}")
    return frozenset(accumulate(batches))


def _values(column: Any) -> list[Any]:
    """Python values, float32 ones widened exactly, of a list, an array, a tensor or a data frame's column."""
    return column.tolist() if hasattr(column, "tolist") else list(column)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (bool, int, np.integer, np.bool_)):
        return str(int(value))
    if isinstance(value, (float, np.floating)):
        return "" if math.isnan(value) else repr(float(value))
    text = str(value)
    if len(text.splitlines()) > 1 or text.endswith(("\n", "\r")) or "\0" in text:
        raise BadInputError(f"{text!r} holds a line break, which an outcomes table cannot")
    return text


def _listed(names: Iterable[Any]) -> str:
    text = ", ".join(map(str, names))
    return text if len(text) < 400 else f"{text[:400]}..."


def _typed(path: Path, cells: pd.Series, is_text: bool) -> Any:
    """A column as text, as numbers where it must hold them, and else as numbers where every cell is one."""
    if is_text:
        return pd.Series(cells.to_numpy(), dtype=str)
    if str(cells.name) in NUMBERS:
        return _numbers(path, cells)
    values = [as_number(cell) for cell in cells]
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
