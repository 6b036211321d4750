"""Tables of details beside the outcomes, with any number of rows for a sample, such as a row for each detected box.

Columns: ``sample_id, perturbation, severity`` and those of the task; what would be right stands in a table of its own,
with ``sample_id`` and the task's columns. Details are written before the outcomes of the same batch, so that a stopped
run leaves at most details too many: those are cut off when it goes on.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from monai_robust.data.files.csv_cells import csv_line, plain_cell
from monai_robust.data.files.side_files import regular_file
from monai_robust.data.files.whole import write_whole
from monai_robust.errors import BadInputError, writing

__all__ = ["DETAIL_KEYS", "DetailsWriter", "write_true_details"]

DETAIL_KEYS = ("sample_id", "perturbation", "severity")

Rows = Sequence[Mapping[str, Any]]


class DetailsWriter:
    """Append details batch by batch, and continue a table that a stopped run left behind.

    Args:
        path: the table.
        columns: of the task.
        is_done: ``(sample_id, perturbation, severity)`` -> whether the outcomes table holds that sample already.

    Raises:
        BadInputError: for an existing table with other columns.
    """

    def __init__(self, path: str | Path, columns: Sequence[str], is_done: Callable[[str, str, float], bool]) -> None:
        self.path = Path(path)
        self.columns = [*DETAIL_KEYS, *columns]
        content = regular_file(self.path, "table").read_bytes() if self.path.exists() else b""
        kept = self._kept(content, is_done)
        write_whole(self.path, content[:kept] if kept else _lines([self.columns]))
        self._file = open(self.path, "ab")  # noqa: SIM115 (closed by close)

    def append(self, perturbation: str, severity: float, sample_ids: Sequence[str], details: Sequence[Rows]) -> None:
        """Append the rows of a batch: for each sample any number of them."""
        rows = [
            [sample, perturbation, repr(float(severity)), *(row[name] for name in self.columns[len(DETAIL_KEYS) :])]
            for sample, own in zip(sample_ids, details, strict=True)
            for row in own
        ]
        with writing(self.path):
            self._file.write(_lines(rows))
            self._file.flush()
            os.fsync(self._file.fileno())  # before the outcomes of the same batch

    def close(self) -> None:
        with writing(self.path):  # of what a full disk did not take
            self._file.close()

    def __enter__(self) -> DetailsWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _kept(self, content: bytes, is_done: Callable[[str, str, float], bool]) -> int:
        """Length in bytes of the rows whose outcomes were written too; 0 for no table or a cut header."""
        header = _lines([self.columns])
        if header.startswith(content):
            return len(header) if content == header else 0
        if not content.startswith(header):
            raise BadInputError(f"{self.path} has other columns than {', '.join(self.columns)}; measure elsewhere")
        kept = len(header)
        for line in content[kept:].splitlines(keepends=True):
            if not line.endswith(b"\n") or not is_done(*self._key(line)):
                break  # of the batch that was being measured when the run was stopped
            kept += len(line)
        return kept

    def _key(self, line: bytes) -> tuple[str, str, float]:
        """Sample, perturbation and severity of a row."""
        try:
            sample, perturbation, severity = next(csv.reader([line.decode()]))[: len(DETAIL_KEYS)]
            return plain_cell(sample), plain_cell(perturbation), float(severity)
        except (ValueError, csv.Error, StopIteration):
            shown = line.decode(errors="replace").strip()
            raise BadInputError(f"{self.path} cannot be continued: this is no row of it: {shown!r}") from None


def write_true_details(
    path: str | Path, columns: Sequence[str], sample_ids: Sequence[str], details: Sequence[Rows]
) -> Path:
    """Write what would be right of every sample."""
    rows = [
        [sample, *(row[name] for name in columns)]
        for sample, own in zip(sample_ids, details, strict=True)
        for row in own
    ]
    return write_whole(path, _lines([["sample_id", *columns], *rows]))


def _lines(rows: Sequence[Sequence[Any]]) -> bytes:
    return "".join(map(csv_line, rows)).encode()
