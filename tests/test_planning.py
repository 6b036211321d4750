"""Planning against the sizes that the AMAT paper and nnU-Net report, and against transforms done by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import fields, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from monai.data import MetaTensor
from monai.losses import DiceCELoss
from monai.transforms import Affine
from torch import Tensor

from monai_robust.errors import BadInputError, BadSampleError, user_error
from monai_robust.losses import DeepSupervised
from monai_robust.planning import (
    Fingerprint,
    Intensities,
    PadToPatchd,
    Plan,
    RandForegroundPatchd,
    RandMirrord,
    RandRotateScaled,
    fingerprint_of,
    make_plan,
    planned_augmentation,
    planned_network,
    planned_optimizer,
    planned_volume_transform,
    poly_schedule,
    read_plan,
    write_plan,
)

BOTH = ["image", "label"]


def fingerprint(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    cases: int = 20,
    modality: tuple[str, ...] = ("MRI",),
    classes: tuple[str, ...] = ("organ",),
) -> Fingerprint:
    return Fingerprint.from_shapes([shape] * cases, [spacing], modality, classes)


def hippocampus(cases: int = 260) -> Fingerprint:
    return fingerprint((35, 50, 36), cases=cases, classes=("Anterior", "Posterior"))


@pytest.fixture
def plan() -> Plan:
    return make_plan(hippocampus())


# The data set's numbers


def volume(shape: tuple[int, ...] = (12, 10, 8), channels: int = 1) -> dict[str, Tensor | tuple[float, ...]]:
    generator = torch.Generator().manual_seed(3)
    label = torch.zeros(1, *shape, dtype=torch.long)
    label[:, 3:6, 3:6, 2:5] = 1
    return {
        "image": 1 + torch.rand(channels, *shape, generator=generator),
        "label": label,
        "spacing": (1.0, 1.0, 2.0),
    }


def test_the_fingerprint_crops_to_what_is_nonzero_in_any_channel() -> None:
    one = volume(channels=2)
    one["image"][0, :2] = 0
    one["image"][1, 0] = 0
    one["image"][:, :, :, 6:] = 0
    one["image"][:, 5, 5, 3] = 0  # a hole changes nothing
    found = fingerprint_of([one], modality=["T2", "ADC"], classes=["organ"])
    assert found.shapes == ((11, 10, 6),)
    assert found.spacings == ((1.0, 1.0, 2.0),)
    assert found.kept == (pytest.approx(11 * 10 * 6 / (12 * 10 * 8)),)
    assert found.cases == 1


def test_intensities_are_those_of_the_foreground_of_all_cases() -> None:
    volumes = [volume(), volume()]
    volumes[1]["image"] = volumes[1]["image"] * 3
    found = fingerprint_of(iter(volumes), modality=["MRI"], classes=["organ"]).intensities[0]
    inside = np.concatenate([one["image"][one["label"] > 0].numpy() for one in volumes]).astype(float)
    assert found.mean == pytest.approx(inside.mean())
    assert found.std == pytest.approx(inside.std())
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(inside, [0.5, 99.5])))


def test_of_a_large_case_an_even_sample_of_the_foreground_is_enough() -> None:
    large = {"image": torch.arange(64.0**3).reshape(1, 64, 64, 64), "label": torch.ones(1, 64, 64, 64)}
    found = fingerprint_of([large | {"spacing": (1, 1, 1)}], modality=["CT"], classes=["organ"]).intensities[0]
    assert found.mean == pytest.approx(64**3 / 2, rel=0.01)
    assert found.high == pytest.approx(0.995 * 64**3, rel=0.01)


def no_foreground(one: dict) -> None:
    one["label"] = torch.zeros_like(one["label"])


def no_image(one: dict) -> None:
    one["image"] = torch.zeros_like(one["image"])


def other_label(one: dict) -> None:
    one["label"] = one["label"][:, :-1]


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (no_foreground, BadInputError, "nothing to segment"),
        (no_image, BadSampleError, "volume case_7 is zero everywhere"),
        (other_label, BadSampleError, "case_7: image of shape"),
        (lambda one: one.update(image=one["image"][0]), BadSampleError, "needs \\(1, x, y, z\\)"),
    ],
)
def test_a_volume_that_cannot_be_planned_with_is_refused(
    spoil: Callable[[dict], None], error: type[Exception], message: str
) -> None:
    one = volume() | {"case_id": "case_7"}
    spoil(one)
    with pytest.raises(error, match=message):
        fingerprint_of([one], modality=["MRI"], classes=["organ"])


def test_no_volume_and_shapes_that_are_none_are_refused() -> None:
    with pytest.raises(BadInputError, match="at least one"):
        fingerprint_of([], modality=["MRI"], classes=["organ"])
    with pytest.raises(BadInputError, match="not three positive numbers"):
        Fingerprint.from_shapes([(10, 0, 3)], [(1, 1, 1)], ["MRI"], ["organ"])


# The rules


@pytest.mark.parametrize(
    ("data", "slice_axis", "patch", "batch"),
    [  # the paper's z, y, x are our z, y, x too: a slice is (x, y) here, (y, x) there
        (fingerprint((232, 320, 115), (1.25, 1.25, 1.37), 20), 2, (256, 320), 40),
        (hippocampus(260), 2, (40, 56), 366),
        (hippocampus(208), 2, (40, 56), 292),
        (fingerprint((319, 320, 20), (0.625, 0.625, 3.6), 32, ("T2", "ADC"), ("PZ", "TZ")), 2, (320, 320), 32),
    ],
    ids=["heart, cropped", "hippocampus", "hippocampus, training cases", "prostate"],
)
def test_the_decathlons_shapes_give_the_papers_patches_and_batches(
    data: Fingerprint, slice_axis: int, patch: tuple[int, int], batch: int
) -> None:
    made = make_plan(data)
    assert (made.slice_axis, made.patch, made.batch_size) == (slice_axis, patch, batch)


def test_heart_before_cropping_gives_the_square_patch() -> None:
    assert make_plan(fingerprint((320, 320, 115), (1.25, 1.25, 1.37))).patch == (320, 320)


@pytest.mark.real_data
def test_the_real_hippocampus_has_the_papers_median_and_plan(public_data: Path) -> None:
    images = [nib.load(path) for path in sorted((public_data / "msd_hippocampus" / "imagesTr").glob("*.nii.gz"))]
    shapes = [image.shape for image in images]
    assert np.median(shapes, axis=0).tolist() == [35, 50, 36]
    data = Fingerprint.from_shapes(shapes, [image.header.get_zooms() for image in images], ["MRI"], ["A", "P"])
    made = make_plan(data)
    assert (made.patch, made.batch_size, made.spacing) == ((40, 56), 366, (1.0, 1.0))


@pytest.mark.real_data
def test_a_real_volume_gives_a_fingerprint(public_data: Path) -> None:
    folder = public_data / "msd_hippocampus"
    image, label = (nib.load(folder / kind / "hippocampus_001.nii.gz") for kind in ("imagesTr", "labelsTr"))
    one = {
        "image": torch.from_numpy(np.asarray(image.dataobj, dtype=np.float32))[None],
        "label": torch.from_numpy(np.asarray(label.dataobj, dtype=np.int64))[None],
        "spacing": image.header.get_zooms(),
    }
    found = fingerprint_of([one], modality=["MRI"], classes=["Anterior", "Posterior"])
    assert found.shapes == (image.shape,)
    assert found.intensities[0].low < found.intensities[0].mean < found.intensities[0].high


def test_slices_are_cut_across_the_coarsest_axis_and_the_last_one_of_equals() -> None:
    assert make_plan(fingerprint((20, 64, 48), (4.0, 1.0, 0.8))).slice_axis == 0
    assert make_plan(fingerprint((20, 64, 48), (4.0, 1.0, 0.8))).spacing == (1.0, 0.8)
    assert make_plan(fingerprint((48, 20, 64), (2.0, 2.0, 1.0))).slice_axis == 1
    assert make_plan(fingerprint((40, 40, 40), (1.0, 1.0000001, 1.0))).slice_axis == 2


def test_the_patch_is_the_median_size_at_the_median_spacing() -> None:
    shapes, spacings = [(100, 100, 20)] * 3, [(1.0, 1.0, 5.0), (1.0, 1.0, 5.0), (0.5, 0.5, 5.0)]
    assert make_plan(Fingerprint.from_shapes(shapes, spacings, ["MRI"], ["organ"])).patch == (112, 112)  # of 100
    fine = Fingerprint.from_shapes(shapes, [(1, 1, 5), (0.5, 0.5, 5), (0.5, 0.5, 5)], ["MRI"], ["organ"])
    assert make_plan(fine).spacing == (0.5, 0.5)
    assert make_plan(fine).patch == (112, 112)


def test_an_axis_is_halved_while_it_has_eight_pixels() -> None:
    made = make_plan(fingerprint((16, 64, 16), (1.0, 1.0, 1.0)))
    assert made.strides == ((1, 1), (2, 2), (2, 2), (1, 2))  # 16 to 4; 64 to 8, then twice as coarse as the other
    assert made.patch == (16, 64)
    assert made.rotation == 15
    alone = make_plan(fingerprint((16, 40, 16)))
    assert alone.strides == ((1, 1), (2, 2), (2, 2))  # 40, 20, 10: the last one alone needs 12


def test_an_axis_is_not_halved_while_the_other_one_is_half_as_coarse() -> None:
    made = make_plan(fingerprint((32, 128, 20), (2.0, 0.5, 6.0)))
    assert made.strides[1:3] == ((1, 2), (1, 2))
    assert made.kernels[:2] == ((1, 3), (1, 3))
    assert made.kernels[2] == (3, 3)
    assert made.strides[3] == (2, 2)


def test_features_double_up_to_a_limit() -> None:
    assert make_plan(fingerprint((232, 320, 115))).features == (32, 64, 128, 256, 512, 512, 512)
    assert make_plan(hippocampus(), base_features=8, max_features=20).features == (8, 16, 20, 20)
    with pytest.raises(BadInputError, match="cannot have 0 features"):
        make_plan(hippocampus(), base_features=0)


def test_ct_is_standardised_by_the_data_set_and_zeros_count_where_few_are_cropped() -> None:
    data = fingerprint((64, 64, 30), modality=("CT", "MRI"))
    assert make_plan(data).normalisation == ("ct", "zscore")
    assert not make_plan(data).nonzero_only
    assert make_plan(replace(data, kept=(0.7,) * 20)).nonzero_only


def test_batch_and_patch_can_be_given() -> None:
    made = make_plan(hippocampus(), batch_size=12, patch=(60, 60))
    assert (made.batch_size, made.patch) == (12, (64, 64))
    assert make_plan(fingerprint((64, 64, 4), cases=2)).batch_size == 2  # 5 % of the data is less than one slice


def test_slices_too_small_or_too_large_are_refused() -> None:
    with pytest.raises(BadInputError, match="12 x 10 pixels are too small"):
        make_plan(fingerprint((12, 10, 30)))
    with pytest.raises(BadInputError, match="too large for a batch of 2"):
        make_plan(fingerprint((3000, 3000, 30)))


# The file


def test_a_plan_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    data = fingerprint((319, 320, 20), (0.625, 0.6250001, 3.6), 32, ("T2", "ADC"), ("zone: périphérique", "no"))
    data = replace(data, intensities=(Intensities(1e-7, 1 / 3, -1e6, 1e22),) * 2)
    made = make_plan(data)
    assert read_plan(write_plan(made, tmp_path / "deep" / "plan.yaml")) == made


def test_every_value_in_the_file_has_a_comment(plan: Plan, tmp_path: Path) -> None:
    lines = write_plan(plan, tmp_path / "plan.yaml").read_text().splitlines()
    values = [index for index, line in enumerate(lines) if line and not line.startswith("#")]
    assert [lines[index].split(":")[0] for index in values] == [field.name for field in fields(Plan)]
    assert all(lines[index - 1].startswith("# ") for index in values)


def test_a_plan_edited_by_hand_is_read(plan: Plan, tmp_path: Path) -> None:
    path = write_plan(plan, tmp_path / "plan.yaml")
    text = path.read_text().replace("patch: [40, 56]", "patch: [48, 64]").replace("batch_size: 366", "batch_size: 40")
    path.write_text(text.replace("spacing: [1.0, 1.0]", "spacing: [1, 0.5]"))
    assert read_plan(path) == replace(plan, patch=(48, 64), batch_size=40, spacing=(1.0, 0.5))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("patch", [40, 50], "axis 1 to be a multiple of 8, such as 48 or 56"),
        ("patch", [40.5, 56], "patch has 40.5; it takes whole numbers"),
        ("patch", 40, "patch has 40 where a list"),
        ("patch", [8, 8], "a single pixel at the bottleneck"),
        ("patch", [40], "two positive whole numbers"),
        ("slice_axis", 3, "slice_axis is 3; it must be one of 0, 1, 2"),
        ("spacing", [1.0, -1.0], "spacing is \\[1.0, -1.0\\]"),
        ("spacing", [1.0, "fine"], "spacing has 'fine'; it takes numbers"),
        ("batch_size", 0, "batch_size is 0"),
        ("batch_size", True, "batch_size has True; it takes whole numbers"),
        ("features", [32, 64], "features has 2 stages, but strides has 4"),
        ("kernels", [[3, 3], [3, 3], [3, 2], [3, 3]], "only odd sizes"),
        ("strides", [[2, 2], [2, 2], [2, 2], [2, 2]], "must be \\[1, 1\\]"),
        ("strides", [[1, 1], [2, 2]], "needs 3 or more"),
        ("strides", [[1, 1], [2, 2], [2], [2, 2]], "strides has \\[2\\]"),
        ("head_weights", [0.5, 0.3, 0.2, 0.1], "4 outputs; 4 stages can have 1 to 3"),
        ("head_weights", [0.0, 1.0], "the first above 0"),
        ("modality", ["T1", "T2"], "normalisation is given for 1 channels, but modality names 2"),
        ("classes", ["a", "a"], "every name may stand there once"),
        ("classes", [False], "classes has False; it takes names"),
        ("normalisation", ["minmax"], "normalisation is 'minmax'"),
        ("nonzero_only", 1, "it is true or false"),
        ("intensities", [{"mean": 1.0}], "each channel takes mean, std, low, high"),
        ("rotation", 200, "0 to 180 degrees"),
        ("scale", [1.1, 1.4], "scale is \\[1.1, 1.4\\]"),
        ("mirror_axes", [2], "mirror_axes is \\[2\\]"),
    ],
)
def test_a_value_that_cannot_work_is_refused_in_a_sentence(
    plan: Plan, tmp_path: Path, name: str, value: object, message: str
) -> None:
    path = write_plan(plan, tmp_path / "plan.yaml")
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {name: value}))
    with pytest.raises(BadInputError, match=message) as caught:
        read_plan(path)
    assert str(path) in str(caught.value)


def test_ct_without_a_range_is_refused(plan: Plan) -> None:
    with pytest.raises(BadInputError, match="low below high"):
        replace(plan, normalisation=("ct",), intensities=(Intensities(0.0, 1.0, 5.0, 5.0),))


def test_a_file_with_unknown_or_missing_names_or_no_plan_at_all_is_refused(plan: Plan, tmp_path: Path) -> None:
    path = write_plan(plan, tmp_path / "plan.yaml")
    text = path.read_text()
    for edited, message in [
        (text.replace("batch_size:", "batchsize:"), "batchsize is no value of a plan; is it batch_size?"),
        (text.replace("batch_size: 366", ""), "batch_size is missing"),
        ("- 1\n- 2\n", "holds no plan"),
        ("patch: [1, 2", "no YAML"),
    ]:
        path.write_text(edited)
        with pytest.raises(BadInputError, match=message):
            read_plan(path)
    with pytest.raises(BadInputError, match="there is no plan"):
        read_plan(tmp_path / "none.yaml")


# Network and optimiser


def test_the_network_answers_at_each_resolution_in_training_and_once_in_evaluation(plan: Plan) -> None:
    network = planned_network(plan, features=4)
    inputs = torch.randn(2, 1, 40, 56)
    heads = network(inputs)
    assert heads.shape == (2, 3, 3, 40, 56)
    for head, factor in ((1, 2), (2, 4)):  # each coarser output stands in blocks of equal pixels
        small = heads[:, head, :, ::factor, ::factor]
        enlarged = small.repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)
        torch.testing.assert_close(heads[:, head], enlarged)
    assert not torch.equal(heads[:, 0, :, ::2, ::2], heads[:, 0, :, 1::2, 1::2])
    assert network.eval()(inputs).shape == (2, 3, 40, 56)
    assert network.filters == (4, 8, 16, 32)


def test_the_network_can_be_copied_and_loaded_after_a_training_step(plan: Plan) -> None:
    network = planned_network(plan, features=4)
    inputs = torch.randn(1, 1, 40, 56)
    network(inputs).sum().backward()
    copy = deepcopy(network)
    assert torch.equal(copy(inputs), network(inputs))
    fresh = planned_network(plan, features=4)
    fresh.load_state_dict(network.state_dict())
    assert torch.equal(fresh(inputs), network(inputs))


def test_the_network_follows_the_plan() -> None:
    data = fingerprint((32, 128, 20), (2.0, 0.5, 6.0), modality=("T2", "ADC"), classes=("a", "b", "c"))
    made = make_plan(data, base_features=4)
    made = replace(made, head_weights=(1.0,))
    network = planned_network(made)
    assert network(torch.randn(2, 2, *made.patch)).shape == (2, 4, *made.patch)  # one head: no axis for heads
    assert planned_network(made, in_channels=1)(torch.randn(2, 1, *made.patch)).shape == (2, 4, *made.patch)
    convolutions = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    assert convolutions[0].kernel_size == (1, 3)
    assert convolutions[0].out_channels == 4


def test_a_planned_network_learns_with_the_planned_loss_and_optimiser(plan: Plan) -> None:
    network = planned_network(plan, features=4)
    optimizer = planned_optimizer(network, learning_rate=0.05)
    loss = DeepSupervised(DiceCELoss(to_onehot_y=True, softmax=True, batch=True), plan.head_weights)
    inputs = torch.randn(4, 1, 40, 56)
    labels = (inputs > 0.5).long() + (inputs > 1).long()
    first = last = math.nan
    for step in range(12):
        optimizer.zero_grad()
        value = loss(network(inputs), labels)
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 12)
        optimizer.step()
        last = value.item()
        first = last if step == 0 else first
    assert last < 0.9 * first


def test_the_learning_rate_falls_by_the_polynomial() -> None:
    optimizer = planned_optimizer(torch.nn.Linear(2, 2))
    settings = optimizer.param_groups[0]
    assert (settings["momentum"], settings["nesterov"], settings["weight_decay"]) == (0.99, True, 3e-5)
    schedule = poly_schedule(optimizer, 10)
    rates = []
    for _ in range(10):
        rates.append(settings["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.01 * (1 - epoch / 10) ** 0.9 for epoch in range(10)])


def test_a_rate_or_schedule_that_trains_nothing_is_refused() -> None:
    with pytest.raises(BadInputError, match="learning_rate is 0"):
        planned_optimizer(torch.nn.Linear(2, 2), learning_rate=0)
    with pytest.raises(BadInputError, match="0 epochs"):
        poly_schedule(planned_optimizer(torch.nn.Linear(2, 2)), 0)


# Volumes


def test_a_volume_is_standardised_by_itself(plan: Plan) -> None:
    image = MetaTensor(50 + 7 * torch.randn(1, 12, 14, 6), affine=torch.eye(4))
    result = planned_volume_transform(plan)({"image": image, "case_id": "a"})
    assert result["case_id"] == "a"
    torch.testing.assert_close(
        result["image"].as_tensor(), (image.as_tensor() - image.mean()) / image.std(unbiased=False)
    )
    assert torch.equal(result["image"].affine, image.affine)


def test_zeros_stay_out_of_the_z_score_where_the_plan_says_so(plan: Plan) -> None:
    image = 50 + 7 * torch.randn(1, 12, 14, 6)
    image[:, :5] = 0
    result = planned_volume_transform(replace(plan, nonzero_only=True))({"image": MetaTensor(image)})["image"]
    inside = image[:, 5:]
    assert (result[:, :5] == 0).all()
    torch.testing.assert_close(result[:, 5:].as_tensor(), (inside - inside.mean()) / inside.std(unbiased=False))


def test_ct_is_clipped_and_standardised_by_the_data_set_channel_by_channel(plan: Plan) -> None:
    both = replace(
        plan,
        modality=("CT", "MRI"),
        normalisation=("ct", "zscore"),
        intensities=(Intensities(40.0, 20.0, -100.0, 200.0),) * 2,
    )
    image = 300 * torch.randn(2, 12, 14, 6)
    result = planned_volume_transform(both)({"image": MetaTensor(image)})["image"].as_tensor()
    torch.testing.assert_close(result[0], (image[0].clamp(-100, 200) - 40) / 20)
    assert float(result[1].mean()) == pytest.approx(0, abs=1e-5)


def test_slices_are_resampled_in_their_plane_alone(plan: Plan) -> None:
    affine = torch.diag(torch.tensor([0.5, 2.0, 3.0, 1.0], dtype=torch.float64))
    label = torch.zeros(1, 40, 10, 6, dtype=torch.int16)
    label[:, 10:30, 3:7, 2:4] = 2
    item = {"image": MetaTensor(torch.randn(1, 40, 10, 6), affine=affine), "label": MetaTensor(label, affine=affine)}
    result = planned_volume_transform(plan)(item)
    zooms = result["image"].affine.diagonal()[:3].tolist()
    assert zooms == pytest.approx([1, 1, 3])
    assert result["image"].shape[-1] == 6
    assert result["image"].shape == result["label"].shape
    assert 19 <= result["image"].shape[1] <= 21
    assert 18 <= result["image"].shape[2] <= 20
    assert sorted(result["label"].unique().tolist()) == [0, 2]


def test_another_slice_axis_keeps_its_spacing(plan: Plan) -> None:
    affine = torch.diag(torch.tensor([4.0, 0.5, 1.0, 1.0], dtype=torch.float64))
    item = {"image": MetaTensor(torch.randn(1, 6, 40, 20), affine=affine)}
    result = planned_volume_transform(replace(plan, slice_axis=0))(item)["image"]
    assert result.affine.diagonal()[:3].tolist() == pytest.approx([4, 1, 1])
    assert result.shape[1] == 6


def test_a_volume_with_other_channels_is_refused(plan: Plan) -> None:
    with pytest.raises(RuntimeError) as caught:
        planned_volume_transform(plan)({"image": MetaTensor(torch.randn(2, 8, 8, 4))})
    assert "2 channels, but the plan has 1: MRI" in str(user_error(caught.value))


# Slices


def a_slice(height: int = 35, width: int = 50) -> dict:
    label = torch.zeros(1, height, width, dtype=torch.uint8)
    label[:, 12:18, 20:30] = 2
    image = torch.randn(1, height, width, generator=torch.Generator().manual_seed(5)).double()
    return {"image": image, "label": label, "sample_id": "a/007", "patient_id": "a"}


def test_augmentation_gives_plain_tensors_of_the_patch_and_leaves_the_rest_alone(plan: Plan) -> None:
    augment = planned_augmentation(plan).set_random_state(0)
    for _ in range(30):
        result = augment(a_slice())
        assert type(result["image"]) is Tensor
        assert type(result["label"]) is Tensor
        assert (result["image"].dtype, result["label"].dtype) == (torch.float32, torch.uint8)
        assert result["image"].shape == result["label"].shape == (1, 40, 56)
        assert set(result["label"].unique().tolist()) <= {0, 2}
        assert torch.isfinite(result["image"]).all()
        assert (result["sample_id"], result["patient_id"]) == ("a/007", "a")


def test_augmentation_follows_its_seed_and_changes_nothing_that_it_was_given(plan: Plan) -> None:
    def run(seed: int) -> list[Tensor]:
        augment = planned_augmentation(plan).set_random_state(seed)
        return [augment(a_slice())["image"] for _ in range(8)]

    assert all(torch.equal(a, b) for a, b in zip(run(1), run(1), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(run(1), run(2), strict=True))
    given, copy = a_slice(), a_slice()
    augment = planned_augmentation(plan).set_random_state(3)
    for _ in range(20):
        augment(given)
    assert torch.equal(given["image"], copy["image"])
    assert torch.equal(given["label"], copy["label"])


def test_strength_0_only_pads_to_the_patch(plan: Plan) -> None:
    given = a_slice()
    result = planned_augmentation(plan, strength=0)(given)
    expected = PadToPatchd(BOTH, plan.patch)(given)
    assert torch.equal(result["image"], expected["image"].float())
    assert torch.equal(result["label"], expected["label"])
    assert torch.equal(expected["image"][:, 2:37, 3:53], given["image"])
    assert float(expected["image"].abs().sum()) == pytest.approx(float(given["image"].abs().sum()))


def test_each_kind_of_change_comes_as_often_as_it_should(plan: Plan) -> None:
    """Untouched images: all of 0.8^2 (turn, scale) 0.5^2 (mirrors) .9 .8 .85 .85 .75 .9 .7 (intensities)."""
    augment = planned_augmentation(plan).set_random_state(0)
    given = PadToPatchd(BOTH, plan.patch)(a_slice())
    plain = given["image"].float()
    untouched = 0
    for _ in range(600):
        image = augment(given)["image"]
        untouched += any(torch.equal(torch.flip(image, dims), plain) for dims in ([], [1], [2], [1, 2]))
    expected = 0.8**2 * 0.9 * 0.8 * 0.85 * 0.85 * 0.75 * 0.9 * 0.7
    assert untouched / 600 == pytest.approx(expected, abs=0.055)  # three standard deviations


def test_a_constant_slice_stays_finite(plan: Plan) -> None:
    augment = planned_augmentation(plan).set_random_state(0)
    given = {"image": torch.zeros(1, 40, 56), "label": torch.zeros(1, 40, 56, dtype=torch.long)}
    assert all(torch.isfinite(augment(given)["image"]).all() for _ in range(60))


@pytest.mark.parametrize("strength", [-0.1, 1.5, "much"])
def test_another_strength_is_refused(plan: Plan, strength: object) -> None:
    with pytest.raises(BadInputError, match="strength of augmentation"):
        planned_augmentation(plan, strength=strength)  # type: ignore[arg-type]


@pytest.mark.parametrize(("angle", "factor"), [(0.7, 1.0), (-2.0, 1.3), (0.0, 0.75)])
def test_turning_and_scaling_agree_with_monais_affine(angle: float, factor: float) -> None:
    class Fixed(RandRotateScaled):
        def draw(self) -> tuple[float, float]:
            return angle, factor

    given = {"image": torch.randn(1, 35, 50), "label": torch.randint(0, 4, (1, 35, 50))}
    result = Fixed(BOTH)(given)
    settings = {"rotate_params": angle, "scale_params": (factor, factor), "padding_mode": "zeros", "image_only": True}
    expected = Affine(**settings, mode="bilinear")(given["image"])
    torch.testing.assert_close(result["image"], expected.as_tensor(), atol=1e-4, rtol=1e-4)
    labels = Affine(**settings, mode="nearest")(given["label"].float()).long()
    assert float((result["label"] == labels.as_tensor()).float().mean()) > 0.995  # pixels half way may differ
    assert result["label"].dtype == torch.long


def test_scale_above_one_makes_objects_smaller() -> None:
    class Fixed(RandRotateScaled):
        def draw(self) -> tuple[float, float]:
            return 0.0, 1.4

    label = torch.zeros(1, 40, 40, dtype=torch.long)
    label[:, 10:30, 10:30] = 1
    assert int(Fixed(["label"])({"label": label})["label"].sum()) == pytest.approx(400 / 1.4**2, rel=0.1)


def test_turns_and_scalings_are_drawn_apart_and_within_their_ranges() -> None:
    transform = RandRotateScaled(BOTH, rotation=15, scale=(0.7, 1.4)).set_random_state(0)
    angles, factors = np.array([transform.draw() for _ in range(4000)]).T
    turned, scaled = angles != 0, factors != 1
    assert turned.mean() == pytest.approx(0.2, abs=0.02)
    assert scaled.mean() == pytest.approx(0.2, abs=0.02)
    assert (turned & scaled).mean() == pytest.approx(0.04, abs=0.01)
    assert np.abs(np.degrees(angles)).max() == pytest.approx(15, abs=0.3)
    assert (factors.min(), factors.max()) == pytest.approx((0.7, 1.4), abs=0.02)
    assert (factors[scaled] < 1).mean() == pytest.approx(0.5, abs=0.06)


def test_a_third_of_the_patches_are_centred_on_foreground() -> None:
    label = torch.zeros(1, 64, 64, dtype=torch.long)
    label[:, 30, 40] = 1
    image = torch.arange(64.0 * 64).reshape(1, 64, 64)
    cut = RandForegroundPatchd(BOTH, "label", (8, 8)).set_random_state(0)
    results = [cut({"image": image, "label": label}) for _ in range(1500)]
    centred = [int(result["label"][0, 4, 4]) for result in results]
    assert np.mean(centred) == pytest.approx(1 / 3, abs=0.04)
    corners = {float(result["image"][0, 0, 0]) for result, inside in zip(results, centred, strict=True) if not inside}
    assert len(corners) > 400
    assert all(torch.equal(label[0].flatten()[r["image"][0].long()], r["label"][0]) for r in results[:20])


def test_foreground_at_the_border_is_cut_out_as_far_as_it_goes() -> None:
    label = torch.zeros(1, 64, 20, dtype=torch.long)
    label[:, 63, 0] = 1
    cut = RandForegroundPatchd(["label"], "label", (8, 8), foreground=1).set_random_state(0)
    assert cut({"label": label})["label"][0, 7, 0] == 1


def test_slices_without_foreground_are_cut_without_a_word(recwarn: pytest.WarningsRecorder) -> None:
    cut = RandForegroundPatchd(BOTH, "label", (8, 8), foreground=1).set_random_state(0)
    given = {"image": torch.randn(1, 20, 20), "label": torch.zeros(1, 20, 20)}
    assert len({float(cut(given)["image"][0, 0, 0]) for _ in range(20)}) > 10
    assert not recwarn.list


def test_a_slice_below_the_patch_must_be_padded_first() -> None:
    cut = RandForegroundPatchd(BOTH, "label", (8, 8))
    with pytest.raises(BadInputError, match=r"\(6, 20\) pixels has no patch of \(8, 8\)"):
        cut({"image": torch.randn(1, 6, 20), "label": torch.zeros(1, 6, 20)})


def test_mirroring_moves_image_and_label_together_on_the_axes_it_may() -> None:
    image = torch.randn(1, 6, 9)
    mirror = RandMirrord(BOTH, axes=(1,)).set_random_state(0)
    results = [mirror({"image": image, "label": image.clone()}) for _ in range(400)]
    mirrored = [torch.equal(result["image"], image.flip(2)) for result in results]
    assert all(torch.equal(result["image"], result["label"]) for result in results)
    assert all(hit or torch.equal(result["image"], image) for hit, result in zip(mirrored, results, strict=True))
    assert np.mean(mirrored) == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize(
    "make",
    [
        lambda: RandRotateScaled(BOTH, rotation=200),
        lambda: RandRotateScaled(BOTH, scale=(1.2, 1.4)),
        lambda: RandRotateScaled(BOTH, scale_prob=2),
        lambda: RandForegroundPatchd(BOTH, "label", (8, 0)),
        lambda: RandMirrord(BOTH, axes=(2,)),
        lambda: PadToPatchd(BOTH, (8,)),
    ],
)
def test_arguments_that_cannot_work_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(BadInputError):
        make()
