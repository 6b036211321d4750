"""The sections of a report on classifiers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from monai_robust.evaluation.sections.comparisons import (
    ScoreStyle,
    breaking_table,
    by_name,
    of_kind,
    radius_pictures,
    radius_table,
    scaled,
    severities_of,
    severity_picture,
    whole,
)
from monai_robust.evaluation.sections.discrimination import confusion_figure
from monai_robust.evaluation.sections.figures import contrast_density, grouped_bars, reliability_diagram
from monai_robust.evaluation.sections.parts import Measure, Picture, ReportTable, Section, listed, measured
from monai_robust.evaluation.sections.perturbations import corruptions_of_kind, perturbation_label
from monai_robust.evaluation.tables.run_folder import Run
from monai_robust.evaluation.tables.schema import CLEAN
from monai_robust.evaluation.tasks.classification.statistics import scored
from monai_robust.evaluation.tasks.discrimination import (
    discrimination_section,
    largest_radii,
    patient_section,
    temperature_note,
)

__all__ = ["ACCURACY", "classification_sections"]

ACCURACY = ScoreStyle("accuracy", "Accuracy in percent", 100.0, 1, "accuracy", percent=True)
CALIBRATION = "RMS calibration error [%] (top label, debiased, 15 equal-mass bins)"
ECE = "Expected calibration error [%] (15 equal-width bins)"
ENTROPY = "Entropy [nats]"


def classification_sections(
    runs: Sequence[Run], frames: Mapping[str, pd.DataFrame], prevalence: float | None, patient_rule: str
) -> list[Section]:
    """Everything between the headline and the gallery.

    Args:
        runs: finished evaluations.
        frames: of the report.
        prevalence: share of cases at which predictive values are shown; that of the data if None.
        patient_rule: how the images of a patient are put together.
    """
    found = [
        _accuracy_section(runs, frames),
        _discrimination_section(runs, frames, prevalence),
        patient_section(runs, frames, patient_rule, "Accuracy"),
        _attack_section(runs, frames),
        _corruption_section(runs, frames),
        _shift_section(runs, frames),
        _calibration_section(runs, frames),
        *(_group_section(runs, frames, group) for group in runs[0].groups),
    ]
    return [section for section in found if section.tables or section.pictures]


def _accuracy_section(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> Section:
    attacks, corruptions = of_kind(runs, "attack"), of_kind(runs, "corruption")
    headers = {CLEAN: "Clean"}
    headers |= {
        name: "Adversarial" if len(attacks) == 1 else f"Adversarial, {perturbation_label(name)}" for name in attacks
    }
    headers |= {name: perturbation_label(name) for name in corruptions}
    ranges = [f"{perturbation_label(name)}: {severities_of(runs, name)}" for name in (*attacks, *corruptions)]
    note = f"Means over the radii or severities that were evaluated ({'; '.join(ranges)})." if ranges else ""
    means = frames["means_over_severities"]
    table = by_name(means, "score", headers, "table_accuracy", ACCURACY.title, 100.0, 1, note=note)
    return Section("Accuracy", "", [table])


def _attack_section(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> Section:
    replicated = frames["summary"]
    tables = [radius_table(replicated, attack, ACCURACY) for attack in of_kind(runs, "attack")]
    if tables:
        tables.append(breaking_table(frames["breaking_radii"], ACCURACY))
    text = "How far an image must be changed before the network fails."
    return Section("Attacks", text, tables, radius_pictures(runs, replicated, ACCURACY))


def _corruption_section(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> Section:
    corruptions, shifts = of_kind(runs, "corruption"), _shifts(runs)
    names = [name for name in corruptions if name not in shifts]
    noise = set(names) <= set(corruptions_of_kind(names, "noise"))
    title, what = ("Noise", "noise") if noise else ("Corruptions", "corruption")
    return Section(title, "", [], [severity_picture(frames["summary"], names, what, ACCURACY)] if names else [])


def _shift_section(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> Section:
    means = frames["means_over_severities"]
    shifts = _shifts(runs)
    headers = {name: perturbation_label(name) for name in (CLEAN, *shifts)}
    forms = {"brier_multiclass": "multi-class form, 0 to 2", "brier_binary": "binary form, 0 to 1"}
    tables = [
        by_name(means, column, headers, f"table_{column}", f"Brier score, {form} (lower is better)", 1.0, 3)
        for column, form in forms.items()
        if column in means
    ]
    label = "Brier score, multi-class form"
    bars = grouped_bars(means, "brier_multiclass", list(headers), label=label)
    parts = [
        f"{row['name']} {perturbation_label(row['perturbation'])} {row['brier_multiclass']:.2f}"
        for name in headers
        for _, row in whole(means, name).iterrows()
    ]
    spread = " Error bars: one standard deviation over runs." if (means["n_runs"] > 1).any() else ""
    pictures = [Picture(bars, f"Bars: {label}: {listed(parts)}.", f"Lower is better.{spread}")]
    if shifts:
        alt = f"Density curves of the contrast of the images: {listed([text.lower() for text in headers.values()])}."
        caption = "How far the shifted images are from the clean ones: the contrast of every test image, as shown."
        pictures.append(Picture(contrast_density(runs[0].outcomes), alt, caption))
    text = "Images with more or less contrast than those the network was trained on." if shifts else ""
    return Section("Probabilities and shifts of contrast", text, tables, pictures)


def _discrimination_section(
    runs: Sequence[Run], frames: Mapping[str, pd.DataFrame], prevalence: float | None
) -> Section:
    more = {"balanced_accuracy": "Balanced accuracy", "f1": "F1"}
    pictures = [_confusion_picture(runs, frames["confusion"])]
    return discrimination_section(runs, frames, scored, prevalence=prevalence, pictures=pictures, at_radii=more)


def _confusion_picture(runs: Sequence[Run], confusion: pd.DataFrame) -> Picture:
    settings = largest_radii(runs[0])[:3]
    keys = pd.MultiIndex.from_frame(confusion[["perturbation", "severity"]])
    shown = confusion[keys.isin(settings)]
    parts = []
    for (name, perturbation, _), rows in shown.groupby(["name", "perturbation", "severity"], sort=False):
        right = rows.loc[rows["label"] == rows["prediction"], "images"].sum() / rows["images"].sum()
        parts.append(f"{name} {perturbation_label(str(perturbation))} {100 * right:.0f} %")
    alt = f"Confusion matrices; share on their diagonals: {listed(parts)}."
    caption = (
        "Percent of the images of each true class, and their number (added up over runs of a name): clean, and under "
        "each attack at its largest radius."
    )
    return Picture(confusion_figure(shown, runs[0].classes), alt, caption)


def _brier_table(runs: Sequence[Run], clean: pd.DataFrame) -> ReportTable:
    """Parts of the Brier score, and what a temperature makes of it."""
    columns = {
        "Brier score": "brier_multiclass",
        "Reliability (0 is perfect)": "brier_reliability",
        "Resolution (more is better)": "brier_resolution",
        "Uncertainty (of the labels)": "brier_uncertainty",
        "Temperature": "temperature",
        "Brier score at it": "brier_tempered",
        "Expected calibration error at it": "ece_tempered",
    }
    rows = [
        ([str(row["name"])], [_fitted_or_why(row, column) for column in columns.values()])
        for _, row in clean.iterrows()
    ]
    note = (
        "Multi-class form, 15 bins of equal width for each class: reliability - resolution + uncertainty is the score, "
        "but for what differs within bins. The temperature was fitted on validation images by likelihood: above 1 the "
        "network is too sure of itself; it changes no prediction."
    )
    note = " ".join(part for part in (note, temperature_note(runs, scored)) if part)
    return ReportTable("table_brier_parts", "Brier score in parts", ["Run"], list(columns), rows, 1.0, 3, note)


def _fitted_or_why(row: pd.Series, column: str) -> Measure | str:
    if column in row and not math.isnan(row[column]):
        return measured(row, column)
    return "no validation run" if column in ("temperature", "brier_tempered", "ece_tempered") else "none"


def _calibration_section(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> Section:
    clean = whole(frames["means_over_severities"], CLEAN)
    rows = [
        (
            [str(row["name"])],
            [
                scaled(measured(row, "rms_calibration_error"), 100),
                scaled(measured(row, "expected_calibration_error"), 100),
                measured(row, "entropy"),
            ],
        )
        for _, row in clean.iterrows()
    ]
    title = "Calibration and entropy on clean images"
    table = ReportTable("table_calibration", title, ["Run"], [CALIBRATION, ECE, ENTROPY], rows, 1.0, 2)
    alt = "Reliability diagram: share of predictions that came true over the confidence they were made with."
    caption = (
        "Clean images, 15 bins of equal width, a line for each run; larger dots hold more samples. On the dashed line "
        "confidence is right; below it the network is too sure."
    )
    tables = [table, _brier_table(runs, clean)]
    return Section("Calibration", "", tables, [Picture(reliability_diagram(frames["reliability"]), alt, caption)])


def _group_section(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame], group: str) -> Section:
    """What a table says of all samples, within each value of a group column."""
    tables = [radius_table(frames["summary"], attack, ACCURACY, group) for attack in of_kind(runs, "attack")]
    headers = {CLEAN: "Clean"}
    headers |= {name: perturbation_label(name) for name in _shifts(runs)}
    means = frames["means_over_severities"]
    if not tables:
        tables.append(by_name(means, "score", headers, "table_accuracy", "Accuracy in percent", 100.0, 1, group))
    title = "Brier score, multi-class form, 0 to 2 (lower is better)"
    tables.append(by_name(means, "brier_multiclass", headers, "table_brier_multiclass", title, 1.0, 3, group))
    text = (
        f"A network can look accurate by telling the {group} of an image instead of the disease; within one it cannot. "
        "All other perturbations stand in the CSV files."
    )
    return Section(f"Within {group}", text, tables)


def _shifts(runs: Sequence[Run]) -> list[str]:
    """Names of the corruptions that shift the contrast."""
    return corruptions_of_kind(of_kind(runs, "corruption"), "contrast")
