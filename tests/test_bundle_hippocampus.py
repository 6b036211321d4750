"""What of the bundles is the hippocampus bundle's own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from bundle_runs import BUNDLES, Runs, of_bundle, record
from monai.bundle import run
from scipy import ndimage

from monai_robust.data import load_weights
from monai_robust.evaluation.report.page import write_report
from monai_robust.planning import planned_network, read_plan

BUNDLE = BUNDLES["hippocampus"]
pytestmark = [of_bundle("hippocampus"), pytest.mark.full]


@pytest.fixture
def hippocampi(runs: Callable[[str], Runs]) -> Runs:
    return runs("hippocampus")


def test_training_leaves_its_plan_beside_the_checkpoint(hippocampi: Runs) -> None:
    assert record(hippocampi.erm)["patch"] == list(read_plan(hippocampi.erm / "plan.yaml").patch)


def test_an_attack_on_each_window_is_measured_and_the_margins_of_the_training_reported(
    hippocampi: Runs, tmp_path: Path
) -> None:
    folder = hippocampi.measure(tmp_path / "run", hippocampi.amat, attack_on="windows")
    table = pd.read_csv(folder / "outcomes.csv")
    assert set(table["perturbation"]) == {"clean", "pgd_l2", "ifgsm_l2"}
    assert table.groupby(["perturbation", "severity"]).size().nunique() == 1
    distances = table.groupby(["perturbation", "severity"])["distance"].max()
    assert distances["clean", 0.0] == 0
    assert distances["ifgsm_l2", 1.0] <= 10.0
    assert (folder / "margins.csv").is_file()
    page = write_report([folder], tmp_path / "report.html").read_text()
    assert "ADI" in page
    assert "TVDI" in page


def test_inference_writes_label_maps_with_the_geometry_of_their_volumes(hippocampi: Runs, tmp_path: Path) -> None:
    hippocampi.inferred(tmp_path)
    images = sorted((hippocampi.data / "imagesTr").glob("*.nii.gz"))
    assert len(list(tmp_path.glob("*_seg.nii.gz"))) == len(images)
    for path in images:
        image, found = nib.load(path), nib.load(tmp_path / path.name.replace(".nii.gz", "_seg.nii.gz"))
        assert found.shape == image.shape
        assert np.allclose(found.affine, image.affine)


def test_inference_is_the_network_slice_by_slice(hippocampi: Runs, tmp_path: Path) -> None:
    path = next(p for p in sorted((hippocampi.data / "imagesTr").glob("*.nii.gz")) if fits(nib.load(p)))
    hippocampi.inferred(tmp_path, path, mirror=False)
    found = np.asarray(nib.load(tmp_path / path.name.replace(".nii.gz", "_seg.nii.gz")).dataobj)
    plan = read_plan(hippocampi.erm / "plan.yaml")
    network = planned_network(plan, features=BUNDLE.small["features"])
    network = load_weights(network, hippocampi.erm / "model.pt").eval()
    image = torch.tensor(nib.load(path).get_fdata(dtype=np.float32))
    image = (image - image.mean()) / image.std(correction=0)
    (height, width), (rows, columns) = plan.patch, image.shape[:2]
    top, left = (height - rows) // 2, (width - columns) // 2
    padded = torch.zeros(image.shape[2], 1, height, width)
    padded[:, 0, top : top + rows, left : left + columns] = image.permute(2, 0, 1)
    with torch.no_grad():
        expected = network(padded).argmax(dim=1)[:, top : top + rows, left : left + columns].permute(1, 2, 0)
    assert (expected.numpy() == found).mean() > 0.999
    assert (found > 0).any()


def fits(image: Any) -> bool:
    rows, columns, _ = image.shape
    return rows <= 40 and columns <= 56 and np.allclose(image.header.get_zooms(), 1)


def test_postprocessing_is_chosen_on_validation_and_applied(hippocampi: Runs, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(hippocampi.erm, folder)
    settings = {**BUNDLE.settings, "dataset_dir": str(hippocampi.data)}
    run(config_file=[BUNDLE.train, BUNDLE.config("postprocess")], output_dir=str(folder), **settings)
    choice = record(folder, "postprocessing.json")
    assert set(choice) == {"Anterior", "Posterior"}
    (folder / "postprocessing.json").write_text(json.dumps({"Anterior": True, "Posterior": True}))
    path = sorted((hippocampi.data / "imagesTr").glob("*.nii.gz"))[0]
    hippocampi.inferred(tmp_path / "maps", path, folder)
    found = np.asarray(nib.load(next((tmp_path / "maps").glob("*_seg.nii.gz"))).dataobj)
    for label in (1, 2):
        assert ndimage.label(found == label, structure=np.ones((3, 3, 3)))[1] <= 1


@pytest.mark.parametrize("preset", sorted(path.stem for path in (BUNDLE.folder / "configs" / "presets").iterdir()))
def test_presets_of_the_paper_build_what_they_say(preset: str, hippocampi: Runs, tmp_path: Path) -> None:
    parser = hippocampi.prepared(tmp_path, preset, recipe="amat", **{"robust#thresholds": {"loss": 1.0}})
    attack = parser.get_parsed_content("robust#attack")
    assert (attack.steps, attack.relative_step, attack.random_start) == (20, 4.0, "sphere")
    margins = parser.get_parsed_content("robust#margins")
    steps = {"amat_heart": 5.0, "amat_hippocampus": 0.5, "amat_prostate": 3.0}
    assert margins.step == steps[preset]
    assert margins.mode == "paper"
    assert parser.get_parsed_content("optimizer").defaults["momentum"] == 0.99
    assert parser.get_parsed_content("network_def").filters[0] == 32
