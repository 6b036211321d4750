"""Radii in units of the file: HU, grey levels, percent of a window."""

from __future__ import annotations

import pytest
import torch
from monai.transforms import (
    AdjustContrastd,
    Compose,
    EnsureChannelFirstd,
    EnsureTyped,
    Lambdad,
    LoadImaged,
    NormalizeIntensity,
    NormalizeIntensityd,
    RandScaleIntensityd,
    ScaleIntensityd,
    ScaleIntensityRange,
    ScaleIntensityRanged,
    ScaleIntensityRangePercentilesd,
    Spacingd,
)

from monai_robust.errors import BadInputError
from monai_robust.pipelines.intensity import radius_in_input_units, scaling_of

CT_OF_A_KEY = ScaleIntensityRanged("ct", a_min=-200, a_max=400, b_min=0.0, b_max=1.0, clip=True)
CT = ScaleIntensityRanged("image", a_min=-1000, a_max=400, b_min=0.0, b_max=1.0, clip=True)


@pytest.mark.parametrize(
    "transform",
    [
        Compose([LoadImaged("image"), CT]),
        Compose([CT, NormalizeIntensityd("image", subtrahend=0.5, divisor=0.25)]),
        NormalizeIntensity(subtrahend=100.0, divisor=50.0),
        ScaleIntensityRange(0, 255, -1, 1, clip=True),
        ScaleIntensityd("image", minv=None, maxv=None, factor=-0.9),
        Compose([RandScaleIntensityd("image", factors=0.1, prob=0.5), CT]),
    ],
)
def test_the_factor_is_what_the_transforms_make_of_a_change_by_one(transform):
    found = scaling_of(transform)
    image = torch.tensor([[[10.0, 11.0]]])
    parts = [one for one in (transform.transforms if isinstance(transform, Compose) else [transform])]
    for part in parts:
        if type(part).__name__.startswith(("Load", "Rand")):
            continue
        image = part({"image": image})["image"] if hasattr(part, "keys") else part(image)
    low, high = image.flatten().tolist()
    assert found.factor == pytest.approx(high - low, rel=1e-3)


def test_the_window_is_what_is_clipped_to_and_follows_what_comes_after():
    assert scaling_of(CT).bounds == (0.0, 1.0)
    after = Compose([CT, NormalizeIntensityd("image", subtrahend=0.5, divisor=0.25)])
    assert scaling_of(after).bounds == pytest.approx((-2.0, 2.0))
    assert scaling_of(ScaleIntensityRange(0, 255, 0, 1)).bounds is None


def test_radii_with_units():
    ct = scaling_of(CT)
    assert radius_in_input_units("0.5", ct) == 0.5
    assert radius_in_input_units(0.5, ct) == 0.5
    assert radius_in_input_units("70HU", ct) == pytest.approx(0.05)
    assert radius_in_input_units("70 hu", ct) == pytest.approx(0.05)
    assert radius_in_input_units("5%", ct) == pytest.approx(0.05)
    assert radius_in_input_units("3grey", scaling_of(ScaleIntensityRange(0, 255, 0, 1))) == pytest.approx(3 / 255)


@pytest.mark.parametrize(
    "transform",
    [
        ScaleIntensityd("image"),
        NormalizeIntensityd("image"),
        NormalizeIntensityd("image", subtrahend=1.0, divisor=2.0, nonzero=True),
        Compose([CT, ScaleIntensityRangePercentilesd("image", 1, 99, 0, 1)]),
    ],
)
def test_where_every_image_is_scaled_by_itself_there_is_no_unit_of_the_file(transform):
    found = scaling_of(transform)
    assert found.factor is None
    with pytest.raises(BadInputError, match="not the same for every image"):
        radius_in_input_units("20HU", found)


def test_transforms_of_other_keys_do_not_count():
    assert scaling_of(ScaleIntensityd("label")).factor == 1.0


@pytest.mark.parametrize("word", ["", "HU", "-3", "1mm", "20 %%", "nan"])
def test_words_that_are_no_radius_are_refused(word):
    with pytest.raises(BadInputError, match="radius"):
        radius_in_input_units(word, scaling_of(CT))


def test_percent_needs_a_window():
    with pytest.raises(BadInputError, match="clips to none"):
        radius_in_input_units("5%", scaling_of(NormalizeIntensity(subtrahend=1.0, divisor=2.0)))


@pytest.mark.parametrize(
    ("transform", "name"),
    [
        (Compose([LoadImaged("image"), Lambdad("image", lambda x: x / 1000)]), "Lambdad"),
        (Compose([CT, Lambdad("image", lambda x: 2 * x - 1)]), "Lambdad"),
        (Compose([CT, AdjustContrastd("image", gamma=2.0)]), "AdjustContrastd"),
        (lambda row: row, "function"),
    ],
)
def test_what_is_not_known_of_a_transform_is_not_claimed(transform, name):
    found = scaling_of(transform)
    assert found.factor is None
    assert found.bounds is None
    assert name in found.described()
    with pytest.raises(BadInputError, match="is not known"):
        radius_in_input_units("20HU", found)
    with pytest.raises(BadInputError, match="clips to none"):
        radius_in_input_units("5%", found)


def test_transforms_that_move_load_or_convert_leave_intensities():
    found = scaling_of(
        Compose(
            [LoadImaged("ct"), EnsureChannelFirstd("ct"), Spacingd("ct", (1, 1, 1)), CT_OF_A_KEY, EnsureTyped("ct")]
        ),
        key="ct",
    )
    assert found.factor == pytest.approx(1 / 600)
    assert found.bounds == (0.0, 1.0)
    assert scaling_of(Compose([CT_OF_A_KEY]), key="image").factor == 1.0
