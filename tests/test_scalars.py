"""What counts as a number, and that no part has a meaning of its own."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import torch

from monai_robust.attacks import PGD, ScoreBeyond
from monai_robust.data.phantoms import (
    phantom_hippocampi,
    write_blood_smear_phantoms,
    write_cephalogram_phantoms,
    write_hippocampus_phantoms,
    write_radiograph_phantoms,
)
from monai_robust.errors import BadInputError
from monai_robust.evaluation import NearestSweep
from monai_robust.handlers import ClipGradients, EpochSeed
from monai_robust.inferers import MirrorInferer
from monai_robust.losses import LandmarkLoss, deep_supervision_weights
from monai_robust.margins import WarmupRadius
from monai_robust.metrics import (
    FreeResponse,
    LesionSensitivity,
    Sensitivity,
    Specificity,
    TopOverlap,
    match_detections,
    predictive_values,
    tempered,
)
from monai_robust.networks import VGG16, CBRLargeT, ResNetPyramid, SmallResNet
from monai_robust.planning import RandMirrord, RandRotateScaled, planned_optimizer, poly_schedule
from monai_robust.recipes import Recipe
from monai_robust.scalars import checked_whole, is_above_zero, is_number, is_whole
from monai_robust.tasks import Classification, Segmentation
from monai_robust.tasks.detectors import DetectorTask
from monai_robust.transforms import AugMix, BoxesToLabeld, GaussianCorruption

NO_NUMBERS = [True, "1", None, [1], math.nan, math.inf, 10**400, Decimal(1), torch.tensor(1.0), np.True_]


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_what_is_no_number(value):
    assert not is_number(value)
    assert not is_above_zero(value)
    assert not is_whole(value)
    with pytest.raises(BadInputError, match=r"^steps is .*; it must be a whole number of at least 1, or so$"):
        checked_whole("steps", value, 1, ", or so")


@pytest.mark.parametrize("value", [2, 2.5, Fraction(5, 2), np.int64(2), np.uint8(2), np.float32(2.5), np.float16(2.5)])
def test_what_is_a_number(value):
    assert is_number(value)
    assert is_number(value, 2)
    assert not is_number(value, 3)
    assert is_above_zero(value)
    assert not is_above_zero(value - value)
    assert is_whole(value) == isinstance(value, (int, np.integer))


def test_whole_numbers_of_numpy_are_python_ones_afterwards():
    found = checked_whole("steps", np.int16(3), 1)
    assert type(found) is int
    assert found == 3


@pytest.mark.parametrize("three", [np.int64(3), np.float32(3.0)])
def test_numbers_of_numpy_do_where_those_of_python_do(three):
    assert WarmupRadius(three, three).eps == 3.0
    assert PGD(eps=three).eps == 3.0
    assert NearestSweep(high=three).tolerance == 0.03
    assert ScoreBeyond(three).level == 3.0
    assert AugMix(alpha=three).alpha == 3.0
    assert Recipe({"clean": three}).supervised["clean"] == 3.0


def test_whole_numbers_of_numpy_do_where_those_of_python_do():
    two = np.int64(2)
    assert EpochSeed(two).seed == 2
    augmix = AugMix(width=two, depth=two)
    augmix.set_random_state(0)
    augmix(torch.rand(1, 8, 8))
    assert [len(chain) for chain in augmix.chains] == [2, 2]
    logits = torch.zeros(4, 3)
    assert Classification().aim(logits, torch.zeros(4, dtype=torch.long), two).tolist() == [2] * 4
    maps = torch.zeros(1, 3, 4, 4)
    assert bool((Segmentation().aim(maps, torch.zeros(1, 1, 4, 4, dtype=torch.long), two) == 2).all())


@pytest.mark.parametrize(
    ("write", "arguments", "said"),
    [
        (write_radiograph_phantoms, {"seed": "one"}, "seed is 'one'"),
        (write_radiograph_phantoms, {"patients": 12.5}, "patients is 12.5"),
        (write_radiograph_phantoms, {"size": "64"}, "size, in pixels, is '64'"),
        (write_radiograph_phantoms, {"contrast": None}, "contrast is None"),
        (write_cephalogram_phantoms, {"seed": "one"}, "seed is 'one'"),
        (write_cephalogram_phantoms, {"size": 96}, "size is 96 pixels; it must be two whole numbers"),
        (write_cephalogram_phantoms, {"size": (96.5, 120)}, r"size is \(96.5, 120\) pixels"),
        (write_blood_smear_phantoms, {"seed": None}, "seed is None"),
        (write_blood_smear_phantoms, {"size": (128, "96")}, "two whole numbers"),
        (write_blood_smear_phantoms, {"images": "60"}, "images is '60'"),
        (write_hippocampus_phantoms, {"seed": 0.5}, "seed is 0.5"),
        (write_hippocampus_phantoms, {"cases": [12]}, r"cases is \[12\]"),
    ],
)
def test_phantoms_of_no_numbers_are_refused(tmp_path, write, arguments, said):
    with pytest.raises(BadInputError, match=said):
        write(tmp_path / "phantoms", **arguments)
    assert not list(tmp_path.iterdir())


def test_phantoms_of_numpy_numbers_are_those_of_python_ones(tmp_path):
    folder = write_hippocampus_phantoms(tmp_path / "phantoms", cases=np.int64(12), seed=np.int64(1))
    assert phantom_hippocampi(folder, cases=12, seed=1) == str(folder)


@pytest.mark.parametrize("value", ["x", True, math.nan, 10**400, None])
@pytest.mark.parametrize(
    ("made", "argument"),
    [
        (partial(GaussianCorruption, 0.1), "seed"),
        (MirrorInferer, "axes"),
        (partial(RandMirrord, "image"), "axes"),
        (LesionSensitivity, "iou"),
        (TopOverlap, "share"),
        (Sensitivity, "thresholds"),
        (Specificity, "thresholds"),
        (FreeResponse, "rates"),
        (VGG16, "classes"),
        (VGG16, "in_channels"),
        (VGG16, "dropout"),
        (VGG16, "image_size"),
        (CBRLargeT, "classes"),
        (CBRLargeT, "features"),
        (CBRLargeT, "spatial_dims"),
        (SmallResNet, "depth"),
        (SmallResNet, "in_channels"),
        (ResNetPyramid, "features"),
        (ResNetPyramid, "returned_layers"),
        (DetectorTask, "score_threshold"),
        (BoxesToLabeld, "max_boxes"),
        (LandmarkLoss, "radius"),
        (ClipGradients, "max_norm"),
        (deep_supervision_weights, "heads"),
        (partial(poly_schedule, None), "epochs"),
        (partial(planned_optimizer, torch.nn.Conv2d(1, 1, 1)), "learning_rate"),
        (partial(RandRotateScaled, "image"), "scale"),
        (partial(tempered, [[0.9, 0.1]]), "temperature"),
        (partial(predictive_values, 0.9, 0.9), "prevalence"),
        (partial(match_detections, [], [], [], [], []), "iou"),
    ],
)
def test_no_argument_takes_what_is_no_number(made, argument, value):
    with pytest.raises(BadInputError):
        made(**{argument: value})
