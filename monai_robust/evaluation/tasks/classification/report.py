"""What a report says about classifiers: their statistics, tables and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from monai_robust.errors import BadInputError
from monai_robust.evaluation.sections.comparisons import (
    PERCENT,
    ScoreStyle,
    common_frames,
    falls,
    undertrained,
    whole,
)
from monai_robust.evaluation.sections.parts import NO_NUMBER, RADIUS, Section, listed
from monai_robust.evaluation.statistics.bootstrap import Drawable
from monai_robust.evaluation.statistics.summary import over_replicates, summarise
from monai_robust.evaluation.tables.run_folder import OUTCOMES, Run
from monai_robust.evaluation.tables.schema import CLEAN
from monai_robust.evaluation.tasks.classification.drawable import answer_drawable, probability_drawable
from monai_robust.evaluation.tasks.classification.sections import ACCURACY, classification_sections
from monai_robust.evaluation.tasks.classification.statistics import (
    BINS,
    arrays,
    at_temperature,
    confusion_frame,
    of_probabilities,
    probability_columns,
    scored,
)
from monai_robust.evaluation.tasks.discrimination import (
    by_patient,
    curves_frame,
    discrimination,
    discrimination_drawable,
    fitted_on_validation,
    prevalence_of,
)
from monai_robust.metrics import (
    balanced_accuracy,
    confusion_matrix,
    f1_score,
    reliability_bins,
)

__all__ = ["ClassificationReport"]

PILOT_ACCURACY = 0.80
GLOSSARY = {
    "Accuracy": "the share of images whose most probable class is the true one.",
    "Accuracy under attack": "the same after every image was changed, within the stated radius, in a way "
    "sought to mislead this very network; it tells how the network fails in the worst case, not how often that occurs.",
    "Radius": RADIUS,
    "Brier score": "the mean squared distance between the predicted probabilities and the truth; 0 is perfect. The "
    "multi-class form adds up all classes, from 0 to 2; the binary form looks at the second of two classes, from 0 to "
    "1, and is half of the other.",
    "Calibration error": "how far the confidence of a prediction is from how often such predictions are right: with an "
    "error of 5 %, a network that says 90 % is right in about 85 or 95 % of such cases.",
    "Entropy": "how undecided the predicted probabilities are: 0 for certainty, and the logarithm of the number of "
    "classes for a guess; a low value is good only if the predictions are right.",
    "AUROC": "the chance that an image with a finding is given a higher probability of it than one without; 1 is "
    "perfect, 0.5 is chance; it needs no threshold.",
    "Sensitivity and specificity": "the share of images with a finding that are called so, and of those without it "
    "that are not, at a threshold that was fitted on other images, those of the validation split.",
    "PPV and NPV": "the share of images called a finding that have it, and of those called clear that have not; they "
    "depend on how frequent the finding is.",
    "–": NO_NUMBER,
    "± and to": "after ± stands the standard deviation over training runs (seeds or folds); where there is one run "
    "only, a 95 % interval, such as 88.1 to 95.4, from drawing patients anew: it tells of their choice alone.",
}


class ClassificationReport:
    """Reads runs of single-label classification: columns ``label, prediction, probability_0 ..., score``.

    Args:
        prevalence: of each finding, for predictive values; that of the data by default.
        patient_rule: how a patient's images are put together, ``"mean"`` or ``"max"`` of their probabilities.
    """

    task = "classification"
    searched = "score"
    confidence_is = "the probability of the class that is said"
    glossary: Mapping[str, str] = GLOSSARY

    def __init__(self, prevalence: float | None = None, patient_rule: str = "mean") -> None:
        self.prevalence = prevalence
        self.patient_rule = patient_rule

    def style(self, runs: Sequence[Run]) -> ScoreStyle:
        """The measure that networks are first of all judged by."""
        return ACCURACY

    def check(self, run: Run) -> None:
        """Refuse a table that is no classifier's or contradicts itself.

        Raises:
            BadInputError: naming the file and the column.
        """
        path, table, classes = run.folder / OUTCOMES, run.outcomes, len(run.classes)
        if classes < 2:
            raise BadInputError(f"{run.folder / 'run.json'} must list two or more classes, it lists {classes}")
        columns = ["label", "prediction", *probability_columns(run)]
        missing = [name for name in columns if name not in table]
        if missing or f"probability_{classes}" in table:
            raise BadInputError(
                f"{path} must have the columns {', '.join(columns)} for its {classes} classes, it has "
                f"{', '.join(table.columns)}"
            )
        for name in ("label", "prediction"):
            if table[name].dtype.kind != "i" or not table[name].between(0, classes - 1).all():
                raise BadInputError(f"{path}: {name} must be a class index from 0 to {classes - 1} in every row")
        for name in probability_columns(run):
            if table[name].dtype.kind not in "if" or not np.isfinite(table[name]).all():
                raise BadInputError(f"{path}: {name} must be a finite number in every row")
        shares = table[probability_columns(run)].to_numpy(dtype=float)
        if (shares < -1e-4).any() or (abs(shares.sum(axis=1) - 1) > 1e-3).any():
            raise BadInputError(f"{path}: probabilities must be from 0 to 1, and their sum 1, in every row")
        if ((table["label"] == table["prediction"]).astype(float) != table["score"]).any():
            raise BadInputError(
                f"{path} contradicts itself: score must be 1 where prediction is label, and 0 elsewhere"
            )

    def statistics(self, run: Run, rows: pd.DataFrame) -> dict[str, float]:
        """Numbers about some rows of a table.

        Returns:
            ``accuracy, balanced_accuracy, f1`` (of the second of two classes, else the mean); ``brier_multiclass`` and,
            of two classes, ``brier_binary``; its parts ``brier_reliability, brier_resolution, brier_uncertainty``;
            ``rms_calibration_error`` (top label, debiased, 15 equal-mass bins); ``expected_calibration_error`` (15
            equal-width bins); ``entropy`` (mean, nats); what :func:`discrimination` gives, of two classes for the
            second; and with a validation run ``temperature``, and ``brier_tempered`` and ``ece_tempered`` at it. Those
            of probabilities under an attack whose radii were searched are of the nearest success, and no attack's
            worst.
        """
        matrix = confusion_matrix(rows["prediction"].to_numpy(), rows["label"].to_numpy(), len(run.classes))
        fitted = fitted_on_validation(run, scored)
        return {
            "accuracy": float(matrix.trace() / matrix.sum()),
            "balanced_accuracy": balanced_accuracy(matrix),
            "f1": f1_score(matrix),
            **of_probabilities(run, rows),
            **discrimination(scored(run, rows), fitted, prevalence_of(run, scored, self.prevalence)),
            **({} if fitted is None else at_temperature(run, rows, fitted.temperature)),
        }

    def choosing(self, prevalence: float | None, patient_rule: str) -> ClassificationReport:
        """The same report with another prevalence or rule for patients."""
        return ClassificationReport(prevalence, patient_rule)

    def drawable(self, run: Run, rows: pd.DataFrame) -> list[Drawable]:
        """How the statistics are drawn anew for intervals, but for calibration errors."""
        probabilities, labels = arrays(run, rows)
        answers = answer_drawable(labels, rows["prediction"].to_numpy(dtype=np.int64), len(run.classes))
        share = prevalence_of(run, scored, self.prevalence)
        ranked = discrimination_drawable(scored(run, rows), fitted_on_validation(run, scored), share)
        return [answers, *probability_drawable(probabilities, labels), *ranked]

    def confidence(self, run: Run, rows: pd.DataFrame) -> pd.Series:
        """The probability of the class that is said, (N,)."""
        return rows[probability_columns(run)].max(axis=1)

    def frames(self, runs: Sequence[Run]) -> dict[str, pd.DataFrame]:
        """Every frame a report is made from, by name."""
        found = {**common_frames(runs, self.statistics, drawable=self.drawable), "reliability": self.reliability(runs)}
        found |= {"roc_curves": curves_frame(runs, scored), "confusion": confusion_frame(runs)}
        patients = [by_patient(run, self.patient_rule, ["label"], probability_columns(run), True) for run in runs]
        together = [run for run in patients if run is not None]
        if len(together) == len(runs):
            found["summary_by_patient"] = over_replicates(summarise(together, self.statistics, self.drawable))
        return found

    def reliability(self, runs: Sequence[Run]) -> pd.DataFrame:
        """Bins of a reliability diagram of the clean inputs of each run: ``name, run`` (its position), ``confidence,
        accuracy, samples``; 15 equal-width bins, empty ones left out. Runs are not put together: one that is too sure
        and one that is not sure enough would look right."""
        frames = []
        for index, run in enumerate(runs):
            found = reliability_bins(*arrays(run, run.clean), bins=BINS)
            columns = {"confidence": found.confidence, "accuracy": found.accuracy, "samples": found.samples}
            frames.append(pd.DataFrame({"name": run.name, "run": index, **columns}))
        bins = pd.concat(frames, ignore_index=True)
        return bins[bins["samples"] > 0].reset_index(drop=True)

    def pilot(self, runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> str:
        """Why the results are a pilot only, "" if they are not: robustness of an undertrained network says little."""
        worst = undertrained(runs, frames["means_over_severities"], ("erm",), "accuracy", PILOT_ACCURACY)
        if worst is None:
            return ""
        return (
            f"“{worst['name']}”, trained in the usual way (ERM), is right in only {100 * worst['accuracy']:.1f} % of "
            f"the clean images, less than {100 * PILOT_ACCURACY:.0f} %; the robustness of an undertrained network says "
            "little"
        )

    def headline(self, runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> list[str]:
        """The result in one sentence about clean images and one about each attack."""
        clean = whole(frames["means_over_severities"], CLEAN)
        parts = [f"“{row['name']}” is right in {100 * row['accuracy']:.1f}{PERCENT}" for _, row in clean.iterrows()]
        return [f"On clean images {listed(parts)}.", *falls(frames["breaking_radii"], ACCURACY)]

    def sections(self, runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> list[Section]:
        """Everything between the headline and the gallery."""
        return classification_sections(runs, frames, self.prevalence, self.patient_rule)
