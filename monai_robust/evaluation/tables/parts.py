"""Finished parts of a measurement, each a Parquet file of its own in the folder ``parts``.

A part is written to a temporary name and renamed, so that it is there whole or not at all. Its name begins with the
number of the process that wrote it: several processes write side by side.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from monai_robust.data.files.whole import remove_drafts
from monai_robust.errors import BadInputError
from monai_robust.evaluation.tables.stored import read_parquet, read_schema, write_parquet

__all__ = ["Parts"]

FOLDER = "parts"
_DONE = ".parts_put_together"


class Parts:
    """The parts of one run's folder.

    Args:
        folder: the run's folder.
        schema: of every part.
        process: number of the process that writes here.
    """

    def __init__(self, folder: str | Path, schema: pa.Schema, process: int = 0) -> None:
        self.run = Path(folder)
        self.folder = self.run / FOLDER
        self.schema = schema
        self.process = process

    def paths(self) -> list[Path]:
        """The whole parts, in the order of their names."""
        return sorted(self.folder.glob("[0-9]*.parquet")) if self.folder.is_dir() else []

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows of all parts.

        Raises:
            BadInputError: for a part that is damaged, or has other columns.
        """
        names = list(columns) if columns is not None else self.schema.names
        fields = [self.schema.field(name) for name in names]
        tables = [pa.schema(fields).empty_table(), *(self._read(path, names) for path in self.paths())]
        return pa.concat_tables(tables).combine_chunks()

    def write(self, table: pa.Table) -> None:
        """Add a part.

        Raises:
            BadInputError: when it cannot be written, such as on a full disk; no half of it is left.
        """
        last = max((int(path.stem.partition("-")[2]) for path in self._own()), default=-1)
        write_parquet(self.folder / f"{self.process}-{last + 1:06d}.parquet", table)

    def remove(self) -> None:
        """Remove the folder of parts, which then are parts of nothing: a kill on the way leaves nothing to continue."""
        self.clean()
        if self.folder.is_dir():
            os.replace(self.folder, self.run / _DONE)
            self.clean()

    def clean(self) -> None:
        """Remove what killed processes left: drafts of parts, and parts that have been put together."""
        if self.folder.is_dir():
            remove_drafts(self.folder)
        remove_drafts(self.run)
        shutil.rmtree(self.run / _DONE, ignore_errors=True)

    def _own(self) -> list[Path]:
        return [path for path in self.paths() if path.stem.partition("-")[0] == str(self.process)]

    def _read(self, path: Path, names: Sequence[str]) -> pa.Table:
        advice = "remove it, and what it held is measured again"
        try:
            schema, table = read_schema(path), read_parquet(path, names)
        except BadInputError as error:
            raise BadInputError(f"this measurement cannot be continued: {error}; {advice}") from None
        if not schema.equals(self.schema):
            raise BadInputError(
                f"{path} has the columns {', '.join(schema.names)}, this run has {', '.join(self.schema.names)}, or "
                f"they are of other types; {advice}"
            )
        return table.select(names).cast(pa.schema([self.schema.field(name) for name in names]))
