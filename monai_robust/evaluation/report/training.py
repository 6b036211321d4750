"""What a report says about how networks were trained, from the tables that training left in a run's folder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from monai_robust.data.files.side_files import numbers, read_table
from monai_robust.errors import BadInputError
from monai_robust.evaluation.sections.figures import margins_over_epochs
from monai_robust.evaluation.sections.parts import Measure, Picture, ReportTable, Section, listed, number
from monai_robust.evaluation.tables.run_folder import Run

__all__ = ["read_training_table", "training_frames", "training_sections"]

EPOCH_TIMES = "epoch_times.csv"
MARGINS = "margins.csv"
COLUMNS: Mapping[str, Sequence[str]] = {
    EPOCH_TIMES: ("epoch", "seconds"),
    MARGINS: ("epoch", "samples", "mean", "minimum", "p10", "p50", "p90", "maximum", "ever_shrunk"),
}
OPTIONAL: Mapping[str, Sequence[str]] = {EPOCH_TIMES: ("processor_seconds",)}
"""Columns that files of earlier versions lack."""
# header of the table, column of margins.csv, factor
LAST_EPOCH = {
    "Mean": ("mean", 1.0),
    "10th percentile": ("p10", 1.0),
    "Median": ("p50", 1.0),
    "90th percentile": ("p90", 1.0),
    "Largest": ("maximum", 1.0),
    "Ever shrunk [%]": ("ever_shrunk", 100.0),
}


def read_training_table(path: str | Path) -> pd.DataFrame:
    """Read ``epoch_times.csv`` (``epoch, seconds``, mostly ``processor_seconds``) or ``margins.csv`` (statistics).

    Args:
        path: the file; its name tells which of them it is.

    Returns:
        Its columns, one row for each epoch in order; of an epoch that was trained twice the last row.

    Raises:
        BadInputError: if it cannot be read, lacks a column, or holds anything but numbers.
    """
    path = Path(path)
    texts = read_table(path, "table of the training")
    if texts.empty:
        raise BadInputError(f"the table of the training {path} holds no rows")
    there = [name for name in OPTIONAL.get(path.name, ()) if name in texts]
    table = pd.DataFrame({name: numbers(texts, name, path) for name in (*COLUMNS[path.name], *there)})
    wrong = (table["epoch"] < 0) | (table["epoch"] % 1 != 0) | (table < 0).any(axis=1)
    if wrong.any():
        line = texts.index[np.flatnonzero(wrong)[0]]
        raise BadInputError(f"{path}, line {line}: epochs are whole numbers, and nothing is below 0")
    table["epoch"] = table["epoch"].astype(np.int64)
    return table.drop_duplicates("epoch", keep="last").sort_values("epoch").reset_index(drop=True)


def training_frames(runs: Sequence[Run]) -> dict[str, pd.DataFrame]:
    """``epoch_times`` and ``margins`` of the runs that have them: the tables of all runs with ``run`` and ``name``."""
    frames = {}
    for file in COLUMNS:
        found = [
            read_training_table(run.folder / file).assign(run=index, name=run.name)
            for index, run in enumerate(runs)
            if (run.folder / file).is_file()
        ]
        if found:
            frames[Path(file).stem] = pd.concat(found, ignore_index=True)
    return frames


def training_sections(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> list[Section]:
    """A section on time and one on margins, as far as there are tables.

    Args:
        runs: finished evaluations.
        frames: from :func:`training_frames`.
    """
    sections = []
    if "epoch_times" in frames:
        sections.append(Section("Time", "", [_time_table(runs, frames["epoch_times"])]))
    if "margins" in frames:
        text = "The radius that training allowed an attack on each training sample, as it was learnt."
        tables, pictures = [_margin_table(frames["margins"])], [_margin_picture(frames["margins"])]
        sections.append(Section("Margins", text, tables, pictures))
    return sections


def _time_table(runs: Sequence[Run], times: pd.DataFrame) -> ReportTable:
    """In the shape of AMAT's Table 5."""
    medians = times.groupby(["name", "run"], sort=False)["seconds"].median()
    recipes = {run.name: str(run.info.get("recipe") or "") for run in runs}
    rows = [
        ([str(name), recipes[str(name)]], [_over_runs(block.to_numpy())])
        for name, block in medians.groupby("name", sort=False)
    ]
    note = "The median over the epochs of a run; comparable only where machine, data and batches are the same."
    title = "Time of a training epoch"
    return ReportTable("table_epoch_times", title, ["Run", "Recipe"], ["Seconds per epoch"], rows, 1.0, 1, note)


def _margin_table(margins: pd.DataFrame) -> ReportTable:
    last = margins.groupby(["name", "run"], sort=False).tail(1)
    rows = [
        (
            [str(name), _spread_of(block["epoch"]), _spread_of(block["samples"])],
            [_over_runs(factor * block[column].to_numpy(dtype=float)) for column, factor in LAST_EPOCH.values()],
        )
        for name, block in last.groupby("name", sort=False)
    ]
    note = (
        "In intensity units of the network's input. Ever shrunk: the share of the training samples whose margin was "
        "made smaller at least once."
    )
    stub = ["Run", "Epoch", "Samples"]
    return ReportTable("table_margins", "Margins after the last epoch", stub, list(LAST_EPOCH), rows, 1.0, 2, note)


def _margin_picture(margins: pd.DataFrame) -> Picture:
    ends = [
        f"{name} from {number(block.iloc[0]['p50'])} to {number(block.iloc[-1]['p50'])}"
        for (name, _), block in margins.groupby(["name", "run"], sort=False)
    ]
    alt = f"Lines: the median margin of each run over the epochs, {listed(ends)}."
    return Picture(margins_over_epochs(margins), alt, "Lines: medians. Bands: from the 10th to the 90th percentile.")


def _over_runs(values: np.ndarray) -> Measure:
    return Measure(float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else math.nan)


def _spread_of(values: pd.Series) -> str:
    return " to ".join(dict.fromkeys(f"{value:.0f}" for value in (values.min(), values.max())))
