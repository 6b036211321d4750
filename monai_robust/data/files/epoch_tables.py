"""CSV tables of a training, with some rows an epoch, that a resumed one goes on in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from monai_robust.data.files.csv_cells import csv_text
from monai_robust.data.files.side_files import read_table
from monai_robust.data.files.whole import append_whole_lines, write_whole
from monai_robust.errors import BadInputError

__all__ = ["append_rows", "keep_epochs"]


def append_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append rows to a CSV file, with a header where it is new; no rows leave no file.

    Raises:
        BadInputError: when they cannot be written.
    """
    if rows:
        append_whole_lines(path, csv_text(pd.DataFrame(rows), header=not path.is_file()))


def keep_epochs(path: Path, epoch: int, renamed: Mapping[str, str] | None = None) -> None:
    """Drop what an earlier run wrote of the epochs after ``epoch``, which are going to be written again.

    Args:
        path: of the table.
        epoch: the last one that is kept.
        renamed: of a table with a column ``sample_id``, new ids by those that it has.

    Raises:
        BadInputError: for a file that is none of these tables, or that cannot be written.
    """
    if not path.is_file():
        return
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]  # a process that was killed may have left a part of a line
    if whole != content:
        write_whole(path, whole)
    try:
        table = read_table(path)
        kept = table[table["epoch"].astype(float) <= epoch]
    except (KeyError, ValueError) as error:
        raise BadInputError(f"{path} is damaged ({error}); move it away to go on") from None
    if epoch == 0 or kept.empty:
        path.unlink()
        return
    others = {name: new for name, new in (renamed or {}).items() if name != new}
    if others and "sample_id" in kept:
        kept = kept.assign(sample_id=kept["sample_id"].map(lambda name: others.get(name, name)))
    elif len(kept) == len(table):
        return
    write_whole(path, csv_text(kept).encode())
