"""What reports of several tasks say of their score: under attack in the shape of AMAT's tables, corrupted, in groups.

All functions read the column ``score`` of their frames; another statistic is put into its place by
:func:`~monai_robust.evaluation.statistics.summary.rated_by`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from monai_robust.evaluation.sections.comparisons import (
    ScoreStyle,
    by_name,
    of_kind,
    radius_table,
    severities_of,
    severity_picture,
    stubs,
)
from monai_robust.evaluation.sections.parts import ReportTable, Section, measured, number
from monai_robust.evaluation.sections.perturbations import perturbation_label, short_label
from monai_robust.evaluation.statistics.summary import rated_by
from monai_robust.evaluation.tables.outcomes import CLEAN
from monai_robust.evaluation.tables.run_folder import Run

__all__ = ["attack_table", "auc_table", "corruption_section", "frames_by", "group_section", "statistics_table"]


def frames_by(frames: Mapping[str, pd.DataFrame], column: str) -> dict[str, pd.DataFrame]:
    """The frames of :mod:`~monai_robust.evaluation.sections.comparisons` with a statistic for the score."""
    rated = ("summary_of_runs", "summary", "means_over_severities")
    return {**frames, **{name: rated_by(frames[name], column) for name in rated}}


def statistics_table(
    rows: pd.DataFrame,
    name: str,
    title: str,
    columns: Mapping[str, str],
    scale: float = 1.0,
    digits: int = 3,
    note: str = "",
) -> ReportTable:
    """A row for each name, a column for each statistic.

    Args:
        rows: a row for each name, such as those of clean images.
        name: stem of the CSV file.
        title: what it shows.
        columns: the header of each statistic, and its column.
        scale: what numbers are multiplied with.
        digits: decimals.
        note: what a reader must know.
    """
    cells = [([str(row["name"])], [measured(row, column) for column in columns.values()]) for _, row in rows.iterrows()]
    return ReportTable(name, title, ["Run"], list(columns), cells, scale, digits, note)


def attack_table(
    runs: Sequence[Run], frames: Mapping[str, pd.DataFrame], style: ScoreStyle, clean: str = ""
) -> ReportTable:
    """A row for each name in the shape of AMAT's Tables 1 to 3, 6 and 7: clean, each attack at its radii, their mean.

    Args:
        runs: finished evaluations.
        frames: ``summary`` and ``means_over_severities``.
        style: of the score.
        clean: header of the clean images; the score's name by default.
    """
    attacks = {one.name: one.severities for one in runs[0].perturbations if one.kind == "attack"}
    shorts = _shorts(list(attacks))
    headers = [clean or style.name]
    for attack, radii in attacks.items():
        headers += [*(f"{shorts[attack]} {number(radius)}" for radius in radii), f"{shorts[attack]} Avg."]
    at_radii = frames["summary"][frames["summary"]["group"] == ""]
    means = frames["means_over_severities"][frames["means_over_severities"]["group"] == ""]
    rows = []
    for stub, block in stubs(at_radii):
        cells = {(row["perturbation"], row["severity"]): measured(row, "score") for _, row in block.iterrows()}
        averages = means[means["name"] == stub[0]].set_index("perturbation")
        values = [cells[CLEAN, 0.0]]
        for attack, radii in attacks.items():
            values += [*(cells[attack, radius] for radius in radii), measured(averages.loc[attack], "score")]
        rows.append((stub, values))
    legend = "; ".join(f"{short} is {perturbation_label(attack)} of that radius" for attack, short in shorts.items())
    first = f"{clean} is the {style.name} of clean images" if clean else f"{style.name}: that of clean images"
    note = f"{first}; {legend}; Avg. is the mean over the radii, without the clean images."
    title = f"{style.title}, clean and under attack"
    return ReportTable(
        f"table_{style.stem}_under_attack", title, ["Run"], headers, rows, style.scale, style.digits, note
    )


def auc_table(areas: pd.DataFrame, style: ScoreStyle, stem: str = "", scale: str = "") -> ReportTable:
    """AUC_robust of each name under each attack.

    Args:
        areas: from :func:`~monai_robust.evaluation.statistics.summary.auc_by_attack`.
        style: of the score.
        stem: what the CSV file's name ends in, where there are several such tables.
        scale: what errors were divided by, in words.
    """
    attacks = areas.drop_duplicates("perturbation")
    headers = [
        f"{perturbation_label(row['perturbation'])} up to {number(row['largest_radius'])}"
        for _, row in attacks.iterrows()
    ]
    rows = [
        ([str(name)], [measured(row, "auc_robust") for _, row in block.iterrows()])
        for name, block in areas.groupby("name", sort=False)
    ]
    note = (
        f"The root of the product of clean {style.name} and mean {style.name} over the radii from 0 on (trapezoid rule)"
    )
    note += f", both divided by {scale}; lower is better." if scale else "."
    name = "_".join(part for part in ("table_auc_robust", stem) if part)
    return ReportTable(name, f"AUC_robust of {style.name}", ["Run"], headers, rows, 1.0, max(style.digits, 3), note)


def corruption_section(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame], style: ScoreStyle) -> Section:
    """The score under each corruption, as a table of means and a figure; empty where there is no corruption."""
    names = of_kind(runs, "corruption")
    if not names:
        return Section("Corruptions")
    headers = {name: perturbation_label(name) for name in (CLEAN, *names)}
    ranges = "; ".join(f"{perturbation_label(name)}: {severities_of(runs, name)}" for name in names)
    note = f"Means over the severities that were evaluated ({ranges})."
    means = frames["means_over_severities"]
    table = by_name(means, "score", headers, "table_corruptions", style.title, style.scale, style.digits, note=note)
    return Section("Corruptions", "", [table], [severity_picture(frames["summary"], names, "corruption", style)])


def group_section(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame], group: str, style: ScoreStyle) -> Section:
    """What a table says of all samples, within each value of a group column."""
    tables = [radius_table(frames["summary"], attack, style, group) for attack in of_kind(runs, "attack")]
    if not tables:
        means, headers = frames["means_over_severities"], {CLEAN: "Clean"}
        name = f"table_{style.stem}"
        tables.append(by_name(means, "score", headers, name, style.title, style.scale, style.digits, group))
    return Section(f"Within {group}", "All other numbers stand in the CSV files.", tables)


def _shorts(attacks: Sequence[str]) -> dict[str, str]:
    """The paper's abbreviation of each attack, where it has one and that tells it from the others."""
    found = {attack: short_label(attack) for attack in attacks}
    clear = {attack: short for attack, short in found.items() if short and [*found.values()].count(short) == 1}
    return {attack: clear.get(attack, perturbation_label(attack)) for attack in attacks}
