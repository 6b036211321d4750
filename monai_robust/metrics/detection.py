"""How well detected boxes fit true ones: matches, average IoU and mean average precision.

Boxes are MONAI's StandardMode, (xmin, ymin, xmax, ymax) or (xmin, ymin, zmin, xmax, ymax, zmax), in one unit, such as
pixels. The detections of an image are a mapping with ``boxes`` (P, 2D), ``labels`` (P,) class indices from 0, and
``scores`` (P,); its true boxes one with ``boxes`` (T, 2D) and ``labels`` (T,).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from monai.apps.detection.metrics.coco import COCOMetric
from monai.apps.detection.metrics.matching import matching_batch
from monai.data.box_utils import box_iou
from numpy.typing import ArrayLike, NDArray

from monai_robust.errors import BadInputError
from monai_robust.scalars import is_above_zero

__all__ = [
    "ImageMatches",
    "average_iou",
    "average_precisions",
    "match_detections",
    "match_images",
    "mean_average_precision",
]

ImageMatches = Mapping[int, Mapping[str, NDArray[Any]]]
"""What the detections of one image are matched with, by class: an element of MONAI's ``matching_batch``."""

_Arrays = dict[str, NDArray[Any]]

IOU = 0.5
IOU_RANGE = (0.5, 0.95, 0.05)
MAX_DETECTIONS = 100


def match_detections(
    boxes: ArrayLike,
    labels: ArrayLike,
    scores: ArrayLike,
    true_boxes: ArrayLike,
    true_labels: ArrayLike,
    iou: float = IOU,
) -> NDArray[np.float64]:
    """The overlap of each detection of an image with the true box it is matched to.

    Detections choose by descending score (equal ones in the order given): each takes, of the true boxes of its own
    class that none has taken yet, the one it overlaps most, if that overlap is at least ``iou``.

    Args:
        boxes: (P, 2D) detected boxes.
        labels: (P,) their classes.
        scores: (P,) their scores.
        true_boxes: (T, 2D).
        true_labels: (T,) their classes.
        iou: the least intersection over union of a match, above 0 and at most 1.

    Returns:
        (P,) intersection over union, 0 where a detection is unmatched.

    Raises:
        BadInputError: for shapes that do not fit, an inverted box, a number that is not finite, or an ``iou`` beyond
            its range.

    Example:
        >>> match_detections([[0, 0, 4, 4], [0, 0, 4, 3]], [1, 1], [0.6, 0.9], [[0, 0, 4, 4]], [1]).tolist()
        [0.0, 0.75]
    """
    if not is_above_zero(iou, 1):
        raise BadInputError(f"match_detections: iou must be above 0 and at most 1, got {iou!r}")
    given, true = _checked_image(
        {"boxes": boxes, "labels": labels, "scores": scores}, {"boxes": true_boxes, "labels": true_labels}
    )
    overlaps = np.zeros(len(given["boxes"]))
    if not len(given["boxes"]) or not len(true["boxes"]):
        return overlaps
    free = _overlaps(given["boxes"], true["boxes"]) * (given["labels"][:, None] == true["labels"])
    for place in np.argsort(-given["scores"], kind="stable"):
        best = int(free[place].argmax())
        if free[place, best] >= iou:
            overlaps[place] = free[place, best]
            free[:, best] = 0
    return overlaps


def average_iou(
    detections: Sequence[Mapping[str, Any]], truths: Sequence[Mapping[str, Any]], iou: float = IOU
) -> float:
    """The average IoU of detected objects: the mean of :func:`match_detections` over all detections of all images.

    A false positive counts 0; a box that was missed does not count, but where nothing at all was detected. A threshold
    on the scores is the caller's: it decides which detections there are. Source: AMAT, section 3.7 and Table 12.

    Args:
        detections: of each image.
        truths: of each image.
        iou: the least overlap of a match.

    Returns:
        The mean over detections; without any, 0 if there are true boxes and NaN if there are none.

    Raises:
        BadInputError: as :func:`match_detections`, and for lists of different lengths.
    """
    _check_lengths(detections, truths)
    overlaps = [
        match_detections(found["boxes"], found["labels"], found["scores"], true["boxes"], true["labels"], iou)
        for found, true in zip(detections, truths, strict=True)
    ]
    pooled = np.concatenate([*overlaps, np.empty(0)])
    if len(pooled):
        return float(pooled.mean())
    return 0.0 if any(len(true["labels"]) for true in truths) else math.nan


def mean_average_precision(
    detections: Sequence[Mapping[str, Any]], truths: Sequence[Mapping[str, Any]], classes: Sequence[str]
) -> dict[str, float]:
    """COCO's mean average precision, by MONAI's ``matching_batch`` and ``COCOMetric``.

    Precision is averaged over 101 recalls; of each class and image the 100 detections of highest score count. An image
    without boxes adds its detections as false positives, one with nothing detected adds its boxes as missed. Overlaps
    have single precision: one that is exactly a threshold may count either way.

    Args:
        detections: of each image.
        truths: of each image.
        classes: names, by class index.

    Returns:
        ``map`` (mean over the IoU thresholds 0.5, 0.55 ... 0.95), ``map_50`` (IoU 0.5), both means over classes that
        have true boxes; and for each class ``map_<name>`` and ``map_50_<name>``. NaN for a class without true boxes,
        where ``COCOMetric`` would say -1 and put that into its mean.

    Raises:
        BadInputError: for shapes that do not fit, inverted boxes, numbers that are not finite, lists of different
            lengths, or a class index that is none of ``classes``.
    """
    return average_precisions(match_images(detections, truths), classes)


def match_images(
    detections: Sequence[Mapping[str, Any]], truths: Sequence[Mapping[str, Any]]
) -> list[dict[int, dict[str, NDArray[Any]]]]:
    """What :func:`average_precisions` needs of each image; it does not depend on the other images.

    Args:
        detections: of each image.
        truths: of each image.

    Raises:
        BadInputError: as :func:`mean_average_precision`.
    """
    _check_lengths(detections, truths)
    images = [_checked_image(*pair) for pair in zip(detections, truths, strict=True)]
    found, true = [one for one, _ in images], [one for _, one in images]
    matches = matching_batch(
        iou_fn=_overlaps,
        iou_thresholds=_metric([]).get_iou_thresholds(),
        pred_boxes=[one["boxes"] for one in found],
        pred_classes=[one["labels"] for one in found],
        pred_scores=[one["scores"] for one in found],
        gt_boxes=[one["boxes"] for one in true],
        gt_classes=[one["labels"] for one in true],
        max_detections=MAX_DETECTIONS,
    )
    # all but the scores are flags, of which a data set has many
    return [
        {
            int(index): {key: part if key == "dtScores" else part.astype(bool) for key, part in own.items()}
            for index, own in one.items()
        }
        for one in matches
    ]


def average_precisions(matches: Sequence[ImageMatches], classes: Sequence[str]) -> dict[str, float]:
    """The numbers of :func:`mean_average_precision` from the matches of some images.

    Args:
        matches: from :func:`match_images`.
        classes: names, by class index.

    Raises:
        BadInputError: for a class index that is none of ``classes``, or names that would make two numbers one.
    """
    unknown = {index for one in matches for index in one} - set(range(len(classes)))
    if unknown:
        raise BadInputError(f"class index {min(unknown):g} is none of the {len(classes)} classes, which count from 0")
    if "50" in classes or len(set(classes)) < len(classes):
        raise BadInputError(f"classes need names of their own, and none may be '50', taken by map_50: {list(classes)}")
    # COCOMetric would put -1 into its means for a class without true boxes
    present = [
        index for index in range(len(classes)) if any(index in one and len(one[index]["gtIgnore"]) for one in matches)
    ]
    names = [str(index) for index in range(len(present))]
    values: dict[str, float] = {}
    if present:
        own = [{place: one[index] for place, index in enumerate(present) if index in one} for one in matches]
        values, _ = _metric(names)(own)
    start, stop, step = IOU_RANGE
    keys = {"map": f"mAP_IoU_{start:.2f}_{stop:.2f}_{step:.2f}", "map_50": f"AP_IoU_{IOU:.2f}"}
    result = {}
    for name, key in keys.items():
        key = f"{key}_MaxDet_{MAX_DETECTIONS}"
        result[name] = values.get(key, math.nan)
        of_class = {index: values[f"{place}_{key}"] for place, index in enumerate(present)}
        result |= {f"{name}_{label}": of_class.get(index, math.nan) for index, label in enumerate(classes)}
    return result


def _metric(names: Sequence[str]) -> COCOMetric:
    return COCOMetric(
        names, iou_list=[IOU], iou_range=IOU_RANGE, max_detection=[MAX_DETECTIONS], per_class=True, verbose=False
    )


def _overlaps(boxes: NDArray[np.float64], true_boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(box_iou(boxes, true_boxes))


def _check_lengths(detections: Sequence[object], truths: Sequence[object]) -> None:
    if len(detections) != len(truths):
        raise BadInputError(f"detections of {len(detections)} images and true boxes of {len(truths)} do not fit")


def _checked_image(detections: Mapping[str, Any], truths: Mapping[str, Any]) -> tuple[_Arrays, _Arrays]:
    found, true = _checked_boxes(detections, "detections"), _checked_boxes(truths, "true boxes")
    found["scores"] = np.asarray(detections["scores"], dtype=np.float64).reshape(-1)
    if len(found["scores"]) != len(found["labels"]) or not np.isfinite(found["scores"]).all():
        raise BadInputError(f"{len(found['labels'])} detections need as many finite scores, got {found['scores']}")
    widths = {one["boxes"].shape[1] for one in (found, true) if len(one["boxes"])}
    if len(widths) > 1:
        raise BadInputError("detected and true boxes must have as many coordinates, but one has 4 and the other 6")
    return found, true


def _checked_boxes(given: Mapping[str, Any], what: str) -> _Arrays:
    labels = np.asarray(given["labels"]).reshape(-1)
    boxes = np.array(given["boxes"], dtype=np.float64)
    if not len(labels) and not boxes.size:
        return {"boxes": np.empty((0, 4)), "labels": np.empty(0, dtype=np.int64)}
    if boxes.ndim != 2 or boxes.shape[1] not in (4, 6) or len(boxes) != len(labels):
        raise BadInputError(f"{what} need shape (N, 4) or (N, 6) and N labels, got {boxes.shape} and {len(labels)}")
    half = boxes.shape[1] // 2
    if not np.isfinite(boxes).all() or (boxes[:, half:] < boxes[:, :half]).any():
        raise BadInputError(f"{what} must be finite and have no maximum below its minimum")
    whole = labels.astype(np.int64)
    if (whole != labels).any() or (whole < 0).any():
        raise BadInputError(f"the labels of {what} must be class indices from 0 on, without padding rows")
    return {"boxes": boxes, "labels": whole}
