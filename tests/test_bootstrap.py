"""Intervals by drawing patients: what is drawn anew is what the statistics say of rows that occur as often."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score
from synthetic_runs import write_run, write_segmentation_run
from test_landmark_report import write_landmark_run

from monai_robust.evaluation import read_run
from monai_robust.evaluation.statistics.bootstrap import drawn, patient_draws, percentile_ends
from monai_robust.evaluation.statistics.ranking import weighted_auroc, weighted_average_precision
from monai_robust.evaluation.statistics.run_draws import RunDraws, redraws
from monai_robust.evaluation.statistics.summary import mean_over_severities, over_replicates, rated_by, summarise
from monai_robust.evaluation.tables.run_folder import Run
from monai_robust.evaluation.tasks.detection.drawable import detection_drawable, weighted_precisions
from monai_robust.evaluation.tasks.detection.froc import froc_statistics
from monai_robust.evaluation.tasks.key_metric import KeyMetricReport
from monai_robust.evaluation.tasks.registry import report_of
from monai_robust.metrics import average_precisions, match_images

KINDS: dict[str, Callable[[Path], Path]] = {
    "classification": lambda folder: write_run(folder, classes=["benign", "malignant"], falls=0.2),
    "segmentation": lambda folder: write_segmentation_run(folder, volumes=12, surfaces=True),
    "landmarks": lambda folder: write_landmark_run(folder, count=24),
}
# binned errors, and a count
BINNED = ("rms_calib", "expected_calib", "brier_reliab", "brier_resol", "brier_uncert", "without_hd95")


@pytest.fixture(scope="module", params=KINDS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return read_run(KINDS[request.param](tmp_path_factory.mktemp("run") / "erm"))


def repeated(rows: pd.DataFrame, patients: np.ndarray, times: np.ndarray) -> pd.DataFrame:
    """Rows as often as their patient was drawn, each time as those of another patient."""
    parts = []
    for patient, count in enumerate(times.astype(int)):
        own = rows[patients == patient]
        parts += [
            own.assign(**{name: f"{again} " + own[name] for name in ("sample_id", "patient_id")})
            for again in range(count)
        ]
    return pd.concat(parts)


def test_a_draw_has_the_statistics_of_its_rows(run: Run) -> None:
    report = report_of(run.task)
    rows, places = run.clean, run.places["clean", 0.0]
    patients = run.patients[places]
    times = patient_draws(patients.max() + 1, 3)
    drawables = report.drawable(run, rows)
    found = {name: draws for one in drawables for name, draws in drawn(one, patients, times).items()}
    once = {name: value for one in drawables for name, value in drawn(one, patients, np.ones_like(times[:1])).items()}
    told = report.statistics(run, rows)
    assert set(told) - set(found) == {name for name in told if name.startswith(BINNED)}
    for name, values in found.items():
        assert once[name][0] == pytest.approx(told[name], abs=1e-9)
        for draw in range(3):
            expected = report.statistics(run, repeated(rows, patients, times[draw]))[name]
            assert values[draw] == pytest.approx(expected, abs=1e-9), name


def test_every_statistic_of_a_single_run_has_an_interval_around_it(run: Run) -> None:
    report = report_of(run.task)
    frames = report.frames([run])
    for frame in (frames["summary"], frames["means_over_severities"]):
        attacked = frame[(frame["group"] == "") & (frame["kind"] == "attack")]
        for _, row in attacked.iterrows():
            for name in (column.removesuffix("_low") for column in frame if str(column).endswith("_low")):
                if not np.isnan(row[f"{name}_low"]):
                    assert row[f"{name}_low"] - 0.02 <= row[name] <= row[f"{name}_high"] + 0.02, name
        assert attacked["score_low"].notna().all()


def test_the_interval_of_a_mean_over_severities_is_that_of_the_mean(run: Run) -> None:
    report = report_of(run.task)
    draws = RunDraws(run, report.drawable).everything()
    mean = np.mean([draws["pgd_l2", severity]["score"] for severity in severities(run)], axis=0)
    summary = summarise([run], report.statistics, report.drawable)
    table = mean_over_severities([run], summary, report.drawable)
    row = table[(table["group"] == "") & (table["perturbation"] == "pgd_l2")].iloc[0]
    assert [row["score_low"], row["score_high"]] == pytest.approx(np.quantile(mean, [0.025, 0.975]))


def severities(run: Run) -> tuple[float, ...]:
    return next(one.severities for one in run.perturbations if one.name == "pgd_l2")


def test_replicates_keep_no_interval_of_any_statistic(tmp_path: Path) -> None:
    runs = [read_run(write_run(tmp_path / str(seed), seed=seed)) for seed in (0, 1)]
    report = report_of("classification")
    table = over_replicates(summarise(runs, report.statistics, report.drawable))
    assert table[["score_low", "accuracy_low", "entropy_high"]].isna().all(axis=None)
    assert "accuracy_low_std" not in table
    single = over_replicates(summarise(runs[:1], report.statistics, report.drawable))
    assert rated_by(single, "entropy")["score_low"].equals(single["entropy_low"])


def test_fewer_than_ten_patients_have_no_interval(tmp_path: Path) -> None:
    report = report_of("classification")
    for count, known in ((18, False), (20, True)):  # two films of each patient
        run = read_run(write_run(tmp_path / str(count), count=count))
        summary = summarise([run], report.statistics, report.drawable)
        attacked = summary[(summary["group"] == "") & (summary["perturbation"] == "pgd_l2")]
        assert attacked["entropy_low"].notna().all() if known else "entropy_low" not in attacked
        assert attacked["score_low"].notna().any() == known


def test_ranking_measures_of_draws_are_scikit_learns() -> None:
    generator = np.random.default_rng(3)
    scores, positive = generator.integers(0, 9, 60) / 9, generator.random(60) < 0.4  # with ties
    weights = patient_draws(60, 5)
    areas, precisions = weighted_auroc(weights, scores, positive), weighted_average_precision(weights, scores, positive)
    for draw in range(5):
        assert areas[draw] == pytest.approx(roc_auc_score(positive, scores, sample_weight=weights[draw]))
        expected = average_precision_score(positive, scores, sample_weight=weights[draw])
        assert precisions[draw] == pytest.approx(expected)
    alone = weights * positive
    assert np.isnan(weighted_auroc(alone, scores, positive)).all()
    assert np.isnan(weighted_average_precision(weights * ~positive, scores, positive)).all()


def test_average_precisions_of_draws_are_those_of_repeated_images() -> None:
    generator = np.random.default_rng(7)
    images: list[dict[str, Any]] = []
    truths: list[dict[str, Any]] = []
    for index in range(12):
        low = generator.uniform(0, 40, (3 + index % 2, 2))
        boxes = np.concatenate([low, low + 12], axis=1)
        labels = np.arange(len(boxes)) % 2
        truths.append({"boxes": boxes, "labels": labels})
        found = np.concatenate([boxes + generator.normal(0, 0.8, (len(boxes), 1)), [[1.0, 1.0, 9.0, 9.0]]])
        images.append({"boxes": found, "labels": np.append(labels, index % 2), "scores": generator.random(len(found))})
    matches = match_images(images, truths)
    once = weighted_precisions(np.ones((1, 12)), matches, 3)
    told = average_precisions(matches, ["0", "1", "2"])
    assert {name: value[0] for name, value in once.items()} == pytest.approx(told, nan_ok=True)
    times = patient_draws(12, 4)
    found = weighted_precisions(times, matches, 3)
    for draw in range(4):
        again = [one for one, count in zip(matches, times[draw].astype(int), strict=True) for _ in range(count)]
        expected = average_precisions(again, ["0", "1", "2"])
        # a detection that counts twice is one step of the curve here, and two of equal score there
        assert {name: value[draw] for name, value in found.items()} == pytest.approx(expected, abs=0.01, nan_ok=True)
        told = froc_statistics(again, 3, 0.6)
        rows = pd.DataFrame({"detections": 1, "score": 0.5}, index=range(12))
        parts = detection_drawable(rows, matches, 3, 0.6)
        each = {name: value[draw] for one in parts for name, value in drawn(one, np.arange(12), times).items()}
        assert {name: each[name] for name in told} == pytest.approx(told, nan_ok=True)
        assert math.isnan(each["froc_2"])


def test_an_undefined_statistic_has_an_interval_only_where_nearly_all_draws_have_it() -> None:
    draws = np.random.default_rng(0).random((1000, 2))
    draws[:40, 0] = np.nan
    draws[:60, 1] = np.nan
    ends = percentile_ends(draws)
    assert ends[0] == pytest.approx(np.nanquantile(draws[:, 0], [0.025, 0.975]))
    assert np.isnan(ends[1]).all()


def test_large_tables_get_fewer_redraws_and_the_largest_none() -> None:
    assert [redraws(rows) for rows in (10_000, 400_000, 1_000_000)] == [1000, 250, 0]


def test_a_pipelines_loss_is_drawn_too(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "erm")
    run = read_run(folder)
    rows = run.clean.assign(loss=np.linspace(0, 1, len(run.clean)))
    one = KeyMetricReport().drawable(run, rows)[0]
    member = np.arange(len(rows))
    assert drawn(one, member, np.ones((1, len(rows))))["loss"][0] == pytest.approx(0.5)
