"""Segmentation data: lists of volumes, checks, slices, batches, and label maps that lie where their volumes lie."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from monai.data import DataLoader, MetaTensor
from monai.transforms import (
    Compose,
    MapTransform,
    NormalizeIntensity,
    NormalizeIntensityd,
    RandFlipd,
    RandGaussianNoised,
    ScaleIntensityd,
    ScaleIntensityRanged,
    Spacingd,
)
from monai.utils import set_determinism
from sklearn.model_selection import KFold
from torch.utils.data import Subset

from monai_robust.data import (
    ForegroundBatchSampler,
    SliceDataset,
    VolumeGrid,
    check_volume,
    label_map_on,
    load_volume,
    same_size_batches,
    segmentation_datalist,
    slices_of_volume,
    volume_of_slices,
    write_dicom_seg,
    write_label_map,
)
from monai_robust.data.intensity import SampleScales, dataset_scaling
from monai_robust.errors import BadInputError, BadSampleError

Items = list[dict[str, Any]]
SHAPE = (7, 9, 6)
AFFINE = np.diag([1.0, 1.5, 2.0, 1.0])


def save(path: Path, values: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, affine), path)
    return path


def picture(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).normal(100, 20, shape).astype(np.float32)


def mask(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Class 1 in slices 1 to 3 of the last axis, class 2 in slices 3 and 4; slices 0 and 5 are empty."""
    labels = np.zeros(shape, np.uint8)
    labels[2:4, 2:5, 1:4] = 1
    labels[4:6, 5:8, 3:5] = 2
    return labels


def write_set(root: Path, cases: int = 20, index: Items | None = None, images: bool = True, **changes: Any) -> Path:
    """A data set in the Decathlon's layout; of empty files where nothing is going to load them."""
    names = [f"case_{number:02d}" for number in range(cases)]
    for number, name in enumerate(names):
        for folder, values in (("imagesTr", picture(number)), ("labelsTr", mask())):
            path = root / folder / f"{name}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch() if not images else save(path, values)
    content = {
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "Front", "2": "Back"},
        "training": [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in reversed(names)],
    }
    content.update(changes)
    (root / "dataset.json").write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    if index is not None:
        pd.DataFrame(index).to_csv(root / "index.csv", index=False)
    return root


def cases(items: Items) -> list[str]:
    return [item["case_id"] for item in items]


def patients(items: Items) -> set[str]:
    return {item["patient_id"] for item in items}


def index_of(count: int = 20, splits: bool = True) -> Items:
    """Two cases a patient; 12 train, 4 val, 4 test."""
    split = ["train"] * 12 + ["val"] * 4 + ["test"] * 4
    return [
        {"case_id": f"case_{n:02d}", "patient_id": f"p{n // 2:02d}"} | ({"split": split[n]} if splits else {})
        for n in range(count)
    ]


# Data lists


@pytest.mark.real_data
def test_the_decathlons_hippocampus_is_listed_as_its_index_has_it(public_data: Path) -> None:
    root = public_data / "msd_hippocampus"
    found = segmentation_datalist(root)
    assert found.classes == ("Anterior", "Posterior")
    assert found.modalities == ("MRI",)
    index = pd.read_csv(root / "index.csv").set_index("case_id")
    for split in ("train", "val", "test"):
        assert cases(found.items[split]) == sorted(index.index[index["split"] == split])
    item = found.items["val"][0]
    assert Path(item["image"]) == (root / index.loc[item["case_id"], "image"])
    assert Path(item["label"]) == (root / index.loc[item["case_id"], "label"])
    assert item["patient_id"] == item["case_id"]


def test_classes_and_channels_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    write_set(tmp_path, images=False, labels={"2": "b", "0": "none", "1": "a"}, modality={"1": "T2", "0": "T1"})
    found = segmentation_datalist(tmp_path)
    assert found.classes == ("a", "b")
    assert found.modalities == ("T1", "T2")
    assert {item["channels"] for item in found.items["train"]} == {2}


def test_nnunets_folds_are_kfold_over_the_sorted_cases(tmp_path: Path) -> None:
    write_set(tmp_path, images=False)
    names = np.array([f"case_{number:02d}" for number in range(20)])
    for fold, (train, val) in enumerate(KFold(5, shuffle=True, random_state=12345).split(names)):
        found = segmentation_datalist(tmp_path, fold=fold, seed=fold)
        assert cases(found.items["train"]) == list(names[train])
        assert cases(found.items["val"]) == list(names[val])
        assert found.items["test"] == found.items["val"]


def test_folds_leave_the_test_split_alone_and_patients_whole(tmp_path: Path) -> None:
    write_set(tmp_path, images=False, index=index_of())
    validated = []
    for fold in range(4):
        items = segmentation_datalist(tmp_path, fold=fold, folds=4).items
        assert cases(items["test"]) == [f"case_{number}" for number in range(16, 20)]
        assert not patients(items["train"]) & patients(items["val"])
        validated += cases(items["val"])
    assert sorted(validated) == [f"case_{number:02d}" for number in range(16)]


def test_missing_splits_are_drawn_by_patient_and_by_the_seed(tmp_path: Path) -> None:
    write_set(tmp_path, images=False, index=index_of(splits=False))
    first, again, other = (segmentation_datalist(tmp_path, seed=seed).items for seed in (0, 0, 1))
    assert first == again
    assert first != other
    groups = [patients(first[split]) for split in ("train", "val", "test")]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 10
    assert len(first["test"]) == 4


@pytest.mark.parametrize("fold", [None, 1])
def test_a_limit_keeps_patients_whole(tmp_path: Path, fold: int | None) -> None:
    write_set(tmp_path, images=False, index=index_of())
    full, few = (segmentation_datalist(tmp_path, fold=fold, limit=limit).items for limit in (None, 3))
    for split in few:
        assert len(few[split]) == 2, "one patient of two cases fits into 3"
        assert len(patients(few[split])) == 1
        assert set(cases(few[split])) <= set(cases(full[split]))
    with pytest.raises(BadInputError, match="limit is 1; it must be 2 or more"):
        segmentation_datalist(tmp_path, limit=1)


def test_a_fold_whose_validation_cases_are_its_test_cases_stays_so_under_a_limit(tmp_path: Path) -> None:
    write_set(tmp_path, images=False)
    items = segmentation_datalist(tmp_path, fold=0, limit=2).items
    assert len(items["val"]) == 2
    assert items["val"] == items["test"]


def test_cases_of_other_splits_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = index_of()
    rows[0]["split"] = "broken"
    write_set(tmp_path, images=False, index=rows)
    items = segmentation_datalist(tmp_path).items
    assert "case_00" not in [name for split in items.values() for name in cases(split)]
    assert "1 cases" in caplog.text
    assert "(broken)" in caplog.text


def test_lists_and_rows_that_nothing_uses_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_set(tmp_path, images=False, index=[*index_of(), {**index_of()[0], "case_id": "case_20"}])
    content = json.loads((tmp_path / "dataset.json").read_text())
    (tmp_path / "dataset.json").write_text(json.dumps({**content, "holdout": content["training"][:2]}))
    segmentation_datalist(tmp_path)
    assert "holdout of data list" in caplog.text
    assert "index.csv are no labelled cases of dataset.json and are left out; the log at level DEBUG" in caplog.text
    assert "case_20" not in "".join(one.getMessage() for one in caplog.records if one.levelname != "DEBUG")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": None}, "has no 'training'; it needs modality, labels and training"),
        ({"modality": {}}, "has no 'modality'"),
        ({"labels": {"0": "background", "2": "a"}}, "'labels' is .* needs the whole numbers from 0 on"),
        ({"labels": {"background": 0, "a": 1}}, "'labels' is .* needs the whole numbers from 0 on"),
        ({"labels": {"0": "background"}}, "declares only the label 0"),
        ({"labels": {"0": "background", "1": "a", "2": "a"}}, "gives two labels one name"),
        ({"training": [{"image": "a.nii.gz"}]}, "under training is not"),
        ({"training": [{"image": "a.nii.gz", "label": "b.nii.gz"}]}, r"2 of 2 files .* missing in .*; first .*a\.nii"),
        ({"training": [{"image": "imagesTr/case_00.nii.gz", "label": "labelsTr/case_00.nii.gz"}] * 2}, "1 cases twice"),
    ],
)
def test_a_description_that_cannot_work_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write_set(tmp_path, images=False, **changes)
    with pytest.raises(BadInputError, match=message):
        segmentation_datalist(tmp_path)


def test_a_folder_without_a_description_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="there is no data set folder"):
        segmentation_datalist(tmp_path / "nothing")
    with pytest.raises(BadInputError, match=r"has no dataset\.json"):
        segmentation_datalist(tmp_path)
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(BadInputError, match="is not valid JSON"):
        segmentation_datalist(tmp_path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (index_of()[:-3], "lacks 3 of the 20 cases in dataset.json; first case_17"),
        ([*index_of(), index_of()[0]], "lists 1 cases twice; first case_00"),
        ([{"name": "case_00"}], "has no column 'case_id'; it has name"),
        ([{**row, "split": "train"} if row["split"] == "val" else row for row in index_of()][:0], "is empty"),
        ([{**row, "split": "later"} for row in index_of()], "has no split train, val or test; it has later"),
        ([{**row, "split": "test"} for row in index_of()], "split 'train' is empty"),
    ],
)
def test_an_index_that_cannot_work_is_refused(tmp_path: Path, rows: Items, message: str) -> None:
    write_set(tmp_path, images=False, index=rows)
    with pytest.raises(BadInputError, match=message):
        segmentation_datalist(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fold": 5}, "fold is 5 of 5 folds"),
        ({"fold": 0, "folds": 30}, "more than the 20 patients"),
        ({"test_fraction": 0.9, "validation_fraction": 0.2}, "leave something to train on"),
    ],
)
def test_arguments_that_cannot_work_are_refused(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    write_set(tmp_path, images=False)
    with pytest.raises(BadInputError, match=message):
        segmentation_datalist(tmp_path, **arguments)


# Volumes


def pair(
    root: Path,
    image: np.ndarray | None = None,
    label: np.ndarray | None = None,
    affine: np.ndarray = AFFINE,
    label_affine: np.ndarray | None = None,
) -> dict[str, Any]:
    image, label = picture() if image is None else image, mask() if label is None else label
    return {
        "image": str(save(root / "image.nii.gz", image, affine)),
        "label": str(save(root / "label.nii.gz", label, affine if label_affine is None else label_affine)),
        "case_id": "one",
    }


def test_a_volume_is_loaded_with_its_spacing_and_the_scale_of_its_file(tmp_path: Path) -> None:
    item = pair(tmp_path, label=mask().astype(np.float32))
    found = load_volume(item, classes=2)
    assert found["case_id"] == "one"
    assert found["spacing"] == pytest.approx((1.0, 1.5, 2.0))
    assert found["image"].dtype == torch.float32
    assert found["label"].dtype == torch.uint8
    np.testing.assert_array_equal(found["image"][0], picture())
    np.testing.assert_array_equal(found["label"][0], mask())
    np.testing.assert_allclose(found["image"].affine, AFFINE)


def test_a_file_with_several_channels_is_loaded_where_they_are_declared(tmp_path: Path) -> None:
    both = np.stack([picture(0), picture(1)], axis=-1)
    item = pair(tmp_path, image=both)
    found = load_volume({**item, "channels": 2}, classes=2)
    np.testing.assert_array_equal(found["image"], both.transpose(3, 0, 1, 2))
    with pytest.raises(BadSampleError, match=r"it is 4-D, with 2 volumes of shape \(7, 9, 6\).* declares 1 modality"):
        load_volume(item, classes=2)


def with_value(value: float) -> np.ndarray:
    values = picture()
    values[1, 2, 3] = value
    return values


def shifted(millimetres: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[0, 3] += millimetres
    return affine


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": with_value(np.nan)}, r"1 of its 378 voxels are NaN or infinite"),
        ({"image": with_value(np.inf)}, r"1 of its 378 voxels are NaN or infinite"),
        ({"image": np.full(SHAPE, 3, np.uint8)}, "it is constant, 3 everywhere"),
        ({"image": picture(shape=(7, 9))}, "it has 2 axes; a volume needs 3"),
        ({"label": mask((7, 9, 7))}, r"its shape is \(7, 9, 6\), but that of its label map \(7, 9, 7\)"),
        (
            {"label": np.stack([mask()] * 2, axis=-1)},
            r"its shape is \(7, 9, 6\), but that of its label map \(7, 9, 6, 2\)",
        ),
        ({"label_affine": shifted(0.2)}, r"its label map lies elsewhere: .* a corner 0\.2 mm apart"),
        ({"label_affine": np.diag([1.0, 1.5, 2.1, 1.0])}, r"its label map lies elsewhere: .* a corner 0\.5 mm apart"),
        ({"label": mask() * 3}, "its label map holds 3, 6, but the declared labels are 0 to 2"),
        ({"label": mask().astype(np.int16) - 1}, "its label map holds -1, but"),
        ({"label": mask() * np.float32(0.5)}, "its label map holds values that are no whole numbers"),
        ({"label": np.zeros(SHAPE, np.uint8)}, "its label map is empty: there is no foreground"),
    ],
)
def test_volumes_that_nothing_can_be_learnt_from_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadSampleError, match=r"image .*image\.nii\.gz: " + message):
        load_volume(pair(tmp_path, **changes), classes=2)


def test_affines_may_differ_by_less_than_a_tenth_of_a_voxel(tmp_path: Path) -> None:
    assert load_volume(pair(tmp_path, label_affine=shifted(0.09)), classes=2)["label"].any()


def test_without_declared_classes_any_whole_label_passes(tmp_path: Path) -> None:
    assert load_volume(pair(tmp_path, label=mask() * 100))["label"].max() == 200


def test_a_volume_without_a_label_map_can_be_checked() -> None:
    volume = MetaTensor(torch.as_tensor(picture())[None], affine=torch.as_tensor(AFFINE))
    check_volume(volume, None, None, "volume")
    with pytest.raises(BadSampleError, match=r"^my volume: it is constant"):
        check_volume(MetaTensor(torch.zeros(1, 3, 3, 3)), None, None, "my volume")


def test_damaged_and_missing_files_are_named(tmp_path: Path) -> None:
    item = pair(tmp_path)
    content = Path(item["label"]).read_bytes()
    Path(item["label"]).write_bytes(content[: len(content) // 2])
    with pytest.raises(BadSampleError, match=r"image .*label\.nii\.gz cannot be read"):
        load_volume(item)
    Path(item["image"]).write_bytes(b"no image")
    with pytest.raises(BadSampleError, match=r"image .*image\.nii\.gz cannot be read"):
        load_volume(item)
    Path(item["image"]).unlink()
    with pytest.raises(BadSampleError, match=r"image .*image\.nii\.gz does not exist"):
        load_volume(item)


@pytest.mark.real_data
def test_a_folder_of_dicom_slices_is_loaded_as_a_volume(public_data: Path) -> None:
    found = load_volume({"image": public_data / "dicom_samples" / "series_mr_t1post"})
    reference = sitk.ImageSeriesReader()
    reference.SetFileNames(reference.GetGDCMSeriesFileNames(str(public_data / "dicom_samples" / "series_mr_t1post")))
    image = reference.Execute()
    assert found["image"].shape == (1, *image.GetSize())
    assert found["spacing"] == pytest.approx(image.GetSpacing(), rel=1e-4)
    assert "label" not in found


# Cutting


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
def test_slices_keep_the_order_of_the_other_axes_and_can_be_put_together_again(slice_axis: int) -> None:
    volume = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5) + 1
    slices = slices_of_volume(volume, slice_axis, pad_to=(4, 7))
    rest = [size for axis, size in enumerate((3, 4, 5)) if axis != slice_axis]
    assert slices.shape == (volume.shape[slice_axis + 1], 2, max(rest[0], 4), max(rest[1], 7))
    plain = slices_of_volume(volume, slice_axis)
    assert torch.equal(plain[1], volume.select(slice_axis + 1, 1))
    top, left = max(4 - rest[0], 0) // 2, max(7 - rest[1], 0) // 2
    assert torch.equal(slices[:, :, top : top + rest[0], left : left + rest[1]], plain)
    assert slices.sum() == volume.sum(), "padding is zero"
    assert torch.equal(volume_of_slices(slices, slice_axis, rest), volume)


def test_a_slicing_that_is_none_is_refused() -> None:
    with pytest.raises(BadInputError, match="slice_axis is 3"):
        slices_of_volume(torch.zeros(1, 2, 2, 2), 3)
    with pytest.raises(BadInputError, match="size of a slice"):
        slices_of_volume(torch.zeros(1, 2, 2, 2), 0, pad_to=(0, 4))
    with pytest.raises(BadInputError, match="hold no"):
        volume_of_slices(torch.zeros(2, 1, 2, 2), 0, (3, 2))


# Slices


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Items:
    """Three volumes; the second is of another size."""
    root = tmp_path_factory.mktemp("volumes")
    items = []
    for number, shape in enumerate([SHAPE, (8, 10, 6), SHAPE]):
        folder = root / str(number)
        items.append({**pair(folder, picture(number, shape), mask(shape)), "case_id": f"c{number}"})
    return [{**item, "patient_id": f"p{number // 2}"} for number, item in enumerate(items)]


def cut(items: Items, **options: Any) -> SliceDataset:
    return SliceDataset(items, **{"slice_axis": 2, "classes": 2, **options})


@pytest.mark.parametrize("planned", [False, True])
def test_slices_have_the_scale_of_their_volume_in_units_of_the_file(volumes: Items, planned: bool) -> None:
    alone = ByChannel("image") if planned else NormalizeIntensityd("image")
    dataset: Any = Subset(cut(volumes, transform=Compose([alone])), [1, 3, 7])
    assert dataset_scaling(dataset).per_image
    deviations = [float(load_volume(volumes[one])["image"].double().std(correction=0)) for one in (0, 0, 1)]
    found = SampleScales(dataset)
    assert [found(place) for place in range(3)] == pytest.approx([1 / one for one in deviations], rel=1e-5)
    window = ScaleIntensityRanged("image", 0, 50, 0, 1, clip=True)
    assert dataset_scaling(cut(volumes, transform=window)).factor == pytest.approx(1 / 50)
    again = dataset_scaling(cut(volumes, transform=window, random=ScaleIntensityd("image")))
    assert again.factor is None
    assert "ScaleIntensityd scales slices of volumes that are scaled already" in again.why


class ByChannel(MapTransform):
    """As the plan of a data set has it, with a normalisation for each channel."""

    def __init__(self, keys: str) -> None:
        super().__init__(keys)
        self.channels = [NormalizeIntensity()]

    def __call__(self, data: Any) -> Any:
        image = data["image"].clone()
        image[0] = self.channels[0](image[0])
        return {**data, "image": image}


def test_a_slice_comes_with_its_label_and_ids(volumes: Items) -> None:
    dataset = cut(volumes)
    assert len(dataset) == 18
    sample = dataset[6 + 3]
    assert set(sample) == {"image", "label", "sample_id", "case_id", "patient_id", "slice_index"}
    assert (sample["sample_id"], sample["case_id"], sample["patient_id"], sample["slice_index"]) == (
        "c1/003",
        "c1",
        "p0",
        3,
    )
    assert type(sample["image"]) is torch.Tensor
    assert type(sample["label"]) is torch.Tensor
    assert (sample["image"].dtype, sample["label"].dtype) == (torch.float32, torch.int64)
    np.testing.assert_array_equal(sample["image"][0], picture(1, (8, 10, 6))[:, :, 3])
    np.testing.assert_array_equal(sample["label"][0], mask((8, 10, 6))[:, :, 3])


def test_items_tell_size_and_foreground_of_each_slice(volumes: Items) -> None:
    items = cut(volumes).items
    assert [item["foreground"] for item in items[:6]] == [(), (1,), (1,), (1, 2), (2,), ()]
    assert [item["size"] for item in items] == [(7, 9)] * 6 + [(8, 10)] * 6 + [(7, 9)] * 6
    assert items[7]["image"] == volumes[1]["image"]
    assert len({item["sample_id"] for item in items}) == 18


@pytest.mark.parametrize("slice_axis", [0, 1])
def test_other_axes_can_be_cut_along(volumes: Items, slice_axis: int) -> None:
    dataset = cut(volumes[:1], slice_axis=slice_axis)
    assert len(dataset) == SHAPE[slice_axis]
    np.testing.assert_array_equal(dataset[4]["image"][0], np.take(picture(0), 4, axis=slice_axis))


def test_slices_without_foreground_can_be_left_out(volumes: Items) -> None:
    dataset = cut(volumes, keep="foreground")
    assert [item["slice_index"] for item in dataset.items] == [1, 2, 3, 4] * 3
    assert all(dataset[index]["label"].any() for index in range(len(dataset)))
    assert dataset[2]["sample_id"] == "c0/003", "ids do not depend on what is kept"


def test_slices_are_padded_evenly_and_grouped_by_size(volumes: Items) -> None:
    dataset = cut(volumes, pad_to=(8, 9), group_by_size=True)
    assert [item["size"] for item in dataset.items] == [(8, 9)] * 12 + [(8, 10)] * 6
    assert [item["case_id"] for item in dataset.items[::6]] == ["c0", "c2", "c1"]
    image = dataset[0]["image"]
    assert image.shape == (1, 8, 9)
    assert not image[:, 7].any()
    np.testing.assert_array_equal(image[0, :7], picture(0)[:, :, 0])
    assert tuple(dataset[12]["label"].shape) == (1, 8, 10)


def test_the_volume_transform_sees_the_whole_volume_and_its_affine(volumes: Items) -> None:
    both = ["image", "label"]
    dataset = cut(
        volumes[:1],
        transform=[Spacingd(both, (2.0, 1.5, -1), mode=("bilinear", "nearest")), NormalizeIntensityd("image")],
    )
    images = torch.stack([dataset[index]["image"] for index in range(len(dataset))])
    assert images.shape == (6, 1, 4, 9)
    assert float(images.mean()) == pytest.approx(0, abs=1e-5)
    assert float(images.std(unbiased=False)) == pytest.approx(1, abs=1e-4)
    assert set(dataset[3]["label"].unique().tolist()) == {0, 1, 2}


class Spoil(MapTransform):
    """Changes its input in place, as a transform should not but may."""

    def __call__(self, data: Any) -> dict[str, Any]:
        for key in self.keys:
            data[key] += 1
        return dict(data)


@pytest.mark.parametrize("cache", [True, False])
def test_what_a_random_transform_does_in_place_does_not_last(volumes: Items, cache: bool) -> None:
    dataset = cut(volumes, random=Spoil(["image", "label"]), cache=cache)
    first, second = dataset[3], dataset[3]
    assert torch.equal(first["image"], second["image"])
    assert torch.equal(first["label"], second["label"])
    np.testing.assert_array_equal(first["label"][0], mask()[:, :, 3] + 1)


class Counting(MapTransform):
    """Counts how often it runs."""

    calls = 0

    def __call__(self, data: Any) -> dict[str, Any]:
        self.calls += 1
        return dict(data)


@pytest.mark.parametrize(("cache", "calls"), [(True, 3), (False, 6)])
def test_volumes_are_loaded_once_or_once_more_when_read_in_order(volumes: Items, cache: bool, calls: int) -> None:
    counting = Counting("image")
    dataset = cut(volumes, transform=counting, cache=cache)
    samples = [dataset[index] for index in range(len(dataset))]
    assert counting.calls == calls
    assert [sample["sample_id"] for sample in samples] == [item["sample_id"] for item in dataset.items]
    np.testing.assert_array_equal(samples[13]["image"][0], picture(2)[:, :, 1])


def loaded(dataset: SliceDataset, num_workers: int) -> torch.Tensor:
    set_determinism(5)
    try:
        return torch.cat([batch["image"] for batch in DataLoader(dataset, batch_size=6, num_workers=num_workers)])
    finally:
        set_determinism(None)


def test_random_transforms_are_seeded_by_monais_loader_also_in_workers(volumes: Items) -> None:
    noise = [RandGaussianNoised("image", prob=1.0, std=1.0), RandFlipd(["image", "label"], 0.5, 0)]
    dataset = cut(volumes[::2], random=noise)
    first, again = loaded(dataset, 1), loaded(dataset, 1)
    assert torch.equal(first, again)
    assert len(torch.unique(first.flatten(1), dim=0)) == 12
    dataset.set_random_state(3)
    one = dataset[0]["image"]
    dataset.set_random_state(3)
    assert torch.equal(one, dataset[0]["image"])
    assert not torch.equal(one, dataset[0]["image"])


def test_bad_volumes_are_refused_or_skipped_and_named(volumes: Items, tmp_path: Path) -> None:
    bad = {**pair(tmp_path, label=np.zeros(SHAPE, np.uint8)), "case_id": "bad"}
    items = [volumes[0], bad, volumes[2]]
    with pytest.raises(BadSampleError, match=r"label map is empty.*\(1 of 3 val images cannot be used"):
        cut(items, name="val")
    dataset = cut(items, on_bad_sample="skip")
    assert [item["case_id"] for item in dataset.items[::6]] == ["c0", "c2"]
    assert dataset[6]["sample_id"] == "c2/000"
    np.testing.assert_array_equal(dataset[6]["image"][0], picture(2)[:, :, 0])
    assert [(entry["sample_id"], entry["file"]) for entry in dataset.skipped] == [("bad", bad["image"])]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"slice_axis": 3}, "slice_axis is 3"),
        ({"keep": "some"}, "keep is 'some'"),
        ({"pad_to": (4,)}, "size of a slice"),
        ({"items": []}, "has no samples"),
        (
            {"items": [{"image": "a", "case_id": "a"}, {"image": "b", "label": "b", "case_id": "b"}]},
            "1 of 2 volumes have no 'label'",
        ),
    ],
)
def test_a_slice_data_set_refuses_what_cannot_work(volumes: Items, change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        cut(**{"items": volumes, **change})


def test_two_volumes_of_one_case_id_are_refused(volumes: Items) -> None:
    with pytest.raises(BadInputError, match="1 case ids name more than one volume; first c0"):
        cut([volumes[0], volumes[0]])


@pytest.mark.real_data
def test_real_volumes_of_mixed_types_and_scales_become_slices(public_data: Path) -> None:
    found = segmentation_datalist(public_data / "msd_hippocampus", limit=4)
    items = found.items["train"]
    dataset = cut(items, transform=NormalizeIntensityd("image"), pad_to=(40, 56), num_workers=2)
    shapes = [nib.load(item["image"]).shape for item in items]
    assert len(dataset) == sum(shape[2] for shape in shapes)
    assert all(item["size"][0] >= 40 and item["size"][1] >= 56 for item in dataset.items)
    counts = np.zeros(3, int)
    for index in range(len(dataset)):
        counts += np.bincount(dataset[index]["label"].flatten(), minlength=3)
    labels = [np.asarray(nib.load(item["label"]).dataobj).astype(int).ravel() for item in items]
    assert list(counts[1:]) == list(np.bincount(np.concatenate(labels), minlength=3)[1:])


# Batches


def slice_items(count: int = 50) -> Items:
    """Class 1 in slices 10 to 29, class 2 in 28 and 29 only."""
    return [
        {"foreground": tuple(one for one, held in ((1, 10 <= n < 30), (2, 28 <= n < 30)) if held)} for n in range(count)
    ]


def epochs(sampler: ForegroundBatchSampler, count: int) -> list[list[list[int]]]:
    return [list(sampler) for _ in range(count)]


def test_the_last_third_of_every_batch_holds_foreground_of_classes_drawn_evenly() -> None:
    items = slice_items()
    sampler = ForegroundBatchSampler(items, 6, 100)
    batches = [batch for epoch in epochs(sampler, 5) for batch in epoch]
    assert len(sampler) == 100
    assert {len(batch) for batch in batches} == {6}
    drawn = [index for batch in batches for index in batch[4:]]
    assert all(items[index]["foreground"] for index in drawn)
    # Slices 28 and 29 hold both classes: drawn for class 2 always, for class 1 in 2 of 20 cases.
    share = sum(index >= 28 for index in drawn) / len(drawn)
    assert share == pytest.approx(0.5 + 0.5 * 0.1, abs=0.05)


def test_the_other_visits_are_even_across_epochs() -> None:
    sampler = ForegroundBatchSampler(slice_items(), 6, 7)  # 28 even visits an epoch, of 50 slices
    visits: list[int] = []
    for epoch in epochs(sampler, 50):
        visits += [index for batch in epoch for index in batch[:4]]
        counts = Counter(visits)
        assert max(counts.values()) - min(counts[index] for index in range(50)) <= 1
    assert set(Counter(visits).values()) == {28}
    assert visits[:50] != visits[50:100], "each round has its own order"


@pytest.mark.parametrize(("foreground", "held"), [(0.0, 0), (1 / 3, 2), (0.5, 3), (1.0, 5)])
def test_the_last_slices_of_a_batch_of_five_hold_foreground(foreground: float, held: int) -> None:
    """By nnU-Net's rule, places from round(5 * (1 - share)) on."""
    items = [{"foreground": ()}] * 99 + [{"foreground": (1,)}]
    for batch in ForegroundBatchSampler(items, 5, 5, foreground=foreground):
        assert batch[5 - held :] == [99] * held
        assert 99 not in batch[: 5 - held] or batch.count(99) == held + 1
        assert len(batch) == 5


@pytest.mark.parametrize("world_size", [2, 3])
def test_all_ranks_together_see_what_one_process_with_their_batch_sees(world_size: int) -> None:
    items = slice_items()
    whole = ForegroundBatchSampler(items, 6 * world_size, 8, seed=4)
    ranks = [
        ForegroundBatchSampler(items, 6, 8, seed=4, rank=rank, world_size=world_size) for rank in range(world_size)
    ]
    for _ in range(3):
        shares = [list(sampler) for sampler in ranks]
        for number, batch in enumerate(whole):
            parts = [share[number] for share in shares]
            assert sorted(batch) == sorted(index for part in parts for index in part)
            assert {len(part) for part in parts} == {6}
            assert all(items[index]["foreground"] for part in parts for index in part[4:])


def test_batches_follow_from_the_seed_and_the_epoch_alone() -> None:
    items = slice_items()
    first = epochs(ForegroundBatchSampler(items, 6, 8, seed=1), 4)
    assert first == epochs(ForegroundBatchSampler(items, 6, 8, seed=1), 4)
    assert first != epochs(ForegroundBatchSampler(items, 6, 8, seed=2), 4)
    assert len({json.dumps(epoch) for epoch in first}) == 4
    resumed = ForegroundBatchSampler(items, 6, 8, seed=9)
    stopped = ForegroundBatchSampler(items, 6, 8, seed=1)
    epochs(stopped, 2)
    resumed.load_state_dict(stopped.state_dict())
    assert epochs(resumed, 2) == first[2:]
    resumed.set_epoch(1)
    assert list(resumed) == first[1]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_loader_starts_the_next_epoch_each_time(volumes: Items, num_workers: int) -> None:
    dataset = cut(volumes[:1])
    expected = epochs(ForegroundBatchSampler(dataset.items, 3, 2, seed=1), 2)
    sampler = ForegroundBatchSampler(dataset.items, 3, 2, seed=1)
    loader = DataLoader(dataset, batch_sampler=sampler, num_workers=num_workers)
    found = [[batch["slice_index"].tolist() for batch in loader] for _ in range(2)]
    assert found == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"foreground": 1.5}, r"foreground is 1\.5"),
        ({"rank": 2, "world_size": 2}, "rank is 2; it can be 0 to world_size - 1, which is 1"),
        ({"seed": -1}, "seed is -1"),
        ({"items": []}, "no slices"),
        ({"items": [{"foreground": ()}]}, "none of 1 slices holds foreground, but 1 of a batch must"),
    ],
)
def test_a_sampler_refuses_what_cannot_work(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        ForegroundBatchSampler(**{"items": slice_items(), "batch_size": 4, "batches": 2, **arguments})


def test_batches_of_one_size_end_where_the_size_changes() -> None:
    items = [{"size": size} for size in [(4, 4)] * 5 + [(4, 6)] * 2]
    assert same_size_batches(items, 3) == [[0, 1, 2], [3, 4], [5, 6]]
    with pytest.raises(BadInputError, match="batch_size is 0"):
        same_size_batches(items, 0)


# Label maps


def turned(degrees: float, spacing: tuple[float, float, float] = (0.8, 1.1, 2.5)) -> np.ndarray:
    angle = np.deg2rad(degrees)
    affine = np.eye(4)
    affine[:3, :3] = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    ) @ np.diag(spacing)
    affine[:3, 3] = (-20, 31, 7)
    return affine


SHEARED = turned(0) + np.array([[0, 0.2, 0, 0]] + [[0] * 4] * 3)
AFFINES = {
    "straight": turned(0),
    "oblique": turned(25),
    "flipped": turned(0) @ np.diag([-1, -1, 1, 1]),
    "mirrored and oblique": turned(-40) @ np.diag([-1, 1, 1, 1]),
    "axes exchanged": turned(10)[:, [2, 0, 1, 3]],
    "sheared": SHEARED,
}


@pytest.mark.parametrize("affine", AFFINES.values(), ids=list(AFFINES))
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_label_map_lies_on_its_volume(tmp_path: Path, affine: np.ndarray, suffix: str) -> None:
    source = save(tmp_path / "image.nii.gz", picture(), affine)
    image = load_volume({"image": source})["image"]
    path = write_label_map(mask(), image, tmp_path / "new" / f"labels{suffix}")
    written = nib.load(path)
    np.testing.assert_allclose(written.affine, nib.load(source).affine, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(written.dataobj), mask())
    assert written.get_data_dtype() == np.uint8
    check_volume(image, load_volume({"image": path})["image"], 2, "written")


@pytest.mark.parametrize("name", ["oblique", "flipped", "mirrored and oblique", "axes exchanged"])
def test_another_program_sees_the_label_map_at_the_place_of_the_volume(tmp_path: Path, name: str) -> None:
    source = save(tmp_path / "image.nii.gz", picture(), AFFINES[name])
    path = write_label_map(mask(), load_volume({"image": source})["image"], tmp_path / "labels.nii.gz")
    image, labels = sitk.ReadImage(str(source)), sitk.ReadImage(str(path))
    assert labels.GetSize() == image.GetSize()
    for index in [(0, 0, 0), (6, 8, 5), (3, 0, 2)]:
        np.testing.assert_allclose(
            labels.TransformIndexToPhysicalPoint(index), image.TransformIndexToPhysicalPoint(index), atol=1e-4
        )


def ball(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """Class 1 within 6 mm of the middle of the volume, class 2 in the half of it at greater x (millimetres)."""
    grid = np.stack([*np.meshgrid(*[np.arange(size) for size in shape], indexing="ij"), np.ones(shape)])
    place = np.einsum("ij,jxyz->ixyz", affine, grid)[:3]
    centre = (affine @ [*[(size - 1) / 2 for size in shape], 1])[:3]
    away = place - centre[:, None, None, None]
    inside = (away**2).sum(axis=0) < 36
    return np.where(inside, np.where(away[0] > 0, 2, 1), 0).astype(np.uint8)


@pytest.mark.parametrize("name", ["straight", "oblique", "flipped", "axes exchanged"])
def test_scores_on_a_resampled_grid_come_back_to_the_grid_of_the_file(tmp_path: Path, name: str) -> None:
    affine, shape = AFFINES[name], (24, 22, 20)
    truth = ball(shape, affine)
    source = save(tmp_path / "image.nii.gz", picture(shape=shape) + truth, affine)
    label = save(tmp_path / "label.nii.gz", truth, affine)
    volume = load_volume({"image": source, "label": label}, classes=2)
    finer = Spacingd(["image", "label"], (0.7, 0.7, -1), mode=("bilinear", "nearest"))(volume)
    assert finer["image"].shape != volume["image"].shape
    scores = torch.nn.functional.one_hot(finer["label"][0].as_tensor().long(), 3).movedim(-1, 0).float()
    grid = VolumeGrid.of_file(finer["image"])
    assert grid.shape == shape
    found = label_map_on(grid, scores, finer["image"].affine)
    assert found.shape == shape
    agreeing = 2 * ((found == truth) & (truth > 0)).sum() / ((found > 0).sum() + (truth > 0).sum())
    assert agreeing > 0.97
    moved = 2 * ((np.roll(found, 1, 0) == truth) & (truth > 0)).sum() / ((found > 0).sum() + (truth > 0).sum())
    assert moved < agreeing - 0.02, "a shift by one voxel would be noticed"


def test_scores_on_the_grid_of_the_file_are_not_resampled() -> None:
    scores = torch.as_tensor(np.random.default_rng(0).normal(size=(3, *SHAPE)))
    grid = VolumeGrid(SHAPE, turned(12))
    np.testing.assert_array_equal(label_map_on(grid, scores, turned(12)), scores.argmax(0))


@pytest.mark.real_data
def test_a_label_map_of_a_dicom_series_lies_on_the_series(tmp_path: Path, public_data: Path) -> None:
    folder = public_data / "dicom_samples" / "series_mr_t1post"
    image = load_volume({"image": folder})["image"]
    labels = (image[0].numpy() > 500).astype(np.int64)
    path = write_label_map(labels, image, tmp_path / "labels.nii.gz")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    series, written = reader.Execute(), sitk.ReadImage(str(path))
    same_grid = sitk.Resample(written, series, sitk.Transform(), sitk.sitkNearestNeighbor)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(same_grid), sitk.GetArrayFromImage(series) > 500)


@pytest.mark.parametrize(
    ("labels", "name", "message"),
    [
        (mask((7, 9, 7)), "a.nii.gz", r"has shape \(7, 9, 7\), but its volume \(7, 9, 6\)"),
        (mask().astype(float), "a.nii.gz", "values of type float64; it needs whole numbers"),
        (mask().astype(int) - 1, "a.nii.gz", "holds -1 to 1; labels are from 0"),
        (mask(), "a.png", r"written as \.nii or \.nii\.gz, not as a\.png"),
    ],
)
def test_a_label_map_that_does_not_fit_is_refused(tmp_path: Path, labels: np.ndarray, name: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        write_label_map(labels, VolumeGrid(SHAPE, AFFINE), tmp_path / name)
    assert not (tmp_path / name).exists()


# DICOM SEG


def series_labels(folder: Path) -> np.ndarray:
    """Class 1 is bright tissue, class 2 a box that lies neither in the middle of a slice nor of the series."""
    labels = (load_volume({"image": folder})["image"][0].numpy() > 900).astype(np.uint8)
    labels[20:60, 100:180, 3:8] = 2
    return labels


@pytest.mark.real_data
def test_a_dicom_seg_holds_each_class_on_the_slice_it_was_found_in(tmp_path: Path, public_data: Path) -> None:
    pytest.importorskip("highdicom")
    folder = public_data / "dicom_samples" / "series_mr_t1post"
    labels = series_labels(folder)
    codes = {"tissue": ("85756007", "SCT", "Tissue")}
    path = write_dicom_seg(labels, folder, ["tissue", "box", "absent"], tmp_path / "a" / "seg.dcm", class_codes=codes)
    written = pydicom.dcmread(path)
    sources = {header.SOPInstanceUID: header for header in map(pydicom.dcmread, folder.glob("*.dcm"))}
    source = next(iter(sources.values()))
    assert (written.Modality, written.SegmentationType) == ("SEG", "BINARY")
    assert written.StudyInstanceUID == source.StudyInstanceUID
    assert written.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert [segment.SegmentLabel for segment in written.SegmentSequence] == ["tissue", "box", "absent"]
    assert written.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeValue == "85756007"
    assert written.SegmentSequence[1].SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "box"
    found = np.zeros_like(labels)
    heights = sorted(header.ImagePositionPatient[2] for header in sources.values())
    frames = zip(written.PerFrameFunctionalGroupsSequence, written.pixel_array, strict=True)
    for groups, frame in frames:
        referred = groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        place = groups.PlanePositionSequence[0].ImagePositionPatient
        assert list(place) == pytest.approx(list(sources[referred].ImagePositionPatient))
        number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        found[:, :, heights.index(sources[referred].ImagePositionPatient[2])][frame.T > 0] = number
    np.testing.assert_array_equal(found, labels)


@pytest.mark.real_data
def test_a_dicom_seg_of_labels_that_do_not_fit_is_refused(tmp_path: Path, public_data: Path) -> None:
    pytest.importorskip("highdicom")
    folder = public_data / "dicom_samples" / "series_mr_t1post"
    labels = series_labels(folder)
    with pytest.raises(BadInputError, match="holds 2, but there are only 1 classes"):
        write_dicom_seg(labels, folder, ["tissue"], tmp_path / "seg.dcm")
    with pytest.raises(BadInputError, match="the label map has shape"):
        write_dicom_seg(labels[:, :, 1:], folder, ["tissue", "box"], tmp_path / "seg.dcm")


def test_a_dicom_seg_without_the_package_for_it_is_refused_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    monkeypatch.setitem(sys.modules, "highdicom.seg", None)
    with pytest.raises(BadInputError, match="needs the package highdicom, which is not installed"):
        write_dicom_seg(mask(), tmp_path, ["a"], tmp_path / "seg.dcm")
