"""Samples of another site are a perturbation like any other, but unpaired: with their own patients and intervals."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from synthetic_runs import measured_lines, write_run, write_segmentation_run
from test_detection_report import write_detection_run
from test_measure import Films, Killed, measurement, sweeps
from test_validation_run import OtherFilms, evaluator_of

from monai_robust.errors import BadInputError
from monai_robust.evaluation import CleanSweep, Measurement, read_run, robustness_card, write_report
from monai_robust.evaluation.statistics.shifts import shift_differences
from monai_robust.evaluation.tables import writer
from monai_robust.evaluation.tables.comparable import check_comparable
from monai_robust.evaluation.tables.detections import read_detections
from monai_robust.evaluation.tasks.discrimination import by_patient
from monai_robust.evaluation.tasks.registry import report_of


class SiteB(Films):
    """Films of another site, whose list has no column of sources."""

    def __init__(self, count: int = 5) -> None:
        super().__init__(count)
        self.skipped = []
        for index, item in enumerate(self.items):
            item |= {"sample_id": f"b{index}", "patient_id": f"patient{index}"}
            del item["source"]


class Dying(SiteB):
    """Ends the process at its last film, which is in the second batch."""

    def __getitem__(self, index: int) -> dict[str, object]:
        if index == 4:
            raise Killed
        return super().__getitem__(index)


def put_into(folder: Path, source: Path, name: str = "site_b", keep: int | None = None) -> Path:
    """The clean rows of a finished run as those of another site in a run's folder."""
    target = folder / "shifts" / name
    target.mkdir(parents=True)
    info = json.loads((source / "run.json").read_text())
    info["perturbations"] = [one for one in info["perturbations"] if one["kind"] == "clean"]
    (target / "run.json").write_text(json.dumps(info))
    kept: set[str] = set()
    for table in ("outcomes", "detections", "boxes"):
        if not (source / f"{table}.csv").exists():
            continue
        rows = pd.read_csv(source / f"{table}.csv", dtype=str, keep_default_na=False)
        if "perturbation" in rows:
            rows = rows[rows["perturbation"] == "clean"]
        kept = kept or set(rows["sample_id"].head(keep or len(rows)))
        rows = rows[rows["sample_id"].isin(kept)]
        rows["sample_id"] = "b-" + rows["sample_id"]
        rows.to_csv(target / f"{table}.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("shifts")
    found = []
    for name, clean in (("erm", 0.7), ("rtda", 0.8)):
        other = write_run(root / f"{name}-other", name, seed=7, count=36, clean=clean)
        found.append(put_into(write_run(root / name, name, gallery=True), other))
    return found


def test_a_site_is_measured_clean_into_a_folder_of_its_own(tmp_path: Path) -> None:
    run = read_run(measurement(tmp_path, shifts={"site_b": SiteB()}, validation=OtherFilms()).run())
    own = run.outcomes[run.outcomes["perturbation"] == "site_b"]
    assert own["sample_id"].tolist() == [f"b{index}" for index in range(5)]
    assert set(own["severity"]) == {0.0}
    assert own["source"].isna().all()
    assert len(run.clean) == len(Films())
    assert [one.name for one in run.perturbations] == [*(one.name for one in sweeps()), "site_b"]
    assert run.perturbations[-1].kind == "shift"
    assert run.shifts["site_b"].info["settings"]["split"] == "site_b"
    assert not (tmp_path / "shifts" / "site_b" / "gallery.npz").exists()
    alone = read_run(measurement(tmp_path / "alone", dataset=SiteB(), groups=[], perturbations=[CleanSweep()]).run())
    columns = [f"probability_{index}" for index in range(3)]
    np.testing.assert_array_equal(own[columns].to_numpy(), alone.outcomes[columns].to_numpy())


def test_a_stopped_site_goes_on_and_can_be_added_to_a_finished_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "SECONDS", 0.0)
    measurement(tmp_path / "stopped").run()
    with pytest.raises(Killed):
        measurement(tmp_path / "stopped", shifts={"site_b": Dying()}).run()
    assert measured_lines(tmp_path / "stopped" / "shifts" / "site_b")
    with pytest.raises(BadInputError, match="start it again and it continues"):
        read_run(tmp_path / "stopped")
    measurement(tmp_path / "stopped", shifts={"site_b": SiteB()}).run()
    measurement(tmp_path / "whole", shifts={"site_b": SiteB()}).run()
    one, two = ((tmp_path / name / "shifts/site_b/outcomes.csv").read_bytes() for name in ("stopped", "whole"))
    assert one == two


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shifts": {"gaussian": SiteB()}}, "a shift is named gaussian, as a perturbation is"),
        ({"shifts": {"clean": SiteB()}}, "a shift is named clean, as a perturbation is"),
        ({"shifts": {"../b": SiteB()}}, "its name is that of a folder, of letters"),
        ({"shifts": {"b": Films()}}, "11 of 11 samples of the shift b are among those that are measured"),
        ({"shifts": {"b": OtherFilms()}, "validation": OtherFilms()}, "among those that validate"),
    ],
)
def test_what_is_no_other_site_is_refused_before_anything_is_measured(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInputError, match=message):
        measurement(tmp_path, **changes).run()
    assert not (tmp_path / "run.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ["a", "b", "c"]}, "is no other site of .* their classes differ"),
        ({"weights_sha256": "0" * 64}, "their weights_sha256 differ"),
        ({"task": "segmentation"}, "their task differ"),
        ({"settings": {"distance_unit": "mm"}}, "distances are in mm there and in None here"),
    ],
)
def test_a_folder_of_another_network_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    folder = put_into(write_run(tmp_path / "run"), write_run(tmp_path / "other"))
    path = folder / "shifts" / "site_b" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BadInputError, match=message):
        read_run(folder)


def test_a_folder_with_samples_of_the_run_or_the_name_of_a_perturbation_is_refused(tmp_path: Path) -> None:
    folder = put_into(write_run(tmp_path / "run"), write_run(tmp_path / "other"), "speckle")
    with pytest.raises(BadInputError, match="a shift is named speckle, as a perturbation is"):
        read_run(folder)
    (folder / "shifts" / "speckle").rename(folder / "shifts" / "site_b")
    table = folder / "shifts" / "site_b" / "outcomes.csv"
    table.write_text(table.read_text().replace("b-film-0003", "film-0003"))
    with pytest.raises(BadInputError, match="holds 1 of the samples of"):
        read_run(folder)


@pytest.mark.parametrize("form", ["evaluator", "loader"])
def test_another_site_of_an_evaluator_is_a_loader_or_an_evaluator(tmp_path: Path, form: str) -> None:
    other = evaluator_of(5, 0.3)
    shifts = {"site_b": other if form == "evaluator" else other.data_loader}
    measured = Measurement.of(
        evaluator_of(3, 0.0), [CleanSweep()], tmp_path, shifts=shifts, sanity_samples=0, progress=False
    )
    run = read_run(measured.run())
    assert (len(run.clean), len(run.shifts["site_b"].clean)) == (3, 5)
    with pytest.raises(BadInputError, match="the shift c is a list; give a DataLoader"):
        Measurement.of(evaluator_of(3, 0.0), [CleanSweep()], tmp_path, shifts={"c": [1]}, progress=False)


def test_the_difference_is_that_of_means_and_its_interval_as_wide_as_theory_says(folders: list[Path]) -> None:
    run = read_run(folders[0])
    found = shift_differences([run]).set_index("statistic").loc["score"]
    there = run.shifts["site_b"].clean
    assert found["difference"] == pytest.approx(there["score"].mean() - run.clean["score"].mean())
    assert (found["samples"], found["patients"], found["clean_samples"], found["clean_patients"]) == (36, 18, 48, 24)
    variances = [
        one.groupby("patient_id")["score"].mean().var(ddof=0) / one["patient_id"].nunique()
        for one in (run.clean, there)
    ]
    width = found["difference_high"] - found["difference_low"]
    assert width == pytest.approx(2 * 1.96 * np.sqrt(sum(variances)), rel=0.1)


def test_a_report_shows_it_beside_the_perturbations(folders: list[Path], tmp_path: Path) -> None:
    page = write_report(folders, tmp_path / "report.html").read_text()
    text = " ".join(re.sub(r"<[^>]*>", " ", page).split())
    for words in (
        "1 other site, on 48 images of 24 patients",
        "Worst other site",
        "Other sites",
        "48 images of 24 patients and say nothing certain about other scanners or hospitals other than site_b",
        "other samples, as they are",
    ):
        assert words in text, words
    assert ">nan" not in page
    tables = tmp_path / "report_tables"
    summary = pd.read_csv(tables / "summary.csv")
    own = summary[(summary["perturbation"] == "site_b") & summary["group"].isna()]
    assert (own["n"] == 36).all()
    assert (own["patients"] == 18).all()
    assert own["score_low"].notna().all()
    shown = pd.read_csv(tables / "table_shifts.csv")
    assert shown["Images"].tolist() == [36, 36]
    scores = [100 * read_run(folder).shifts["site_b"].clean["score"].mean() for folder in folders]
    assert shown["There"].tolist() == pytest.approx(scores)
    assert "site_b" not in set(pd.read_csv(tables / "paired_differences.csv")["perturbation"])
    assert "site_b" not in set(pd.read_csv(tables / "corruption_errors.csv").get("perturbation", []))
    machine = json.loads((tables / "summary.json").read_text())
    site = {"name": "site_b", "kind": "shift", "norm": "", "severities": [0.0], "radii_searched": False}
    assert machine["perturbations"][-1] == site
    assert machine["frames"]["shift_differences"]
    assert "site_b: other samples, as they are" in robustness_card(folders)


def test_replicates_have_a_spread_in_place_of_an_interval(folders: list[Path]) -> None:
    run = read_run(folders[0])
    found = shift_differences([run, run]).set_index("statistic").loc["score"]
    assert found["n_runs"] == 2
    assert np.isnan(found["difference_low"])
    assert found["difference_std"] == 0


def test_runs_must_have_been_shown_the_same_samples_of_a_site(folders: list[Path], tmp_path: Path) -> None:
    shutil.copytree(folders[1], tmp_path / "rtda")
    table = tmp_path / "rtda" / "shifts" / "site_b" / "outcomes.csv"
    table.write_text(table.read_text().replace("b-film-0003", "b-film-0999"))
    with pytest.raises(BadInputError, match=r"shown different samples of site_b .36 and 36, 35 of them the same"):
        check_comparable([read_run(folders[0]), read_run(tmp_path / "rtda")])
    shutil.rmtree(tmp_path / "rtda" / "shifts")
    with pytest.raises(BadInputError, match="only one of them evaluated site_b"):
        check_comparable([read_run(folders[0]), read_run(tmp_path / "rtda")])


@pytest.mark.full
def test_groups_are_the_runs_own(tmp_path: Path) -> None:
    folder = put_into(write_run(tmp_path / "run"), write_run(tmp_path / "other"))
    table = folder / "shifts" / "site_b" / "outcomes.csv"
    table.write_text(table.read_text().replace(",north,", ",west,"))
    write_report([folder], tmp_path / "report.html")
    summary = pd.read_csv(tmp_path / "report_tables" / "summary.csv")
    assert set(summary["value"].dropna()) == {"north", "south"}
    assert set(summary.loc[summary["perturbation"] == "site_b", "value"].dropna()) == {"south"}


@pytest.mark.full
def test_few_patients_there_give_no_interval_and_the_report_says_so(tmp_path: Path) -> None:
    folder = put_into(write_run(tmp_path / "run"), write_run(tmp_path / "other"), keep=6)
    assert shift_differences([read_run(folder)])["difference_low"].isna().all()
    page = write_report([folder], tmp_path / "report.html").read_text()
    assert "An interval needs 10 patients of either set; there are fewer: site_b (3)." in page


def test_a_patients_images_of_another_site_are_put_together_too(folders: list[Path]) -> None:
    run = read_run(folders[0])
    columns = [f"probability_{index}" for index in range(3)]
    found = by_patient(run, "mean", ["label"], columns, exclusive=False)
    assert found is not None
    own = found.outcomes[found.outcomes["perturbation"] == "site_b"]
    expected = run.shifts["site_b"].clean.groupby("patient_id")[columns].mean()
    assert own["patient_id"].tolist() == [f"{name}" for name in expected.index]
    np.testing.assert_allclose(own[columns].to_numpy(), expected.to_numpy())
    assert len(found.clean) == 24


@pytest.mark.full
def test_detections_and_boxes_of_another_site_are_read_with_the_run(tmp_path: Path) -> None:
    folder = put_into(write_detection_run(tmp_path / "run"), write_detection_run(tmp_path / "other", seed=5))
    run = read_run(folder)
    report = report_of("detection")
    report.check(run)
    there = run.outcomes[run.outcomes["perturbation"] == "site_b"]
    alone = read_run(tmp_path / "other")
    found, expected = report.statistics(run, there), report.statistics(alone, alone.clean)
    assert found["map"] == pytest.approx(expected["map"])
    assert set(read_detections(folder, run).detections["perturbation"]) >= {"clean", "site_b"}
    assert "Other sites" in write_report([folder], tmp_path / "report.html").read_text()


@pytest.mark.full
def test_another_site_of_areas_is_reported(tmp_path: Path) -> None:
    folder = put_into(
        write_segmentation_run(tmp_path / "run", surfaces=True, volumes=12),
        write_segmentation_run(tmp_path / "other", seed=3, surfaces=True, volumes=11, clean=0.8),
    )
    write_report([folder], tmp_path / "report.html")
    found = pd.read_csv(tmp_path / "report_tables" / "shift_differences.csv").set_index("statistic")
    assert {"score", "hd95"} & set(found.index)
    assert found.loc["score", "difference"] == pytest.approx(-0.1, abs=0.03)
    assert found.loc["score", "difference_high"] < 0
