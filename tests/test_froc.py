"""FROC against MONAI's own points and by hand, as a metric of an engine, and in the report of a detector."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from monai.metrics import compute_froc_curve_data, compute_froc_score
from test_detection_report import CELLS, images_of, write_detection_run

from monai_robust.errors import BadInputError
from monai_robust.evaluation import read_run
from monai_robust.evaluation.sections.parts import Section
from monai_robust.evaluation.tables.run_folder import Run
from monai_robust.evaluation.tasks.detection import DetectionReport
from monai_robust.evaluation.tasks.detection.froc import fitted_threshold
from monai_robust.metrics import (
    FROC_RATES,
    FreeResponse,
    free_response_curve,
    froc_score,
    match_detections,
    match_images,
    matched_scores,
    score_threshold,
)


def test_the_curve_is_that_of_monai() -> None:
    generator = np.random.default_rng(0)
    true, false = generator.uniform(0.05, 1, 40).round(2), generator.uniform(0.05, 1, 90).round(2)
    curve = free_response_curve(true, false, targets=55, images=20)
    # as in its own compute_fp_tp_probs, an object that is missed has a score of 0
    theirs = compute_froc_curve_data(np.append(false, 0.0), np.append(true, np.zeros(15)), 55, 20)
    assert curve.false_positives[::-1].tolist() == pytest.approx(theirs[0].tolist())
    assert curve.sensitivity[::-1].tolist() == pytest.approx(theirs[1].tolist())
    assert froc_score(curve) == pytest.approx(compute_froc_score(*theirs, FROC_RATES))
    assert froc_score(curve, [2.0]) == pytest.approx(np.interp(2.0, theirs[0][::-1], theirs[1][::-1]))


def test_a_curve_by_hand() -> None:
    curve = free_response_curve([0.9, 0.7, 0.3], [0.8, 0.5, 0.2], targets=4, images=2)
    assert curve.false_positives.tolist() == [0, 0, 0.5, 0.5, 1.0, 1.0, 1.5]
    assert curve.sensitivity.tolist() == [0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75]
    assert froc_score(curve, [0.25]) == 0.25
    assert froc_score(curve, [8.0]) == 0.75  # the curve ends at 1.5
    assert score_threshold(curve, 1.0) == 0.3
    assert score_threshold(curve, 0.4) == 0.9
    assert score_threshold(free_response_curve([], [0.8], 4, 2), 0.1) == math.inf


def test_without_objects_there_is_no_sensitivity_and_without_detections_it_is_0() -> None:
    assert math.isnan(froc_score(free_response_curve([], [0.4], 0, 3)))
    assert froc_score(free_response_curve([], [], 5, 3)) == 0
    with pytest.raises(BadInputError, match="2 detections are matched to 1 objects"):
        free_response_curve([0.1, 0.2], [], 1, 3)
    with pytest.raises(BadInputError, match="finite"):
        free_response_curve([np.nan], [], 1, 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_detection_run(tmp_path_factory.mktemp("froc") / "erm")


def test_detections_are_matched_as_one_would_by_hand(folder: Path) -> None:
    run = read_run(folder)
    found, truths = images_of(run, "pgd_l2", 6.0)
    hits, errors = [], []
    for one, true in zip(found, truths, strict=True):
        overlaps = match_detections(one["boxes"], one["labels"], one["scores"], true["boxes"], true["labels"])
        hits += one["scores"][overlaps > 0].tolist()
        errors += one["scores"][overlaps == 0].tolist()
    own = matched_scores(match_images(found, truths))
    assert (sorted(own.true), sorted(own.false)) == (sorted(hits), sorted(errors))
    assert (own.targets, own.images) == (sum(len(true["labels"]) for true in truths), len(truths))
    assert len(hits) > 2
    assert len(errors) > 2
    metric = FreeResponse()
    metric(found[:2], truths[:2])
    metric(found[2:], truths[2:])
    assert metric.aggregate().item() == pytest.approx(froc_score(free_response_curve(*own)))
    assert FreeResponse([0.5])(found, truths).shape == (len(hits) + len(errors) + len(truths), 2)


def froc_of(*runs: Run) -> Section:
    report = DetectionReport()
    for run in runs:
        report.check(run)
    return report.sections(runs, report.frames(runs))[1]


def test_the_report_has_froc_of_each_class_and_under_every_perturbation(folder: Path) -> None:
    section = froc_of(read_run(folder))
    tables = {table.name: table.frame() for table in section.tables}
    run, report = read_run(folder), DetectionReport()
    clean = report.statistics(run, run.clean)
    assert tables["table_froc"]["All"].tolist() == pytest.approx([clean["froc"]])
    assert tables["table_froc"][CELLS[0]].tolist() == pytest.approx([clean["froc_0"]])
    assert math.isnan(clean["froc_2"])  # a class without objects
    under = tables["table_froc_pgd_l2"]
    assert under["Radius"].tolist() == ["0", "2", "6", "10"]
    found, truths = images_of(run, "pgd_l2", 6.0)
    curve = free_response_curve(*matched_scores(match_images(found, truths)))
    assert under["at 0.5"][2] == pytest.approx(froc_score(curve, [0.5]))
    assert under["FROC score"][2] == pytest.approx(np.mean([froc_score(curve, [rate]) for rate in FROC_RATES]))
    assert under["FROC score"].is_monotonic_decreasing
    assert len(tables["table_froc_corrupted"]) == 2
    assert len(section.pictures) == 2
    assert "no validation run" in section.text
    lines = section.pictures[0].figure.axes[0].lines
    assert len(lines) == 2 * 4  # clean and three radii, each with marks


def test_a_threshold_of_validation_is_kept_under_every_perturbation(folder: Path) -> None:
    run = read_run(folder)
    validation = read_run(write_detection_run(folder.parent / "validation", seed=3))
    object.__setattr__(run, "validation", validation)
    found, truths = images_of(validation, "clean", 0.0)
    matches = match_images(found, truths)
    threshold = fitted_threshold(matches)
    own = matched_scores(matches)
    assert (own.false >= threshold).sum() / own.images <= 1
    section = froc_of(run)
    (table,) = [table.frame() for table in section.tables if table.name == "table_operating_point_pgd_l2"]
    attacked = matched_scores(match_images(*images_of(run, "pgd_l2", 6.0)))
    assert table["Sensitivity"][2] == pytest.approx((attacked.true >= threshold).sum() / attacked.targets)
    expected = (attacked.false >= threshold).sum() / attacked.images
    assert table["False positives per image"][2] == pytest.approx(expected)
    assert "no validation run" not in section.text
    assert pd.notna(table["Sensitivity"]).all()
