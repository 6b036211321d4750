"""What a report shows of discrimination and operating points, image by image and patient by patient."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from monai_robust.evaluation.sections.comparisons import by_name, names_of, of_kind, scaled
from monai_robust.evaluation.sections.discrimination import roc_figure
from monai_robust.evaluation.sections.parts import Measure, Picture, ReportTable, Section, listed, measured, number
from monai_robust.evaluation.sections.perturbations import perturbation_label
from monai_robust.evaluation.tables.run_folder import Run
from monai_robust.evaluation.tables.schema import CLEAN
from monai_robust.evaluation.tasks.discrimination.fitted import Scored, fitted_on_validation
from monai_robust.evaluation.tasks.discrimination.operating_points import (
    operating_point_tables,
    or_why,
    row_of,
    setting_of,
)
from monai_robust.evaluation.tasks.discrimination.patients import patients_of_several
from monai_robust.metrics import Ranking, ranking

__all__ = [
    "curves_frame",
    "discrimination_section",
    "largest_radii",
    "patient_section",
    "temperature_note",
    "validation_note",
]

Read = Callable[[Run, pd.DataFrame], Scored]
POINTS = 200  # along a ROC curve
MEAN = "mean"
PANELS = 6
WITHOUT = (
    "measured without a validation run, so that no threshold is fitted, and neither sensitivity nor specificity is "
    "shown: measure again into the same folder with the validation split (in our bundles --validation_limit above 0 or "
    "left out; evaluate --validation of other bundles; Measurement(validation=...))."
)


def validation_note(runs: Sequence[Run], read: Read) -> str:
    """What thresholds were fitted on, or which option fills their place."""
    parts, lacking = [], []
    for name in names_of(runs):
        run = next(run for run in runs if run.name == name)
        fitted = fitted_on_validation(run, read)
        if fitted is None:
            lacking.append(f"“{name}”")
            continue
        assert run.validation is not None
        both = len(set(run.clean["patient_id"]) & set(run.validation.clean["patient_id"]) - {""})
        leak = f", of whom {both} are among the patients measured here, too" if both else ""
        known = f" of {fitted.patients} patients" if run.validation.names_patients else ""
        parts.append(f"“{name}”: {fitted.images} images{known}{leak}.")
    if lacking:
        parts.append(f"{listed(lacking)} {'is' if len(lacking) == 1 else 'are'} {WITHOUT}")
    if all(run.validation is None for run in runs):
        return " ".join(parts)
    return (
        "Thresholds were fitted on clean images of the validation split and are the same under every perturbation. "
        + " ".join(parts)
    )


def temperature_note(runs: Sequence[Run], read: Read) -> str:
    """Which temperatures were found at an end of the search, "" where none was."""
    bounded: dict[str, str] = {}
    for run in runs:
        fitted = fitted_on_validation(run, read)
        if fitted is not None and fitted.bounded:
            bounded.setdefault(run.name, fitted.bounded)
    return " ".join(f"The temperature of “{name}” is {text}." for name, text in bounded.items())


def largest_radii(run: Run) -> list[tuple[str, float]]:
    """The clean images, and each attack at its largest radius."""
    attacks = [one for one in run.perturbations if one.kind == "attack"]
    return [(CLEAN, 0.0), *((one.name, max(one.severities)) for one in attacks)]


def curves_frame(runs: Sequence[Run], read: Read) -> pd.DataFrame:
    """ROC curves of each run, of the clean images and under each attack at its largest radius.

    Scores of two networks mean different things, so that no curve puts samples of several runs together: the mean of
    the runs of a name is vertical, the mean sensitivity at each rate of false positives (Fawcett 2006, An introduction
    to ROC analysis, section 8.1).

    Returns:
        ``name, run`` (its position in ``runs``, or :data:`MEAN`), ``finding, perturbation, severity, threshold`` (NaN
        of a mean), ``false_positive_rate, sensitivity``, about 200 points of a curve; none of a run without a case or
        without a control of the finding, and no mean where one of its runs has none.
    """
    blocks = []
    for name in names_of(runs):
        own = {str(index): run for index, run in enumerate(runs) if run.name == name}
        first = next(iter(own.values()))
        for perturbation, severity in largest_radii(first):
            found = {index: read(run, _rows(run, perturbation, severity)) for index, run in own.items()}
            for c, place in enumerate(next(iter(found.values())).indices):
                ranked = {index: ranking(one.scores[:, c], one.truth[:, c]) for index, one in found.items()}
                curves = {index: _thinned(one) for index, one in ranked.items() if one.cases and one.controls}
                if len(curves) == len(own) > 1:
                    curves[MEAN] = _vertical_mean(list(ranked.values()))
                about: dict[str, Any] = {"finding": first.classes[place]}
                about |= {"perturbation": perturbation, "severity": severity}
                blocks += [pd.DataFrame({"name": name, "run": index, **about, **one}) for index, one in curves.items()]
    names = ["name", "run", "finding", "perturbation", "severity", "threshold", "false_positive_rate", "sensitivity"]
    return pd.concat(blocks, ignore_index=True) if blocks else pd.DataFrame(columns=names)


def _thinned(curve: Ranking) -> dict[str, Any]:
    places = np.unique(np.linspace(0, len(curve.thresholds) - 1, POINTS).round().astype(int))
    return {
        "threshold": [math.inf, *curve.thresholds[places]],
        "false_positive_rate": [0.0, *curve.false_positive_rate[places]],
        "sensitivity": [0.0, *curve.sensitivity[places]],
    }


def _vertical_mean(curves: Sequence[Ranking]) -> dict[str, Any]:
    """The mean sensitivity at each rate of false positives, linear between the points of a curve."""
    rates = np.linspace(0, 1, POINTS + 1)
    each = [
        np.interp(rates, np.append(0.0, one.false_positive_rate), np.append(0.0, one.sensitivity)) for one in curves
    ]
    sensitivity = np.append(0.0, np.mean(each, axis=0))  # a curve begins at (0, 0), and may rise at once
    return {"threshold": math.nan, "false_positive_rate": np.append(0.0, rates), "sensitivity": sensitivity}


def discrimination_section(
    runs: Sequence[Run],
    frames: Mapping[str, pd.DataFrame],
    read: Read,
    *,
    prevalence: float | None = None,
    more: Sequence[ReportTable] = (),
    pictures: Sequence[Picture] = (),
    at_radii: Mapping[str, str] | None = None,
) -> Section:
    """Areas under curves, operating points and ROC curves.

    Args:
        runs: finished evaluations.
        frames: ``summary``, ``means_over_severities``, and ``roc_curves`` from :func:`curves_frame`.
        read: what of a task's rows is scored.
        prevalence: for predictive values; that of the data by default.
        more: tables of the task's own, which follow.
        pictures: of the task's own, which follow.
        at_radii: further statistics of the table over radii, with their headers.
    """
    first = read(runs[0], runs[0].clean)
    tables = [_areas(runs, frames), *_at_radii(runs, frames, at_radii or {})]
    if len(first.indices) > 1:
        tables.append(_of_each(runs, frames, first))
    if any(run.validation is not None for run in runs):
        tables += operating_point_tables(runs, frames, first, prevalence)
    curves = frames["roc_curves"]
    drawn = [] if curves.empty else [_roc_picture(runs, frames, first)]
    text = validation_note(runs, read)
    return Section("Discrimination and operating point", text, [*tables, *more], [*drawn, *pictures])


def patient_section(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame], rule: str, score: str) -> Section:
    """Images beside patients; empty where no patient has several images.

    Args:
        runs: finished evaluations.
        frames: ``summary``, and ``summary_by_patient`` where there is one.
        rule: how a patient's images were put together.
        score: header of the score.
    """
    if "summary_by_patient" not in frames:
        return Section("Image and patient level")
    columns = {"score": score, "auroc": "AUROC"}
    levels = {"image": frames["summary"], "patient": frames["summary_by_patient"]}
    first = frames["summary_by_patient"]
    if "sensitivity_youden_1" in first and "sensitivity_youden_0" not in first:  # one finding: a threshold of its own
        columns |= {"sensitivity_youden_1": "Sensitivity (Youden)", "specificity_youden_1": "Specificity (Youden)"}
    rows = []
    for name in names_of(runs):
        for perturbation, severity in largest_radii(runs[0]):
            for level, frame in levels.items():
                row = row_of(frame, name, perturbation, severity)
                stub = [
                    name,
                    setting_of(perturbation, severity),
                    level,
                    *(f"{row[key]:.0f}" for key in ("n", "patients")),
                ]
                rows.append((stub, [scaled(measured(row, column), 100) for column in columns]))
    note = (
        f"Rule: {rule} of the probabilities of a patient's images (--patient_rule).{_apart(runs[0])} Thresholds are "
        "fitted on validation patients put together in the same way. All radii and severities stand in "
        "summary_by_patient.csv."
    )
    table = ReportTable(
        "table_by_patient",
        "Image and patient level, in percent",
        ["Run", "Setting", "Level", "Number", "Patients"],
        list(columns.values()),
        rows,
        1.0,
        1,
        note,
    )
    return Section("Image and patient level", "", [table])


def _apart(run: Run) -> str:
    """What a reader must know of patients whose images have different labels, "" where there are none."""
    count = patients_of_several(run.clean, "label") if "label" in run.clean else 0
    if not count:
        return ""
    some = "1 patient has" if count == 1 else f"{count} patients have"
    return (
        f" {some} images of different labels, which are put together for each label: such a patient counts more than "
        "once, but is drawn as one for intervals."
    )


def _areas(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> ReportTable:
    names = [one.name for one in runs[0].perturbations if one.kind != "nearest"]
    headers = {name: perturbation_label(name) for name in names}
    note = "Means over the radii or severities that were evaluated. 0.5 is chance, and below it findings are reversed."
    means = frames["means_over_severities"]
    return by_name(means, "auroc", headers, "table_auroc", f"AUROC{_mean_of(runs)}", 1.0, 3, note=note)


def _mean_of(runs: Sequence[Run]) -> str:
    return (
        ""
        if len(runs[0].classes) == 2 and runs[0].task == "classification"
        else ", mean of the findings"
        if (runs[0].task != "classification")
        else ", mean of the classes, each against the rest"
    )


def _at_radii(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame], more: Mapping[str, str]) -> list[ReportTable]:
    """For each attack the measures at each of its radii."""
    columns = {"auroc": "AUROC", "average_precision": "Average precision", **more}
    tables = []
    for attack in of_kind(runs, "attack"):
        rows = []
        for name in names_of(runs):
            own = frames["summary"][(frames["summary"]["group"] == "") & (frames["summary"]["name"] == name)]
            chosen = own[own["perturbation"].isin([CLEAN, attack])].sort_values("severity")
            for _, row in chosen.iterrows():
                stub = [name, "clean" if row["perturbation"] == CLEAN else number(row["severity"])]
                rows.append((stub, [measured(row, column) for column in columns]))
        title = f"Discrimination at each radius of {perturbation_label(attack)}{_mean_of(runs)}"
        tables.append(
            ReportTable(
                f"table_discrimination_{attack}", title, ["Run", "Radius"], list(columns.values()), rows, 1.0, 3
            )
        )
    return tables


def _of_each(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame], first: Scored) -> ReportTable:
    """A row for each name and finding."""
    settings = largest_radii(runs[0])
    headers = [f"{measure}, {setting_of(*one)}" for one in settings for measure in ("AUROC", "average precision")]
    rows = []
    for name in names_of(runs):
        for c, index in enumerate(first.indices):
            cells: list[Measure | str] = []
            for perturbation, severity in settings:
                row = row_of(frames["summary"], name, perturbation, severity)
                cells += [or_why(measured(row, f"{what}_{index}"), first, c) for what in ("auroc", "average_precision")]
            rows.append(([name, runs[0].classes[index], _counts(first, c)], cells))
    title = "Each finding against the rest" if not first.independent else "Each finding"
    return ReportTable("table_findings", title, ["Run", "Finding", "Cases / controls"], headers, rows, 1.0, 3)


def _roc_picture(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame], first: Scored) -> Picture:
    curves = frames["roc_curves"]
    most = sorted(first.indices, key=lambda index: -int((first.truth[:, first.indices.index(index)] == 1).sum()))
    shown = [runs[0].classes[index] for index in sorted(most[:PANELS])]
    curves = curves[curves["finding"].isin(shown)]
    points = []
    for name in names_of(runs):
        row = row_of(frames["summary"], name, CLEAN, 0.0)
        for index in first.indices:
            if f"sensitivity_youden_{index}" in row and not math.isnan(row[f"sensitivity_youden_{index}"]):
                about = {"name": name, "finding": runs[0].classes[index]}
                rates = {"false_positive_rate": 1 - row[f"specificity_youden_{index}"]}
                points.append({**about, **rates, "sensitivity": row[f"sensitivity_youden_{index}"]})
    marked = pd.DataFrame(points, columns=["name", "finding", "false_positive_rate", "sensitivity"])
    areas = [
        f"{name} {setting_of(*one)} {number(row_of(frames['summary'], name, *one)['auroc'])}"
        for name in names_of(runs)
        for one in largest_radii(runs[0])
    ]
    alt = f"ROC curves of {listed(shown)}; area under them on average: {listed(areas)}."
    caption = "Sensitivity over 1 - specificity; on the grey line it is chance."
    several = len(names_of(runs)) < len(runs)
    if several:
        caption += (
            " Thin lines are single runs, the thick one their mean, of the sensitivities at each 1 - specificity; "
            "there is none where a run has no case or no control."
        )
    if points:
        caption += " Dots: the operating point by Youden's index, fitted on validation" + (
            ", the mean of the runs." if several else "."
        )
    if len(first.indices) > PANELS:
        caption += f" The {PANELS} findings with the most cases; all curves stand in roc_curves.csv."
    return Picture(roc_figure(curves, marked), alt, caption)


def _rows(run: Run, perturbation: str, severity: float) -> pd.DataFrame:
    return run.outcomes.iloc[run.places[perturbation, severity]]


def _counts(first: Scored, c: int) -> str:
    return f"{int((first.truth[:, c] == 1).sum())} / {int((first.truth[:, c] == 0).sum())}"
