"""The checked data set: bad images are found at the start, random transforms are seeded by MONAI's loader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import DataLoader
from monai.transforms import (
    Compose,
    EnsureTyped,
    LoadImaged,
    MapTransform,
    RandFlipd,
    RandGaussianNoised,
    ScaleIntensityRangePercentilesd,
)
from monai.utils import set_determinism
from PIL import Image

from monai_robust.data import CheckedDataset, SimpleITKReader
from monai_robust.errors import BadInputError, BadSampleError

Items = list[dict[str, Any]]


class Counting(MapTransform):
    """Counts how often it runs."""

    def __init__(self) -> None:
        super().__init__("image")
        self.calls = 0

    def __call__(self, data: Any) -> dict[str, Any]:
        self.calls += 1
        return dict(data)


def arrays(count: int = 8) -> Items:
    return [{"image": torch.arange(16.0).view(1, 4, 4) + n, "sample_id": f"s{n}", "label": n % 2} for n in range(count)]


def noise() -> RandGaussianNoised:
    return RandGaussianNoised("image", prob=1.0, std=1.0)


def load_image() -> LoadImaged:
    return LoadImaged("image", reader=SimpleITKReader(), ensure_channel_first=True, image_only=True)


@pytest.fixture
def files(tmp_path: Path) -> Items:
    """Six pictures, of which the second is damaged and the fifth constant."""
    items = []
    for n in range(6):
        path = tmp_path / f"{n}.png"
        pixels = np.full((8, 8), 7, np.uint8) if n == 4 else np.arange(64, dtype=np.uint8).reshape(8, 8)
        Image.fromarray(pixels).save(path)
        items.append({"image": str(path), "label": n, "sample_id": f"id{n}"})
    Path(items[1]["image"]).write_bytes(b"\x89PNG broken")
    return items


@pytest.mark.parametrize("num_workers", [0, 2])
def test_bad_images_end_the_check_with_the_first_and_their_number(files: Items, num_workers: int) -> None:
    with pytest.raises(BadSampleError, match=r"image .*1\.png cannot be read.*2 of 6 train images cannot be used"):
        CheckedDataset(files, load_image(), num_workers=num_workers)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("cache", [True, False])
def test_bad_images_can_be_skipped_and_are_recorded(
    files: Items, cache: bool, num_workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = CheckedDataset(files, [load_image()], on_bad_sample="skip", cache=cache, num_workers=num_workers)
    assert [dataset[index]["label"] for index in range(len(dataset))] == [0, 2, 3, 5]
    assert [item["sample_id"] for item in dataset.items] == ["id0", "id2", "id3", "id5"]
    assert [entry["sample_id"] for entry in dataset.skipped] == ["id1", "id4"]
    assert [entry["file"] for entry in dataset.skipped] == [files[1]["image"], files[4]["image"]]
    assert "skipped 2 of 6 train images" in caplog.text
    assert "1.png" not in caplog.text
    assert "damaged or no image" in dataset.skipped[0]["reason"]
    assert "constant, 7 everywhere" in dataset.skipped[1]["reason"]


def test_a_nearly_blank_image_that_was_not_scaled_is_refused(tmp_path: Path) -> None:
    """Its percentiles coincide, and MONAI's scaling then only shifts it."""
    items = []
    for name, blank in (("film", False), ("black", True)):
        pixels = np.arange(10_000, dtype=np.uint8).reshape(100, 100)
        if blank:
            pixels[:] = 0
            pixels[0, :4] = 4
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        items.append({"image": str(tmp_path / f"{name}.png"), "sample_id": name})
    scale = ScaleIntensityRangePercentilesd("image", lower=0.5, upper=99.5, b_min=0.0, b_max=1.0, clip=True)
    reason = r"black\.png: its intensities range from 0 to 4 when scaled, and not within 0 to 1"
    with pytest.raises(BadSampleError, match=reason):
        CheckedDataset(items, [load_image(), scale], bounds=(0, 1))
    dataset = CheckedDataset(items, [load_image(), scale], bounds=(0, 1), on_bad_sample="skip")
    assert [item["sample_id"] for item in dataset.items] == ["film"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    items = arrays(3)
    items[2]["image"] = items[2]["image"].clone()
    items[2]["image"][0, 1, 1] = value
    with pytest.raises(BadSampleError, match="NaN or infinite"):
        CheckedDataset(items, EnsureTyped("image"))


def test_an_error_of_a_transform_is_reported_with_its_cause(files: Items) -> None:
    def failing(data: Any) -> Any:
        raise OSError("the disk is on fire\nsecond line")

    with pytest.raises(BadSampleError, match=r"0\.png: OSError: the disk is on fire \(1 of 1"):
        CheckedDataset(files[:1], Compose([failing]))


def test_a_data_set_without_usable_images_is_refused(files: Items) -> None:
    with pytest.raises(BadInputError, match="none of the 2 val images can be used"):
        CheckedDataset([files[1], files[4]], load_image(), on_bad_sample="skip", name="val")
    with pytest.raises(BadInputError, match="'val' has no samples"):
        CheckedDataset([], load_image(), name="val")


def test_arguments_that_cannot_work_are_refused() -> None:
    with pytest.raises(BadInputError, match="'fail' or 'skip'"):
        CheckedDataset(arrays(), EnsureTyped("image"), on_bad_sample="ignore")
    with pytest.raises(BadInputError, match="num_workers is -1"):
        CheckedDataset(arrays(), EnsureTyped("image"), num_workers=-1)
    with pytest.raises(BadInputError, match="returns no 'image', only"):
        CheckedDataset(arrays(), lambda data: {"label": data["label"]})


def test_cached_items_are_transformed_once_and_others_at_each_access() -> None:
    cached, uncached = Counting(), Counting()
    for dataset in (CheckedDataset(arrays(), cached), CheckedDataset(arrays(), uncached, cache=False)):
        assert len([dataset[index] for index in range(8)]) == 8
    assert (cached.calls, uncached.calls) == (8, 16)


@pytest.mark.parametrize("cache", [True, False])
def test_random_transforms_leave_the_stored_images_alone(cache: bool) -> None:
    def in_place(data: dict[str, Any]) -> dict[str, Any]:
        data["image"] += 100
        data["label"] = -1
        return data

    dataset = CheckedDataset(arrays(), EnsureTyped("image"), in_place, cache=cache)
    first, second = dataset[0], dataset[0]
    torch.testing.assert_close(first["image"], second["image"])
    assert dataset.items[0]["label"] == 0


def test_random_draws_differ_between_accesses_and_repeat_with_the_seed() -> None:
    dataset = CheckedDataset(arrays(), EnsureTyped("image"), Compose([noise(), RandFlipd("image", prob=0.5)]))

    def draws() -> torch.Tensor:
        return torch.stack([torch.as_tensor(dataset[index]["image"]) for index in (0, 0, 1)])

    first = dataset.set_random_state(7) and draws()
    assert not torch.equal(first[0], first[1])
    assert torch.equal(dataset.set_random_state(7) and draws(), first)
    assert not torch.equal(dataset.set_random_state(8) and draws(), first)


@pytest.mark.parametrize("random", [noise(), [noise()]], ids=["alone", "composed"])
def test_workers_draw_differently_and_the_seed_repeats_their_draws(random: Any) -> None:
    same = [{"image": torch.arange(16.0).view(1, 4, 4)} for _ in range(8)]
    dataset = CheckedDataset(same, EnsureTyped("image"), random)

    def epoch(seed: int) -> torch.Tensor:
        set_determinism(seed)
        loader = DataLoader(dataset, batch_size=2, num_workers=2)
        images = torch.cat([torch.as_tensor(batch["image"]) for batch in loader])
        set_determinism(None)
        return images.flatten(1)

    first = epoch(3)
    assert len({tuple(image.tolist()) for image in first}) == 8
    assert torch.equal(epoch(3), first)
    assert not torch.equal(epoch(4), first)


def test_progress_is_shown_only_if_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    CheckedDataset(arrays(), EnsureTyped("image"))
    assert capsys.readouterr().err == ""
    CheckedDataset(arrays(), EnsureTyped("image"), progress=True, name="val")
    assert "reading val images" in capsys.readouterr().err


LEFT_OUT = [{"sample_id": "old1", "file": "old/1.png", "reason": "it has no points"}]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_what_a_data_list_left_out_is_listed_before_what_the_check_skips(files: Items, num_workers: int) -> None:
    dataset = CheckedDataset(
        files, load_image(), on_bad_sample="skip", num_workers=num_workers, left_out=LEFT_OUT, name="test"
    )
    assert [entry["sample_id"] for entry in dataset.skipped] == ["old1", "id1", "id4"]
    assert dataset.skipped[0] == LEFT_OUT[0]
    assert len(dataset) == 4
    dataset.skipped[0]["reason"] = "another"
    assert LEFT_OUT[0]["reason"] == "it has no points"


def test_what_was_left_out_before_neither_fails_the_check_nor_counts_in_it(files: Items) -> None:
    good = CheckedDataset(arrays(3), EnsureTyped("image"), left_out=LEFT_OUT)
    assert (len(good), good.skipped) == (3, LEFT_OUT)
    with pytest.raises(BadSampleError, match="2 of 6 train images cannot be used"):
        CheckedDataset(files, load_image(), left_out=LEFT_OUT)
    with pytest.raises(BadInputError, match="has no samples"):
        CheckedDataset([], load_image(), left_out=LEFT_OUT)


def test_nothing_is_left_out_by_default() -> None:
    first, second = CheckedDataset(arrays(2), EnsureTyped("image")), CheckedDataset(arrays(2), EnsureTyped("image"))
    first.skipped.append({"sample_id": "x", "file": "x", "reason": "x"})
    assert second.skipped == []
