"""Areas, operating points and patients in reports on classification, against scikit-learn on the tables themselves."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)
from synthetic_runs import CLASSES, RADII, write_run

from monai_robust.errors import BadInputError
from monai_robust.evaluation import read_run, write_report
from monai_robust.evaluation.statistics.bootstrap import bootstrap_intervals
from monai_robust.evaluation.statistics.summary import summarise
from monai_robust.evaluation.tables.run_folder import Run
from monai_robust.evaluation.tasks.classification import ClassificationReport
from monai_robust.evaluation.tasks.discrimination import by_patient

TWO = ["benign", "malignant"]
REPORT = ClassificationReport()


def written(folder: Path, name: str = "erm", *, validation: bool = True, **settings: Any) -> Path:
    """A finished evaluation with its validation."""
    write_run(folder, name, **settings)
    if validation:
        write_run(folder / "validation", name, **{**settings, "seed": settings.get("seed", 0) + 100})
        table = folder / "validation" / "outcomes.csv"
        table.write_text(table.read_text().replace("film-", "other-").replace("patient-", "others-"))
    return folder


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return read_run(written(tmp_path_factory.mktemp("three") / "run", count=90, falls=0.5))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return read_run(written(tmp_path_factory.mktemp("two") / "run", count=90, falls=0.5, classes=TWO))


def rows_of(run: Run, perturbation: str, severity: float) -> pd.DataFrame:
    table = run.outcomes
    return table[(table["perturbation"] == perturbation) & (table["severity"] == severity)]


def shares(rows: pd.DataFrame) -> np.ndarray:
    return rows.filter(like="probability_").to_numpy()


@pytest.mark.parametrize(("perturbation", "severity"), [("clean", 0.0), ("pgd_l2", 1.0)])
def test_areas_of_classes_are_those_of_scikit_learn(three: Run, perturbation: str, severity: float) -> None:
    rows = rows_of(three, perturbation, severity)
    found, labels = REPORT.statistics(three, rows), rows["label"]
    areas = roc_auc_score(labels, shares(rows), multi_class="ovr", average=None)
    assert [found[f"auroc_{index}"] for index in range(3)] == pytest.approx(areas)
    assert found["auroc"] == pytest.approx(areas.mean())
    truth = pd.get_dummies(labels).to_numpy()
    assert found["average_precision"] == pytest.approx(average_precision_score(truth, shares(rows)))
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, rows["prediction"]))
    assert found["f1"] == pytest.approx(f1_score(labels, rows["prediction"], average="macro"))


def test_of_two_classes_the_second_is_the_finding(two: Run) -> None:
    rows = rows_of(two, "pgd_l2", 0.5)
    found = REPORT.statistics(two, rows)
    assert found["auroc"] == found["auroc_1"] == pytest.approx(roc_auc_score(rows["label"], rows["probability_1"]))
    assert found["average_precision"] == pytest.approx(average_precision_score(rows["label"], rows["probability_1"]))
    assert "auroc_0" not in found


@pytest.mark.parametrize("rule", ["youden", "90", "95"])
def test_thresholds_come_from_clean_validation_and_stay_under_attack(two: Run, rule: str) -> None:
    assert two.validation is not None
    other = two.validation.clean
    scores, cases = other["probability_1"].to_numpy(), other["label"].to_numpy() == 1
    if rule == "youden":
        candidates = {one: (scores[cases] >= one).mean() - (scores[~cases] >= one).mean() for one in scores}
        best = max(candidates.values())
        threshold = max(one for one, value in candidates.items() if value > best - 1e-12)
    else:
        threshold = max(one for one in scores if (scores[cases] >= one).mean() >= int(rule) / 100)
    for perturbation, severity in (("clean", 0.0), ("pgd_l2", 2.0), ("gaussian", 0.5)):
        rows = rows_of(two, perturbation, severity)
        found, called = REPORT.statistics(two, rows), rows["probability_1"] >= threshold
        assert found[f"threshold_{rule}_1"] == threshold
        assert found[f"sensitivity_{rule}_1"] == pytest.approx(recall_score(rows["label"], called))
        assert found[f"specificity_{rule}_1"] == pytest.approx(recall_score(rows["label"], called, pos_label=0))


def test_the_temperature_is_that_of_validation(three: Run) -> None:
    found = [REPORT.statistics(three, rows_of(three, *one)) for one in (("clean", 0.0), ("pgd_l2", 2.0))]
    assert found[0]["temperature"] == found[1]["temperature"]
    other = three.validation
    assert other is not None
    own = REPORT.statistics(read_run(other.folder), other.clean)
    fitted = shares(other.clean) ** (1 / found[0]["temperature"])
    fitted /= fitted.sum(axis=1, keepdims=True)
    likelihoods = [
        np.log(one[np.arange(len(one)), other.clean["label"]]).mean() for one in (fitted, shares(other.clean))
    ]
    assert likelihoods[0] >= likelihoods[1]
    assert "temperature" not in own


def test_a_report_shows_operating_points_at_a_stated_prevalence(two: Run, tmp_path: Path) -> None:
    write_report([two.folder], tmp_path / "own.html")
    page = write_report([two.folder], tmp_path / "stated.html", prevalence=0.05).read_text()
    assert "a stated prevalence of 5 %" in page
    assert "90 images of 45 patients" in page
    own, stated = (
        pd.read_csv(tmp_path / f"{name}_tables" / "table_operating_points.csv") for name in ("own", "stated")
    )
    rows = rows_of(two, "clean", 0.0)
    called = rows["probability_1"] >= own["Threshold"].iloc[0]
    assert own["PPV"].iloc[0] == pytest.approx(100 * precision_score(rows["label"], called))
    assert own["NPV"].iloc[0] == pytest.approx(100 * precision_score(rows["label"], called, pos_label=0))
    sensitivity, specificity = (recall_score(rows["label"], called, pos_label=one) for one in (1, 0))
    positive = 0.05 * sensitivity / (0.05 * sensitivity + 0.95 * (1 - specificity))
    assert stated["PPV"].iloc[0] == pytest.approx(100 * positive)
    assert stated["PPV, 95 % low"].iloc[0] < stated["PPV"].iloc[0] < stated["PPV, 95 % high"].iloc[0]
    for table, stub, severities in (("pgd_l2", "{:g}", RADII), ("corrupted", "Gaussian {:g}", [0.1, 0.5, 1.0])):
        under = pd.read_csv(tmp_path / "own_tables" / f"table_operating_points_{table}.csv", dtype={0: str})
        for severity in severities:
            shown = under[(under.iloc[:, 0] == stub.format(severity)) & under["Rule"].str.startswith("Youden")].iloc[0]
            rows = rows_of(two, "pgd_l2" if table == "pgd_l2" else "gaussian", severity)
            called = rows["probability_1"] >= own["Threshold"].iloc[0]
            points = [100 * recall_score(rows["label"], called, pos_label=one) for one in (1, 0)]
            values = [100 * precision_score(rows["label"], called, pos_label=one) for one in (1, 0)]
            assert shown[["Sensitivity", "Specificity", "PPV", "NPV"]].tolist() == pytest.approx([*points, *values])
            if 0 < shown["Sensitivity"] < 100:  # else no draw differs
                assert shown["Sensitivity, 95 % low"] < shown["Sensitivity"] < shown["Sensitivity, 95 % high"]


def test_without_validation_the_report_names_the_option_and_shows_no_threshold(tmp_path: Path) -> None:
    folder = written(tmp_path / "run", validation=False)
    page = write_report([folder], tmp_path / "report.html").read_text()
    assert "is measured without a validation run" in page
    assert "--validation_limit" in page
    assert "no validation run" in page  # in place of the temperature
    assert not (tmp_path / "report_tables" / "table_operating_points.csv").exists()
    assert (tmp_path / "report_tables" / "table_auroc.csv").exists()


@pytest.mark.full
def test_one_run_with_and_one_without_validation_stand_side_by_side(tmp_path: Path) -> None:
    folders = [written(tmp_path / "erm"), written(tmp_path / "rtda", "rtda", validation=False)]
    page = write_report(folders, tmp_path / "report.html").read_text()
    assert "“rtda” is measured without a validation run" in page
    table = pd.read_csv(tmp_path / "report_tables" / "table_operating_points.csv")
    assert table.loc[table["Run"] == "rtda", "Threshold"].tolist() == ["no validation run"]
    assert table.loc[table["Run"] == "erm", "Sensitivity"].notna().all()


@pytest.mark.full
def test_a_class_without_a_case_has_no_area_and_is_named(tmp_path: Path) -> None:
    folder = written(tmp_path / "run", count=30)
    for place in (folder, folder / "validation"):
        table = pd.read_csv(place / "outcomes.csv", dtype={"norm": str}, keep_default_na=False)
        table = table[table["label"] != 2]
        table.to_csv(place / "outcomes.csv", index=False)
    run = read_run(folder)
    found = REPORT.statistics(run, run.clean)
    assert math.isnan(found["auroc_2"])
    assert found["auroc"] == pytest.approx(np.mean([found["auroc_0"], found["auroc_1"]]))
    page = write_report([folder], tmp_path / "report.html").read_text()
    assert "no case" in page
    assert "no case or control in validation" in page
    assert ">nan" not in page


def test_several_images_of_a_patient_are_put_together(tmp_path: Path) -> None:
    folder = written(tmp_path / "run", count=90, falls=0.5, classes=TWO)
    for place in (folder, folder / "validation"):  # three images of each class for each patient
        table = pd.read_csv(place / "outcomes.csv", dtype={"norm": str}, keep_default_na=False)
        number = table["sample_id"].str.extract(r"(\d+)", expand=False).astype(int)
        table.assign(patient_id="patient" + (number // 6).astype(str)).to_csv(place / "outcomes.csv", index=False)
    two = read_run(folder)
    page = write_report([two.folder], tmp_path / "report.html", patient_rule="max").read_text()
    assert "Image and patient level" in page
    assert "max of the probabilities" in page
    assert "15 patients have images of different labels" in page
    for rule in ("mean", "max"):
        run = by_patient(two, rule, ["label"], ["probability_0", "probability_1"], exclusive=True)
        assert run is not None
        rows = rows_of(two, "pgd_l2", 0.5)
        grouped = rows.groupby(["patient_id", "label"])[["probability_0", "probability_1"]].agg(rule)
        expected = grouped.div(grouped.sum(axis=1), axis=0).reset_index()
        found = rows_of(run, "pgd_l2", 0.5)
        assert len(found) == len(expected)
        area = roc_auc_score(expected["label"], expected["probability_1"])
        assert REPORT.statistics(run, found)["auroc"] == pytest.approx(area)
        assert found["score"].mean() == pytest.approx(
            ((expected["probability_1"] > 0.5) == expected["label"]).mean(), abs=1e-9
        )
        # a patient with images of both labels has two rows, and is drawn as the one that it is
        assert len(run.clean) == 2 * len(np.unique(run.patients)) == 30
        assert set(run.clean["patient_id"]) == set(two.clean["patient_id"])
        low, high = bootstrap_intervals(found[["score"]], found["patient_id"].to_numpy(str))[0]
        drawn = summarise([run], REPORT.statistics).set_index(["perturbation", "severity"]).loc[("pgd_l2", 0.5)]
        assert (drawn["patients"], drawn["n"]) == (15, 30)
        assert [drawn["score_low"], drawn["score_high"]] == pytest.approx([low, high])
        assert run.validation is not None
        assert len(run.validation.clean) < len(two.validation.clean)  # type: ignore[union-attr]
    frame = pd.read_csv(tmp_path / "report_tables" / "summary_by_patient.csv")
    assert set(frame["perturbation"]) == set(two.outcomes["perturbation"])


@pytest.mark.full
def test_one_image_a_patient_needs_no_such_section(tmp_path: Path) -> None:
    folder = written(tmp_path / "run")
    table = pd.read_csv(folder / "outcomes.csv", dtype={"norm": str}, keep_default_na=False)
    table.assign(patient_id=table["sample_id"]).to_csv(folder / "outcomes.csv", index=False)
    assert "Image and patient level" not in write_report([folder], tmp_path / "report.html").read_text()


def test_attacks_whose_radii_were_searched_say_whose_probabilities_they_are(tmp_path: Path) -> None:
    from synthetic_runs import PERTURBATIONS

    searched = [
        one | {"settings": {"steps": 20, "search": "smallest_radius"}} if one["kind"] == "attack" else one
        for one in PERTURBATIONS
    ]
    folder = written(tmp_path / "run", info={"perturbations": searched})
    page = write_report([folder], tmp_path / "report.html").read_text()
    assert "from its first success on" in page
    assert "--faithful true" in page
    frame = pd.read_csv(tmp_path / "report_tables" / "summary.csv")
    attacked = frame[frame["perturbation"] == "pgd_l2"]
    assert attacked[["auroc", "brier_multiclass", "entropy"]].notna().all(axis=None)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"prevalence": 5.0}, "--prevalence is 5.0"),
        ({"patient_rule": "median"}, "--patient_rule is 'median'; it must be one of mean, max"),
    ],
)
def test_what_makes_no_sense_is_refused(two: Run, tmp_path: Path, choice: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        write_report([two.folder], tmp_path / "report.html", **choice)


@pytest.mark.full
def test_confusion_and_curves_are_tables_too(three: Run, tmp_path: Path) -> None:
    write_report([three.folder], tmp_path / "report.html")
    confusion = pd.read_csv(tmp_path / "report_tables" / "confusion.csv")
    clean = confusion[confusion["perturbation"] == "clean"]
    assert clean["images"].sum() == len(three.clean)
    right = clean.loc[clean["label"] == clean["prediction"], "images"].sum()
    assert right == three.clean["score"].sum()
    curves = pd.read_csv(tmp_path / "report_tables" / "roc_curves.csv")
    assert set(curves["finding"]) == set(CLASSES)
    one = curves[(curves["finding"] == "covid") & (curves["perturbation"] == "clean")]
    area = np.trapezoid(one["sensitivity"], one["false_positive_rate"])
    assert area == pytest.approx(REPORT.statistics(three, three.clean)["auroc_0"])


@pytest.mark.full
def test_runs_of_one_name_are_replicates_of_areas(tmp_path: Path) -> None:
    folders = [written(tmp_path / str(seed), seed=seed) for seed in range(2)]
    write_report(folders, tmp_path / "report.html")
    frame = pd.read_csv(tmp_path / "report_tables" / "summary.csv")
    clean = frame[(frame["perturbation"] == "clean") & frame["group"].isna()].iloc[0]
    values = [REPORT.statistics(run, run.clean)["auroc"] for run in map(read_run, folders)]
    curves = pd.read_csv(tmp_path / "report_tables" / "roc_curves.csv", dtype={"run": str})
    areas = {
        run: np.mean(
            [np.trapezoid(one["sensitivity"], one["false_positive_rate"]) for _, one in own.groupby("finding")]
        )
        for run, own in curves[curves["perturbation"] == "clean"].groupby("run")
    }
    assert [areas["0"], areas["1"]] == pytest.approx(values)
    assert areas["mean"] == pytest.approx(np.mean(values), abs=2e-3)
    assert clean["auroc"] == pytest.approx(np.mean(values))
    assert clean["auroc_std"] == pytest.approx(np.std(values, ddof=1))
    shutil.rmtree(tmp_path / "0")
