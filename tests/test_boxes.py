"""Boxes follow their image: a rectangle that is drawn is found again where its box says, whatever moves the image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.apps.detection.transforms.dictionary import (
    ClipBoxToImaged,
    FlipBoxd,
    RandFlipBoxd,
    RandRotateBox90d,
    RandZoomBoxd,
    RotateBox90d,
    ZoomBoxd,
)
from monai.data import DataLoader, MetaTensor
from monai.transforms import Compose
from torch import Tensor

from monai_robust.data import CheckedDataset
from monai_robust.errors import BadInputError, BadSampleError
from monai_robust.transforms import BoxesToLabeld, ResizeBoxd

KEYS = {"image_keys": "image", "box_keys": "boxes", "box_ref_image_keys": "image"}
SIZE = (40, 24)
BOXES = [[4.0, 2.0, 16.0, 10.0], [24.0, 12.0, 36.0, 20.0]]


def picture(boxes: list[list[float]] = BOXES, size: tuple[int, ...] = SIZE) -> Tensor:
    """A channel for each box, 1 inside it; one more channel of a ramp, so that nothing is constant."""
    image = torch.zeros(len(boxes) + 1, *size)
    for channel, box in enumerate(boxes):
        low, high = np.array(box, dtype=int).reshape(2, -1)
        image[(channel, *(slice(a, b) for a, b in zip(low, high, strict=True)))] = 1
    image[-1] = torch.linspace(0, 1, size[0]).reshape(-1, *[1] * (len(size) - 1))
    return image


def sample(**changes: Any) -> dict[str, Any]:
    return {"image": picture(), "boxes": BOXES, "classes": [2, 0], **changes}


def found_box(channel: Tensor) -> list[float]:
    """The box of what is brighter than half."""
    inside = torch.as_tensor(channel).as_subclass(Tensor).gt(0.5).nonzero()
    return [*inside.amin(dim=0).tolist(), *(inside.amax(dim=0) + 1).tolist()]


MOVES = {
    "resize": ResizeBoxd((20, 12)),
    "resize without keeping the proportions": ResizeBoxd((80, 12)),
    "flip": FlipBoxd(**KEYS, spatial_axis=0),
    "flip of both axes": RandFlipBoxd(**KEYS, prob=1.0),
    "quarter turn": RotateBox90d(**KEYS, k=1),
    "three quarters": RotateBox90d(**KEYS, k=3),
    "random turn": RandRotateBox90d(**KEYS, prob=1.0).set_random_state(1),
    "zoom in": ZoomBoxd(**KEYS, zoom=[1.25, 1.25]),
    "zoom out": ZoomBoxd(**KEYS, zoom=[0.5, 0.5], padding_mode="constant"),
    "zoom with new size": ZoomBoxd(**KEYS, zoom=[1.5, 1.5], keep_size=False),
}


@pytest.mark.parametrize("meta", [False, True], ids=["tensor", "MetaTensor"])
@pytest.mark.parametrize("name", MOVES)
def test_a_rectangle_is_found_where_its_box_went(name, meta):
    image = MetaTensor(picture()) if meta else picture()
    moved = MOVES[name](sample(image=image, boxes=torch.tensor(BOXES)))
    label = BoxesToLabeld(max_boxes=2)(moved)["label"]
    tolerance = 1.0 if "zoom" in name else 0.0  # a zoom rounds what it crops or pads to whole pixels
    for channel, row in enumerate(label):
        assert np.allclose(found_box(moved["image"][channel]), row[:4], atol=tolerance), name
    assert label[:, 4].tolist() == [2, 0]


def test_label_is_padded_with_rows_of_class_minus_one():
    label = BoxesToLabeld(max_boxes=4)(sample())["label"]
    assert label.shape == (4, 5)
    assert label.dtype == torch.float32
    assert label[:2].tolist() == [[4, 2, 16, 10, 2], [24, 12, 36, 20, 0]]
    assert label[2:].tolist() == [[0, 0, 0, 0, -1]] * 2


def test_an_image_without_boxes_passes_every_step():
    pipeline = Compose([ResizeBoxd((20, 12)), RandFlipBoxd(**KEYS, prob=1.0), RandRotateBox90d(**KEYS, prob=1.0)])
    done = BoxesToLabeld(max_boxes=3)(pipeline(sample(boxes=[], classes=[])))
    assert done["label"].tolist() == [[0, 0, 0, 0, -1]] * 3


def test_boxes_are_clipped_and_those_almost_outside_are_removed():
    boxes = [[-4.0, 0.0, 4.0, 8.0], [-9.0, 0.0, 1.0, 10.0], [50.0, 0.0, 60.0, 8.0]]
    given = sample(boxes=boxes, classes=[0, 1, 2])
    assert BoxesToLabeld(max_boxes=3)(given)["label"].tolist() == [[0, 0, 4, 8, 0], *[[0, 0, 0, 0, -1]] * 2]
    all_that_touch = BoxesToLabeld(max_boxes=3, min_share=0)(given)["label"]
    assert all_that_touch[:, -1].tolist() == [0, 1, -1]


def test_volumes_have_boxes_of_six_numbers():
    box = [[1.0, 2.0, 3.0, 5.0, 6.0, 8.0]]
    given = {"image": picture(box, (10, 10, 10)), "boxes": box, "classes": [1]}
    moved = FlipBoxd(**KEYS, spatial_axis=2)(ResizeBoxd((20, 10, 10))(given))
    label = BoxesToLabeld(max_boxes=2)(moved)["label"]
    assert label[0].tolist() == [*found_box(moved["image"][0]), 1]
    assert label.shape == (2, 7)


def test_cached_samples_are_not_changed_by_random_steps_and_stack_to_batches():
    random = [RandFlipBoxd(**KEYS, prob=0.5), RandZoomBoxd(**KEYS, prob=0.5), BoxesToLabeld(max_boxes=3)]
    items = [sample(), sample(boxes=BOXES[:1], classes=[1]), sample(boxes=[], classes=[])]
    dataset = CheckedDataset(items, [ResizeBoxd((20, 12))], random)
    plain = CheckedDataset(items, [ResizeBoxd((20, 12))], [BoxesToLabeld(max_boxes=3)])
    before = [plain[place]["label"] for place in range(3)]
    dataset.set_random_state(0)
    for _ in range(4):
        batch = next(iter(DataLoader(dataset, batch_size=3)))
    assert set(batch) == {"image", "label"}
    assert batch["label"].shape == (3, 3, 5)
    dataset.random = plain.random
    assert all(torch.equal(dataset[place]["label"], before[place]) for place in range(3))


def test_boxes_clipped_by_monai_before_are_taken():
    clip = ClipBoxToImaged("boxes", ["classes"], "image")
    given = clip(sample(boxes=torch.tensor([[-8.0, 2, 12, 10], [50, 0, 60, 8]]), classes=torch.tensor([1, 0])))
    assert BoxesToLabeld(max_boxes=1)(given)["label"].tolist() == [[0, 2, 12, 10, 1]]


def test_what_does_not_fit_is_refused():
    with pytest.raises(BadSampleError, match="2 boxes, but max_boxes is 1; raise it"):
        BoxesToLabeld(max_boxes=1)(sample())
    with pytest.raises(BadSampleError, match="2 boxes but 1 classes"):
        BoxesToLabeld(max_boxes=2)(sample(classes=[0]))
    with pytest.raises(BadSampleError, match=r"shape \(1, 3\); they need \(N, 4\)"):
        ResizeBoxd((20, 12))(sample(boxes=[[0, 1, 2]]))
    with pytest.raises(BadInputError, match="max_boxes is 0"):
        BoxesToLabeld(max_boxes=0)
    with pytest.raises(BadInputError, match="min_share"):
        BoxesToLabeld(max_boxes=1, min_share=2)
