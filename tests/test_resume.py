"""A training that goes on from the checkpoint of any epoch is the one that was never stopped, in every bundle."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
import torch
from conftest import REPOSITORY
from monai.bundle import run

from monai_robust.data import (
    write_blood_smear_phantoms,
    write_cephalogram_phantoms,
    write_hippocampus_phantoms,
    write_radiograph_phantoms,
)

FAST = str(REPOSITORY / "monai_robust" / "overlays" / "fast.yaml")


class Training(NamedTuple):
    bundle: str
    data: Callable[[Path], Path]
    saver: str
    settings: Mapping[str, Any]
    overlays: tuple[str, ...] = ()


CHEST = ("chest_xray_classification", lambda path: write_radiograph_phantoms(path, patients=12, size=64), "first_rank")
SMALL_CHEST = {"image_size": 32, "batch_size": 3, "network_def#widen_factor": 0.125}
TRAININGS = {
    "chest by rtda and fast": Training(
        *CHEST, {**SMALL_CHEST, "recipe": "rtda", "lr_milestones": [2], "robust#attack#random_start": "ball"}, (FAST,)
    ),
    "chest by amat with workers": Training(
        *CHEST,
        {**SMALL_CHEST, "recipe": "amat", "balance": "weights", "robust#thresholds": {"loss": 0.7}, "num_workers": 2},
    ),
    "hippocampi by amat": Training(
        "hippocampus_mri_segmentation",
        lambda path: write_hippocampus_phantoms(path, cases=12),
        "first_rank",
        {
            "recipe": "amat",
            "features": 4,
            "batches_per_epoch": 2,
            "batch_size": 4,
            "val_interval": 1,
            "robust#thresholds": {"dice": 0.9, "cross_entropy": 1.5},
        },
    ),
    "blood cells by advl": Training(
        "blood_cell_detection",
        lambda path: write_blood_smear_phantoms(path, images=8),
        "first_rank",
        {"recipe": "advl", "image_size": [64, 64], "backbone": "resnet10", "features": 16, "batch_size": 2},
    ),
    "landmarks by sat": Training(
        "cephalometric_landmarks",
        lambda path: write_cephalogram_phantoms(path, patients=12),
        "first_rank",
        {"recipe": "sat", "image_size": [32, 48], "features": [4, 4, 8, 8, 8, 4], "radius": 4.0, "batch_size": 2},
    ),
}


def trained(training: Training, data: Path, folder: Path, **more: Any) -> Path:
    bundle = REPOSITORY / "bundles" / training.bundle
    run(
        config_file=[str(bundle / "configs" / "train.yaml"), *training.overlays],
        bundle_root=str(bundle),
        dataset_dir=str(data),
        output_dir=str(folder),
        **{"epochs": 3, "robust#attack#steps": 2, **training.settings, **more},
    )
    return folder


def equal(first: Any, second: Any) -> bool:
    """Whether two states are the same to the last bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second) and first.dtype == second.dtype
    if isinstance(first, Mapping):
        return list(first) == list(second) and all(equal(value, second[key]) for key, value in first.items())
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(equal, first, second))
    return bool(first == second)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name.startswith("chest") else [pytest.mark.full]) for name in TRAININGS]
)
def test_a_training_that_goes_on_is_the_one_that_was_never_stopped(name: str, tmp_path: Path) -> None:
    training = TRAININGS[name]
    data = training.data(tmp_path / "data")
    every = {f"train#{training.saver}#n_saved": 9}
    whole = trained(training, data, tmp_path / "whole", **every)
    resumed = tmp_path / "resumed"
    trained(training, data, resumed, resume=str(whole / "checkpoint_epoch=1.pt"), **every)
    for file in ("checkpoint_epoch=2.pt", "checkpoint_epoch=3.pt", "model.pt"):
        expected, found = (torch.load(folder / file, weights_only=True) for folder in (whole, resumed))
        assert set(expected) == set(found)
        differing = [key for key in expected if not equal(expected[key], found[key])]
        assert not differing, file
    for table in sorted(whole.glob("margin*.csv")):
        rows = pd.read_csv(table)
        pd.testing.assert_frame_equal(
            rows[rows["epoch"] > 1].reset_index(drop=True), pd.read_csv(resumed / table.name), check_exact=True
        )
    assert json.loads((resumed / "training.json").read_text()) == json.loads((whole / "training.json").read_text())
    first, second = (torch.load(whole / f"checkpoint_epoch={epoch}.pt", weights_only=True) for epoch in (1, 2))
    assert not equal(first["network"], second["network"])
