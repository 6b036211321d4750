"""Mean corruption error: by hand, from tables, and in a report."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_runs import PERTURBATIONS, write_run

from monai_robust.errors import BadInputError
from monai_robust.evaluation import write_report
from monai_robust.evaluation.sections.figures_corruptions import corruption_bars
from monai_robust.evaluation.statistics.corruption_errors import ALL, corruption_errors
from monai_robust.metrics import corruption_error, mean_corruption_error, relative_corruption_error
from monai_robust.transforms import corruption_names


def test_the_errors_are_those_of_the_paper_by_hand() -> None:
    own, base = {"noise": [0.2, 0.4], "blur": [0.1, 0.3]}, {"noise": [0.4, 0.8], "blur": [0.2, 0.2]}
    assert corruption_error(own["noise"], base["noise"]) == pytest.approx(0.6 / 1.2)
    assert mean_corruption_error(own, base) == pytest.approx((0.5 + 1.0) / 2)
    relative = relative_corruption_error(own["noise"], base["noise"], clean=0.1, baseline_clean=0.2)
    assert relative == pytest.approx((0.1 + 0.3) / (0.2 + 0.6))
    assert mean_corruption_error(own, base, clean=0.1, baseline_clean=0.1) == pytest.approx((0.4 / 1.0 + 0.2 / 0.2) / 2)
    assert mean_corruption_error(base, base) == 1


def test_what_has_no_value_is_not_a_number_and_what_cannot_be_is_refused() -> None:
    assert math.isnan(corruption_error([0.1], [0.0]))
    assert math.isnan(relative_corruption_error([0.3], [0.2], clean=0.1, baseline_clean=0.2))
    assert mean_corruption_error({"a": [0.1], "b": [0.3]}, {"a": [0.0], "b": [0.6]}) == pytest.approx(0.5)
    for own, base in (([0.1], [0.1, 0.2]), ([], []), ([-0.1], [0.1]), ([math.nan], [0.1])):
        with pytest.raises(BadInputError):
            corruption_error(own, base)
    with pytest.raises(BadInputError, match="differ"):
        mean_corruption_error({"a": [0.1]}, {"b": [0.1]})
    with pytest.raises(BadInputError, match="relative mCE needs"):
        mean_corruption_error({"a": [0.1]}, {"a": [0.1]}, clean=0.1)


def summary(scores: dict[tuple[int, str], dict[tuple[str, float], float]]) -> pd.DataFrame:
    rows = [
        {"run": run, "name": name, "group": "", "perturbation": one, "severity": severity, "score": score}
        for (run, name), own in scores.items()
        for (one, severity), score in own.items()
    ]
    return pd.DataFrame(rows)


def test_a_summary_is_compared_with_the_mean_of_the_baselines_runs() -> None:
    keys = [("clean", 0.0), ("jpeg", 25.0), ("jpeg", 7.0), ("defocus", 1.0)]
    frame = summary(
        {
            (0, "rtda"): dict(zip(keys, [0.9, 0.8, 0.7, 0.6], strict=True)),
            (1, "erm"): dict(zip(keys, [0.9, 0.8, 0.4, 0.6], strict=True)),
            (2, "erm"): dict(zip(keys, [0.9, 0.6, 0.2, 0.6], strict=True)),
        }
    )
    found = corruption_errors(frame, "erm", ["jpeg", "defocus"]).set_index(["name", "perturbation"])
    assert found.loc[("rtda", "jpeg"), "corruption_error"] == pytest.approx(0.5 / 1.0)
    assert found.loc[("rtda", "jpeg"), "relative_corruption_error"] == pytest.approx((0.1 + 0.2) / (0.2 + 0.6))
    assert found.loc[("rtda", ALL), "corruption_error"] == pytest.approx((0.5 + 1) / 2)
    assert found.loc[("erm", "jpeg"), "corruption_error"] == pytest.approx(1)
    assert found.loc[("erm", "jpeg"), "corruption_error_std"] == pytest.approx(np.std([0.8, 1.2], ddof=1))
    assert found.loc[("rtda", "jpeg"), "n_runs"] == 1
    errors = corruption_errors(frame, "erm", ["jpeg", "defocus"], higher_is_better=False)
    assert errors.set_index(["name", "perturbation"]).loc[("rtda", "jpeg"), "corruption_error"] == pytest.approx(1.5)


def test_a_report_has_mce_relative_to_the_baseline_that_is_asked_for(tmp_path: Path) -> None:
    for place, name in enumerate(("erm", "rtda")):
        write_run(tmp_path / name, name, seed=place)
    folders = [tmp_path / "erm", tmp_path / "rtda"]
    page = write_report(folders, tmp_path / "report.html", baseline="rtda").read_text()
    assert "Mean corruption error" in page
    assert "rtda (baseline)" in page
    table = pd.read_csv(tmp_path / "report_tables" / "table_mce.csv").set_index("Run")
    assert table.loc["rtda (baseline)", "mCE in percent"] == pytest.approx(100)
    errors = pd.read_csv(tmp_path / "report_tables" / "corruption_errors.csv")
    means = pd.read_csv(tmp_path / "report_tables" / "summary.csv")
    means = means[means["group"].isna()].set_index(["name", "perturbation"])["accuracy"]
    ratio = (1 - means["erm", "speckle"]).sum() / (1 - means["rtda", "speckle"]).sum()
    own = errors.set_index(["name", "perturbation"]).loc[("erm", "speckle"), "corruption_error"]
    assert own == pytest.approx(ratio)
    assert table.loc["erm", "mCE in percent"] == pytest.approx(
        100 * errors[(errors["name"] == "erm") & (errors["perturbation"] != ALL)]["corruption_error"].mean()
    )


@pytest.mark.full
def test_a_single_name_has_no_corruption_error(tmp_path: Path) -> None:
    assert {one["kind"] for one in PERTURBATIONS} >= {"corruption"}
    write_run(tmp_path / "erm", "erm", seed=0)
    assert "Mean corruption error" not in write_report([tmp_path / "erm"], tmp_path / "report.html").read_text()


def test_bars_of_many_corruptions_and_runs_keep_apart() -> None:
    generator, names = np.random.default_rng(0), ["erm", "rtda", "augmix", "sat"]
    rows = [
        {
            "name": name,
            "perturbation": one,
            "corruption_error": generator.uniform(0.5, 1.4),
            "corruption_error_std": 0.05,
        }
        for name in names
        for one in corruption_names("radiograph")[:15]
    ]
    figure = corruption_bars(pd.DataFrame(rows).assign(corruption_error_std=0.05), names, "erm")
    (axes,) = figure.axes
    assert len(axes.patches) == 15 * 3
    ends = sorted((bar.get_y(), bar.get_y() + bar.get_height()) for bar in axes.patches)
    assert all(before[1] <= after[0] + 1e-9 for before, after in pairwise(ends))
    assert len(axes.get_yticklabels()) == 15
