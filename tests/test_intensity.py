"""Radii in units of the file: HU, grey levels, percent of a window."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import ArrayDataset, CacheDataset, Dataset, ImageDataset, PersistentDataset
from monai.transforms import (
    AdjustContrastd,
    ClipIntensityPercentilesd,
    Compose,
    ConcatItemsd,
    EnsureChannelFirstd,
    EnsureTyped,
    HistogramNormalized,
    Lambdad,
    LoadImaged,
    NormalizeIntensity,
    NormalizeIntensityd,
    OneOf,
    RandFlipd,
    RandScaleIntensityd,
    RandSpatialCropd,
    ScaleIntensity,
    ScaleIntensityd,
    ScaleIntensityRange,
    ScaleIntensityRanged,
    ScaleIntensityRangePercentiles,
    ScaleIntensityRangePercentilesd,
    Spacingd,
)
from torch.utils.data import ConcatDataset, Subset

from monai_robust.data import WithSampleIds
from monai_robust.data.intensity import SampleScales, radius_in_input_units, scaling_of
from monai_robust.errors import BadInputError

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


def test_an_image_that_is_put_together_from_others_is_not_known():
    parts = [ScaleIntensityd(["t1", "t2"]), ConcatItemsd(["t1", "t2"], name="image")]
    assert "ConcatItemsd" in scaling_of(Compose(parts)).described()
    assert scaling_of(Compose(parts)).factor is None


def test_a_choice_among_transforms_is_not_known():
    assert "OneOf" in scaling_of(Compose([OneOf([CT, ScaleIntensityd("image")])])).described()
    assert scaling_of(Compose([OneOf([RandFlipd("image"), RandSpatialCropd("image", 4)]), CT])).factor is not None


# Units that each image has of its own


def films(count=4, channels=1, dtype=torch.float32):
    """Images of 12 bits, each with another range."""
    generator = torch.Generator().manual_seed(0)
    images = [
        torch.rand(channels, 9, 7, generator=generator) * 300 * (index + 1) + 40 * index for index in range(count)
    ]
    return [{"image": image.round().to(dtype), "label": index % 3} for index, image in enumerate(images)]


def scales(transform, data=None, **more):
    data = films() if data is None else data
    dataset = Dataset(data, transform)
    found = SampleScales(dataset, **more)
    return [found(place) for place in range(len(data))]


def of_each(function):
    return pytest.approx([float(function(one["image"].double())) for one in films()], rel=2e-6)


def percentile_window(image, low=2, high=98):
    ends = np.percentile(image.numpy(), [low, high])
    return ends[1] - ends[0]


def test_the_scale_of_each_image_is_that_of_its_own_transform():
    assert scales(NormalizeIntensityd("image")) == of_each(lambda x: 1 / x.std(correction=0))
    assert scales(ScaleIntensityd("image", minv=-1, maxv=1)) == of_each(lambda x: 2 / (x.max() - x.min()))
    percentiles = ScaleIntensityRangePercentilesd("image", 2, 98, 0, 255, clip=True)
    assert scales(percentiles) == of_each(lambda x: 255 / percentile_window(x))
    relative = ScaleIntensityRangePercentilesd("image", 2, 98, 0, 1, clip=False, relative=True)
    assert scales(relative) == of_each(lambda x: 0.96 / percentile_window(x))
    assert scales(NormalizeIntensityd("image", divisor=20.0)) == pytest.approx([0.05] * 4)


def test_a_change_of_one_unit_of_the_file_is_the_scale_in_the_networks_input():
    """Held against the transform itself, its statistics kept fixed by voxels that no change reaches."""
    image = films(1)[0]["image"]
    transform = ScaleIntensityRangePercentiles(1, 99, 0, 1, clip=True)
    inner = int((image.flatten() - image.median()).abs().argmin())  # percentiles do not move with one middle voxel
    changed = image.clone()
    changed.view(-1)[inner] += 1e-2
    slope = float((transform(changed).double() - transform(image)).flatten()[inner]) / 1e-2
    (found,) = scales(ScaleIntensityRangePercentilesd("image", 1, 99, 0, 1, clip=True), films(1))
    assert found == pytest.approx(slope, rel=1e-2)


def test_scales_follow_each_other_and_what_scales_all_alike():
    chain = Compose([CT, NormalizeIntensityd("image"), ScaleIntensityd("image", minv=None, maxv=None, factor=-3.0)])

    def expected(image):
        windowed = ((image + 1000) / 1400).clamp(0, 1)
        return 2 / 1400 / windowed.std(correction=0)

    assert scales(chain) == of_each(expected)
    clipped = Compose([ClipIntensityPercentilesd("image", 10, 90), ScaleIntensityd("image")])
    assert scales(clipped) == of_each(lambda x: 1 / percentile_window(x, 10, 90))


def test_a_percent_is_of_the_window_of_each_image():
    chain = Compose([CT, NormalizeIntensityd("image")])
    assert scales(chain, unit="%") == pytest.approx([14 * one for one in scales(chain)])
    percentiles = ScaleIntensityRangePercentilesd("image", 2, 98, -1, 1, clip=True)
    assert scales(percentiles, unit="%") == pytest.approx([0.02] * 4)
    with pytest.raises(BadInputError, match="clips to none"):
        scales(NormalizeIntensityd("image"), unit="%")


def test_files_are_replayed_through_everything_before_the_scaling(tmp_path):
    data = []
    for index, one in enumerate(films()):
        np.save(tmp_path / f"{index}.npy", one["image"][0].numpy())
        data.append({"image": str(tmp_path / f"{index}.npy"), "label": 0})
    chain = [LoadImaged("image"), EnsureChannelFirstd("image"), NormalizeIntensityd("image"), RandFlipd("image", 0.5)]
    assert scales(Compose(chain), data) == of_each(lambda x: 1 / x.std(correction=0))


@pytest.mark.parametrize("kind", ["cache", "persistent", "subset", "joined", "named", "array", "image"])
def test_a_sample_is_found_in_whatever_data_set_lists_it(kind, tmp_path):
    data, transform = films(), NormalizeIntensityd("image")
    expected = [1 / float(one["image"].double().std(correction=0)) for one in data]
    if kind == "cache":
        dataset = CacheDataset(data, transform, progress=False)
    elif kind == "persistent":
        dataset = PersistentDataset(data, transform, cache_dir=tmp_path)
    elif kind == "subset":
        dataset, expected = Subset(Dataset(data, transform), [2, 0]), [expected[2], expected[0]]
    elif kind == "joined":
        dataset = ConcatDataset([Dataset(data[:1], transform), Dataset(data[1:], transform)])
    elif kind == "named":
        dataset = WithSampleIds(Dataset(data, transform))
    elif kind == "array":
        dataset = ArrayDataset([one["image"] for one in data], NormalizeIntensity(), labels=[0, 1, 2, 0])
    else:
        for index, one in enumerate(data):
            np.save(tmp_path / f"{index}.npy", one["image"][0].numpy())
        files = [str(tmp_path / f"{index}.npy") for index in range(4)]
        dataset = ImageDataset(files, labels=[0, 1, 2, 0], transform=Compose([NormalizeIntensity()]))
    found = SampleScales(dataset, "" if kind in ("array", "image") else "image")
    before = [torch.as_tensor(one["image"]).clone() for one in data]
    assert [found(place) for place in range(len(dataset))] == pytest.approx(expected, rel=2e-6)
    assert all(torch.equal(one["image"], own) for one, own in zip(data, before, strict=True))


def test_channels_that_are_scaled_alike_have_one_scale_and_others_none():
    same = [{"image": one["image"].repeat(2, 1, 1)} for one in films()]
    each = NormalizeIntensityd("image", channel_wise=True)
    assert scales(each, same) == of_each(lambda x: 1 / x.std(correction=0))
    with pytest.raises(BadInputError, match=r"NormalizeIntensityd.*each channel has a factor of its own"):
        scales(each, films(channels=2))


@pytest.mark.parametrize(
    ("transform", "sentence"),
    [
        (HistogramNormalized("image"), "HistogramNormalized.*no straight line"),
        (
            Compose([RandSpatialCropd("image", 4), ScaleIntensityd("image")]),
            "RandSpatialCropd draws before Scale",
        ),
        (Compose([ScaleIntensityd("image"), Lambdad("image", lambda x: x**2)]), "Lambdad does to intensities"),
        (Compose([ClipIntensityPercentilesd("image", 5, 95, sharpness_factor=1.0)]), "ClipIntensityPercentilesd"),
    ],
)
def test_where_an_image_has_no_one_scale_the_transform_is_named(transform, sentence):
    with pytest.raises(BadInputError, match=sentence):
        scales(transform)


def test_voxels_that_are_left_as_they_are_have_another_scale():
    data = [{"image": torch.cat([torch.zeros(1, 9, 3), one["image"]], dim=2)} for one in films()]
    with pytest.raises(BadInputError, match=r"NormalizeIntensityd.*intensity 0"):
        scales(NormalizeIntensityd("image", nonzero=True), data)


def test_an_image_of_one_intensity_has_no_scale():
    found = scales(ScaleIntensityd("image"), [{"image": torch.full((1, 3, 3), 7.0)}, *films(1)])
    assert np.isnan(found[0])
    assert found[1] > 0


def test_data_that_is_not_listed_is_refused():
    class Made(torch.utils.data.Dataset):
        transform = ScaleIntensityd("image")

        def __len__(self):
            return 2

        def __getitem__(self, place):
            return films()[place]

    with pytest.raises(BadInputError, match="a Made does not list"):
        SampleScales(Made())
    assert scales(ScaleIntensity(), [one["image"] for one in films()], key="") == of_each(
        lambda x: 1 / (x.max() - x.min())
    )
