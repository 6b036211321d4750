"""What a report says of groups of samples: the worst of them, the gap to the best, and their scores over the radius."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from monai_robust.evaluation.sections.comparisons import ScoreStyle, names_of, of_kind
from monai_robust.evaluation.sections.drawing import MARKERS, WIDTH, legend, legend_label, run_colour, styled
from monai_robust.evaluation.sections.parts import MISSING, UNDEFINED, Measure, Picture, ReportTable, Section, listed
from monai_robust.evaluation.sections.perturbations import perturbation_label
from monai_robust.evaluation.statistics.summary import rated_by
from monai_robust.evaluation.tables.run_folder import Run
from monai_robust.evaluation.tables.schema import CLEAN

__all__ = ["groups_figure", "subgroup_sections"]

MOST_GROUPS = 8


def subgroup_sections(
    runs: Sequence[Run], frames: Mapping[str, pd.DataFrame], style: ScoreStyle, minimum: int
) -> list[Section]:
    """A section for each column that samples are grouped by.

    Args:
        runs: finished evaluations.
        frames: ``subgroup_gaps`` and ``summary``.
        style: of the measure.
        minimum: patients that a group needs to be rated.
    """
    return [_section(runs, frames, group, style, minimum) for group in runs[0].groups]


def _section(
    runs: Sequence[Run], frames: Mapping[str, pd.DataFrame], group: str, style: ScoreStyle, minimum: int
) -> Section:
    title = f"Gaps between groups of {group}"
    values = sorted({str(value) for run in runs for value in run.clean[group]})
    if len(values) < 2:
        return Section(title, f"All images have the same {group} ({values[0] or MISSING}): there is no gap to tell of.")
    gaps = frames["subgroup_gaps"]
    gaps = gaps[gaps["group"] == group]
    small = next((str(one) for one in gaps["not_rated"] if one), "")
    text = f"A group is rated if it has {minimum} patients or more (--minimum_group)."
    text += f" Too small to be rated: {small}." if small else " All groups have."
    lacking = dict.fromkeys(
        f"{row['undefined']} ({perturbation_label(str(row['perturbation']))})"
        for _, row in gaps[gaps["undefined"] != ""].iterrows()
    )
    if lacking:
        text += (
            f" Not rated either, where the {style.name} is {UNDEFINED} ({style.undefined}): {listed(list(lacking))}."
        )
    rated = gaps[gaps["worst"].notna()]
    if rated.empty:
        return Section(title, f"{text} Fewer than two groups are rated, so that there is no gap.")
    rows = [
        ([str(row["name"]), perturbation_label(str(row["perturbation"]))], _cells(row, style))
        for _, row in rated.iterrows()
    ]
    note = (
        "Gap: best less worst group; its interval draws patients and is for these two groups. The worst of several "
        "groups looks worse than it is by chance alone, the more so the smaller they are. Of several severities the "
        "mean is told."
    )
    headers = ["Worst group", f"{style.title}, worst group", "Best group", f"{style.title}, best group", "Gap"]
    table = ReportTable(
        f"table_gaps_{group}",
        f"Worst and best {group}",
        ["Run", "Perturbation"],
        headers,
        rows,
        1.0,
        style.digits,
        note,
    )
    attacks = of_kind(runs, "attack")
    pictures = []
    if attacks and len(values) <= MOST_GROUPS:
        summary = rated_by(frames["summary"], style.column)
        figure = groups_figure(summary, attacks[0], group, style)
        label = perturbation_label(attacks[0])
        alt = f"Lines: {style.name} of {listed(values)} over the radius of {label}; {listed(names_of(runs))}."
        pictures.append(Picture(figure, alt, f"Each {group} under {label}; radius 0 is the clean images."))
    return Section(title, text, [table], pictures)


def _cells(row: pd.Series, style: ScoreStyle) -> list[Measure | str]:
    gap = [style.scale * row[name] for name in ("gap", "gap_low", "gap_high")]
    return [
        str(row["worst"]) or MISSING,
        Measure(style.scale * row["worst_value"]),
        str(row["best"]) or MISSING,
        Measure(style.scale * row["best_value"]),
        Measure(gap[0], math.nan, gap[1], gap[2]),
    ]


@styled
def groups_figure(summary: pd.DataFrame, attack: str, group: str, style: ScoreStyle) -> Figure:
    """The score of each group over the radius of an attack, a panel for each name.

    Args:
        summary: by severity, with the measure as ``score``.
        attack: name of the perturbation.
        group: the column.
        style: of the measure.
    """
    chosen = summary[(summary["group"] == group) & summary["perturbation"].isin([CLEAN, attack])]
    names, values = (list(dict.fromkeys(chosen[column])) for column in ("name", "value"))
    columns = min(len(names), 3)
    lines = math.ceil(len(names) / columns)
    figure = Figure(figsize=(max(WIDTH * columns / 3, 4.2), 2.9 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
    for spare in grid[len(names) :]:
        spare.set_axis_off()
    for axes, name in zip(grid, names, strict=False):
        for index, value in enumerate(values):
            rows = chosen[(chosen["name"] == name) & (chosen["value"] == value)].sort_values("severity")
            look = {"color": run_colour(index), "marker": MARKERS[index % len(MARKERS)]}
            axes.plot(rows["severity"], rows["score"], label=legend_label(str(value) or MISSING), clip_on=False, **look)
        axes.set(title=str(name), xlabel="radius")
        axes.set_xlim(left=0)
        if style.higher_is_better:
            axes.set_ylim(0, 1)
        if style.percent:
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    grid[0].set_ylabel(style.axis)
    legend(figure, grid[0])
    return figure
