"""What is left to a network when a person reads the images that it takes little to turn."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from test_measure import slices_measurement
from test_nearest_sweep import nearest_rows, tables, written

from monai_robust.attacks import FMN, ScoreBeyond
from monai_robust.errors import BadInputError
from monai_robust.evaluation import CleanSweep, NearestSweep, read_run, write_report
from monai_robust.evaluation.report.triage import TITLE, triage_frames, worklist
from monai_robust.evaluation.statistics.triage import (
    mean_over_coverages,
    scores_over_coverage,
    threshold_of_share,
)
from monai_robust.evaluation.tasks.registry import report_of


def test_a_threshold_sets_aside_a_share_and_never_more():
    radii = [0.4, 0.1, math.inf, 0.2, 0.3]
    assert threshold_of_share(radii, 0.2) == 0.2
    assert threshold_of_share(radii, 0.0) == 0.1
    assert threshold_of_share([0.1, 0.1, 0.1, 0.2, 0.3], 0.4) == 0.1  # one more than two would go
    assert math.isinf(threshold_of_share([0.1, math.inf, math.inf], 0.34))


def by_every_order(trust, scores, kept):
    """The mean over all orders that respect the trust, by hand."""
    orders = [
        order
        for order in itertools.permutations(range(len(trust)))
        if all(trust[a] >= trust[b] for a, b in itertools.pairwise(order))
    ]
    return np.mean([np.mean([scores[place] for place in order[:kept]]) for order in orders])


@pytest.mark.parametrize("trust", [[3, 1, 2, 5, 4], [1, 1, 2, 2, 2], [math.inf, 1, math.inf, 1, 0], [1] * 5])
def test_the_score_of_what_is_left_is_the_mean_over_orders_of_equal_trust(trust):
    scores = [1.0, 0.0, 0.5, 1.0, 0.0]
    expected = [by_every_order(trust, scores, kept) for kept in range(1, 6)]
    found = scores_over_coverage(trust, scores, [0.2, 0.4, 0.6, 0.8, 1.0])
    np.testing.assert_allclose(found, expected)
    assert mean_over_coverages(trust, scores) == pytest.approx(np.mean(expected))


def test_what_cannot_be_ordered_is_refused():
    with pytest.raises(BadInputError, match="1 and 0 missing"):
        scores_over_coverage([math.nan, 1.0], [1.0, 0.0], [0.5])
    with pytest.raises(BadInputError, match="above 0"):
        scores_over_coverage([1.0, 2.0], [1.0, 0.0], [0.0])
    with pytest.raises(BadInputError, match="share of 1"):
        threshold_of_share([0.1], 1.0)
    with pytest.raises(BadInputError, match="of 0 images"):
        threshold_of_share([], 0.2)
    assert math.isnan(mean_over_coverages([], []))


RADII, RIGHT = [0.1, 0.2, 0.3, 0.4, 0.0], [False, True, False, True, True]


@pytest.mark.full
def test_without_the_smallest_radii_by_hand(tmp_path):
    first = written(tmp_path / "first", RADII, RIGHT, 0)
    other = written(tmp_path / "other", [0.5, 0.2, 0.3, 0.8, 1.2], RIGHT, 1)
    report = write_report([first, other], tmp_path / "report.html")
    shown = tables(report)["table_nearest_l2_triage"].iloc[0]
    # of 2 x 3 pairs of a wrong and a right image, the wrong one has the smaller radius in 3 + 2, and then in 2 + 2
    assert shown["Wrong images"] == 2
    assert shown["Accuracy [%]"] == pytest.approx(60)
    assert shown["Accuracy [%] without the 20 % smallest"] == pytest.approx((75 + 50) / 2)
    assert shown["By confidence"] == pytest.approx(60)  # all alike, so that chance decides
    assert shown["AUC"] == pytest.approx((5 / 6 + 4 / 6) / 2)
    assert shown["AUC, standard deviation"] == pytest.approx((5 / 6 - 4 / 6) / math.sqrt(2))
    assert "no validation run" in " ".join(report.read_text().split())
    right = written(tmp_path / "right", [0.1, 0.2, 0.3], [True] * 3, 0)
    assert math.isnan(tables(write_report([right], tmp_path / "right.html"))["triage"]["auc"].iloc[0])


def test_of_equal_radii_neither_table_nor_worklist_depends_on_the_order_of_rows(tmp_path):
    folder = slices_measurement(
        tmp_path / "run",
        perturbations=[
            CleanSweep(),
            NearestSweep(FMN(steps=2), 5.0, criterion=ScoreBeyond(0.5, reference="prediction")),
        ],
    ).run()
    run = read_run(folder)
    nearest = run.outcomes["perturbation"] == "nearest_l2"
    tied = run.outcomes.assign(distance=run.outcomes["distance"].where(~nearest, 1.0))
    tied.loc[nearest, "score"] = 0.0
    task, found = report_of("segmentation"), []
    for table in (tied, tied.iloc[::-1].reset_index(drop=True)):
        one = replace(run, outcomes=table)
        row = triage_frames([one], task)["triage"].iloc[0]
        first = worklist([one], task).set_index("sample_id")["read_first"]
        found.append([row["adi_left"], row["left"], *first.sort_index()])
    assert found[0] == pytest.approx(found[1])


def test_a_run_without_validation_leaves_the_thresholds_of_the_others(tmp_path):
    folder = written(tmp_path / "run", RADII, RIGHT, 0)
    written(folder / "validation", [0.5, 0.25, 0.75, 1.0, 0.0], [True] * 5, 0, "other")
    other = written(tmp_path / "other", RADII, RIGHT, 1)
    for one, name in ((folder, "erm"), (folder / "validation", "erm"), (other, "rtda")):
        info = json.loads((one / "run.json").read_text()) | {"name": name, "recipe": name}
        (one / "run.json").write_text(json.dumps(info))
    report = write_report([folder, other], tmp_path / "report.html")
    shown = tables(report)["table_nearest_l2_threshold"].set_index("Run")
    assert shown.loc["erm", "Threshold (radius)"] == 0.5
    assert math.isnan(shown.loc["rtda", "Threshold (radius)"])
    assert "None for “rtda”" in report.read_text()


def test_the_worklist_is_sorted_names_images_and_holds_no_label(tmp_path):
    report = write_report([written(tmp_path / "run", RADII, RIGHT, 0)], tmp_path / "report.html")
    found = tables(report)["worklist"]
    assert found["sample_id"].tolist() == ["secret0", "secret1", "secret2", "secret3", "secret4"]
    assert found["radius"].tolist() == [0.1, 0.2, 0.3, 0.4, math.inf]
    assert found["read_first"].tolist() == [True, False, False, False, False]
    assert found["prediction"].tolist() == ["a", "b", "a", "b", "b"]
    assert not {"label", "score"} & set(found.columns)
    assert found.columns[:4].tolist() == ["run", "seed", "fold", "split_seed"]
    assert (found["seed"] == 0).all()
    assert "secret" not in report.read_text()


def test_a_threshold_is_fitted_on_validation_and_applied_as_it_stands(tmp_path):
    patients = 20
    radii = [0.05 * (place + 1) for place in range(patients)]
    folder = written(tmp_path / "run", radii, [place >= 8 for place in range(patients)], 0)
    written(folder / "validation", [0.5, 0.25, 0.75, 1.0, 0.0], [True] * 5, 0, "other")
    report = write_report([folder], tmp_path / "report.html")
    found = tables(report)
    row = found["triage"].iloc[0]
    assert row["threshold"] == 0.5  # without one of five
    assert row["validation_images"] == 5
    below = np.array(radii) < 0.5
    assert row["set_aside"] == pytest.approx(below.mean())
    assert row["left_by_threshold"] == pytest.approx(1.0)
    assert row["change"] == pytest.approx(1 - 12 / 20)
    assert row["change_low"] < row["change"] < row["change_high"]
    assert found["worklist"]["read_first"].sum() == below.sum()
    assert found["table_nearest_l2_threshold"]["Change"].iloc[0] == pytest.approx(40)
    assert "no validation run" not in report.read_text()


def test_slices_are_sorted_by_what_turns_the_networks_own_mask(tmp_path):
    sweep = NearestSweep(FMN(steps=20), 5.0, criterion=ScoreBeyond(0.5, reference="prediction"))
    folder = slices_measurement(tmp_path / "run", perturbations=[CleanSweep(), sweep]).run()
    report = write_report([folder], tmp_path / "report.html")
    assert TITLE in report.read_text()
    found = tables(report)
    clean = read_run(folder).clean
    assert found["triage"]["images"].tolist() == [clean["score"].notna().sum()]
    assert found["triage"]["score"].iloc[0] == pytest.approx(clean["score"].mean())
    assert {"adi", "adi_left"} <= set(found["triage"].columns)
    assert found["triage"]["left_by_confidence"].notna().all()
    assert set(found["risk_coverage"]["order"]) == {"radius", "confidence"}
    assert "averaged over the predicted foreground" in report.read_text()
    assert len(found["worklist"]) == len(clean)  # also images of which nobody knows whether there is anything to find
    rows = nearest_rows(folder)
    radii = pd.Series(np.where(rows["distance"] > 0, rows["distance"], math.inf), rows["sample_id"])
    assert found["worklist"]["radius"].is_monotonic_increasing
    np.testing.assert_allclose(found["worklist"].set_index("sample_id")["radius"].sort_index(), radii.sort_index())
