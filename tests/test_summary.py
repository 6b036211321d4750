"""Numbers from tables, compared with the same numbers computed otherwise."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, log_loss
from synthetic_runs import RADII, write_run

from monai_robust.errors import BadInputError
from monai_robust.evaluation.sections.comparisons import falls, radius_text
from monai_robust.evaluation.statistics.bootstrap import bootstrap_intervals
from monai_robust.evaluation.statistics.curves import auc_by_attack, breaking_radii, radius_at_half_score
from monai_robust.evaluation.statistics.summary import mean_over_severities, over_replicates, summaries, summarise
from monai_robust.evaluation.tables.run_folder import Run, read_run
from monai_robust.evaluation.tasks.classification import ClassificationReport
from monai_robust.evaluation.tasks.multi_label.report import AREA

REPORT = ClassificationReport()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Two runs of erm, one of rtda."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        read_run(write_run(folder / f"{name}{seed}", name, seed=seed, falls=falls))
        for name, seed, falls in (("erm", 0, 1.0), ("erm", 1, 1.0), ("rtda", 0, 0.2))
    ]


@pytest.fixture(scope="module")
def summary(runs: list[Run]) -> pd.DataFrame:
    return summarise(runs, REPORT.statistics)


def only(frame: pd.DataFrame, **values: object) -> pd.Series:
    for column, value in values.items():
        frame = frame[frame[column] == value]
    assert len(frame) == 1
    return frame.iloc[0]


def lines(run: Run, perturbation: str, severity: float) -> list[dict[str, str]]:
    """Rows of the file itself, by another reader."""
    table = pd.read_csv(run.folder / "outcomes.csv", dtype=str, keep_default_na=False)
    chosen = (table["perturbation"] == perturbation) & (table["severity"] == repr(float(severity)))
    return table[chosen].to_dict("records")


@pytest.mark.parametrize(("perturbation", "severity"), [("clean", 0.0), ("pgd_l2", 1.0), ("speckle", 0.5)])
def test_statistics_equal_those_computed_from_the_file(
    runs: list[Run], summary: pd.DataFrame, perturbation: str, severity: float
) -> None:
    rows = lines(runs[2], perturbation, severity)
    labels = [int(row["label"]) for row in rows]
    table = np.array([[float(row[f"probability_{c}"]) for c in range(3)] for row in rows])
    found = only(summary, run=2, group="", perturbation=perturbation, severity=severity)
    assert found["n"] == len(rows) == 48
    assert found["patients"] == len({row["patient_id"] for row in rows})
    assert found["accuracy"] == found["score"] == accuracy_score(labels, [int(row["prediction"]) for row in rows])
    squares = [(p - (c == y)) ** 2 for row, y in zip(table, labels, strict=True) for c, p in enumerate(row)]
    assert found["brier_multiclass"] == pytest.approx(math.fsum(squares) / 48)
    entropy = sum(p * log_loss([c], row[None], labels=[0, 1, 2]) for row in table for c, p in enumerate(row)) / 48
    assert found["entropy"] == pytest.approx(entropy)


def test_binary_brier_exists_for_two_classes_only_and_is_half_of_the_other(
    tmp_path: Path, summary: pd.DataFrame
) -> None:
    assert "brier_binary" not in summary
    run = read_run(write_run(tmp_path / "two", classes=["benign", "malignant"]))
    found = summarise([run], REPORT.statistics)
    assert found["brier_binary"].to_numpy() == pytest.approx(found["brier_multiclass"].to_numpy() / 2)


def test_groups_are_summarised_on_their_own(runs: list[Run], summary: pd.DataFrame) -> None:
    rows = [row for row in lines(runs[0], "pgd_l2", 0.5) if row["source"] == "south"]
    found = only(summary, run=0, group="source", value="south", perturbation="pgd_l2", severity=0.5)
    assert found["n"] == len(rows) == 24
    assert found["score"] == pytest.approx(sum(row["label"] == row["prediction"] for row in rows) / 24)


def test_the_adversarial_mean_is_unweighted_over_radii(runs: list[Run], summary: pd.DataFrame) -> None:
    found = only(mean_over_severities(runs, summary), run=0, group="", perturbation="pgd_l2")
    parts = [only(summary, run=0, group="", perturbation="pgd_l2", severity=radius) for radius in RADII]
    for column in ("score", "brier_multiclass", "rms_calibration_error"):
        assert found[column] == pytest.approx(sum(part[column] for part in parts) / 3)
    assert (found["severities"], found["n"]) == (3, 48)


def test_what_vanishes_at_a_radius_has_no_mean_over_radii(runs: list[Run], summary: pd.DataFrame) -> None:
    radii = summary.loc[summary["perturbation"] == "pgd_l2", "severity"].unique()
    lost = summary.assign(hd95=summary["severity"].where(summary["severity"] < max(radii)))
    means = mean_over_severities(runs, lost)
    attacked = only(means, run=0, group="", perturbation="pgd_l2")
    assert math.isnan(attacked["hd95"])
    assert not math.isnan(attacked["score"])
    assert only(means, run=0, group="", perturbation="clean")["hd95"] == 0


def test_replicates_have_a_sample_standard_deviation_and_single_runs_none(summary: pd.DataFrame) -> None:
    table = over_replicates(summary)
    both = only(table, name="erm", group="", perturbation="pgd_l2", severity=0.5)
    one, two = (only(summary, run=index, group="", perturbation="pgd_l2", severity=0.5)["accuracy"] for index in (0, 1))
    assert one != two
    assert both["accuracy"] == pytest.approx((one + two) / 2)
    assert both["accuracy_std"] == pytest.approx(abs(one - two) / math.sqrt(2))
    assert both["n_runs"] == 2
    assert math.isnan(both["score_low"])
    single = only(table, name="rtda", group="", perturbation="pgd_l2", severity=0.5)
    assert single["n_runs"] == 1
    assert math.isnan(single["accuracy_std"])
    assert single["score_low"] < single["score"] < single["score_high"]


def test_what_one_replicate_lacks_has_no_mean_over_replicates(summary: pd.DataFrame) -> None:
    lost = summary.assign(hd95=(1.0 + summary["run"]).where(summary["run"] != 1))
    table = over_replicates(lost)
    both, single = (only(table, name=name, group="", perturbation="clean", severity=0.0) for name in ("erm", "rtda"))
    assert math.isnan(both["hd95"])
    assert math.isnan(both["hd95_std"])
    assert not math.isnan(both["score"])
    assert single["hd95"] == 3.0
    areas = auc_by_attack(summary.assign(score=summary["score"].where(summary["run"] != 1))).set_index("name")
    assert areas["auc_robust"].isna().to_dict() == {"erm": True, "rtda": False}


def test_a_score_that_may_be_negative_has_no_auc_robust_and_everything_else(summary: pd.DataFrame) -> None:
    below = summary.assign(score=summary["score"].where(summary["run"] != 1, -summary["score"]))
    areas = auc_by_attack(below).set_index("name")
    assert areas["auc_robust"].isna().to_dict() == {"erm": True, "rtda": False}


def test_radii_are_put_in_percent_of_the_mean_norm_of_the_clean_inputs(runs: list[Run], summary: pd.DataFrame) -> None:
    norms = [float(row["input_norm"]) for row in lines(runs[0], "clean", 0)]
    found = only(summary, run=0, group="", perturbation="pgd_l2", severity=2.0)
    assert found["radius_percent"] == pytest.approx(200 / (sum(norms) / len(norms)))
    assert math.isnan(only(summary, run=0, group="", perturbation="gaussian", severity=0.5)["radius_percent"])


@pytest.mark.parametrize(
    ("radii", "scores", "expected"),
    [
        ([1, 2, 4], [0.8, 0.6, 0.2], 2.5),
        ([4, 1, 2], [0.2, 0.8, 0.6], 2.5),
        ([1], [0.0], 0.5),
        ([1, 2], [0.5, 0.4], 1.0),
        ([1, 2, 3], [0.4, 0.9, 0.1], 1 / 1.2),
        ([1, 2], [0.9, 0.6], math.nan),
        ([], [], math.nan),
    ],
)
def test_half_of_the_clean_score_is_found_between_radii(
    radii: Sequence[float], scores: Sequence[float], expected: float
) -> None:
    assert radius_at_half_score(1.0, np.array(radii), np.array(scores)) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("clean", "scores", "why"),
    [
        (math.nan, [0.9, 0.6], "no value on clean"),
        (1.0, [0.9, math.nan], "no value at radius 2"),
        (1.0, [math.nan, 0.1], "no value at radius 1"),  # it may have got there before
        (0.0, [0.0, 0.0], "0 on clean images, of which there is no half"),
        (1.0, [0.4, math.nan], ""),
        (1.0, [0.9, 0.8], ""),
    ],
)
def test_where_nobody_can_tell_no_radius_is_said_to_be_beyond(clean: float, scores: list[float], why: str) -> None:
    rows = [
        ("clean", "clean", 0.0, clean),
        *(("pgd_l2", "attack", r, s) for r, s in zip((1.0, 2.0), scores, strict=True)),
    ]
    curve = pd.DataFrame(rows, columns=["perturbation", "kind", "severity", "score"])
    found = only(breaking_radii(curve.assign(name="erm", group="", norm="l2", radius_percent=math.nan)))
    assert (why in found["undefined"]) if why else found["undefined"] == ""
    said = falls(pd.DataFrame([found]), AREA)[0], radius_text(found, AREA)
    for text in said:
        assert ("undefined" in text) == bool(why)
        assert ("beyond" in text or "none of the radii" in text) == (not why and scores[0] > 0.5)


def test_breaking_radii_come_from_the_mean_curve_of_a_name(summary: pd.DataFrame) -> None:
    table = over_replicates(summary)
    found = only(breaking_radii(table), name="erm")
    curve = table[(table["name"] == "erm") & (table["group"] == "") & table["perturbation"].isin(["clean", "pgd_l2"])]
    half = np.interp(found["radius_at_half_score"], curve["severity"], curve["score"])
    assert half == pytest.approx(curve["score"].iloc[0] / 2)
    percent = only(table, name="erm", group="", perturbation="pgd_l2", severity=1.0)["radius_percent"]
    assert found["percent_of_image_norm"] == pytest.approx(percent * found["radius_at_half_score"])
    unbroken = only(breaking_radii(table), name="rtda")
    assert math.isnan(unbroken["radius_at_half_score"])
    assert unbroken["largest_radius"] == 2.0


def test_bootstrap_of_single_samples_agrees_with_the_normal_interval() -> None:
    values = np.random.default_rng(3).random((400, 1)) < 0.7
    low, high = bootstrap_intervals(values, [str(index) for index in range(400)], draws=4000)[0]
    spread = 1.96 * math.sqrt(values.mean() * (1 - values.mean()) / 400)
    assert (low, high) == pytest.approx((values.mean() - spread, values.mean() + spread), abs=0.006)


def test_bootstrap_by_patient_is_wider_when_samples_of_a_patient_are_alike() -> None:
    value = np.random.default_rng(4).random(40) < 0.5
    values, patients = np.repeat(value, 10)[:, None], np.repeat(np.arange(40), 10).astype(str)
    low, high = bootstrap_intervals(values, patients)[0]
    few_low, few_high = bootstrap_intervals(value[:, None], np.arange(40).astype(str))[0]
    assert (low, high) == (few_low, few_high)
    single = bootstrap_intervals(values, np.arange(400).astype(str))[0]
    assert high - low > 2 * (single[1] - single[0])


def test_bootstrap_repeats_itself_and_pretends_no_certainty() -> None:
    values = np.stack([np.arange(20) % 2, np.zeros(20)], axis=1)
    patients = [str(index) for index in range(20)]
    first, second = (bootstrap_intervals(values, patients) for _ in range(2))
    assert np.array_equal(first, second, equal_nan=True)
    assert np.isnan(first[1]).all()
    assert np.isnan(bootstrap_intervals(values, ["one"] * 20)).all()
    with pytest.raises(BadInputError, match="do not fit"):
        bootstrap_intervals(values, patients[:-1])


def test_bootstrap_leaves_out_samples_without_a_value() -> None:
    values = np.random.default_rng(5).random((30, 2))
    patients = np.repeat(np.arange(10), 3).astype(str)
    holes = values.copy()
    holes[::3, 1] = math.nan
    kept = np.arange(30) % 3 != 0
    assert np.array_equal(bootstrap_intervals(holes, patients), bootstrap_intervals(values[kept], patients[kept]))
    assert np.isnan(bootstrap_intervals(np.full((30, 2), math.nan), patients)).all()


def test_samples_without_a_patient_count_one_by_one(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "erm", count=16)
    text = (folder / "outcomes.csv").read_text()
    for index in range(8):
        text = text.replace(f"patient-{index:04d}-secret", "")
    (folder / "outcomes.csv").write_text(text)
    found = summarise([read_run(folder)], REPORT.statistics)
    assert only(found, group="", perturbation="clean", severity=0.0)["patients"] == 16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop(columns="probability_2"), "must have the columns"),
        (lambda table: table.assign(label=7), "label must be a class index from 0 to 2"),
        (lambda table: table.assign(probability_1=math.nan), "probability_1 must be a finite number"),
        (lambda table: table.assign(score=1.0), "contradicts itself"),
        (lambda table: table.assign(score=math.nan), "contradicts itself"),
    ],
)
def test_a_table_that_is_no_classifiers_is_refused(runs: list[Run], change, message: str) -> None:
    run = runs[0]
    with pytest.raises(BadInputError, match=message):
        REPORT.check(Run(run.folder, run.info, change(run.outcomes), run.perturbations))


def test_reliability_bins_are_those_of_each_run_with_all_its_samples(runs: list[Run]) -> None:
    bins = REPORT.reliability(runs)
    assert bins.groupby(["name", "run"])["samples"].sum().to_dict() == {("erm", 0): 48, ("erm", 1): 48, ("rtda", 2): 48}
    for index, run in enumerate(runs):
        own = bins[bins["run"] == index]
        right = sum(row["label"] == row["prediction"] for row in lines(run, "clean", 0))
        assert (own["accuracy"] * own["samples"]).sum() == pytest.approx(right)


def test_an_undertrained_erm_makes_a_pilot(runs: list[Run], summary: pd.DataFrame) -> None:
    means = over_replicates(mean_over_severities(runs, summary))
    assert REPORT.pilot(runs, {"means_over_severities": means}) == ""
    for name, expected in (("erm", True), ("rtda", False)):
        weak = means.assign(accuracy=means["accuracy"].where(means["name"] != name, 0.7999))
        assert ("less than 80 %" in REPORT.pilot(runs, {"means_over_severities": weak})) == expected


def test_a_summary_of_many_measures_warns_of_nothing(runs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        summary, averaged = summaries(runs[:1], lambda run, rows: {f"measure_{i}": 1.0 for i in range(150)})
    assert len(averaged) < len(summary)
