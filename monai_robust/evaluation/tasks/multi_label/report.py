"""What a report says about networks that look for several findings in an image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from monai_robust.errors import BadInputError
from monai_robust.evaluation.sections.comparisons import ScoreStyle, falls, of_kind, undertrained, whole
from monai_robust.evaluation.sections.parts import NO_NUMBER, RADIUS, Section, listed, told
from monai_robust.evaluation.sections.scores import attack_section, score_frames, score_sections, statistics_table
from monai_robust.evaluation.statistics.bootstrap import Drawable, means, ratios
from monai_robust.evaluation.statistics.summary import over_replicates, summarise
from monai_robust.evaluation.tables.run_folder import OUTCOMES, Run
from monai_robust.evaluation.tables.schema import CLEAN
from monai_robust.evaluation.tasks.discrimination import (
    Scored,
    by_patient,
    curves_frame,
    discrimination,
    discrimination_drawable,
    discrimination_section,
    fitted_on_validation,
    patient_section,
    prevalence_of,
    temperature_note,
)
from monai_robust.metrics import brier_score, expected_calibration_error, tempered

__all__ = ["MultiLabelReport"]

AREA = ScoreStyle(
    "AUROC",
    "AUROC, mean of the findings",
    1.0,
    3,
    "auroc",
    percent=False,
    undefined="no finding has both a case and a control",
)
BINS = 15
PILOT_AREA = 0.70
GLOSSARY = {
    "AUROC": "the chance that an image with a finding is given a higher probability of it than one without; 1 is "
    "perfect, 0.5 is chance. Here the mean over the findings, images whose finding nobody knows left out.",
    "AUROC under attack": "the same after every image was changed, within the stated radius, in a way sought to "
    "mislead this very network about its findings.",
    "Every label right": "the share of images of which every known label is right, a finding being called where its "
    "probability is above a half; with many findings it is a harsh measure.",
    "Radius": RADIUS,
    "Sensitivity and specificity": "the share of images with a finding that are called so, and of those without it "
    "that are not, at a threshold that was fitted on other images, those of the validation split.",
    "Brier score": "the mean squared distance between the probability of a finding and the truth, over all findings; 0 "
    "is perfect, 0.25 is what a probability of a half gets.",
    "–": NO_NUMBER,
    "± and to": "after ± stands the standard deviation over training runs (seeds or folds); where there is one run "
    "only, a 95 % interval from drawing patients anew: it tells of their choice alone.",
}


class MultiLabelReport:
    """Reads runs of several labels an image: columns ``label_0 ..., probability_0 ..., score``.

    Args:
        prevalence: of each finding, for predictive values; that of the data by default.
        patient_rule: how a patient's images are put together, ``"mean"`` or ``"max"`` of their probabilities.
    """

    task = "multi_label"
    searched = "auroc"
    confidence_is = "the probability of what is said of a finding, averaged over the findings"
    glossary: Mapping[str, str] = GLOSSARY

    def __init__(self, prevalence: float | None = None, patient_rule: str = "mean") -> None:
        self.prevalence = prevalence
        self.patient_rule = patient_rule

    def choosing(self, prevalence: float | None, patient_rule: str) -> MultiLabelReport:
        """The same report with another prevalence or rule for patients."""
        return MultiLabelReport(prevalence, patient_rule)

    def style(self, runs: Sequence[Run]) -> ScoreStyle:
        """The measure that networks are first of all judged by."""
        return AREA

    def check(self, run: Run) -> None:
        """Refuse a table without a label and a probability of each finding.

        Raises:
            BadInputError: naming the file and the column.
        """
        path, table = run.folder / OUTCOMES, run.outcomes
        if not run.classes:
            raise BadInputError(f"{run.folder / 'run.json'} must list the findings under classes, it lists none")
        columns = [*_columns(run, "label"), *_columns(run, "probability")]
        missing = [name for name in columns if name not in table]
        if missing:
            raise BadInputError(f"{path} has no column {missing[0]!r} for its {len(run.classes)} findings")
        labels, shares = (table[_columns(run, what)].to_numpy(dtype=float) for what in ("label", "probability"))
        if not (np.isnan(labels) | (labels == 0) | (labels == 1)).all():
            raise BadInputError(f"{path}: labels must be 0, 1 or empty in every row")
        if not ((shares >= 0) & (shares <= 1)).all():
            raise BadInputError(f"{path}: probabilities must be from 0 to 1 in every row")

    def statistics(self, run: Run, rows: pd.DataFrame) -> dict[str, float]:
        """Numbers about some rows of a table.

        Returns:
            ``all_right`` (share of images with every known label right), ``label_accuracy`` (of known labels),
            ``brier`` and ``expected_calibration_error`` over known labels, what ``discrimination`` gives, and with a
            validation run ``temperature``, ``brier_tempered`` and ``ece_tempered``.
        """
        found, fitted = scored(run, rows), fitted_on_validation(run, scored)
        numbers = {"all_right": float(rows["score"].mean()), **_of_labels(found.scores, found.truth)}
        numbers |= discrimination(found, fitted, prevalence_of(run, scored, self.prevalence))
        if fitted is not None and not math.isnan(fitted.temperature):
            softer = _of_labels(tempered(found.scores, fitted.temperature, independent=True), found.truth)
            numbers |= {"temperature": fitted.temperature, "brier_tempered": softer["brier"]}
            numbers |= {"ece_tempered": softer["expected_calibration_error"]}
        return numbers

    def drawable(self, run: Run, rows: pd.DataFrame) -> list[Drawable]:
        """How the statistics are drawn anew for intervals, but for calibration."""
        found = scored(run, rows)
        known = found.truth >= 0
        right = ((found.scores > 0.5) == (found.truth == 1)) & known
        shares = {"label_accuracy": (right.sum(axis=1).astype(float), known.sum(axis=1).astype(float))}
        share = prevalence_of(run, scored, self.prevalence)
        ranked = discrimination_drawable(found, fitted_on_validation(run, scored), share)
        return [means({"all_right": rows["score"].to_numpy()}), ratios(shares), *ranked]

    def confidence(self, run: Run, rows: pd.DataFrame) -> pd.Series:
        """The probability of what is said of a finding, averaged over the findings, (N,)."""
        shares = rows[_columns(run, "probability")].to_numpy(dtype=np.float64)
        return pd.Series(np.maximum(shares, 1 - shares).mean(axis=1), index=rows.index)

    def frames(self, runs: Sequence[Run]) -> dict[str, pd.DataFrame]:
        """Every frame a report is made from, by name."""
        found = {
            **score_frames(runs, self.statistics, AREA, [], self.drawable),
            "roc_curves": curves_frame(runs, scored),
        }
        columns = _columns(runs[0], "label"), _columns(runs[0], "probability")
        patients = [by_patient(run, self.patient_rule, *columns, False) for run in runs]
        together = [run for run in patients if run is not None]
        if len(together) == len(runs):
            found["summary_by_patient"] = over_replicates(summarise(together, self.statistics, self.drawable))
        return found

    def pilot(self, runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> str:
        """Why the results are a pilot only, "" if they are not: robustness of an undertrained network says little."""
        worst = undertrained(runs, frames["means_over_severities"], ("erm",), "auroc", PILOT_AREA)
        if worst is None:
            return ""
        return (
            f"“{worst['name']}”, trained in the usual way (ERM), has an AUROC of only {worst['auroc']:.2f} on clean "
            f"images, less than {PILOT_AREA:.2f}; the robustness of an undertrained network says little"
        )

    def headline(self, runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> list[str]:
        """The result in one sentence about clean images and one about each attack."""
        clean = whole(frames["means_over_severities"], CLEAN)
        parts = [told(row, "auroc", "has {:.3f}", AREA.undefined) for _, row in clean.iterrows()]
        return [
            f"On clean images, by AUROC (mean of the findings), {listed(parts)}.",
            *falls(frames["breaking_radii"], AREA),
        ]

    def sections(self, runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> list[Section]:
        """Everything between the headline and the gallery."""
        more = {"all_right": "Every label right", "label_accuracy": "Labels right"}
        operating = discrimination_section(runs, frames, scored, prevalence=self.prevalence, at_radii=more)
        patients = patient_section(runs, frames, self.patient_rule, "Every label right")
        attacks = attack_section(runs, frames, [AREA], []) if of_kind(runs, "attack") else Section("Attacks")
        found = score_sections(runs, frames, AREA, _clean_section(runs, frames), attacks)
        own = [section for section in (operating, patients) if section.tables or section.pictures]
        return [found[0], *own, *found[1:]]


def scored(run: Run, rows: pd.DataFrame) -> Scored:
    """The probability of each finding."""
    scores = rows[_columns(run, "probability")].to_numpy(dtype=np.float64)
    labels = rows[_columns(run, "label")].to_numpy(dtype=np.float64)
    truth = np.nan_to_num(labels, nan=-1.0).astype(np.int8)
    return Scored(tuple(range(len(run.classes))), scores, truth, scores, truth, independent=True)


def _of_labels(scores: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    known = truth >= 0
    if not known.any():
        return dict.fromkeys(("label_accuracy", "brier", "expected_calibration_error"), math.nan)
    positive, labels = scores[known], truth[known].astype(np.int64)
    rows = np.stack([1 - positive, positive], axis=1)
    return {
        "label_accuracy": float(((positive > 0.5) == labels).mean()),
        "brier": brier_score(rows, labels, form="binary"),
        "expected_calibration_error": expected_calibration_error(rows, labels, bins=BINS),
    }


def _clean_section(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> Section:
    clean = whole(frames["means_over_severities"], CLEAN)
    columns = {
        "AUROC": "auroc",
        "Average precision": "average_precision",
        "Every label right": "all_right",
        "Labels right": "label_accuracy",
        "Brier score": "brier",
        "Expected calibration error": "expected_calibration_error",
    }
    tempered_columns = {
        "Temperature": "temperature",
        "Brier score at it": "brier_tempered",
        "ECE at it": "ece_tempered",
    }
    columns |= {header: column for header, column in tempered_columns.items() if column in clean}
    note = (
        "Means over the findings, over images of which the finding is known. The temperature was fitted on validation "
        "images by likelihood: above 1 the network is too sure of itself."
    )
    note = " ".join(part for part in (note, temperature_note(runs, scored)) if part)
    return Section("Clean images", "", [statistics_table(clean, "table_clean", "Clean images", columns, note=note)])


def _columns(run: Run, what: str) -> list[str]:
    return [f"{what}_{index}" for index in range(len(run.classes))]
