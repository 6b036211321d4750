"""What a report says about classifiers: their statistics, tables and figures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_robust.errors import BadInputError
from monai_robust.evaluation.figures import (
    contrast_density,
    grouped_bars,
    reliability_diagram,
    score_over_severity,
    score_versus_radius,
)
from monai_robust.evaluation.run import OUTCOMES, Run
from monai_robust.evaluation.sections import (
    MISSING,
    Measure,
    Picture,
    ReportTable,
    Section,
    listed,
    measured,
    number,
    perturbation_label,
)
from monai_robust.evaluation.summary import (
    breaking_radii,
    mean_over_severities,
    over_replicates,
    summarise,
)
from monai_robust.evaluation.table import CLEAN
from monai_robust.metrics import (
    brier_score,
    expected_calibration_error,
    predictive_entropy,
    reliability_bins,
    rms_calibration_error,
)

__all__ = ["ClassificationReading"]

BINS = 15
PILOT_ACCURACY = 0.80
PERCENT = "\N{NO-BREAK SPACE}%"
SHIFTS = ("contrast_high", "contrast_low")
CALIBRATION = "RMS calibration error [%] (top label, debiased, 15 equal-mass bins)"
ECE = "Expected calibration error [%] (15 equal-width bins)"
ENTROPY = "Entropy [nats]"
GLOSSARY = {
    "Accuracy": "the share of images whose most probable class is the true one.",
    "Accuracy under attack": "the same after every image was changed, within the stated radius, in a way "
    "sought to mislead this very network; it tells how the network fails in the worst case, not how often that occurs.",
    "Radius": "the largest change an attack may make to an image; in brackets in percent of the length (L2 norm) of an "
    "average image.",
    "Brier score": "the mean squared distance between the predicted probabilities and the truth; 0 is perfect. The "
    "multi-class form adds up all classes, from 0 to 2; the binary form looks at the second of two classes, from 0 to "
    "1, and is half of the other.",
    "Calibration error": "how far the confidence of a prediction is from how often such predictions are right: with an "
    "error of 5 %, a network that says 90 % is right in about 85 or 95 % of such cases.",
    "Entropy": "how undecided the predicted probabilities are: 0 for certainty, and the logarithm of the number of "
    "classes for a guess; a low value is good only if the predictions are right.",
    "± and to": "after ± stands the standard deviation over training runs (seeds or folds); where there is one run "
    "only, a 95 % interval, such as 88.1 to 95.4, from drawing patients anew: it tells of their choice alone.",
}


class ClassificationReading:
    """Reads runs of single-label classification: columns ``label, prediction, probability_0 ..., score``."""

    task = "classification"
    glossary: Mapping[str, str] = GLOSSARY

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
        if ((table["label"] == table["prediction"]) != (table["score"] == 1)).any():
            raise BadInputError(
                f"{path} contradicts itself: score must be 1 where prediction is label, and 0 elsewhere"
            )

    def statistics(self, run: Run, rows: pd.DataFrame) -> dict[str, float]:
        """Numbers about some rows of a table.

        Returns:
            ``accuracy``; ``brier_multiclass`` and, of two classes, ``brier_binary``; ``rms_calibration_error`` (top
            label, debiased, 15 equal-mass bins); ``expected_calibration_error`` (15 equal-width bins); ``entropy``
            (mean, nats).
        """
        probabilities, labels = _arrays(run, rows)
        binary = {"brier_binary": brier_score(probabilities, labels, form="binary")} if len(run.classes) == 2 else {}
        return {
            "accuracy": float((rows["label"] == rows["prediction"]).mean()),
            "brier_multiclass": brier_score(probabilities, labels, form="multiclass"),
            **binary,
            "rms_calibration_error": rms_calibration_error(
                probabilities, labels, bins=BINS, kind="top_label", estimator="debiased", binning="equal_mass"
            ),
            "expected_calibration_error": expected_calibration_error(probabilities, labels, bins=BINS),
            "entropy": float(predictive_entropy(probabilities).mean()),
        }

    def frames(self, runs: Sequence[Run]) -> dict[str, pd.DataFrame]:
        """Every frame a report is made from, by name."""
        summary = summarise(runs, self.statistics)
        replicated = over_replicates(summary)
        return {
            "summary_of_runs": summary,
            "summary": replicated,
            "means_over_severities": over_replicates(mean_over_severities(runs, summary)),
            "breaking_radii": breaking_radii(replicated),
            "reliability": self.reliability(runs),
        }

    def reliability(self, runs: Sequence[Run]) -> pd.DataFrame:
        """Bins of a reliability diagram of the clean inputs, samples of replicates put together: ``name, confidence,
        accuracy, samples``; 15 equal-width bins, empty ones left out."""
        frames = []
        for name in _names(runs):
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
        names = {run.name for run in runs if str(run.info.get("recipe", run.name)).lower() == "erm"}
        clean = _whole(frames["means_over_severities"], CLEAN)
        low = clean[clean["name"].isin(names) & (clean["accuracy"] < PILOT_ACCURACY)]
        if low.empty:
            return ""
        worst = low.sort_values("accuracy").iloc[0]
        return (
            f"“{worst['name']}”, trained in the usual way (ERM), is right in only {100 * worst['accuracy']:.1f} % of "
            f"the clean images, less than {100 * PILOT_ACCURACY:.0f} %; the robustness of an undertrained network says "
            "little"
        )

    def headline(self, runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> list[str]:
        """The result in one sentence about clean images and one about each attack."""
        clean = _whole(frames["means_over_severities"], CLEAN)
        parts = [f"“{row['name']}” is right in {100 * row['accuracy']:.1f}{PERCENT}" for _, row in clean.iterrows()]
        sentences = [f"On clean images {listed(parts)}."]
        for attack, rows in frames["breaking_radii"].groupby("perturbation", sort=False):
            falls = [f"of “{row['name']}” {_fall(row)}" for _, row in rows.iterrows()]
            sentences.append(f"{perturbation_label(str(attack))} attacks halve the accuracy {listed(falls)}.")
        return sentences

    def sections(self, runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> list[Section]:
        """Everything between the headline and the gallery."""
        found = [
            _accuracy_section(runs, frames),
            _attack_section(runs, frames),
            _noise_section(runs, frames),
            _shift_section(runs, frames),
            _calibration_section(frames),
            *(_group_section(runs, frames, group) for group in runs[0].groups),
        ]
        return [section for section in found if section.tables or section.pictures]


def _accuracy_section(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> Section:
    means = frames["means_over_severities"]
    attacks, corruptions = _of_kind(runs, "attack"), _of_kind(runs, "corruption")
    headers = {CLEAN: "Clean"}
    headers |= {
        name: "Adversarial" if len(attacks) == 1 else f"Adversarial, {perturbation_label(name)}" for name in attacks
    }
    headers |= {name: perturbation_label(name) for name in corruptions}
    table = _by_name(means, "score", headers, "table_accuracy", "Accuracy in percent", 100.0, 1)
    ranges = [f"{perturbation_label(name)}: {_severities(runs, name)}" for name in (*attacks, *corruptions)]
    note = f"Means over the radii or severities that were evaluated ({'; '.join(ranges)})." if ranges else ""
    return Section("Accuracy", "", [_with_note(table, note)])


def _attack_section(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> Section:
    replicated = frames["summary"]
    tables, pictures = [], []
    for attack in _of_kind(runs, "attack"):
        tables.append(_radius_table(replicated, attack))
        rows = _whole(replicated, attack)
        ends = [
            f"{name} {100 * block['score'].iloc[0]:.0f} to {100 * block['score'].iloc[-1]:.0f} %"
            for name, block in rows.sort_values("severity").groupby("name", sort=False)
        ]
        first, last = number(rows["severity"].min()), number(rows["severity"].max())
        alt = f"Lines: accuracy under {perturbation_label(attack)}, from radius {first} to {last}: {listed(ends)}."
        caption = "Radius 0 is the clean images. " + _shade(replicated)
        pictures.append(Picture(score_versus_radius(replicated, attack), alt, caption))
    if tables:
        tables.append(_breaking_table(frames["breaking_radii"]))
    return Section("Attacks", "How far an image must be changed before the network fails.", tables, pictures)


def _noise_section(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> Section:
    names = [name for name in _of_kind(runs, "corruption") if name not in SHIFTS]
    if not names:
        return Section("Noise")
    alt = f"Lines: accuracy over the severity of {listed([perturbation_label(name) for name in names])} noise."
    caption = "Dashed lines: accuracy on clean images. " + _shade(frames["summary"])
    return Section("Noise", "", [], [Picture(score_over_severity(frames["summary"], names), alt, caption)])


def _shift_section(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> Section:
    means = frames["means_over_severities"]
    shifts = [name for name in _of_kind(runs, "corruption") if name in SHIFTS]
    headers = {name: perturbation_label(name) for name in (CLEAN, *shifts)}
    forms = {"brier_multiclass": "multi-class form, 0 to 2", "brier_binary": "binary form, 0 to 1"}
    tables = [
        _by_name(means, column, headers, f"table_{column}", f"Brier score, {form} (lower is better)", 1.0, 3)
        for column, form in forms.items()
        if column in means
    ]
    label = "Brier score, multi-class form"
    bars = grouped_bars(means, "brier_multiclass", list(headers), label=label)
    parts = [
        f"{row['name']} {perturbation_label(row['perturbation'])} {row['brier_multiclass']:.2f}"
        for name in headers
        for _, row in _whole(means, name).iterrows()
    ]
    spread = " Error bars: one standard deviation over runs." if (means["n_runs"] > 1).any() else ""
    pictures = [Picture(bars, f"Bars: {label}: {listed(parts)}.", f"Lower is better.{spread}")]
    if shifts:
        alt = f"Density curves of the contrast of the images: {listed([text.lower() for text in headers.values()])}."
        caption = "How far the shifted images are from the clean ones: the contrast of every test image, as shown."
        pictures.append(Picture(contrast_density(runs[0].outcomes), alt, caption))
    text = "Images with more or less contrast than those the network was trained on." if shifts else ""
    return Section("Probabilities and shifts of contrast", text, tables, pictures)


def _calibration_section(frames: Mapping[str, pd.DataFrame]) -> Section:
    clean = _whole(frames["means_over_severities"], CLEAN)
    rows = [
        (
            [str(row["name"])],
            [
                _scaled(measured(row, "rms_calibration_error"), 100),
                _scaled(measured(row, "expected_calibration_error"), 100),
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
    return Section("Calibration", "", [table], [Picture(reliability_diagram(frames["reliability"]), alt, caption)])


def _group_section(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame], group: str) -> Section:
    """What a table says of all samples, within each value of a group column."""
    tables = [_radius_table(frames["summary"], attack, group) for attack in _of_kind(runs, "attack")]
    headers = {CLEAN: "Clean"}
    headers |= {name: perturbation_label(name) for name in _of_kind(runs, "corruption") if name in SHIFTS}
    means = frames["means_over_severities"]
    if not tables:
        tables.append(_by_name(means, "score", headers, "table_accuracy", "Accuracy in percent", 100.0, 1, group))
    title = "Brier score, multi-class form, 0 to 2 (lower is better)"
    tables.append(_by_name(means, "brier_multiclass", headers, "table_brier_multiclass", title, 1.0, 3, group))
    text = (
        f"A network can look accurate by telling the {group} of an image instead of the disease; within one it cannot. "
        "All other perturbations stand in the CSV files."
    )
    return Section(f"Within {group}", text, tables)


def _radius_table(replicated: pd.DataFrame, attack: str, group: str = "") -> ReportTable:
    """Accuracy at each radius, 0 being the clean inputs."""
    chosen = replicated[(replicated["group"] == group) & replicated["perturbation"].isin([CLEAN, attack])]
    percents = chosen.groupby("severity")["radius_percent"].mean()
    radii = sorted(percents.index)
    rows = []
    for stub, block in _stubs(chosen, group):
        cells = block.set_index("severity")
        rows.append((stub, [measured(cells.loc[radius], "score") for radius in radii]))
    headers = [f"{radius:g}{_in_percent(percents[radius])}" for radius in radii]
    title = f"Accuracy in percent at each radius of {perturbation_label(attack)}{_within(group)}"
    note = "In brackets in the header: the radius in percent of the mean norm of the clean images."
    name = "_within_".join(part for part in (f"table_{attack}", group) if part)
    return ReportTable(name, title, _stub(group), headers, rows, 100.0, 1, note if percents.notna().any() else "")


def _breaking_table(radii: pd.DataFrame) -> ReportTable:
    headers = [perturbation_label(name) for name in dict.fromkeys(radii["perturbation"])]
    rows = [
        ([str(name)], [_radius_text(row) for _, row in block.iterrows()])
        for name, block in radii.groupby("name", sort=False)
    ]
    note = "Linear between the radii that were evaluated; in brackets in percent of the mean norm of the clean images."
    title = "Radius at which accuracy is half of the clean accuracy"
    return ReportTable("table_radius_at_half_accuracy", title, ["Run"], headers, rows, note=note)


def _by_name(
    means: pd.DataFrame,
    column: str,
    headers: Mapping[str, str],
    name: str,
    title: str,
    scale: float,
    digits: int,
    group: str = "",
) -> ReportTable:
    """A row for each run name, a column for each perturbation."""
    chosen = means[(means["group"] == group) & means["perturbation"].isin(headers)]
    rows = []
    for stub, block in _stubs(chosen, group):
        cells = block.set_index("perturbation")
        rows.append((stub, [measured(cells.loc[perturbation], column) for perturbation in headers]))
    name = "_within_".join(part for part in (name, group) if part)
    return ReportTable(name, title + _within(group), _stub(group), list(headers.values()), rows, scale, digits)


def _stub(group: str) -> list[str]:
    return [group.capitalize(), "Run", "Images", "Patients"] if group else ["Run"]


def _stubs(chosen: pd.DataFrame, group: str) -> Iterator[tuple[list[str], pd.DataFrame]]:
    """The leading cells of each row of a table, and the rows of the frame that it is made from."""
    if not group:
        for name, block in chosen.groupby("name", sort=False):
            yield [str(name)], block
        return
    for value, inside in chosen.groupby("value"):
        for name, block in inside.groupby("name", sort=False):
            counts = [f"{block[column].iloc[0]:.0f}" for column in ("n", "patients")]
            yield [str(value) or MISSING, str(name), *counts], block


def _within(group: str) -> str:
    return f", within each {group}" if group else ""


def _with_note(table: ReportTable, note: str) -> ReportTable:
    return ReportTable(table.name, table.title, table.stub, table.headers, table.rows, table.scale, table.digits, note)


def _whole(frame: pd.DataFrame, perturbation: str) -> pd.DataFrame:
    return frame[(frame["group"] == "") & (frame["perturbation"] == perturbation)]


def _names(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(run.name for run in runs))


def _of_kind(runs: Sequence[Run], kind: str) -> list[str]:
    return [one.name for one in runs[0].perturbations if one.kind == kind]


def _severities(runs: Sequence[Run], name: str) -> str:
    one = next(one for one in runs[0].perturbations if one.name == name)
    return listed([number(severity) for severity in one.severities])


def _probability_columns(run: Run) -> list[str]:
    return [f"probability_{index}" for index in range(len(run.classes))]


def _arrays(run: Run, rows: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Probabilities (N, C) and labels (N,)."""
    return rows[_probability_columns(run)].to_numpy(dtype=np.float64), rows["label"].to_numpy(dtype=np.int64)


def _scaled(measure: Measure, scale: float) -> Measure:
    return Measure(*(scale * part for part in (measure.mean, measure.std, measure.low, measure.high)))


def _shade(replicated: pd.DataFrame) -> str:
    return "Shade: one standard deviation over runs." if (replicated["n_runs"] > 1).any() else "One run: no spread."


def _in_percent(percent: float) -> str:
    return "" if math.isnan(percent) else f" ({number(percent)} %)"


def _radius_text(row: pd.Series) -> str:
    radius = row["radius_at_half_score"]
    if math.isnan(radius):
        return f"beyond {number(row['largest_radius'])}"
    return number(radius) + _in_percent(row["percent_of_image_norm"])


def _fall(row: pd.Series) -> str:
    radius, percent = row["radius_at_half_score"], row["percent_of_image_norm"]
    if math.isnan(radius):
        return f"at none of the radii up to {number(row['largest_radius'])}"
    of_norm = "" if math.isnan(percent) else f" ({number(percent)}{PERCENT} of the norm of an average image)"
    return f"at radius {number(radius)}{of_norm}"
