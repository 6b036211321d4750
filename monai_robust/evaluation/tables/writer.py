"""Writing outcomes: part by part while a measurement runs, and one table at its end.

Rows are handed over in units, such as all severities of a few batches, which are measured as a whole. Finished units
become a part once five seconds have passed since the last one, or a hundredth of the time so far if that is longer: a
kill loses no more than that, and a run of a day leaves some hundred parts, not thousands. An error loses nothing.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from monai_robust.errors import BadInputError
from monai_robust.evaluation.tables.parts import Parts
from monai_robust.evaluation.tables.schema import (
    DETAIL_KEYS,
    Columns,
    arrow_schema,
    arrow_table,
    detail_columns,
    truth_columns,
)
from monai_robust.evaluation.tables.stored import csv_path, parquet_path, read_parquet, restore_csv, write_table

__all__ = ["OUTCOMES_TABLE", "OutcomesWriter", "write_truth"]

OUTCOMES_TABLE = "outcomes"
SECONDS = 5.0
"""Between two parts, at first."""
SHARE = 0.01
"""Of the time so far, between two parts."""
_ROWS = 100_000
_DETAILS = "details"

Key = tuple[str, float]
Rows = Sequence[Mapping[str, Any]]


class OutcomesWriter:
    """Write outcomes, and what is kept of them in more than one row, and continue what a stopped run left behind.

    The table of a run that was stopped and continued, by as many processes or others, is the very table of one that
    was not: its rows are in the order of ``plan``, and within it in that of ``sample_ids``.

    Args:
        folder: of the run.
        columns: of the outcomes, from :func:`~monai_robust.evaluation.tables.schema.outcome_columns`.
        sample_ids: all samples, in the order of the table.
        plan: every perturbation and severity, in the order of the table.
        details: name and task's columns of a table of details, if there is one.
        process: number of this process among those that write.
        before_part: called before each part is written, such as to write what belongs to it elsewhere.

    Raises:
        BadInputError: for sample ids that are empty or occur twice, and for a folder whose parts or tables are damaged,
            of other columns, samples or perturbations, or of an earlier version, which are read but not continued.
    """

    def __init__(
        self,
        folder: str | Path,
        columns: Columns,
        sample_ids: Sequence[str],
        plan: Iterable[Key],
        *,
        details: tuple[str, Columns] | None = None,
        process: int = 0,
        before_part: Callable[[], object] = lambda: None,
    ) -> None:
        self.folder = Path(folder)
        self.before_part = before_part
        self.columns = dict(columns)
        self.sample_ids = _checked_ids(sample_ids)
        self.plan = [(str(name), float(severity)) for name, severity in plan]
        self.detail_table = "" if details is None else details[0]
        self._details = {} if details is None else detail_columns(details[1])
        self._parts = Parts(folder, self._schema(), process)
        self._places = {sample: place for place, sample in enumerate(self.sample_ids)}
        self._unit: list[pa.Table] = []
        self._units: list[pa.Table] = []
        self._begun = self._written = time.monotonic()
        self._seen: set[tuple[Key, int]] = set()
        self.finished = parquet_path(folder, OUTCOMES_TABLE).exists() and not self._parts.folder.is_dir()
        self._done = self._found()

    @property
    def path(self) -> Path:
        """The table that people read."""
        return csv_path(self.folder, OUTCOMES_TABLE)

    def done(self, perturbation: str, severity: float) -> NDArray[np.bool_]:
        """Of which samples the table holds a perturbation at a severity, (N,)."""
        return self._done[(perturbation, float(severity))]

    def has(self, perturbation: str, severity: float, place: int) -> bool:
        """Whether a sample's row is there, or was taken in this unit."""
        key = (perturbation, float(severity))
        return bool(self._done[key][place]) or (key, place) in self._seen

    def has_all(self, keys: Iterable[tuple[str, float, int]]) -> bool:
        """Whether the rows of all these perturbations, severities and places are there."""
        return all(self.has(*key) for key in keys)

    def append(
        self,
        perturbation: str,
        severity: float,
        rows: Mapping[str, Sequence[Any]],
        details: Sequence[Rows] | None = None,
    ) -> None:
        """Take rows of the unit that is being measured; :meth:`commit` ends it.

        Args:
            perturbation: its name.
            severity: its severity.
            rows: every other column of the table, as lists, arrays or tensors of equal length.
            details: rows of the table of details, any number for each sample.

        Raises:
            BadInputError: if columns are missing or unknown, or the rows are not of this plan, or already there.
        """
        key = (perturbation, float(severity))
        size = len(rows["sample_id"]) if "sample_id" in rows else 0
        where = f"{self.path}, {perturbation} at severity {severity:g}"
        given = {**rows, "perturbation": [perturbation] * size, "severity": [float(severity)] * size}
        table = arrow_table(self.columns, given, where)
        if key not in self._done:
            raise BadInputError(f"{where}: this is no part of the plan")
        _refuse_line_breaks(table)
        if self._details:
            table = table.append_column(self._parts.schema.field(_DETAILS), self._nested(details or [], size))
        self._unit.append(table)
        for sample in table["sample_id"].to_pylist():
            place = self._places.get(sample)
            if place is None:
                raise BadInputError(f"{where}: sample {sample!r} is none of this run's")
            if self.has(*key, place):
                raise BadInputError(f"{where}: sample {sample!r} already has a row")
            self._seen.add((key, place))

    def commit(self) -> None:
        """End a unit, and write a part if it is time to."""
        for key, place in self._seen:
            self._done[key][place] = True
        self._units += self._unit
        self._unit, self._seen = [], set()
        now = time.monotonic()
        due = max(SECONDS, SHARE * (now - self._begun))
        if now - self._written >= due or sum(len(table) for table in self._units) >= _ROWS:
            self.flush()

    def flush(self) -> None:
        """Write all finished units."""
        if self._units:
            self.before_part()
            self._parts.write(pa.concat_tables(self._units))
            self._units = []
        self._written = time.monotonic()

    def finish(self) -> None:
        """Put the parts of all processes together, once all of them have flushed theirs; one process does.

        Raises:
            BadInputError: when a row is missing or there twice, and when a file cannot be written.
        """
        if self.finished:
            return
        self.flush()
        table = self._in_order(self._parts.read())
        if self._details:
            self._write_details(table)
        write_table(self.folder, OUTCOMES_TABLE, table.select(list(self.columns)))
        self._parts.remove()
        self.finished = True

    def __enter__(self) -> OutcomesWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.flush()

    # What is there already

    def _found(self) -> dict[Key, NDArray[np.bool_]]:
        """Which rows are there, of finished tables or of parts."""
        done = {key: np.zeros(len(self.sample_ids), dtype=bool) for key in self.plan}
        self._parts.clean()
        if self.finished:
            self._check_finished()
            return {key: np.ones_like(known) for key, known in done.items()}
        if csv_path(self.folder, OUTCOMES_TABLE).exists() and not self._parts.folder.is_dir():
            raise BadInputError(
                f"{self.path} has no {OUTCOMES_TABLE}.parquet beside it, as an earlier version left it; it can be "
                "read, but not continued, so measure into another folder"
            )
        keys = self._parts.read(["sample_id", "perturbation", "severity"])
        codes, places = self._codes(keys, self._parts.folder)
        twice = np.bincount(codes * len(self.sample_ids) + places, minlength=1) > 1
        if twice.any():
            sample = self.sample_ids[int(np.flatnonzero(twice)[0]) % len(self.sample_ids)]
            raise BadInputError(f"{self._parts.folder} cannot be continued: sample {sample!r} is there twice")
        for code, key in enumerate(self.plan):
            done[key][places[codes == code]] = True
        return done

    def _check_finished(self) -> None:
        """Refuse finished tables of another run, and write CSV files again that were lost or changed."""
        path = parquet_path(self.folder, OUTCOMES_TABLE)
        table = read_parquet(path)
        if table.column_names != list(self.columns):
            raise BadInputError(
                f"{path} has the columns {', '.join(table.column_names)}, this run has {', '.join(self.columns)}; "
                "choose another output folder"
            )
        self._check_whole(*self._codes(table, path), path)
        if self.detail_table and not parquet_path(self.folder, self.detail_table).exists():
            raise BadInputError(
                f"{csv_path(self.folder, self.detail_table)} or its Parquet file is gone, but {path.name} beside it is "
                "not; measure into another folder"
            )
        for name in filter(None, (OUTCOMES_TABLE, self.detail_table)):
            restore_csv(self.folder, name)

    def _codes(self, table: pa.Table, where: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of each row its place in the plan, and that of its sample."""
        places = _indices(table["sample_id"], self.sample_ids)
        names = list(dict.fromkeys(name for name, _ in self.plan))
        severities = np.unique([severity for _, severity in self.plan])
        name, severity = _indices(table["perturbation"], names), table["severity"].to_numpy()
        at = np.searchsorted(severities, severity).clip(max=max(len(severities) - 1, 0))
        known = np.full((len(names), len(severities)), -1)
        for code, (own, value) in enumerate(self.plan):
            known[names.index(own), np.searchsorted(severities, value)] = code
        codes = np.where((name >= 0) & (severities[at] == severity), known[name, at], -1)
        wrong = np.flatnonzero((codes < 0) | (places < 0))
        if len(wrong):
            row = table.slice(int(wrong[0]), 1).select(list(DETAIL_KEYS)).to_pylist()[0]
            raise BadInputError(
                f"{where} cannot be continued: {row['sample_id']!r} under {row['perturbation']!r} at severity "
                f"{row['severity']:g} is no part of this run; choose another output folder"
            )
        return codes, places

    def _check_whole(self, codes: NDArray[np.int64], places: NDArray[np.int64], where: Path) -> None:
        """Refuse rows that are missing or there twice."""
        count = len(self.sample_ids)
        times = np.bincount(codes * count + places, minlength=len(self.plan) * count)
        wrong = np.flatnonzero(times != 1)
        if len(wrong):
            (name, severity), sample = self.plan[wrong[0] // count], self.sample_ids[wrong[0] % count]
            raise BadInputError(
                f"{where} holds {times[wrong[0]]} rows of sample {sample!r} under {name} at severity {severity:g}, "
                "where one is needed; start that evaluation again and it continues"
            )

    # Putting together

    def _in_order(self, table: pa.Table) -> pa.Table:
        codes, places = self._codes(table, self._parts.folder)
        self._check_whole(codes, places, self._parts.folder)
        return table.take(np.argsort(codes * len(self.sample_ids) + places))

    def _schema(self) -> pa.Schema:
        schema = arrow_schema(self.columns)
        if not self._details:
            return schema
        return schema.append(
            pa.field(_DETAILS, pa.list_(pa.struct(list(arrow_schema(self._own_details)))), nullable=False)
        )

    @property
    def _own_details(self) -> Columns:
        """Columns of details that say not of which sample and perturbation they are."""
        return {name: kind for name, kind in self._details.items() if name not in DETAIL_KEYS}

    def _nested(self, details: Sequence[Rows], size: int) -> pa.Array:
        """The details of a batch, a list of rows for each sample."""
        if len(details) != size:
            raise BadInputError(f"{self.path}: details of {len(details)} samples were given for {size}")
        flat = [row for rows in details for row in rows]
        where = f"{csv_path(self.folder, self.detail_table)}"
        own = arrow_table(self._own_details, {name: [row[name] for row in flat] for name in self._own_details}, where)
        ends = np.cumsum([0, *map(len, details)])
        fields = self._parts.schema.field(_DETAILS).type.value_type
        structs = pa.StructArray.from_arrays([column.combine_chunks() for column in own.columns], fields=list(fields))
        return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), structs).cast(
            self._parts.schema.field(_DETAILS).type
        )

    def _write_details(self, table: pa.Table) -> None:
        nested = table[_DETAILS].combine_chunks()
        parents = pc.list_parent_indices(nested)
        flat = pc.list_flatten(nested)
        keys = table.select(list(DETAIL_KEYS)).take(parents)
        own = [flat.field(name) for name in self._own_details]
        schema = arrow_schema(self._details)
        columns = [*(column for column in keys.columns), *own]
        write_table(self.folder, self.detail_table, pa.Table.from_arrays(columns, names=schema.names).cast(schema))


def write_truth(
    folder: str | Path, name: str, columns: Columns, sample_ids: Sequence[str], details: Sequence[Rows]
) -> None:
    """Write the table of what would be right of every sample, such as true boxes."""
    typed = truth_columns(columns)
    pairs = [(sample, row) for sample, own in zip(sample_ids, details, strict=True) for row in own]
    values = {column: [row[column] for _, row in pairs] for column in typed if column != "sample_id"}
    values["sample_id"] = [sample for sample, _ in pairs]
    write_table(folder, name, arrow_table(typed, values, f"{csv_path(folder, name)}"))


def _indices(column: pa.ChunkedArray, known: Sequence[str]) -> NDArray[np.int64]:
    """The place of each text among those that are known, -1 where it is none of them."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(pa.string())
    found = pc.index_in(column, value_set=pa.array(list(known), pa.string()))
    return np.asarray(found.fill_null(-1).to_numpy(), dtype=np.int64)


def _checked_ids(sample_ids: Sequence[str]) -> list[str]:
    ids = [str(sample) for sample in sample_ids]
    twice = [sample for sample, times in Counter(ids).items() if times > 1]
    if twice:
        raise BadInputError(f"the sample id {twice[0]!r} occurs twice; every sample needs its own")
    if not all(ids):
        raise BadInputError("a sample has an empty id; every sample needs one")
    for sample in ids:
        _refuse_line_break(sample)
    return ids


def _refuse_line_breaks(table: pa.Table) -> None:
    """Refuse texts that would divide a line of the CSV file."""
    for column in table.columns:
        if column.type == pa.string():
            for text in pc.unique(column).to_pylist():
                _refuse_line_break(text)


def _refuse_line_break(text: str) -> None:
    if len(text.splitlines()) > 1 or text.endswith(("\n", "\r")) or "\0" in text:
        raise BadInputError(f"{text!r} holds a line break, which an outcomes table cannot")
