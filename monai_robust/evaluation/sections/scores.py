"""What reports of several tasks say of their score: under attack in the shape of AMAT's tables, corrupted, in groups.

All functions read the column ``score`` of their frames; another statistic is put into its place by
:func:`~monai_robust.evaluation.statistics.summary.rated_by`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from monai_robust.evaluation.sections.comparisons import (
    ScoreStyle,
    breaking_table,
    by_name,
    common_frames,
    of_kind,
    radius_pictures,
    radius_table,
    severities_of,
    severity_picture,
    stubs,
)
from monai_robust.evaluation.sections.parts import ReportTable, Section, measured, number
from monai_robust.evaluation.sections.perturbations import perturbation_label, short_label
from monai_robust.evaluation.statistics.curves import auc_by_attack, largest_error
from monai_robust.evaluation.statistics.run_draws import DrawableOf
from monai_robust.evaluation.statistics.summary import Statistics, rated_by
from monai_robust.evaluation.tables.run_folder import Run
from monai_robust.evaluation.tables.schema import CLEAN

__all__ = [
    "attack_section",
    "attack_table",
    "auc_table",
    "corruption_section",
    "frames_by",
    "group_section",
    "score_frames",
    "score_sections",
    "statistics_table",
]


def frames_by(frames: Mapping[str, pd.DataFrame], column: str) -> dict[str, pd.DataFrame]:
    """The frames of :mod:`~monai_robust.evaluation.sections.comparisons` with a statistic for the score."""
    rated = ("summary_of_runs", "summary", "means_over_severities")
    return {**frames, **{name: rated_by(frames[name], column) for name in rated}}


def score_frames(
    runs: Sequence[Run],
    statistics: Statistics,
    style: ScoreStyle,
    areas: Sequence[ScoreStyle],
    drawable: DrawableOf | None = None,
) -> dict[str, pd.DataFrame]:
    """The frames of :func:`~monai_robust.evaluation.sections.comparisons.common_frames`, and AUC_robust of scores.

    Args:
        runs: finished evaluations.
        statistics: of the task.
        style: of the score that the report is about.
        areas: the scores of which AUC_robust is told; errors are divided by the largest of the compared runs.
        drawable: how the statistics are drawn anew; by default only the mean score has an interval.
    """
    frames = common_frames(runs, statistics, style.column, style.higher_is_better, drawable)
    for one in areas:
        rated, higher = rated_by(frames["summary_of_runs"], one.column), one.higher_is_better
        scale = None if higher else largest_error(rated)
        frames[_area(one, style)] = auc_by_attack(rated, higher_is_better=higher, scale=scale)
    return frames


def attack_section(
    runs: Sequence[Run],
    frames: Mapping[str, pd.DataFrame],
    styles: Sequence[ScoreStyle],
    areas: Sequence[ScoreStyle],
    *,
    clean: str = "",
    more: Sequence[ReportTable] = (),
) -> Section:
    """Scores under attack, their AUC_robust and where the first of them breaks; empty where there is no attack.

    Args:
        runs: finished evaluations.
        frames: from :func:`score_frames`.
        styles: of the scores; the first one is that of the report.
        areas: those of which there is AUC_robust.
        clean: see :func:`attack_table`.
        more: tables of the task's own, which follow.
    """
    if not of_kind(runs, "attack"):
        return Section("Attacks")
    style = styles[0]
    tables = [attack_table(runs, frames_by(frames, one.column), one, clean) for one in styles]
    for one in areas:
        largest = largest_error(rated_by(frames["summary_of_runs"], one.column))
        scale = f"{largest:.2f} {one.unit}, the largest {one.name} of the compared runs"
        stem = "" if one == style else one.stem
        tables.append(auc_table(frames[_area(one, style)], one, stem, "" if one.higher_is_better else scale))
    tables += [breaking_table(frames["breaking_radii"], style), *more]
    text = "How far an image must be changed before the network fails."
    return Section("Attacks", text, tables, radius_pictures(runs, frames_by(frames, style.column)["summary"], style))


def score_sections(
    runs: Sequence[Run], frames: Mapping[str, pd.DataFrame], style: ScoreStyle, clean: Section, attacks: Section
) -> list[Section]:
    """Everything between the headline and the gallery: clean images, attacks, corruptions and groups, where there are
    any.

    Args:
        runs: finished evaluations.
        frames: from :func:`score_frames`.
        style: of the score.
        clean: what is said of clean images.
        attacks: from :func:`attack_section`.
    """
    rated = frames_by(frames, style.column)
    found = [
        clean,
        attacks,
        corruption_section(runs, rated, style),
        *(group_section(runs, rated, group, style) for group in runs[0].groups),
    ]
    return [section for section in found if section.tables or section.pictures]


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
        areas: from :func:`~monai_robust.evaluation.statistics.curves.auc_by_attack`.
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


def _area(style: ScoreStyle, main: ScoreStyle) -> str:
    """The name of the frame of a score's AUC_robust."""
    return "auc_robust" if style == main else f"auc_robust_{style.stem}"


def _shorts(attacks: Sequence[str]) -> dict[str, str]:
    """The paper's abbreviation of each attack, where it has one and that tells it from the others."""
    found = {attack: short_label(attack) for attack in attacks}
    clear = {attack: short for attack, short in found.items() if short and [*found.values()].count(short) == 1}
    return {attack: clear.get(attack, perturbation_label(attack)) for attack in attacks}
