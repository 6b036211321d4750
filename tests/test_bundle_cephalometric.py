"""What of the bundles is the cephalometric bundle's own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk  # noqa: N813
from bundle_runs import BUNDLES, Runs, of_bundle

from monai_robust.data import landmark_datalist

BUNDLE = BUNDLES["cephalometric"]
ERRORS = [f"error_{number}" for number in range(1, 7)]
pytestmark = [of_bundle("cephalometric"), pytest.mark.full]


@pytest.fixture
def films(runs: Callable[[str], Runs]) -> Runs:
    return runs("cephalometric")


def infer(films: Runs, folder: Path, source: Path | None = None, **changes: Any) -> pd.DataFrame:
    return pd.read_csv(films.inferred(folder, source, **changes) / "landmarks.csv").set_index("file")


def test_a_films_score_is_the_mean_error_of_its_landmarks(films: Runs) -> None:
    table = pd.read_csv(films.measured / "outcomes.csv")
    assert table[ERRORS].mean(axis=1).to_numpy() == pytest.approx(table["score"].to_numpy())


def test_evaluation_and_measurement_find_the_same_mean_radial_error(films: Runs, tmp_path: Path) -> None:
    table = pd.read_csv(films.measured / "outcomes.csv").query("perturbation == 'clean'")
    assert films.evaluated(tmp_path) == pytest.approx(np.nanmean(table[ERRORS]), rel=1e-4)


def test_inferred_points_are_as_far_from_the_annotated_ones_as_was_measured(films: Runs, tmp_path: Path) -> None:
    found = infer(films, tmp_path, films.data, pictures=False)
    table = pd.read_csv(films.measured / "outcomes.csv").query("perturbation == 'clean'").set_index("sample_id")
    data = landmark_datalist(films.data)
    assert list(data.classes) == BUNDLE.classes
    assert len(table) == len(data.items["test"]) == 3
    for item in data.items["test"]:
        points = found.loc[item["sample_id"]].to_numpy(dtype=float).reshape(-1, 2)
        spacing = item["spacing"] if item.get("spacing") is not None else spacing_of(item["image"])
        distances = np.linalg.norm((points - np.array(item["points"])) * spacing, axis=1)
        assert distances == pytest.approx(
            table.loc[item["sample_id"], ERRORS].to_numpy(dtype=float), abs=0.01, nan_ok=True
        )


def spacing_of(path: str) -> tuple[float, float]:
    return sitk.ReadImage(path).GetSpacing()[:2]


def test_inference_writes_points_and_pictures_of_every_dicom_file(films: Runs, tmp_path: Path) -> None:
    found = infer(films, tmp_path)
    assert sorted(found.index) == sorted(path.name for path in (films.data / BUNDLE.images).iterdir())
    assert list(found.columns) == [f"{name}_{axis}" for name in BUNDLE.classes for axis in "xy"]
    assert np.isfinite(found.to_numpy()).all()
    assert len(list((tmp_path / "pictures").rglob("*.png"))) == len(found)


def test_a_text_file_with_fewer_points_is_named_or_left_out(films: Runs, tmp_path: Path) -> None:
    folder = shutil.copytree(films.data, tmp_path / "films")
    text = folder / "AnnotationsByMD" / "400_senior" / "001.txt"
    text.write_text("\n".join(text.read_text().splitlines()[:3]))
    assert "001.txt" in films.refused(tmp_path / "fail", dataset_dir=str(folder))
    films.trained(tmp_path, dataset_dir=str(folder), on_bad_sample="skip")
    assert (tmp_path / "model.pt").is_file()


def test_the_preset_of_the_paper_builds_what_it_says(films: Runs, tmp_path: Path) -> None:
    thresholds = {"robust#thresholds": dict.fromkeys(BUNDLE.loss_terms, 1.0)}
    parser = films.prepared(tmp_path, "amat_cephalometric", recipe="amat", **thresholds)
    attack, margins = parser.get_parsed_content("robust#attack"), parser.get_parsed_content("robust#margins")
    assert (attack.steps, attack.relative_step, attack.random_start) == (20, 5.0, "sphere")
    assert attack.task is parser.get_parsed_content("task")
    assert (margins.mode, margins.step) == ("paper", 0.5)
    loss = parser.get_parsed_content("loss")
    assert (loss.heatmap, loss.radius) == ("dice", 10.0)
    item = parser.get_parsed_content("train#dataset")[0]
    assert (tuple(item["image"].shape), tuple(item["label"].shape)) == ((1, 160, 200), (6, 4))
