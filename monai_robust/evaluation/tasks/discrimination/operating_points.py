"""Tables of what is said at fitted thresholds: on clean images, and the same under every perturbation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from monai_robust.evaluation.sections.comparisons import names_of, of_kind, scaled, whole
from monai_robust.evaluation.sections.parts import Measure, ReportTable, listed, measured, number
from monai_robust.evaluation.sections.perturbations import perturbation_label
from monai_robust.evaluation.tables.run_folder import Run
from monai_robust.evaluation.tables.schema import CLEAN
from monai_robust.evaluation.tasks.discrimination.fitted import RULES, Scored

__all__ = ["operating_point_tables", "or_why", "row_of", "setting_of"]

FEW = 4  # findings whose operating points are shown by every rule
MOST_ROWS = 30  # of a table about perturbations
RULE_NAMES = {"youden": "Youden's index", "90": "sensitivity 90 %", "95": "sensitivity 95 %"}
SHARES = {"sensitivity": "Sensitivity", "specificity": "Specificity", "ppv": "PPV", "npv": "NPV"}

Frames = Mapping[str, pd.DataFrame]
Setting = tuple[str, pd.DataFrame, str, float | None]
"""What it is called, a frame, and perturbation and severity in it; None for a mean over severities."""


def operating_point_tables(
    runs: Sequence[Run], frames: Frames, first: Scored, prevalence: float | None
) -> list[ReportTable]:
    """A table of thresholds and what they give on clean images, one for each attack with all of its radii, and one for
    corruptions and other sites.

    Args:
        runs: finished evaluations, some with validation.
        frames: ``summary`` and ``means_over_severities``.
        first: what is scored of the first run's clean images.
        prevalence: for predictive values; that of the data by default.
    """
    tables = [_clean_table(runs, frames, first, prevalence)]
    for attack in of_kind(runs, "attack"):
        radii = next(one.severities for one in runs[0].perturbations if one.name == attack)
        title = f"Operating points at each radius of {perturbation_label(attack)}"
        at_radii: list[Setting] = [(number(radius), frames["summary"], attack, radius) for radius in radii]
        tables.append(_under(runs, first, f"table_operating_points_{attack}", title, "Radius", at_radii))
    others = [one for one in runs[0].perturbations if one.kind in ("corruption", "shift")]
    if others:
        settings: list[Setting] = [
            (setting_of(one.name, severity), frames["summary"], one.name, severity)
            for one in others
            for severity in one.severities
        ]
        note = ""
        if len(settings) * len(first.indices) * len(names_of(runs)) > MOST_ROWS:
            averaged = frames["means_over_severities"]
            settings = [(perturbation_label(one.name), averaged, one.name, None) for one in others]
            note = " Means over severities; each of them stands in summary.csv."
        title = "Operating points under corruptions" + (" and at other sites" if of_kind(runs, "shift") else "")
        tables.append(_under(runs, first, "table_operating_points_corrupted", title, "Setting", settings, note))
    return tables


def _clean_table(runs: Sequence[Run], frames: Frames, first: Scored, prevalence: float | None) -> ReportTable:
    rules = list(RULES) if len(first.indices) <= FEW else ["youden"]
    rows: list[tuple[list[str], list[Measure | str]]] = []
    for name in names_of(runs):
        if why := _without_validation(runs, name):
            rows.append(([name, "", ""], [why, *[""] * len(SHARES)]))
            continue
        clean = row_of(frames["summary"], name, CLEAN, 0.0)
        for c, index, rule in _points(first, rules):
            threshold = measured(clean, f"threshold_{rule}_{index}")
            cells: list[Measure | str] = ["no case or control in validation", *[""] * len(SHARES)]
            if not math.isnan(threshold.mean):
                cells = [threshold, *_shares(clean, first, c, rule)]
            rows.append(([name, runs[0].classes[index], RULE_NAMES[rule]], cells))
    shares = [f"{runs[0].classes[index]} {100 * _share(first, c):.1f} %" for c, index in enumerate(first.indices)]
    stated = (
        f"a stated prevalence of {100 * prevalence:.3g} %"
        if prevalence is not None
        else f"the prevalence of these images ({listed(shares)}; another one by report --prevalence)"
    )
    rest = "" if len(rules) == len(RULES) else " The other rules stand in summary.csv."
    note = (
        f"Clean images, in percent, but for the threshold. Predictive values at {stated}, which is taken as certain. A "
        f"case is called where the probability is at least the threshold.{rest}"
    )
    title, stub = "Operating points fitted on validation", ["Run", "Finding", "Rule"]
    headers, digits = ["Threshold", *SHARES.values()], [3, *[1] * len(SHARES)]
    return ReportTable("table_operating_points", title, stub, headers, rows, 1.0, digits, note)


def _under(
    runs: Sequence[Run],
    first: Scored,
    name: str,
    title: str,
    what: str,
    settings: Sequence[Setting],
    note: str = "",
) -> ReportTable:
    """A row for each setting, name and finding; of a few rows in all by each rule, else by Youden's index."""
    rules = list(RULES)
    if len(settings) * len(names_of(runs)) * len(first.indices) * len(rules) > MOST_ROWS:
        rules = ["youden"]
        note += " By Youden's index; the other rules stand in summary.csv."
    rows: list[tuple[list[str], list[Measure | str]]] = []
    for text, frame, perturbation, severity in settings:
        for run in names_of(runs):
            if _without_validation(runs, run):
                continue
            row = row_of(frame, run, perturbation, severity)
            for c, index, rule in _points(first, rules):
                known = not math.isnan(row[f"threshold_{rule}_{index}"])
                cells: list[Measure | str] = _shares(row, first, c, rule) if known else [""] * len(SHARES)
                rows.append(([text, run, runs[0].classes[index], RULE_NAMES[rule]], cells))
    note = f"In percent; thresholds as they were fitted on clean validation images.{note}"
    stub = [what, "Run", "Finding", "Rule"]
    return ReportTable(name, title, stub, list(SHARES.values()), rows, 1.0, 1, note)


def _points(first: Scored, rules: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """Place and index of each finding, and each rule."""
    yield from ((c, index, rule) for c, index in enumerate(first.indices) for rule in rules)


def _without_validation(runs: Sequence[Run], name: str) -> str:
    """That a name, or one of its runs, has no validation run, "" where all have."""
    own = [run for run in runs if run.name == name]
    lacking = sum(run.validation is None for run in own)
    if not lacking:
        return ""
    return "no validation run" if lacking == len(own) else f"{lacking} of {len(own)} runs without validation"


def _shares(row: pd.Series, first: Scored, c: int, rule: str) -> list[Measure | str]:
    index = first.indices[c]
    points = {name: scaled(measured(row, f"{name}_{rule}_{index}"), 100) for name in SHARES}
    known = not math.isnan(points["sensitivity"].mean) and not math.isnan(points["specificity"].mean)
    cells: list[Measure | str] = [or_why(points[name], first, c, at) for at, name in enumerate(list(SHARES)[:2])]
    for name, nothing in (("ppv", "nothing called"), ("npv", "nothing cleared")):
        one = points[name]
        cells.append(nothing if known and math.isnan(one.mean) else or_why(one, first, c))
    return cells


def or_why(measure: Measure, first: Scored, c: int, which: int | None = None) -> Measure | str:
    """A measure, or why there is none: no case, or no control."""
    if not math.isnan(measure.mean):
        return measure
    cases, controls = int((first.truth[:, c] == 1).sum()), int((first.truth[:, c] == 0).sum())
    if not cases and which != 1:
        return "no case"
    return "no control" if not controls else measure


def row_of(summary: pd.DataFrame, name: str, perturbation: str, severity: float | None) -> pd.Series:
    """What a frame says of a name under a perturbation, of all images; without a severity, of a mean over them."""
    rows = whole(summary, perturbation)
    rows = rows[rows["name"] == name]
    return (rows if severity is None else rows[rows["severity"] == severity]).iloc[0]


def setting_of(perturbation: str, severity: float) -> str:
    """A perturbation and its severity in words."""
    if perturbation == CLEAN or not severity:
        return "clean" if perturbation == CLEAN else perturbation_label(perturbation)
    return f"{perturbation_label(perturbation)} {number(severity)}"


def _share(first: Scored, c: int) -> float:
    known = first.truth[:, c] >= 0
    return float((first.truth[known, c] == 1).mean()) if known.any() else math.nan
