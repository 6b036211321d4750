"""The first table of a report: what was tested, where each network breaks, and whether that can be trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from monai_robust.evaluation.sections.comparisons import ScoreStyle, names_of, of_kind, radius_text, scaled, whole
from monai_robust.evaluation.sections.parts import MISSING, UNDEFINED, Measure, ReportTable, Section, listed, measured
from monai_robust.evaluation.sections.perturbations import perturbation_label
from monai_robust.evaluation.statistics.summary import rated_by
from monai_robust.evaluation.tables.run_folder import Run
from monai_robust.evaluation.tables.schema import CLEAN

__all__ = ["TITLE", "verdict_section", "worst_corruption"]

TITLE = "Verdict"


def verdict_section(
    runs: Sequence[Run], baseline: str, frames: Mapping[str, pd.DataFrame], style: ScoreStyle
) -> Section:
    """One row for each name: its clean score, where each attack breaks it, its worst corruption, its sanity checks.

    Args:
        runs: finished evaluations.
        baseline: the name that the others are compared with.
        frames: of the task's report.
        style: of the measure.
    """
    attacks, corruptions, shifts = (of_kind(runs, kind) for kind in ("attack", "corruption", "shift"))
    headers = [f"{style.title}, clean"]
    share = "half" if style.higher_is_better else "twice"
    headers += [f"Radius at which it is {share}, {perturbation_label(one)}" for one in attacks]
    headers += ["Worst corruption"] if corruptions else []
    headers += ["Worst other site"] if shifts else []
    headers += ["Sanity checks"] if attacks else []
    means = rated_by(frames["means_over_severities"], style.column)
    rows: list[tuple[Sequence[str], Sequence[Measure | str]]] = []
    for name in names_of(runs):
        clean = whole(means, CLEAN)
        cells: list[Measure | str] = [
            scaled(measured(clean[clean["name"] == name].iloc[0], "score"), style.scale),
            *(_breaking(frames["breaking_radii"], name, attack, style) for attack in attacks),
        ]
        for chosen in (corruptions, shifts):
            if chosen:
                cells.append(_worst(means, name, chosen, style))
        if attacks:
            cells.append(_checks([run for run in runs if run.name == name]))
        rows.append(([f"{name} (baseline)" if name == baseline and len(names_of(runs)) > 1 else name], cells))
    note = (
        "Clean: the images as they are. Worst corruption: the lowest mean over the severities that were tested."
        if style.higher_is_better
        else "Clean: the images as they are. Worst corruption: the highest mean over the severities that were tested."
    )
    digits = [style.digits] + [1] * (len(headers) - 1)
    table = ReportTable("table_verdict", "What each network withstands", ["Run"], headers, rows, 1.0, digits, note)
    return Section(TITLE, _tested(runs), [table])


def _worst(means: pd.DataFrame, name: str, chosen: Sequence[str], style: ScoreStyle) -> str:
    """The worst of some perturbations, and those that left the measure without a value, which may be worse still."""
    worst = worst_corruption(means, name, chosen, style)
    rows = means[(means["group"] == "") & (means["name"] == name) & means["perturbation"].isin(chosen)]
    lost = [perturbation_label(str(one)) for one in rows.loc[rows["score"].isna(), "perturbation"]]
    parts = [f"{worst[0]}: {style.scale * worst[1]:.{style.digits}f}"] if worst else []
    return "; ".join([*parts, *([f"{UNDEFINED} under {listed(lost)}"] if lost else [])]) or MISSING


def worst_corruption(
    means: pd.DataFrame, name: str, corruptions: Sequence[str], style: ScoreStyle
) -> tuple[str, float] | None:
    """Label and mean score of the corruption under which the runs of a name do worst, None where none has a score.

    Args:
        means: ``means_over_severities`` with the measure as ``score``.
        name: of the runs.
        corruptions: names of the perturbations to choose from.
        style: of the measure.
    """
    rows = means[(means["group"] == "") & (means["name"] == name) & means["perturbation"].isin(corruptions)]
    scores = rows.set_index("perturbation")["score"].dropna()
    if scores.empty:
        return None
    worst = str(scores.idxmin() if style.higher_is_better else scores.idxmax())
    return perturbation_label(worst), float(scores[worst])


def _breaking(breaking: pd.DataFrame, name: str, attack: str, style: ScoreStyle) -> str:
    rows = breaking[(breaking["name"] == name) & (breaking["perturbation"] == attack)]
    if rows.empty or math.isnan(float(rows["largest_radius"].iloc[0])):
        return MISSING
    return radius_text(rows.iloc[0], style)


def _checks(runs: Sequence[Run]) -> str:
    """What the sanity checks say of the runs of a name, in a few words."""
    unchecked = sum(run.sanity is None or not run.sanity.findings for run in runs)
    warnings = sum(len(run.sanity.warnings) for run in runs if run.sanity is not None)
    if unchecked == len(runs):
        return "not made"
    said = f"{warnings} warning{'s' * (warnings != 1)}" if warnings else "no warning"
    return f"{said}; {unchecked} of {len(runs)} runs not checked" if unchecked else said


def _tested(runs: Sequence[Run]) -> str:
    """What was tested, in a sentence."""
    kinds = {
        "attack": ("attack", "attacks"),
        "corruption": ("corruption", "corruptions"),
        "shift": ("other site", "other sites"),
        "nearest": ("search for the smallest radius", "searches for the smallest radius"),
    }
    parts = []
    for kind, (one, several) in kinds.items():
        count = len(of_kind(runs, kind))
        if count:
            settings = sum(len(found.severities) for found in runs[0].perturbations if found.kind == kind)
            many = f" ({settings} settings)" if kind in ("attack", "corruption") else ""
            parts.append(f"{count} {one if count == 1 else several}{many}")
    tested = ", ".join(parts) if parts else "clean images alone"
    clean = runs[0].clean
    named = any(run.names_patients for run in runs)
    patients = clean.loc[clean["patient_id"] != "", "patient_id"].nunique() if named else 0
    of = f" of {patients} patients" if patients else ""
    differ = any(set(run.clean["sample_id"]) != set(clean["sample_id"]) for run in runs)
    return f"Tested: {tested}, on {len(clean)} images{of}{' in the first run, others in others' * differ}."
