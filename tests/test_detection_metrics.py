"""Matches, average IoU and mean average precision, against hand-made cases and a small independent reference."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from monai_robust.errors import BadInputError
from monai_robust.metrics import average_iou, match_detections, mean_average_precision

NONE: dict[str, Any] = {"boxes": [], "labels": [], "scores": []}
SQUARE = [0.0, 0.0, 10.0, 10.0]
FAR = [50.0, 50.0, 60.0, 60.0]


def overlap(one: Any, other: Any) -> float:
    """Intersection over union, axis by axis."""
    half = len(one) // 2
    inner = [max(min(one[k + half], other[k + half]) - max(one[k], other[k]), 0) for k in range(half)]
    sizes = [math.prod(box[k + half] - box[k] for k in range(half)) for box in (one, other)]
    return math.prod(inner) / (sum(sizes) - math.prod(inner))


def reference_precision(detections: Any, truths: Any, label: int, iou: float) -> float:
    """Average precision by its definition: at each of 101 recalls, the best precision at that recall or beyond."""
    pool = [
        (score, image, box)
        for image, one in enumerate(detections)
        for box, own, score in zip(one["boxes"], one["labels"], one["scores"], strict=True)
        if own == label
    ]
    left = [[box for box, own in zip(one["boxes"], one["labels"], strict=True) if own == label] for one in truths]
    count = sum(map(len, left))
    curve, right = [], 0
    for place, (_, image, box) in enumerate(sorted(pool, key=lambda row: -row[0]), 1):
        best = max(left[image], key=lambda true: overlap(box, true), default=None)
        if best is not None and overlap(box, best) >= iou:
            left[image] = [box for box in left[image] if box is not best]
            right += 1
        curve.append((right / count, right / place))
    recalls = np.linspace(0, 1, 101)
    return float(np.mean([max((p for r, p in curve if r >= recall - 1e-9), default=0.0) for recall in recalls]))


def random_images(seed: int, dimensions: int, images: int = 6) -> tuple[list[Any], list[Any]]:
    """True boxes, and detections that are moved copies of most of them, some of a wrong class, and inventions."""
    generator = np.random.default_rng(seed)
    detections, truths = [], []
    for image in range(images):
        count = [4, 0, 7, 3, 5, 2][image % 6]
        low = generator.uniform(0, 60, (count, dimensions))
        boxes = np.concatenate([low, low + generator.uniform(8, 25, (count, dimensions))], axis=1)
        labels = generator.integers(0, 2, count)
        copies = boxes + generator.normal(0, 1.2, boxes.shape)
        far = generator.uniform(0, 60, (3, dimensions))
        found = np.concatenate([copies[: count - count // 4], np.concatenate([far, far + 12], axis=1)])
        own = np.concatenate([labels[: count - count // 4], generator.integers(0, 2, 3)])
        own[: len(own) // 5] = 1 - own[: len(own) // 5]
        detections.append(
            {"boxes": found, "labels": own, "scores": generator.permutation(len(found)) / 10 + image / 99}
        )
        truths.append({"boxes": boxes, "labels": labels})
    return detections, truths


def test_the_surest_detection_takes_the_box_and_another_one_is_unmatched() -> None:
    near = [0.0, 0.0, 10.0, 8.0]
    found = match_detections([SQUARE, near], [0, 0], [0.4, 0.9], [SQUARE], [0])
    assert found.tolist() == pytest.approx([0.0, 0.8])


def test_a_detection_takes_the_free_box_that_it_overlaps_most() -> None:
    shifted = [0.0, 1.0, 10.0, 11.0]
    found = match_detections([SQUARE, SQUARE], [0, 0], [0.9, 0.8], [shifted, SQUARE], [0, 0])
    assert found.tolist() == pytest.approx([1.0, 90 / 110])


def test_a_box_of_another_class_or_too_far_off_is_no_match() -> None:
    assert match_detections([SQUARE], [1], [0.9], [SQUARE], [0]).tolist() == [0]
    assert match_detections([SQUARE], [0], [0.9], [[0, 0, 10, 4.9]], [0]).tolist() == [0]
    assert match_detections([SQUARE], [0], [0.9], [[0, 0, 10, 4.9]], [0], iou=0.4).tolist() == pytest.approx([0.49])


def test_images_without_boxes_or_detections_have_no_match() -> None:
    assert match_detections([], [], [], [SQUARE], [0]).shape == (0,)
    assert match_detections([SQUARE], [0], [0.9], np.empty((0, 4)), []).tolist() == [0]


def test_volumes_are_matched_too() -> None:
    found = match_detections([[0, 0, 0, 4, 4, 4]], [2], [0.5], [[0, 0, 0, 4, 4, 3]], [2])
    assert found.dtype == np.float64
    assert found.tolist() == pytest.approx([0.75])


def test_average_iou_counts_false_positives_as_zero_and_pools_images() -> None:
    two = {"boxes": [SQUARE, FAR], "labels": [0, 0], "scores": [0.9, 0.8]}
    one = {"boxes": [SQUARE], "labels": [0], "scores": [0.9]}
    true = {"boxes": [[0, 0, 10, 8]], "labels": [0]}
    assert average_iou([two], [true]) == pytest.approx(0.4)
    assert average_iou([two, one, NONE], [true, true, true]) == pytest.approx((0.8 + 0 + 0.8) / 3)


def test_average_iou_without_detections_is_zero_where_there_are_boxes_and_unknown_elsewhere() -> None:
    assert average_iou([NONE], [{"boxes": [SQUARE], "labels": [0]}]) == 0
    assert math.isnan(average_iou([NONE], [NONE]))
    assert average_iou([{"boxes": [SQUARE], "labels": [0], "scores": [0.9]}], [NONE]) == 0


def test_average_precision_of_a_case_by_hand() -> None:
    # by score: right, wrong, right; so precision 1 up to recall 1/2 (51 recalls) and 2/3 beyond (50 recalls)
    detections = [{"boxes": [SQUARE, [20, 0, 30, 10], FAR], "labels": [0, 0, 0], "scores": [0.9, 0.8, 0.7]}]
    found = mean_average_precision(detections, [{"boxes": [SQUARE, FAR], "labels": [0, 0]}], ["cell"])
    assert found["map_50"] == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)
    assert found["map"] == found["map_cell"] == pytest.approx(found["map_50_cell"])


def test_boxes_that_fit_loosely_count_at_low_overlaps_only() -> None:
    detections = [{"boxes": [[0, 0, 10, 7.7]], "labels": [0], "scores": [0.9]}]
    found = mean_average_precision(detections, [{"boxes": [SQUARE], "labels": [0]}], ["cell"])
    assert found["map_50"] == pytest.approx(1)
    assert found["map"] == pytest.approx(0.6)  # 0.5, 0.55, 0.6, 0.65, 0.7, 0.75 of ten


@pytest.mark.parametrize(("seed", "dimensions"), [(0, 2), (1, 2), (2, 3)])
def test_it_agrees_with_the_definition(seed: int, dimensions: int) -> None:
    detections, truths = random_images(seed, dimensions)
    found = mean_average_precision(detections, truths, ["red", "white"])
    for label, name in enumerate(["red", "white"]):
        at = [reference_precision(detections, truths, label, iou) for iou in np.arange(50, 100, 5) / 100]
        assert 0.05 < found[f"map_{name}"] < found[f"map_50_{name}"] < 1
        assert found[f"map_50_{name}"] == pytest.approx(at[0], abs=1e-6)
        assert found[f"map_{name}"] == pytest.approx(np.mean(at), abs=1e-6)
    assert found["map"] == pytest.approx((found["map_red"] + found["map_white"]) / 2)


def test_a_class_without_boxes_is_unknown_and_not_in_the_mean() -> None:
    detections = [{"boxes": [SQUARE, FAR], "labels": [0, 2], "scores": [0.9, 0.8]}, NONE]
    truths = [{"boxes": [SQUARE], "labels": [0]}, {"boxes": [FAR], "labels": [1]}]
    found = mean_average_precision(detections, truths, ["red", "white", "platelet"])
    assert math.isnan(found["map_platelet"])
    assert math.isnan(found["map_50_platelet"])
    assert found["map_white"] == 0
    assert found["map"] == pytest.approx(0.5)


def test_detections_in_an_image_without_boxes_are_false_positives() -> None:
    truths = [{"boxes": [SQUARE], "labels": [0]}, NONE]
    right = {"boxes": [SQUARE], "labels": [0], "scores": [0.5]}
    surer = {"boxes": [FAR], "labels": [0], "scores": [0.9]}
    assert mean_average_precision([right, surer], truths, ["cell"])["map"] == pytest.approx(0.5)


def test_without_any_box_there_is_no_precision() -> None:
    found = mean_average_precision([NONE], [NONE], ["cell"])
    assert all(math.isnan(value) for value in found.values())
    assert set(found) == {"map", "map_50", "map_cell", "map_50_cell"}


@pytest.mark.parametrize(
    ("boxes", "labels", "scores", "message"),
    [
        ([[0, 0, 4]], [0], [0.5], "need shape"),
        ([SQUARE], [0, 1], [0.5], "need shape"),
        ([SQUARE], [0], [0.5, 0.4], "as many finite scores"),
        ([SQUARE], [0], [math.nan], "as many finite scores"),
        ([[4, 0, 0, 4]], [0], [0.5], "no maximum below its minimum"),
        ([SQUARE], [-1], [0.5], "without padding rows"),
        ([[0, 0, 0, 4, 4, 4]], [0], [0.5], "one has 4 and the other 6"),
    ],
)
def test_what_are_no_boxes_is_refused(boxes: Any, labels: Any, scores: Any, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        match_detections(boxes, labels, scores, [SQUARE], [0])


def test_classes_that_do_not_fit_are_refused() -> None:
    one = {"boxes": [SQUARE], "labels": [1], "scores": [0.5]}
    with pytest.raises(BadInputError, match="none of the 1 classes"):
        mean_average_precision([one], [one], ["cell"])
    with pytest.raises(BadInputError, match="names of their own"):
        mean_average_precision([one], [one], ["cell", "cell"])
    with pytest.raises(BadInputError, match="do not fit"):
        mean_average_precision([one], [], ["cell"])
    with pytest.raises(BadInputError, match="iou must be above 0"):
        match_detections([SQUARE], [0], [0.5], [SQUARE], [0], iou=0.0)
