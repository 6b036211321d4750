"""Several measures of a task side by side, clean and under each perturbation: tables and a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from monai_robust.evaluation.sections.comparisons import of_kind, severities_of, whole
from monai_robust.evaluation.sections.drawing import MARKERS, WIDTH, legend, legend_label, run_colour, styled
from monai_robust.evaluation.sections.parts import Picture, ReportTable, listed, measured, number
from monai_robust.evaluation.sections.perturbations import NORMS, perturbation_label
from monai_robust.evaluation.tables.run_folder import Run
from monai_robust.evaluation.tables.schema import CLEAN

__all__ = ["Column", "measured_runs", "measures_pictures", "measures_tables", "measures_versus_radius"]


@dataclass(frozen=True)
class Column:
    """A measure as a column of a table and a panel of a figure.

    Attributes:
        header: with its unit.
        statistic: the column of the frames.
        digits: decimals.
        bounded: whether it lies in [0, 1], which an axis then shows; else only 0 is shown.
    """

    header: str
    statistic: str
    digits: int = 3
    bounded: bool = True


def measured_runs(runs: Sequence[Run], replicated: pd.DataFrame, statistic: str) -> list[str]:
    """Names of the runs that have a statistic, at least in part."""
    if statistic not in replicated:
        return []
    known = replicated[replicated[statistic].notna()]["name"].unique()
    return [name for name in dict.fromkeys(run.name for run in runs) if name in known]


def measures_tables(
    runs: Sequence[Run], frames: Mapping[str, pd.DataFrame], columns: Sequence[Column], stem: str, title: str, note: str
) -> list[ReportTable]:
    """A table for each attack with a row for each radius and name, 0 being the clean inputs, and one for all
    corruptions with their means over severities.

    Args:
        runs: finished evaluations.
        frames: ``summary`` and ``means_over_severities``.
        columns: the measures.
        stem: of the names of CSV files.
        title: what the measures are.
        note: what a reader must know.
    """
    summary, means = frames["summary"], frames["means_over_severities"]
    tables = []
    for attack in of_kind(runs, "attack"):
        chosen = pd.concat([whole(summary, CLEAN), whole(summary, attack)])
        rows = [
            ([number(float(row["severity"])), str(row["name"])], row)
            for _, row in chosen.sort_values("severity", kind="stable").iterrows()
        ]
        name = f"table_{stem}_{attack}"
        tables.append(
            _table(name, f"{title} under {perturbation_label(attack)}", ["Radius", "Run"], rows, columns, note)
        )
    corruptions = of_kind(runs, "corruption")
    if corruptions:
        rows = [
            ([perturbation_label(name), str(row["name"])], row)
            for name in (CLEAN, *corruptions)
            for _, row in whole(means, name).iterrows()
        ]
        ranges = "; ".join(f"{perturbation_label(name)}: {severities_of(runs, name)}" for name in corruptions)
        note = f"{note} Means over the severities that were evaluated ({ranges}).".strip()
        name = f"table_{stem}_corrupted"
        tables.append(_table(name, f"{title} under corruptions", ["Corruption", "Run"], rows, columns, note))
    return tables


def measures_pictures(
    runs: Sequence[Run], replicated: pd.DataFrame, columns: Sequence[Column], caption: str = ""
) -> list[Picture]:
    """For each attack a figure of the measures over its radius."""
    pictures = []
    for attack in of_kind(runs, "attack"):
        names = listed([one.header for one in columns])
        alt = f"Lines: {names} over the radius of {perturbation_label(attack)}."
        figure = measures_versus_radius(replicated, attack, columns)
        pictures.append(Picture(figure, alt, f"Radius 0 is the clean images. {caption}".strip()))
    return pictures


@styled
def measures_versus_radius(replicated: pd.DataFrame, attack: str, columns: Sequence[Column]) -> Figure:
    """Measures over the radius of an attack, a panel for each and a line for each name, radius 0 being clean inputs.

    Args:
        replicated: :func:`~monai_robust.evaluation.statistics.summary.over_replicates` of the summary by severity.
        attack: the perturbation's name.
        columns: up to three measures. The shade is one standard deviation over replicates.
    """
    figure = Figure(figsize=(WIDTH, 3.3), layout="constrained")
    panels = figure.subplots(1, len(columns), squeeze=False)[0]
    block = pd.concat([whole(replicated, CLEAN), whole(replicated, attack)])
    norm = whole(replicated, attack)["norm"].iloc[0]
    for axes, column in zip(panels, columns, strict=True):
        for index, (name, rows) in enumerate(block.groupby("name", sort=False)):
            own = rows.sort_values("severity")
            radii, values, spread = (own[key].to_numpy() for key in ("severity", *_with_spread(column.statistic)))
            style = {"color": run_colour(index), "marker": MARKERS[index % len(MARKERS)], "clip_on": False}
            axes.plot(radii, values, label=legend_label(str(name)), **style)
            if not np.isnan(spread).all():
                low, high = np.clip([values - spread, values + spread], 0, None)
                axes.fill_between(radii, low, high, color=run_colour(index), alpha=0.18, linewidth=0)
        axes.set_title(column.header)
        axes.set_xlabel(f"radius, {NORMS.get(norm, norm)} norm")
        axes.set_xlim(left=0)
        axes.set_ylim(0, 1 if column.bounded else None)
    panels[0].set_ylabel(f"under {perturbation_label(attack)}")
    legend(figure, panels[0])
    return figure


def _with_spread(statistic: str) -> tuple[str, str]:
    return statistic, f"{statistic}_std"


def _table(
    name: str,
    title: str,
    stub: Sequence[str],
    rows: Sequence[tuple[Sequence[str], pd.Series]],
    columns: Sequence[Column],
    note: str,
) -> ReportTable:
    cells = [(own, [measured(row, column.statistic) for column in columns]) for own, row in rows]
    headers, digits = [column.header for column in columns], [column.digits for column in columns]
    return ReportTable(name, title, stub, headers, cells, 1.0, digits, note)
