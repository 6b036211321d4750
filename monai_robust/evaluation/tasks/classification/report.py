"""What a report says about classifiers: their statistics, tables and figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_robust.errors import BadInputError
from monai_robust.evaluation.measure.perturbations import SEARCHED
from monai_robust.evaluation.sections.comparisons import (
    PERCENT,
    ScoreStyle,
    breaking_table,
    by_name,
    common_frames,
    falls,
    names_of,
    of_kind,
    radius_pictures,
    radius_table,
    scaled,
    severities_of,
    severity_picture,
    undertrained,
    whole,
)
from monai_robust.evaluation.sections.discrimination import confusion_figure
from monai_robust.evaluation.sections.figures import contrast_density, grouped_bars, reliability_diagram
from monai_robust.evaluation.sections.parts import RADIUS, Measure, Picture, ReportTable, Section, listed, measured
from monai_robust.evaluation.sections.perturbations import corruptions_of_kind, perturbation_label
from monai_robust.evaluation.statistics.bootstrap import Drawable
from monai_robust.evaluation.statistics.summary import over_replicates, summarise
from monai_robust.evaluation.tables.run_folder import OUTCOMES, Run
from monai_robust.evaluation.tables.schema import CLEAN
from monai_robust.evaluation.tasks.classification.drawable import answer_drawable, probability_drawable
from monai_robust.evaluation.tasks.discrimination import (
    Scored,
    by_patient,
    curves_frame,
    discrimination,
    discrimination_drawable,
    discrimination_section,
    fitted_on_validation,
    largest_radii,
    patient_section,
)
from monai_robust.metrics import (
    balanced_accuracy,
    brier_decomposition,
    brier_score,
    confusion_matrix,
    expected_calibration_error,
    f1_score,
    predictive_entropy,
    reliability_bins,
    rms_calibration_error,
    tempered,
)

__all__ = ["ClassificationReport"]

ACCURACY = ScoreStyle("accuracy", "Accuracy in percent", 100.0, 1, "accuracy", percent=True)
BINS = 15
PILOT_ACCURACY = 0.80
CALIBRATION = "RMS calibration error [%] (top label, debiased, 15 equal-mass bins)"
ECE = "Expected calibration error [%] (15 equal-width bins)"
ENTROPY = "Entropy [nats]"
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
        columns = ["label", "prediction", *_probability_columns(run)]
        missing = [name for name in columns if name not in table]
        if missing or f"probability_{classes}" in table:
            raise BadInputError(
                f"{path} must have the columns {', '.join(columns)} for its {classes} classes, it has "
                f"{', '.join(table.columns)}"
            )
        for name in ("label", "prediction"):
            if table[name].dtype.kind != "i" or not table[name].between(0, classes - 1).all():
                raise BadInputError(f"{path}: {name} must be a class index from 0 to {classes - 1} in every row")
        for name in _probability_columns(run):
            if table[name].dtype.kind not in "if" or not np.isfinite(table[name]).all():
                raise BadInputError(f"{path}: {name} must be a finite number in every row")
        shares = table[_probability_columns(run)].to_numpy(dtype=float)
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
            **_of_probabilities(run, rows),
            **discrimination(scored(run, rows), fitted),
            **({} if fitted is None else _tempered(run, rows, fitted.temperature)),
        }

    def choosing(self, prevalence: float | None, patient_rule: str) -> ClassificationReport:
        """The same report with another prevalence or rule for patients."""
        return ClassificationReport(prevalence, patient_rule)

    def drawable(self, run: Run, rows: pd.DataFrame) -> list[Drawable]:
        """How the statistics are drawn anew for intervals, but for calibration errors."""
        probabilities, labels = _arrays(run, rows)
        answers = answer_drawable(labels, rows["prediction"].to_numpy(dtype=np.int64), len(run.classes))
        ranked = discrimination_drawable(scored(run, rows), fitted_on_validation(run, scored))
        return [answers, *probability_drawable(probabilities, labels), *ranked]

    def frames(self, runs: Sequence[Run]) -> dict[str, pd.DataFrame]:
        """Every frame a report is made from, by name."""
        found = {**common_frames(runs, self.statistics, drawable=self.drawable), "reliability": self.reliability(runs)}
        found |= {"roc_curves": curves_frame(runs, scored), "confusion": _confusion(runs)}
        patients = [by_patient(run, self.patient_rule, ["label"], _probability_columns(run), True) for run in runs]
        together = [run for run in patients if run is not None]
        if len(together) == len(runs):
            found["summary_by_patient"] = over_replicates(summarise(together, self.statistics, self.drawable))
        return found

    def reliability(self, runs: Sequence[Run]) -> pd.DataFrame:
        """Bins of a reliability diagram of the clean inputs, samples of replicates put together: ``name, confidence,
        accuracy, samples``; 15 equal-width bins, empty ones left out."""
        frames = []
        for name in names_of(runs):
            arrays = [_arrays(run, run.clean) for run in runs if run.name == name]
            found = reliability_bins(
                np.concatenate([probabilities for probabilities, _ in arrays]),
                np.concatenate([labels for _, labels in arrays]),
                bins=BINS,
            )
            columns = {"confidence": found.confidence, "accuracy": found.accuracy, "samples": found.samples}
            frames.append(pd.DataFrame({"name": name, **columns}))
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
        found = [
            _accuracy_section(runs, frames),
            _discrimination_section(runs, frames, self.prevalence),
            patient_section(runs, frames, self.patient_rule, "Accuracy"),
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
    note = " ".join(part for part in (note, _search_note(runs)) if part)
    means = frames["means_over_severities"]
    table = by_name(means, "score", headers, "table_accuracy", ACCURACY.title, 100.0, 1, note=note)
    return Section("Accuracy", "", [table])


def _attack_section(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> Section:
    replicated = frames["summary"]
    tables = [radius_table(replicated, attack, ACCURACY) for attack in of_kind(runs, "attack")]
    if tables:
        tables.append(breaking_table(frames["breaking_radii"], ACCURACY))
    text = " ".join(
        part for part in ("How far an image must be changed before the network fails.", _search_note(runs)) if part
    )
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
    note = _probabilities_note(runs)
    more = {"balanced_accuracy": "Balanced accuracy", "f1": "F1"}
    pictures = [_confusion_picture(runs, frames["confusion"])]
    return discrimination_section(
        runs, frames, scored, prevalence=prevalence, note=note, pictures=pictures, at_radii=more
    )


def _confusion(runs: Sequence[Run]) -> pd.DataFrame:
    """How many images of each class are taken for each, at each severity, replicates added up."""
    keys = ["perturbation", "severity", "label", "prediction"]
    nearest = {one.name for one in runs[0].perturbations if one.kind == "nearest"}
    blocks = []
    for name in names_of(runs):
        counts = [run.outcomes.groupby(keys, sort=False).size() for run in runs if run.name == name]
        blocks.append(pd.concat(counts).groupby(level=keys, sort=False).sum().rename("images").reset_index())
        blocks[-1].insert(0, "name", name)
    found = pd.concat(blocks, ignore_index=True)
    return found[~found["perturbation"].isin(nearest)]


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


def _brier_table(clean: pd.DataFrame) -> ReportTable:
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
        "Clean images, 15 bins of equal width, the samples of all runs of a name put together; larger dots hold more "
        "samples. On the dashed line confidence is right; below it the network is too sure."
    )
    tables = [table, _brier_table(clean)]
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


def _of_probabilities(run: Run, rows: pd.DataFrame) -> dict[str, float]:
    probabilities, labels = _arrays(run, rows)
    parts = brier_decomposition(probabilities, labels, bins=BINS)
    binary = {"brier_binary": brier_score(probabilities, labels, form="binary")} if len(run.classes) == 2 else {}
    return {
        "brier_multiclass": brier_score(probabilities, labels, form="multiclass"),
        **binary,
        "rms_calibration_error": rms_calibration_error(
            probabilities, labels, bins=BINS, kind="top_label", estimator="debiased", binning="equal_mass"
        ),
        "expected_calibration_error": expected_calibration_error(probabilities, labels, bins=BINS),
        "entropy": float(predictive_entropy(probabilities).mean()),
        **dict(zip(("brier_reliability", "brier_resolution", "brier_uncertainty"), parts, strict=False)),
    }


def _tempered(run: Run, rows: pd.DataFrame, temperature: float) -> dict[str, float]:
    probabilities, labels = _arrays(run, rows)
    softer = tempered(probabilities, temperature)
    return {
        "temperature": temperature,
        "brier_tempered": brier_score(softer, labels),
        "ece_tempered": expected_calibration_error(softer, labels, bins=BINS),
    }


def scored(run: Run, rows: pd.DataFrame) -> Scored:
    """The probabilities of each class against the rest, of two classes of the second."""
    probabilities, labels = _arrays(run, rows)
    indices = (1,) if len(run.classes) == 2 else tuple(range(len(run.classes)))
    truth = np.eye(len(run.classes), dtype=np.int8)[labels]
    return Scored(indices, probabilities[:, indices], truth[:, indices], probabilities, labels)


def _searched(run: Run) -> set[str]:
    """Names of the attacks whose radii were searched."""
    return {one.name for one in run.perturbations if one.settings.get("search") == SEARCHED}


def _search_note(runs: Sequence[Run]) -> str:
    """What a reader must know of searched radii, "" where there are none."""
    names = [name for name in of_kind(runs, "attack") if name in _searched(runs[0])]
    if not names:
        return ""
    return (
        f"The radii of {listed([perturbation_label(name) for name in names])} were searched: an image that an attack "
        "has broken counts as broken at all larger radii."
    )


def _probabilities_note(runs: Sequence[Run]) -> str:
    """What a reader must know of probabilities under an attack whose radii were searched, "" where there is none."""
    names = [name for name in of_kind(runs, "attack") if name in _searched(runs[0])]
    if not names:
        return ""
    return (
        f"The radii of {listed([perturbation_label(name) for name in names])} were searched: the probabilities of a "
        "broken image are those of its nearest success, which lies within the radius, and no attack's worst "
        "(--faithful true of our bundles, AttackSweep(faithful=True), attacks at each radius with all steps)."
    )


def _probability_columns(run: Run) -> list[str]:
    return [f"probability_{index}" for index in range(len(run.classes))]


def _arrays(run: Run, rows: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Probabilities (N, C) and labels (N,)."""
    return rows[_probability_columns(run)].to_numpy(dtype=np.float64), rows["label"].to_numpy(dtype=np.int64)
