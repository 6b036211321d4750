"""Two names on the same samples: difference, interval and exchange of outcomes, by patient."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_runs import write_run
from test_landmark_report import write_landmark_run

from monai_robust.errors import BadInputError
from monai_robust.evaluation import read_run, write_report
from monai_robust.evaluation.sections.comparisons import ScoreStyle
from monai_robust.evaluation.sections.paired import noninferiority, paired_section
from monai_robust.evaluation.statistics.bootstrap import Drawable, means, patient_draws
from monai_robust.evaluation.statistics.paired import _Compared, _paired, holm, paired_differences
from monai_robust.evaluation.tables.run_folder import Run
from monai_robust.evaluation.tasks.registry import report_of

REPORT = report_of("classification")
STYLE = ScoreStyle("accuracy", "Accuracy in percent", 100.0, 1, "accuracy", percent=True)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    return [
        write_run(folder / "rtda", "rtda", falls=0.2),
        write_run(folder / "erm0", "erm", seed=0),
        write_run(folder / "erm1", "erm", seed=1),
    ]


def only(frame: pd.DataFrame, **values: object) -> pd.Series:
    for column, value in values.items():
        frame = frame[frame[column].isna() if value is None else frame[column] == value]
    assert len(frame) == 1
    return frame.iloc[0]


def by_patient(run: Run, perturbation: str, severity: float) -> np.ndarray:
    rows = run.outcomes.iloc[run.places[perturbation, severity]]
    return rows.groupby("patient_id")["score"].sum().sort_index().to_numpy()


def test_differences_are_those_of_the_same_patients(folders: list[Path]) -> None:
    runs = [read_run(folder) for folder in folders[:2]]
    found = only(
        paired_differences(runs, "erm", REPORT.drawable), perturbation="pgd_l2", severity=1.0, statistic="accuracy"
    )
    ours, theirs = (by_patient(run, "pgd_l2", 1.0) for run in runs)
    assert found["difference"] == pytest.approx((ours.sum() - theirs.sum()) / 48)
    assert (found["samples"], found["patients"]) == (48, 24)
    draws = patient_draws(24) @ (ours - theirs) / 48
    assert [found["difference_low"], found["difference_high"]] == pytest.approx(np.quantile(draws, [0.025, 0.975]))
    signs = np.random.default_rng(7).choice([-1, 1], (20_000, 24))
    expected = (np.abs(signs @ (ours - theirs)) >= abs((ours - theirs).sum()) - 1e-9).mean()
    assert found["p"] == pytest.approx(expected, abs=0.005)


def test_of_few_patients_all_exchanges_are_tried(tmp_path: Path) -> None:
    runs = [
        read_run(write_run(tmp_path / name, name, count=16, falls=falls)) for name, falls in (("a", 0.2), ("b", 1.0))
    ]
    found = only(paired_differences(runs, "b", REPORT.drawable), perturbation="pgd_l2", severity=0.5, statistic="score")
    gap = by_patient(runs[0], "pgd_l2", 0.5) - by_patient(runs[1], "pgd_l2", 0.5)
    exchanged = [abs(np.dot(signs, gap)) for signs in product((-1, 1), repeat=8)]
    assert found["p"] == pytest.approx(np.mean(np.array(exchanged) >= abs(gap.sum()) - 1e-9))
    assert np.isnan(found["difference_low"])


def test_runs_of_a_name_are_put_together_and_means_over_severities_are_compared(folders: list[Path]) -> None:
    runs = [read_run(folder) for folder in folders]
    table = paired_differences(runs, "erm", REPORT.drawable)
    scores = [[by_patient(run, "pgd_l2", radius).sum() / 48 for radius in (0.5, 1.0, 2.0)] for run in runs]
    found = only(table, perturbation="pgd_l2", severity=None, statistic="accuracy")
    assert found["baseline_value"] == pytest.approx(np.mean(scores[1:]))
    assert found["difference"] == pytest.approx(np.mean(scores[0]) - np.mean(scores[1:]))
    assert found["difference_low"] < found["difference"] < found["difference_high"]


def test_names_are_compared_on_the_samples_that_both_have_seen(tmp_path: Path) -> None:
    runs = [read_run(write_run(tmp_path / name, name, count=count)) for name, count in (("a", 30), ("b", 48))]
    found = only(paired_differences(runs, "b", REPORT.drawable), perturbation="clean", severity=0.0, statistic="score")
    assert (found["samples"], found["patients"]) == (30, 15)
    other = runs[1].clean.head(30)["score"].mean()
    assert found["baseline_value"] == pytest.approx(other)


def test_a_name_does_not_differ_from_itself(tmp_path: Path) -> None:
    runs = [read_run(write_landmark_run(tmp_path / name, "erm", count=24, info={"name": name})) for name in ("a", "b")]
    table = paired_differences(runs, "a", report_of("landmarks").drawable)
    assert (table["difference"] == 0).all()
    assert (table["p"] == 1).all()
    assert table["difference_low"].isna().all()  # no draw differs
    assert table["identical"].all()
    style = report_of("landmarks").style(runs)
    section = paired_section(table, "a", ["a", "b"], style, 0.5)
    ((mark, why),) = section.points
    assert mark == "no difference"
    assert "no difference between “b” and “a” in any of the 12 patients" in why
    assert "No difference in any patient, and so no interval: “b” (Clean)" in section.tables[0].note


def test_names_that_differ_and_are_equal_on_average_are_not_called_the_same(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / name, "erm", info={"name": name}) for name in ("a", "b")]
    table = pd.read_csv(folders[1] / "outcomes.csv", dtype={"norm": str}, keep_default_na=False)
    clean = table.index[table["perturbation"] == "clean"]
    right, wrong = (next(at for at in clean if table["score"][at] == score) for score in (1, 0))
    for at, score in ((right, 0), (wrong, 1)):
        label = table["label"][at]
        table.loc[at, ["prediction", "score"]] = [label if score else (label + 1) % 3, score]
    table.to_csv(folders[1] / "outcomes.csv", index=False)
    found = paired_differences([read_run(folder) for folder in folders], "a")
    clean_row = found[(found["perturbation"] == "clean") & (found["severity"] == 0)].iloc[0]
    assert clean_row["difference"] == 0
    assert not clean_row["identical"]


def test_a_measure_that_cannot_be_paired_is_not_replaced_by_the_score(tmp_path: Path) -> None:
    runs = [
        read_run(write_run(tmp_path / f"{name}{count}", name, count=count, seed=count))
        for name in ("rtda", "erm")
        for count in (30, 48)
    ]
    table = paired_differences(runs, "erm", REPORT.drawable)
    assert "auroc" not in set(table["statistic"])
    style = ScoreStyle("auroc", "AUROC", 1.0, 3, "AUROC", percent=False)
    section = paired_section(table, "erm", ["rtda", "erm"], style, 0.05)
    assert not section.tables
    ((mark, why),) = section.points
    assert mark == "no comparison"
    assert "of “rtda” cannot be compared with “erm”" in why


def test_statistics_that_one_run_lacks_are_left_out_and_the_others_stay_in_their_places(folders: list[Path]) -> None:
    def drawable(run: Run, rows: pd.DataFrame) -> list[Drawable]:
        fitted = [means({"fitted": np.ones(len(rows))})] if run.name == "rtda" else []
        return [*fitted, means({"half": np.full(len(rows), 0.5)})]

    table = paired_differences([read_run(folder) for folder in folders[:2]], "erm", drawable)
    assert set(table["statistic"]) == {"score", "half"}
    assert (table.loc[table["statistic"] == "half", "baseline_value"] == 0.5).all()


def test_exchanging_all_patients_swaps_names_of_unequal_numbers_of_runs(tmp_path: Path) -> None:
    ours = [read_run(write_run(tmp_path / f"a{seed}", "a", count=16, seed=seed, falls=seed)) for seed in range(3)]
    theirs = [read_run(write_run(tmp_path / "b", "b", count=16, seed=7, falls=0.5))]
    pair, attack = _paired(ours, theirs), ours[0].perturbations[1]
    found = _Compared.of(pair, attack, 1.0, REPORT.drawable)
    assert found.told["auroc"][0] != found.told["auroc"][1]
    for name in ("auroc", "accuracy"):
        assert found.exchanged[name][-1] == pytest.approx(found.told[name][::-1])


def test_p_values_are_adjusted_as_by_hand() -> None:
    assert holm([0.04, 0.01, 0.03, float("nan")])[:3] == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@pytest.mark.parametrize(
    ("low", "high", "higher", "mark"),
    [
        (-0.04, 0.02, True, "non-inferior"),
        (-0.06, 0.02, True, "not shown"),
        (-0.2, -0.06, True, "inferior"),
        (-0.2, -0.06, False, "non-inferior"),
        (0.06, 0.2, False, "inferior"),
        (float("nan"), float("nan"), True, "not shown"),
    ],
)
def test_noninferiority_asks_the_interval(low: float, high: float, higher: bool, mark: str) -> None:
    style = ScoreStyle("score", "Score", 1.0, 2, "score", percent=False, higher_is_better=higher)
    row = {"name": "rtda", "perturbation": "clean", "difference_low": low, "difference_high": high, "patients": 9}
    (found,) = noninferiority(pd.DataFrame([row | {"identical": False}]), style, "erm", 0.05)
    assert found[0] == mark
    assert ("9 patients are too few" in found[1]) == bool(np.isnan(low))


@pytest.mark.full
def test_the_report_compares_with_the_baseline_and_judges_noninferiority(folders: list[Path], tmp_path: Path) -> None:
    page = write_report(folders, tmp_path / "report.html", noninferiority_margin=0.2)
    text = re.sub(r"<[^>]*>", " ", page.read_text())
    assert "Compared with erm" in text
    assert "48 images of 24 patients" in text
    assert "p (Holm, 7 comparisons)" in text
    assert "non-inferior" in text
    assert "stated margin is 20 percentage points" in text
    table = pd.read_csv(tmp_path / "report_tables" / "paired_differences.csv")
    assert set(table["statistic"]) >= {"score", "accuracy", "brier_multiclass"}
    with pytest.raises(BadInputError, match="margin is -1"):
        write_report(folders, tmp_path / "report.html", noninferiority_margin=-1)
    with pytest.raises(BadInputError, match="a non-inferiority margin compares runs with those of a baseline, and all"):
        write_report(folders[:1], tmp_path / "report.html", noninferiority_margin=0.2)
    alone = re.sub(r"<[^>]*>", " ", write_report(folders[:1], tmp_path / "one.html").read_text())
    assert "Compared with" not in alone
