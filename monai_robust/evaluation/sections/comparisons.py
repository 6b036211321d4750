"""What reports of every task have in common: runs side by side by their score, clean, attacked and corrupted."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from monai_robust.evaluation.sections.figures import score_over_severity, score_versus_radius
from monai_robust.evaluation.sections.parts import (
    MISSING,
    UNDEFINED,
    Measure,
    Picture,
    ReportTable,
    listed,
    measured,
    number,
)
from monai_robust.evaluation.sections.perturbations import perturbation_label
from monai_robust.evaluation.sections.radius_units import in_both_units, of_the_file
from monai_robust.evaluation.statistics.curves import breaking_radii
from monai_robust.evaluation.statistics.run_draws import DrawableOf
from monai_robust.evaluation.statistics.summary import (
    Statistics,
    over_replicates,
    rated_by,
    summaries,
)
from monai_robust.evaluation.tables.run_folder import Run
from monai_robust.evaluation.tables.schema import CLEAN

__all__ = [
    "PERCENT",
    "ScoreStyle",
    "breaking_table",
    "by_name",
    "common_frames",
    "falls",
    "names_of",
    "of_kind",
    "radius_pictures",
    "radius_table",
    "radius_text",
    "scaled",
    "severities_of",
    "severity_picture",
    "stub_headers",
    "stubs",
    "undertrained",
    "whole",
    "within",
]

PERCENT = "\N{NO-BREAK SPACE}%"
HEADER_NOTE = "In brackets in the header: the radius in percent of the mean norm of the clean images."


@dataclass(frozen=True)
class ScoreStyle:
    """How a task's score is called and written.

    Attributes:
        name: within a sentence, such as ``accuracy``.
        title: as the title of a table, with the unit, such as ``Accuracy in percent``.
        scale: what scores are multiplied with in tables.
        digits: decimals in tables.
        stem: of the names of CSV files, and the statistic itself where ``column`` names no other.
        percent: whether axes and sentences write it in percent.
        higher_is_better: whether it is a score, or an error.
        unit: of an error, such as ``mm``; scores have none.
        column: of the statistic in the frames.
        undefined: what it means that it has no value, such as ``no image has a box``.
    """

    name: str
    title: str
    scale: float
    digits: int
    stem: str
    percent: bool
    higher_is_better: bool = True
    unit: str = ""
    column: str = ""
    undefined: str = "no image has a score"

    def __post_init__(self) -> None:
        object.__setattr__(self, "column", self.column or self.stem)

    def text(self, score: float) -> str:
        """A score within a sentence, without its unit; of NaN that there is none."""
        if math.isnan(score):
            return UNDEFINED
        return f"{100 * score:.0f}" if self.percent else f"{score:.2f}"

    @property
    def sign(self) -> str:
        """What stands after a number within a sentence."""
        return " %" if self.percent else f" {self.unit}".rstrip()

    @property
    def axis(self) -> str:
        """What it is called at an axis."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name

    @property
    def breaking(self) -> str:
        """The column of breaking radii."""
        return "radius_at_half_score" if self.higher_is_better else "radius_at_twice_error"


def common_frames(
    runs: Sequence[Run],
    statistics: Statistics,
    column: str = "score",
    higher_is_better: bool = True,
    drawable: DrawableOf | None = None,
) -> dict[str, pd.DataFrame]:
    """``summary_of_runs``, ``summary``, ``means_over_severities`` and ``breaking_radii``, these of ``column``.

    Args:
        runs: finished evaluations.
        statistics: of the task.
        column: the statistic whose breaking radii are told.
        higher_is_better: whether it is a score, or an error.
        drawable: how the statistics are drawn anew; by default only the mean score has an interval.
    """
    summary, means = summaries(runs, statistics, drawable)
    replicated = over_replicates(summary)
    return {
        "summary_of_runs": summary,
        "summary": replicated,
        "means_over_severities": over_replicates(means),
        "breaking_radii": breaking_radii(rated_by(replicated, column), higher_is_better=higher_is_better),
    }


def undertrained(
    runs: Sequence[Run],
    means: pd.DataFrame,
    recipes: Collection[str],
    column: str,
    limit: float,
    higher_is_better: bool = True,
) -> pd.Series | None:
    """The worst name among those trained by ``recipes`` whose clean ``column`` is worse than ``limit``, if any is."""
    names = {run.name for run in runs if str(run.info.get("recipe") or run.name).lower() in recipes}
    clean = whole(means, CLEAN)
    worse = clean[column] < limit if higher_is_better else clean[column] > limit
    low = clean[clean["name"].isin(names) & worse]
    return None if low.empty else low.sort_values(column, ascending=higher_is_better).iloc[0]


def falls(breaking: pd.DataFrame, style: ScoreStyle) -> list[str]:
    """For each attack, a sentence about where it halves the score of every name, or doubles the error."""
    sentences, verb = [], "halve" if style.higher_is_better else "double"
    for attack, rows in breaking.groupby("perturbation", sort=False):
        parts = [f"of “{row['name']}” {_fall(row, style)}" for _, row in rows.iterrows()]
        sentences.append(f"{perturbation_label(str(attack))} attacks {verb} the {style.name} {listed(parts)}.")
    return sentences


def radius_pictures(runs: Sequence[Run], replicated: pd.DataFrame, style: ScoreStyle) -> list[Picture]:
    """For each attack, the score over its radius."""
    pictures = []
    for attack in of_kind(runs, "attack"):
        rows = whole(replicated, attack)
        ends = [
            f"{name} {style.text(block['score'].iloc[0])} to {style.text(block['score'].iloc[-1])}"
            f"{style.sign if pd.notna(block['score'].iloc[-1]) else ''}"
            for name, block in rows.sort_values("severity").groupby("name", sort=False)
        ]
        first, last = number(rows["severity"].min()), number(rows["severity"].max())
        alt = f"Lines: {style.name} under {perturbation_label(attack)}, from radius {first} to {last}: {listed(ends)}."
        figure = score_versus_radius(replicated, attack, file_units=of_the_file(runs), **_drawn(style))
        said = ("Radius 0 is the clean images.", in_both_units(runs, attack), _shade(replicated))
        pictures.append(Picture(figure, alt, " ".join(filter(None, said))))
    return pictures


def severity_picture(replicated: pd.DataFrame, corruptions: Sequence[str], what: str, style: ScoreStyle) -> Picture:
    """The score over the severity of corruptions; ``what`` they are stands in the words for the picture."""
    labels = listed([perturbation_label(name) for name in corruptions])
    alt = f"Lines: {style.name} over the severity of {labels} {what}."
    caption = f"Dashed lines: {style.name} on clean images. " + _shade(replicated)
    figure = score_over_severity(replicated, corruptions, **_drawn(style))
    return Picture(figure, alt, caption)


def radius_table(replicated: pd.DataFrame, attack: str, style: ScoreStyle, group: str = "") -> ReportTable:
    """The score at each radius, 0 being the clean inputs."""
    chosen = replicated[(replicated["group"] == group) & replicated["perturbation"].isin([CLEAN, attack])]
    percents = chosen.groupby("severity")["radius_percent"].mean()
    radii = sorted(percents.index)
    rows = []
    for stub, block in stubs(chosen, group):
        cells = block.set_index("severity")
        rows.append((stub, [measured(cells.loc[radius], "score") for radius in radii]))
    headers = [f"{radius:g}{_in_percent(percents[radius])}" for radius in radii]
    title = f"{style.title} at each radius of {perturbation_label(attack)}{within(group)}"
    name = "_within_".join(part for part in (f"table_{attack}", group) if part)
    note = HEADER_NOTE if percents.notna().any() else ""
    return ReportTable(name, title, stub_headers(group), headers, rows, style.scale, style.digits, note)


def breaking_table(radii: pd.DataFrame, style: ScoreStyle) -> ReportTable:
    """Where each attack halves the score, or doubles the error."""
    headers = [perturbation_label(name) for name in dict.fromkeys(radii["perturbation"])]
    rows = [
        ([str(name)], [radius_text(row, style) for _, row in block.iterrows()])
        for name, block in radii.groupby("name", sort=False)
    ]
    note = "Linear between the radii that were evaluated; in brackets in percent of the mean norm of the clean images."
    share = "half of" if style.higher_is_better else "twice"
    title = f"Radius at which {style.name} is {share} the clean {style.name}"
    return ReportTable(f"table_radius_at_{share.split()[0]}_{style.stem}", title, ["Run"], headers, rows, note=note)


def by_name(
    means: pd.DataFrame,
    column: str,
    headers: Mapping[str, str],
    name: str,
    title: str,
    scale: float,
    digits: int,
    group: str = "",
    note: str = "",
) -> ReportTable:
    """A row for each run name, a column for each perturbation."""
    chosen = means[(means["group"] == group) & means["perturbation"].isin(headers)]
    rows = []
    for stub, block in stubs(chosen, group):
        cells = block.set_index("perturbation")
        rows.append((stub, [measured(cells.loc[perturbation], column) for perturbation in headers]))
    name = "_within_".join(part for part in (name, group) if part)
    title += within(group)
    return ReportTable(name, title, stub_headers(group), list(headers.values()), rows, scale, digits, note)


def stub_headers(group: str = "") -> list[str]:
    """Headers of the leading columns of a table."""
    return [group.capitalize(), "Run", "Images", "Patients"] if group else ["Run"]


def stubs(chosen: pd.DataFrame, group: str = "") -> Iterator[tuple[list[str], pd.DataFrame]]:
    """The leading cells of each row of a table, and the rows of the frame that it is made from."""
    if not group:
        for name, block in chosen.groupby("name", sort=False):
            yield [str(name)], block
        return
    for value, inside in chosen.groupby("value"):
        for name, block in inside.groupby("name", sort=False):
            counts = [f"{block[column].iloc[0]:.0f}" for column in ("n", "patients")]
            yield [str(value) or MISSING, str(name), *counts], block


def whole(frame: pd.DataFrame, perturbation: str) -> pd.DataFrame:
    """Rows of a summary about one perturbation and all samples."""
    return frame[(frame["group"] == "") & (frame["perturbation"] == perturbation)]


def names_of(runs: Sequence[Run]) -> list[str]:
    """Names of runs, each once."""
    return list(dict.fromkeys(run.name for run in runs))


def of_kind(runs: Sequence[Run], kind: str) -> list[str]:
    """Names of the perturbations of a kind."""
    return [one.name for one in runs[0].perturbations if one.kind == kind]


def severities_of(runs: Sequence[Run], name: str) -> str:
    """The severities of a perturbation in words."""
    one = next(one for one in runs[0].perturbations if one.name == name)
    return listed([number(severity) for severity in one.severities])


def within(group: str) -> str:
    """What a title says of a group column."""
    return f", within each {group}" if group else ""


def scaled(measure: Measure, scale: float) -> Measure:
    """A measure in another unit."""
    return Measure(*(scale * part for part in (measure.mean, measure.std, measure.low, measure.high)))


def _shade(replicated: pd.DataFrame) -> str:
    return "Shade: one standard deviation over runs." if (replicated["n_runs"] > 1).any() else "One run: no spread."


def _drawn(style: ScoreStyle) -> dict[str, Any]:
    """How figures are to write a score."""
    return {"score": style.axis, "percent": style.percent, "bounded": style.higher_is_better}


def _in_percent(percent: float) -> str:
    return "" if math.isnan(percent) else f" ({number(percent)} %)"


def radius_text(row: pd.Series, style: ScoreStyle) -> str:
    """Where an attack halves a score, or doubles an error, by a row of ``breaking_radii``."""
    radius = row[style.breaking]
    if math.isnan(radius):
        return f"{UNDEFINED}: {row['undefined']}" if row["undefined"] else f"beyond {number(row['largest_radius'])}"
    return number(radius) + _in_percent(row["percent_of_image_norm"])


def _fall(row: pd.Series, style: ScoreStyle) -> str:
    radius, percent = row[style.breaking], row["percent_of_image_norm"]
    if row["undefined"]:
        return f"at a radius that is {UNDEFINED} ({row['undefined']})"
    if math.isnan(radius):
        return f"at none of the radii up to {number(row['largest_radius'])}"
    of_norm = "" if math.isnan(percent) else f" ({number(percent)}{PERCENT} of the norm of an average image)"
    return f"at radius {number(radius)}{of_norm}"
