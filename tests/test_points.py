"""Landmarks follow their image: a blob drawn at a point is found where the label says, whatever was done to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import (
    Affined,
    BorderPadd,
    CenterSpatialCropd,
    Compose,
    EnsureTyped,
    Flipd,
    Orientationd,
    RandAffined,
    RandFlipd,
    RandRotated,
    Resized,
    Rotate90d,
)

from monai_robust.data import CheckedDataset
from monai_robust.errors import BadInputError, BadSampleError
from monai_robust.transforms import PointsToLabel, PointsToLabeld

NAMES = ("nose", "eye_left", "eye_right")
SWAPS = (("eye_left", "eye_right"),)
POINTS = [[40.0, 50.3], [30.4, 36.0], [55.0, 34.5]]
SIZE = (90, 100)
RESIZE = Resized("image", (45, 40), mode="area")


def picture(points: list[list[float]], spacing: tuple[float, float] = (1.0, 1.0)) -> MetaTensor:
    """One channel a point, each with a Gaussian blob at it; stored as radiographs are, with negative axes."""
    x, y = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]), indexing="ij")
    blobs = [np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * 4.0**2)) for px, py in points]
    affine = torch.diag(torch.tensor([-spacing[0], -spacing[1], 1.0], dtype=torch.float64))
    return MetaTensor(torch.tensor(np.stack(blobs), dtype=torch.float32), affine, {"original_affine": affine.numpy()})


def sample(**extra: Any) -> dict[str, Any]:
    return {"image": picture(POINTS), "points": POINTS, **extra}


def centroids(image: torch.Tensor) -> torch.Tensor:
    x, y = torch.meshgrid(*(torch.arange(length) for length in image.shape[1:]), indexing="ij")
    weights = torch.as_tensor(image).clamp(min=0).double()
    return torch.stack([(weights * axis).sum((1, 2)) / weights.sum((1, 2)) for axis in (x, y)], dim=1)


SPATIAL = {
    "nothing": [],
    "resize": [RESIZE],
    "resize that stretches": [Resized("image", (180, 50), mode="area")],
    "flip along x": [RandFlipd("image", prob=1, spatial_axis=0)],
    "flip along y": [RandFlipd("image", prob=1, spatial_axis=1)],
    "quarter turn": [Rotate90d("image")],
    "rotation": [RandRotated("image", range_x=0.3, prob=1, keep_size=True)],
    "affine": [
        RandAffined("image", prob=1, rotate_range=0.2, translate_range=5, scale_range=0.15, padding_mode="zeros")
    ],
    "scaling about the middle": [Affined("image", scale_params=(1.25, 0.8), padding_mode="zeros")],
    "crop": [CenterSpatialCropd("image", (85, 93))],
    "padding": [BorderPadd("image", (3, 8, 5, 1))],
    "orientation": [Orientationd("image", axcodes="RA", labels=None)],
    "all in a row": [
        RESIZE,
        BorderPadd("image", 6),
        RandAffined("image", prob=1, rotate_range=0.15, scale_range=0.1, padding_mode="zeros"),
        RandFlipd("image", prob=1, spatial_axis=0),
    ],
}


@pytest.mark.parametrize("name", SPATIAL)
@pytest.mark.parametrize("lazy", [False, True])
def test_a_label_is_where_its_blob_is(name: str, lazy: bool) -> None:
    steps = [*SPATIAL[name], PointsToLabeld(), EnsureTyped("image", track_meta=False)]
    out = Compose(steps, lazy=lazy and name != "orientation").set_random_state(3)(sample())
    assert out["label"].dtype == torch.float32
    assert out["label"].shape == (3, 4)
    assert not isinstance(out["label"], MetaTensor)
    torch.testing.assert_close(out["label"][:, :2].double(), centroids(out["image"]), atol=0.1, rtol=0)


def test_points_and_spacing_leave_the_sample() -> None:
    assert set(PointsToLabeld()(sample(spacing=None, sample_id="a"))) == {"image", "label", "sample_id"}


@pytest.mark.parametrize(("axis", "quarter_turns"), [(0, 0), (1, 0), (0, 1)])
def test_left_and_right_change_names_in_a_mirrored_image(axis: int, quarter_turns: int) -> None:
    steps = [Flipd("image", axis), Rotate90d("image", quarter_turns), PointsToLabeld(swaps=SWAPS, names=NAMES)]
    out = Compose(steps)(sample())
    torch.testing.assert_close(out["label"][:, :2].double(), centroids(out["image"])[[0, 2, 1]], atol=0.1, rtol=0)


def test_two_flips_are_a_rotation_and_change_no_names() -> None:
    steps = [Flipd("image", 0), Flipd("image", 1), PointsToLabeld(swaps=SWAPS, names=NAMES)]
    out = Compose(steps)(sample())
    torch.testing.assert_close(out["label"][:, :2].double(), centroids(out["image"]), atol=0.1, rtol=0)


def test_points_outside_the_picture_or_missing_are_nan() -> None:
    points = [*POINTS[:2], [float("nan"), float("nan")], [3.0, 50.0]]
    out = Compose([CenterSpatialCropd("image", (60, 70)), PointsToLabeld()])(sample() | {"points": points})
    assert torch.isnan(out["label"][:, :2]).all(dim=1).tolist() == [False, False, True, True]
    assert torch.isfinite(out["label"][:, 2:]).all()


def test_the_outermost_half_pixel_belongs_to_the_picture() -> None:
    edge = [[-0.5, 0.0], [89.5, 99.5], [-0.6, 0.0], [0.0, 99.6]]
    label = PointsToLabel()(edge, picture(POINTS))
    assert torch.isnan(label[:, 0]).tolist() == [False, False, True, True]


@pytest.mark.parametrize("given", [(0.4, 0.5), None])
def test_millimetres_per_pixel_follow_the_resizing(given: tuple[float, float] | None) -> None:
    image = picture(POINTS, (0.4, 0.5))
    out = Compose([RESIZE, PointsToLabeld()])({"image": image, "points": POINTS, "spacing": given})
    torch.testing.assert_close(out["label"][:, 2:], torch.tensor([[0.8, 1.25]]).expand(3, 2))


def test_the_spacing_of_the_sample_goes_before_that_of_the_file() -> None:
    assert PointsToLabel()(POINTS, picture(POINTS, (7.0, 7.0)), [0.1, 0.2])[0, 2:].tolist() == pytest.approx([0.1, 0.2])


def test_millimetres_change_axes_with_a_quarter_turn() -> None:
    out = Compose([Rotate90d("image"), PointsToLabeld()])(sample(spacing=[0.4, 0.5]))
    assert out["label"][0, 2:].tolist() == pytest.approx([0.5, 0.4])


@pytest.mark.parametrize("cache", [True, False])
def test_labels_follow_random_transforms_of_a_cached_data_set(cache: bool) -> None:
    augmentation = RandAffined(
        "image", prob=1, rotate_range=0.2, translate_range=3, scale_range=0.1, padding_mode="zeros"
    )
    finish = [RandFlipd("image", prob=0.5, spatial_axis=0), PointsToLabeld(), EnsureTyped("image", track_meta=False)]
    dataset = CheckedDataset([sample()], [RESIZE], [augmentation, *finish], cache=cache)
    dataset.set_random_state(0)
    labels = []
    for _ in range(4):
        out = dataset[0]
        torch.testing.assert_close(out["label"][:, :2].double(), centroids(out["image"]), atol=0.1, rtol=0)
        labels.append(out["label"][0, 0].item())
    assert len(set(labels)) == 4


def test_three_dimensions_work_alike() -> None:
    affine = torch.diag(torch.tensor([2.0, 2.0, 3.0, 1.0], dtype=torch.float64))
    image = MetaTensor(torch.rand(1, 8, 10, 12), affine, {"original_affine": affine})
    out = Compose([Flipd("image", 2), PointsToLabeld()])({"image": image, "points": [[1.0, 2.0, 3.0]]})
    assert out["label"].tolist() == [[1, 2, 8, 2, 2, 3]]


def test_an_image_that_lost_its_affine_is_refused() -> None:
    with pytest.raises(BadInputError, match="no affine to follow"):
        PointsToLabel()(POINTS, torch.rand(1, 8, 8))


def test_points_of_other_dimensions_are_refused() -> None:
    with pytest.raises(BadSampleError, match=r"points have shape \(1, 3\)"):
        PointsToLabel()([[1, 2, 3]], picture(POINTS))


@pytest.mark.parametrize("swaps", [[("nose", "ear")], [("nose",)], [("nose", "nose")], ["nose"]])
def test_swaps_that_are_no_pairs_of_names_are_refused(swaps: Any) -> None:
    with pytest.raises(BadInputError, match="needs pairs of two of the landmarks nose, eye_left, eye_right"):
        PointsToLabel(swaps, NAMES)
    with pytest.raises(BadInputError, match="another pair already"):
        PointsToLabel([*SWAPS, ("nose", "eye_left")], NAMES)
