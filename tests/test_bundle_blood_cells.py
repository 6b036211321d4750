"""What of the bundles is the blood cell bundle's own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from bundle_runs import BUNDLES, Runs, of_bundle
from monai.bundle import ConfigParser

from monai_robust.evaluation.tables.detections import read_detections
from monai_robust.metrics import mean_average_precision

BUNDLE = BUNDLES["blood"]
pytestmark = [of_bundle("blood"), pytest.mark.full]


@pytest.fixture
def blood(runs: Callable[[str], Runs]) -> Runs:
    return runs("blood")


def infer(blood: Runs, folder: Path, source: Path | None = None, **changes: Any) -> dict[str, Any]:
    blood.inferred(folder, source, **changes)
    return {entry["file"]: entry for entry in json.loads((folder / "detections.json").read_text())}


def test_every_box_is_measured(blood: Runs) -> None:
    table = pd.read_csv(blood.measured / "outcomes.csv")
    truth = pd.read_csv(blood.measured / "boxes.csv").groupby("sample_id").size()
    assert len(truth) == 3
    assert (table["sample_id"].map(truth) == table["boxes"]).all()


def test_an_attack_that_lets_cells_vanish_leaves_fewer_detections(blood: Runs, tmp_path: Path) -> None:
    blood.measure(tmp_path, attack_goal="vanishing", radii=[8.0])
    clean, untargeted = detected(blood.measured, "clean", 0.0), detected(blood.measured, "ifgsm_l2", 8.0)
    assert detected(tmp_path, "clean", 0.0) == clean
    assert detected(tmp_path, "ifgsm_l2", 8.0) < 0.8 * min(clean, untargeted)


def detected(folder: Path, perturbation: str, severity: float) -> int:
    table = pd.read_csv(folder / "outcomes.csv")
    chosen = (table["perturbation"] == perturbation) & (table["severity"] == severity)
    return int(table.loc[chosen, "detections"].sum())


def test_evaluation_and_tables_have_the_same_mean_average_precision(blood: Runs, tmp_path: Path) -> None:
    samples = sorted(set(pd.read_csv(blood.measured / "outcomes.csv")["sample_id"]))
    tables = read_detections(blood.measured).images("clean", 0.0, samples)
    expected = mean_average_precision(*tables, BUNDLE.classes)["map"]
    assert expected > 0
    assert blood.evaluated(tmp_path) == pytest.approx(expected, rel=0.02)


def test_inferred_boxes_are_those_that_were_measured(blood: Runs, tmp_path: Path) -> None:
    found = infer(blood, tmp_path, blood.data, pictures=False, score_threshold=0.2)
    table = pd.read_csv(blood.measured / "detections.csv").query("perturbation == 'clean' and score >= 0.2")
    assert len(table) > 0
    for sample in set(pd.read_csv(blood.measured / "boxes.csv")["sample_id"]):
        own = table[table["sample_id"] == sample].sort_values("score", ascending=False)
        entry = found[sample]
        scale = np.array([entry["width"], entry["height"]] * 2) / np.array(BUNDLE.small["image_size"] * 2)
        boxes = own[["xmin", "ymin", "xmax", "ymax"]].to_numpy() * scale
        listed = entry["detections"]
        assert [one["class"] for one in listed] == [BUNDLE.classes[index] for index in own["class"]]
        assert np.array([one["box"] for one in listed]).reshape(-1, 4) == pytest.approx(boxes, abs=0.05)


def test_inference_writes_boxes_and_pictures_of_every_smear(blood: Runs, tmp_path: Path) -> None:
    found = infer(blood, tmp_path)
    assert sorted(found) == sorted(path.name for path in (blood.data / "JPEGImages").iterdir())
    assert {(entry["width"], entry["height"]) for entry in found.values()} == {(128, 96)}
    assert all(one["score"] >= 0.3 for entry in found.values() for one in entry["detections"])
    assert len(list((tmp_path / "pictures").rglob("*.png"))) == len(found)


def test_every_level_of_an_exported_network_is_there(blood: Runs, tmp_path: Path) -> None:
    parser = ConfigParser()
    parser.read_config(BUNDLE.config("inference"))
    parser.update({"bundle_root": str(BUNDLE.folder), "checkpoint": str(blood.erm / "model.pt")})
    outputs = torch.jit.script(parser.get_parsed_content("network_def"))(torch.zeros(2, 3, 96, 64))
    shapes = [(2, 9, 24, 16), (2, 9, 12, 8), (2, 9, 6, 4)]
    assert [tuple(level.shape) for level in outputs["classification"]] == shapes


def test_an_inverted_box_is_named_or_left_out(blood: Runs, tmp_path: Path) -> None:
    folder = shutil.copytree(blood.data, tmp_path / "smears")
    name = (folder / "ImageSets" / "Main" / "train.txt").read_text().split()[0]
    text = folder / "Annotations" / f"{name}.xml"
    text.write_text(text.read_text().replace("<xmax>", "<xmax>-", 1))
    assert f"{name}.xml" in blood.refused(tmp_path, dataset_dir=str(folder), on_bad_sample="fail")
    for choice in ("drop_boxes", "skip"):
        output = blood.trained(tmp_path / choice, dataset_dir=str(folder), on_bad_sample=choice)
        assert (output / "model.pt").is_file()


def test_the_network_is_what_its_metadata_says(tmp_path: Path) -> None:
    # MONAI's own check takes networks with one tensor for an output.
    parser = ConfigParser()
    parser.read_config(BUNDLE.config("inference"))
    parser.read_meta(str(BUNDLE.folder / "configs" / "metadata.json"))
    parser.update({"bundle_root": str(BUNDLE.folder), "checkpoint": str(tmp_path / "none.pt")})
    taken = parser["_meta_#network_data_format#inputs#image"]
    told = parser["_meta_#network_data_format#outputs#pred"]
    outputs = parser.get_parsed_content("network_def")(torch.rand(1, taken["num_channels"], *taken["spatial_shape"]))
    anchors, sides = 3, [[size // stride for size in taken["spatial_shape"]] for stride in (4, 8, 16)]
    for key, channels in (("classification", told["num_channels"] * anchors), ("box_regression", 4 * anchors)):
        assert [list(level.shape) for level in outputs[key]] == [[1, channels, *side] for side in sides]
    assert list(told["channel_def"].values()) == parser.get_parsed_content("classes") == BUNDLE.classes


def test_the_preset_of_the_paper_builds_what_it_says(blood: Runs, tmp_path: Path) -> None:
    thresholds = dict.fromkeys(BUNDLE.loss_terms, 1.0)
    parser = blood.prepared(tmp_path, "amat_bccd", recipe="amat", **{"robust#thresholds": thresholds})
    attack, margins = parser.get_parsed_content("robust#attack"), parser.get_parsed_content("robust#margins")
    assert (attack.steps, attack.relative_step, attack.random_start) == (20, 5.0, "sphere")
    assert attack.task is parser.get_parsed_content("task")
    assert (margins.mode, margins.step) == ("paper", 3.5)
    item = parser.get_parsed_content("train#dataset")[0]
    assert tuple(item["image"].shape) == (3, 320, 320)
