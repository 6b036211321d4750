"""What a report says of landmarks follows from the tables: pooled errors in mm, of which less is better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY
from synthetic_runs import plan_of, run_info, segmentation_perturbations

from monai_robust.commands import margin_steps
from monai_robust.commands.margin_steps import best_step, search_step
from monai_robust.errors import BadInputError
from monai_robust.evaluation import OutcomesWriter, outcome_columns, read_run, write_report, write_run_info
from monai_robust.evaluation.sections.figures import score_over_severity, score_versus_radius
from monai_robust.evaluation.statistics.bootstrap import drawn
from monai_robust.evaluation.statistics.curves import largest_error, radius_at_twice_error
from monai_robust.evaluation.statistics.summary import rated_by
from monai_robust.evaluation.tables.run_folder import Run
from monai_robust.evaluation.tasks.landmarks import LandmarkReport
from monai_robust.metrics import auc_robust

REPORT = LandmarkReport()
NAMES = ["sella", "nasion", "menton"]
RADII = [2.0, 6.0, 10.0]
COUNT = 8


def write_landmark_run(
    folder: Path,
    name: str = "erm",
    *,
    seed: int = 0,
    clean: float = 1.5,
    rises: float = 0.4,
    missing: bool = True,
    count: int = COUNT,
    corruptions: bool = True,
    info: Mapping[str, Any] | None = None,
) -> Path:
    """Write a finished evaluation whose errors rise by ``rises`` mm per unit of radius; of some images two landmarks
    are missing."""
    generator = np.random.default_rng([seed, len(name), round(100 * rises)])
    perturbations = segmentation_perturbations(corruptions)
    ids = [f"secretfilm-{index}" for index in range(count)]
    columns = outcome_columns(dict.fromkeys(("error_1", "error_2", "error_3", "score"), float), ["site"])
    with OutcomesWriter(folder, columns, ids, plan_of(perturbations)) as writer:
        for one in perturbations:
            for severity in one["severities"]:
                rise = rises * severity * {"pgd_l2": 1.0, "ifgsm_l2": 0.5}.get(one["name"], 9.0)
                errors = generator.gamma(4.0, (clean + rise) / 4, (count, 3))
                if missing:
                    errors[:3, 1:] = math.nan
                rows = {
                    "sample_id": ids,
                    "patient_id": [f"secretpatient-{index // 2}" for index in range(count)],
                    "site": ["ab"[index % 2] for index in range(count)],
                    "norm": [one["norm"]] * count,
                    "distance": [severity] * count,
                    "contrast": [1.0] * count,
                    "input_norm": generator.normal(45.0, 3.0, count).tolist(),
                    **{f"error_{index}": column.tolist() for index, column in enumerate(errors.T, 1)},
                    "score": np.nanmean(errors, axis=1).tolist(),
                }
                writer.append(one["name"], severity, rows)
        writer.commit()
    writer.finish()
    about = {"task": "landmarks", "groups": ["site"], "perturbations": perturbations}
    about |= {"score": {"name": "mean radial error", "higher_is_better": False}}
    write_run_info(folder, run_info(name, seed, NAMES) | about | dict(info or {}))
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Two runs of erm, one of amat."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        read_run(write_landmark_run(folder / "erm0", "erm", seed=0)),
        read_run(write_landmark_run(folder / "erm1", "erm", seed=1)),
        read_run(write_landmark_run(folder / "amat", "amat", rises=0.1)),
    ]


@pytest.fixture(scope="module")
def frames(runs: list[Run]) -> dict[str, pd.DataFrame]:
    return REPORT.frames(runs)


@pytest.fixture(scope="module")
def report(runs: list[Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report([run.folder for run in runs], tmp_path_factory.mktemp("report") / "report.html")


def errors_of(run: Run, perturbation: str, severity: float, landmarks: Sequence[int] = (1, 2, 3)) -> np.ndarray:
    """All errors that there are, from the file itself by another reader."""
    table = pd.read_csv(run.folder / "outcomes.csv")
    rows = table[(table["perturbation"] == perturbation) & (table["severity"] == severity)]
    found = rows[[f"error_{landmark}" for landmark in landmarks]].to_numpy().ravel()
    return found[~np.isnan(found)]


def mre(run: Run, perturbation: str, severity: float) -> float:
    return float(errors_of(run, perturbation, severity).mean())


def table(report: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(report.with_name("report_tables") / f"{name}.csv")


def test_the_table_of_errors_has_the_shape_of_the_papers(runs: list[Run], report: Path) -> None:
    found = table(report, "table_mre_under_attack").set_index("Run")
    shape = ["MRE", "P. 2", "P. 6", "P. 10", "P. Avg.", "IF. 2", "IF. 6", "IF. 10", "IF. Avg."]
    assert [column for column in found.columns if "," not in column] == shape
    for name, own in (("erm", runs[:2]), ("amat", runs[2:])):
        at_radii = [np.mean([mre(run, "pgd_l2", radius) for run in own]) for radius in RADII]
        assert found.loc[name, ["P. 2", "P. 6", "P. 10"]].tolist() == pytest.approx(at_radii)
        assert found.loc[name, "P. Avg."] == pytest.approx(np.mean(at_radii))
        assert found.loc[name, "MRE"] == pytest.approx(np.mean([mre(run, "clean", 0.0) for run in own]))


def test_where_landmarks_are_missing_all_of_them_are_pooled(runs: list[Run], report: Path, frames) -> None:
    assert mre(runs[2], "clean", 0.0) != pytest.approx(runs[2].clean["score"].mean(), rel=1e-3)
    found = table(report, "table_mre").set_index("Run")
    assert found.loc["amat", "MRE [mm]"] == pytest.approx(mre(runs[2], "clean", 0.0))
    assert found.loc["amat", "SD [mm]"] == pytest.approx(errors_of(runs[2], "clean", 0.0).std(ddof=1))
    assert "MRE [mm], 95 % low" not in found
    assert "4 patients are too few for intervals, which need 10; none is shown" in report.read_text()
    assert "Of 24 landmarks, 6 are missing" in report.read_text()


def test_every_number_of_a_single_run_has_an_interval(tmp_path: Path) -> None:
    run = read_run(write_landmark_run(tmp_path / "erm", missing=False, count=24))
    sections = REPORT.sections([run], REPORT.frames([run]))
    for value in [value for one in sections[0].tables[:2] for value in one.rows[0][1]]:
        assert value.low <= value.mean <= value.high or value.mean == 1  # all within 4 mm: no draw is otherwise
    assert sections[0].text == "Every image has every landmark."


def test_detection_rates_are_given_clean_and_at_each_radius(runs: list[Run], report: Path) -> None:
    found = table(report, "table_sdr_pgd_l2").set_index(["Radius", "Run"])
    assert [radius for radius, _ in found.index] == [0, 0, 2, 2, 6, 6, 10, 10]
    columns = [f"Within {distance} mm" for distance in ("2", "2.5", "3", "4")]
    for radius in (0.0, 6.0):
        errors = errors_of(runs[2], "pgd_l2" if radius else "clean", radius)
        expected = [100 * np.mean(errors <= distance) for distance in (2, 2.5, 3, 4)]
        assert found.loc[(radius, "amat"), columns].tolist() == pytest.approx(expected)
    clean = table(report, "table_sdr").set_index("Run")
    assert clean.loc["amat", columns].tolist() == pytest.approx(found.loc[(0, "amat"), columns].tolist())


def test_no_two_statistics_have_one_name() -> None:
    """With five landmarks or more, the rate within 2.5 mm once was that within 2 mm of the fifth."""
    errors = np.random.default_rng(0).gamma(4.0, 0.6, (40, 6))
    rows = pd.DataFrame({f"error_{place}": column for place, column in enumerate(errors.T, 1)})
    run = Run(Path(), {"name": "erm", "task": "landmarks", "classes": list("abcdef")}, rows, ())
    found = REPORT.statistics(run, rows)
    assert len(found) == 2 + 4 + 6 + 6
    for column, distance in (("sdr_2", 2.0), ("sdr_2.5", 2.5), ("sdr_3", 3.0), ("sdr_4", 4.0)):
        assert found[column] == pytest.approx(np.mean(errors <= distance))
    assert found["sdr_2_5"] == pytest.approx(np.mean(errors[:, 4] <= 2.0))
    drawable = [name for one in REPORT.drawable(run, rows) for name in drawn(one, np.arange(40), np.ones((1, 40)))]
    assert sorted(drawable) == sorted(found)


def test_every_landmark_has_its_own_row(runs: list[Run], report: Path) -> None:
    errors, rates = table(report, "table_mre_of_landmarks"), table(report, "table_sdr_2_of_landmarks")
    assert errors["Landmark"].tolist() == rates["Landmark"].tolist() == NAMES
    for place in (1, 2, 3):
        own = errors_of(runs[2], "clean", 0.0, [place])
        assert errors["amat"][place - 1] == pytest.approx(own.mean())
        assert rates["amat"][place - 1] == pytest.approx(100 * np.mean(own <= 2))
    under = table(report, "table_mre_of_landmarks_pgd_l2").set_index(["Landmark", "Run"])
    assert under.loc[(NAMES[1], "amat"), "6"] == pytest.approx(errors_of(runs[2], "pgd_l2", 6.0, [2]).mean())
    summary = table(report, "summary")
    row = summary[(summary["name"] == "amat") & (summary["group"].isna()) & (summary["severity"] == 0.4)]
    assert row["sdr_2_3"].tolist() == pytest.approx([np.mean(errors_of(runs[2], "gaussian", 0.4, [3]) <= 2)])


def test_detection_rates_are_given_under_corruptions(runs: list[Run], report: Path) -> None:
    found = table(report, "table_sdr_corrupted").set_index(["Corruption", "Run"])
    rates = [np.mean(errors_of(runs[2], "gaussian", severity) <= 3) for severity in (0.1, 0.4)]
    assert found.loc[("Gaussian", "amat"), "Within 3 mm [share]"] == pytest.approx(np.mean(rates))


def test_auc_robust_is_divided_by_the_largest_error_of_all_runs(runs: list[Run], report: Path) -> None:
    curves = [[mre(run, "clean", 0.0), *(mre(run, "pgd_l2", radius) for radius in RADII)] for run in runs]
    others = [mre(run, "ifgsm_l2", radius) for run in runs for radius in RADII]
    scale = max(*others, *(max(curve) for curve in curves))
    areas = [auc_robust([0, *RADII], curve, higher_is_better=False, scale=scale) for curve in curves]
    found = table(report, "table_auc_robust").set_index("Run")["PGD (L2) up to 10"]
    assert found.tolist() == pytest.approx([np.mean(areas[:2]), areas[2]])
    assert f"{scale:.2f} mm, the largest MRE of the compared runs; lower is better" in report.read_text()


def test_an_error_breaks_where_it_is_twice_the_clean_one(runs: list[Run], frames, report: Path) -> None:
    curve = [mre(runs[2], "clean", 0.0), *(mre(runs[2], "pgd_l2", radius) for radius in RADII)]
    found = frames["breaking_radii"].set_index(["name", "perturbation"])
    radius = np.interp(2 * curve[0], curve, [0, *RADII]) if curve[-1] > 2 * curve[0] else math.nan
    assert found.loc[("amat", "pgd_l2"), "radius_at_twice_error"] == pytest.approx(radius, nan_ok=True)
    broken = found.loc[("erm", "pgd_l2"), "radius_at_twice_error"]
    assert 0 < broken < 10
    page = report.read_text()
    assert f"PGD (L2) attacks double the MRE of “erm” at radius {broken:.3g}" in page
    assert "Radius at which MRE is twice the clean MRE" in page
    assert "halve" not in page


@pytest.mark.parametrize(
    ("errors", "expected"), [([1.5, 3.0], 4.0), ([2.0, 9.0], 2.0), ([1.2, 1.9], math.nan), ([3.0, 1.0], 1.0)]
)
def test_the_radius_of_twice_the_error_is_linear_between_radii(errors: list[float], expected: float) -> None:
    # clean error 1: with 1.5 at radius 2 and 3.0 at radius 8, it is 2 a third of the way
    assert radius_at_twice_error(1.0, np.array([2.0, 8.0]), np.array(errors)) == pytest.approx(expected, nan_ok=True)


def test_a_rated_frame_keeps_the_interval_only_of_the_mean_score() -> None:
    frame = pd.DataFrame({"score": [1.0, 2.0], "score_low": 0.5, "score_high": 3.0, "mre": [1.0, 2.5]})
    found = rated_by(frame, "mre")
    assert found["score"].tolist() == [1.0, 2.5]
    assert found["score_low"].tolist() == pytest.approx([0.5, math.nan], nan_ok=True)
    assert frame["score"].tolist() == [1.0, 2.0]


def test_corruptions_and_groups_do_not_set_the_scale_of_errors() -> None:
    rows = [("", "clean", 1.0), ("", "attack", 3.0), ("", "corruption", 9.0), ("site", "attack", 5.0)]
    frame = pd.DataFrame(rows, columns=["group", "kind", "score"])
    assert largest_error(frame) == 3.0
    assert largest_error(frame.assign(score=0.0)) == 1.0


def test_the_headline_is_in_millimetres_and_names_no_patient(runs: list[Run], report: Path) -> None:
    page = report.read_text()
    clean = np.mean([mre(run, "clean", 0.0) for run in runs[:2]])
    assert f"“erm” misses them by {clean:.2f} mm" in page
    assert "Landmarks of 8 images of 4 patients: sella, nasion, menton." in page
    assert "secret" not in page
    assert "accuracy" not in page


def test_errors_are_told_within_groups_and_under_corruptions(runs: list[Run], report: Path) -> None:
    found = table(report, "table_pgd_l2_within_site")
    whole = pd.read_csv(runs[2].folder / "outcomes.csv")
    rows = whole[(whole["perturbation"] == "pgd_l2") & (whole["severity"] == 6) & (whole["site"] == "b")]
    cell = found[(found["Site"] == "b") & (found["Run"] == "amat")].filter(regex=r"^6 \([\d.]+ %\)$").iloc[0, 0]
    assert cell == pytest.approx(np.nanmean(rows[["error_1", "error_2", "error_3"]]))
    corrupted = table(report, "table_corruptions").set_index("Run").loc["amat", "Gaussian"]
    assert corrupted == pytest.approx(np.mean([mre(runs[2], "gaussian", severity) for severity in (0.1, 0.4)]))


def test_figures_show_errors_beyond_one(frames) -> None:
    pooled = rated_by(frames["summary"], "mre")
    largest = pooled[(pooled["perturbation"] == "pgd_l2") & (pooled["group"] == "")]["score"].max()
    axes = score_versus_radius(pooled, "pgd_l2", score="MRE [mm]", percent=False, bounded=False).axes[0]
    assert axes.get_ylim()[0] == 0
    assert axes.get_ylim()[1] > largest > 1
    both = score_over_severity(pooled, ["ifgsm_l2", "pgd_l2"], score="MRE [mm]", percent=False, bounded=False)
    assert all(axes.get_ylim()[0] == 0 and axes.get_ylim()[1] > largest for axes in both.axes)


@pytest.mark.parametrize(
    ("recipe", "clean", "expected"), [("erm", 9.0, True), ("std", 9.0, True), ("amat", 9.0, False), ("erm", 1.0, False)]
)
def test_an_undertrained_standard_network_makes_a_pilot(
    tmp_path: Path, recipe: str, clean: float, expected: bool
) -> None:
    run = read_run(write_landmark_run(tmp_path / "run", "some", clean=clean, info={"recipe": recipe}))
    assert ("more than 4 mm" in REPORT.pilot([run], REPORT.frames([run]))) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found.drop(columns="error_3"), "must have the columns"),
        (lambda found: found.assign(error_4=1.0), "must have the columns"),
        (lambda found: found.assign(error_1=-1.0), "line 2: error_1 must be a distance in mm"),
        (lambda found: found.assign(error_2="far"), "line 2: error_2 must be a distance in mm"),
        (lambda found: found.assign(score=found["score"] + 1), "contradicts itself"),
        (lambda found: found.assign(error_1="", error_2="", error_3=""), "contradicts itself"),
    ],
)
def test_a_table_that_is_no_landmark_detectors_is_refused(runs: list[Run], change, message: str) -> None:
    run = runs[0]
    REPORT.check(run)
    with pytest.raises(BadInputError, match=message):
        REPORT.check(Run(run.folder, run.info, change(run.outcomes), run.perturbations))


def test_errors_that_claim_to_be_better_when_larger_are_refused(runs: list[Run]) -> None:
    run = runs[0]
    info = {**run.info, "score": {"name": "mean radial error", "higher_is_better": True}}
    with pytest.raises(BadInputError, match="less is better"):
        REPORT.check(Run(run.folder, info, run.outcomes, run.perturbations))


def test_images_without_any_landmark_have_no_score(tmp_path: Path) -> None:
    folder = write_landmark_run(tmp_path / "erm")
    outcomes = pd.read_csv(folder / "outcomes.csv", dtype=str, keep_default_na=False)
    outcomes.loc[outcomes["sample_id"] == "secretfilm-0", ["error_1", "error_2", "error_3", "score"]] = ""
    outcomes.to_csv(folder / "outcomes.csv", index=False)
    changed = read_run(folder)
    REPORT.check(changed)
    summary = REPORT.frames([changed])["summary_of_runs"]
    assert set(summary[summary["group"] == ""]["n"]) == {COUNT - 1}


def test_a_step_is_searched_by_the_smallest_pooled_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rises = {1.0: 0.5, 2.0: 0.05, 4.0: 0.3}

    def run_bundle(bundle: Path, configs: Sequence[str], settings: Mapping[str, Any], presets: Sequence[Path]) -> None:
        step, folder = float(settings["robust#step"]), Path(settings["output_dir"])
        folder.mkdir(parents=True, exist_ok=True)
        if "robustness" in configs:
            write_landmark_run(folder / "robustness", str(settings["name"]), rises=rises[step])

    monkeypatch.setattr(margin_steps, "run_bundle", run_bundle)
    found = search_step(REPOSITORY / "bundles" / "cephalometric_landmarks", list(rises), tmp_path, {})
    assert best_step(found) == 2.0
    assert not found["higher_is_better"].any()
    measured = {step: read_run(tmp_path / f"step_{step:g}" / "robustness") for step in rises}
    attacks = {attack: found[found["perturbation"] == attack].set_index("step") for attack in ("pgd_l2", "ifgsm_l2")}
    curves = {step: [mre(run, "clean", 0.0), *(mre(run, "pgd_l2", r) for r in RADII)] for step, run in measured.items()}
    scale = max(max(curve) for curve in curves.values())
    for step, curve in curves.items():
        row = attacks["pgd_l2"].loc[step]
        assert [row["clean"], row["at 2"], row["at 6"], row["at 10"]] == pytest.approx(curve)
        assert row["auc_robust"] == pytest.approx(auc_robust([0, *RADII], curve, higher_is_better=False, scale=scale))
