"""What becomes of margins over the epochs, as CSV files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from monai_robust.data.files.csv_cells import csv_text
from monai_robust.data.files.side_files import read_table
from monai_robust.data.files.whole import append_whole_lines, write_whole
from monai_robust.errors import BadInputError

__all__ = ["append_rows", "distribution", "histogram", "keep_epochs"]

_BINS = 30


def distribution(margins: Sequence[float]) -> dict[str, float]:
    """``mean, minimum, p10, p50, p90, maximum`` of margins; NaN where there are none."""
    values = np.asarray(margins, dtype=np.float64)
    if not len(values):
        return dict.fromkeys(("mean", "minimum", "p10", "p50", "p90", "maximum"), float("nan"))
    p10, p50, p90 = np.quantile(values, [0.1, 0.5, 0.9])
    return {
        "mean": float(values.mean()),
        "minimum": float(values.min()),
        "p10": float(p10),
        "p50": float(p50),
        "p90": float(p90),
        "maximum": float(values.max()),
    }


def histogram(margins: Sequence[float], epoch: int) -> list[dict[str, Any]]:
    """Rows ``epoch, low, high, samples`` of a histogram of equal bins."""
    counts, edges = np.histogram(np.asarray(margins, dtype=np.float64), bins=_BINS)
    return [
        {"epoch": epoch, "low": float(low), "high": float(high), "samples": int(count)}
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]


def append_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append rows to a CSV file, with a header where it is new; no rows leave no file.

    Raises:
        BadInputError: when they cannot be written.
    """
    if rows:
        append_whole_lines(path, csv_text(pd.DataFrame(rows), header=not path.is_file()))


def keep_epochs(path: Path, epoch: int) -> None:
    """Drop what an earlier run wrote of the epochs after ``epoch``, which are going to be written again.

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
    elif len(kept) < len(table):
        write_whole(path, csv_text(kept).encode())
