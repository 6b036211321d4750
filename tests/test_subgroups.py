"""Groups of samples: the worst, the gap to the best with its interval, and groups that are too small."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_runs import write_run

from monai_robust.errors import BadInputError
from monai_robust.evaluation import read_run, write_report
from monai_robust.evaluation.statistics.bootstrap import patient_draws
from monai_robust.evaluation.statistics.subgroups import subgroup_gaps
from monai_robust.evaluation.tasks.registry import report_of

REPORT = report_of("classification")


def text_of(page: Path) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", page.read_text()).split())


def test_the_gap_is_best_less_worst_group_with_an_interval_by_patient(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "erm"))
    averaged = REPORT.frames([run])["means_over_severities"]
    gaps = subgroup_gaps([run], averaged, REPORT.drawable, column="accuracy").set_index("perturbation")
    rows = run.outcomes[run.outcomes["perturbation"] == "pgd_l2"]
    scores = rows.groupby("source")["score"].mean()
    found = gaps.loc["pgd_l2"]
    assert found["gap"] == pytest.approx(scores.max() - scores.min())
    assert (found["worst"], found["best"]) == (scores.idxmin(), scores.idxmax())
    counts = rows.groupby(["patient_id", "source"])["score"].agg(["sum", "size"]).unstack(fill_value=0).sort_index()
    times = patient_draws(24)
    share = {
        one: times @ counts["sum", one].to_numpy() / (times @ counts["size", one].to_numpy()) for one in scores.index
    }
    ends = np.quantile(share[scores.idxmax()] - share[scores.idxmin()], [0.025, 0.975])
    assert [found["gap_low"], found["gap_high"]] == pytest.approx(list(ends), abs=1e-9)
    errors = subgroup_gaps([run], averaged, REPORT.drawable, column="entropy", higher_is_better=False)
    assert (errors["worst_value"] >= errors["best_value"]).all()
    assert (errors["gap_high"] >= errors["gap_low"]).all()


def test_the_table_of_gaps_has_the_values_of_both_groups(tmp_path: Path) -> None:
    write_report([write_run(tmp_path / "erm")], tmp_path / "report.html")
    gaps = pd.read_csv(tmp_path / "report_tables" / "subgroup_gaps.csv")
    table = pd.read_csv(tmp_path / "report_tables" / "table_gaps_source.csv")
    for which in ("worst", "best"):
        values = 100 * gaps[f"{which}_value"]
        assert table[f"Accuracy in percent, {which} group"].tolist() == pytest.approx(values.tolist())


def test_groups_that_are_too_small_are_named_and_not_rated(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "erm")
    for minimum, rated in ((12, True), (13, False)):
        text = text_of(write_report([folder], tmp_path / "report.html", minimum_group=minimum))
        gaps = pd.read_csv(tmp_path / "report_tables" / "subgroup_gaps.csv")
        assert gaps["gap"].notna().all() == rated
        assert ("Too small to be rated: north, south." in text) == (not rated)
        assert ("Worst and best source" in text) == rated
    with pytest.raises(BadInputError, match="has 0 patients"):
        write_report([folder], tmp_path / "report.html", minimum_group=0)


@pytest.mark.full
def test_a_column_with_one_value_is_said(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "erm")
    (folder / "outcomes.csv").write_text((folder / "outcomes.csv").read_text().replace(",south,", ",north,"))
    text = text_of(write_report([folder], tmp_path / "report.html"))
    assert "All images have the same source (north): there is no gap to tell of." in text
