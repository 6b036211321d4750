"""Corruptions chosen by modality: for every bundle, and never one that moves an image away from its targets."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from monai_robust.bundles import with_corruptions
from monai_robust.errors import BadInputError
from monai_robust.evaluation import CleanSweep, CorruptionSweep, corruptions
from monai_robust.evaluation.measure.perturbations import EvaluatedBatch
from monai_robust.tasks import Classification, Segmentation
from monai_robust.transforms import corruption_names

MOVING = ["shift", "rotation", "zoom", "elastic"]
BUNDLES = sorted((Path(__file__).resolve().parents[1] / "bundles").iterdir())


def test_what_moves_an_image_is_left_out_of_a_group_and_refused_by_name() -> None:
    assert [one.name for one in corruptions("common", task="classification")] == corruption_names("common")
    with pytest.warns(UserWarning, match=r"moved by shift, .*elastic, and the targets of landmarks"):
        found = corruptions("common", task="landmarks")
    assert [one.name for one in found] == [name for name in corruption_names("common") if name not in MOVING]
    with pytest.raises(BadInputError, match="leave out zoom"):
        corruptions("mr, zoom", task="segmentation")


def test_a_sweep_that_moves_refuses_targets_that_it_does_not_move() -> None:
    def batch(task: object) -> EvaluatedBatch:
        return EvaluatedBatch(lambda x: x, torch.rand(1, 1, 16, 16), torch.zeros(1), task, ["a"], 0)  # type: ignore[arg-type]

    sweep = CorruptionSweep("shift", levels=[5])
    assert not torch.equal(sweep.apply(15.0, batch(Classification())), batch(Classification()).inputs)
    with pytest.raises(BadInputError, match="'shift' moves what is in an image, and not the targets of segmentation"):
        sweep.apply(15.0, batch(Segmentation()))


def test_chosen_corruptions_take_the_place_of_a_bundles_own() -> None:
    own = [CleanSweep(), CorruptionSweep("gaussian", [0.3])]
    assert with_corruptions(own, "", task="segmentation") == own
    found = with_corruptions(own, "gaussian,mr_spike", task="segmentation", bounds="per_image")
    assert [one.name for one in found] == ["clean", "gaussian", "mr_spike"]
    assert found[1].severities == [0.005, 0.01, 0.02, 0.05, 0.1]
    assert found[2].settings() == {"bounds": "per_image"}
    with pytest.raises(BadInputError, match="no corruption or group 'mri'"):
        with_corruptions(own, "mri", task="segmentation")


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_every_bundle_takes_corruptions(bundle: Path) -> None:
    config = yaml.safe_load((bundle / "configs" / "robustness.yaml").read_text())
    assert config["corruptions"] == ""
    assert "robust_bundles.with_corruptions(@perturbations, @corruptions" in config["measurement"]["perturbations"]
