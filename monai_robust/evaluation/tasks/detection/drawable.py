"""How the measures of detection follow from images that count more than once, so that patients can be drawn anew."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_robust.evaluation.sections.parts import number
from monai_robust.evaluation.statistics.bootstrap import Drawable, Floats, Weighted, means, ratios
from monai_robust.metrics import FROC_RATES, ImageMatches

__all__ = ["detection_drawable", "weighted_froc", "weighted_precisions"]

RECALLS = np.linspace(0, 1, 101)  # at which COCO looks at the precision
HALF = 0  # the place of IoU 0.5 among the thresholds
_CELLS = 4_000_000  # detections times draws in memory


def detection_drawable(
    rows: pd.DataFrame, matches: Sequence[ImageMatches], classes: int, threshold: float | None = None
) -> list[Drawable]:
    """``average_iou``, ``detections_per_image``, ``map`` and ``map_50`` with those of each class, and the numbers of
    :func:`~monai_robust.evaluation.tasks.detection.froc.froc_statistics`, as ``statistics`` names them.

    Args:
        rows: of one perturbation and severity, with ``detections`` and ``score``.
        matches: of each of their images.
        classes: their number.
        threshold: least score of a detection that counts at the operating point, which stays as it was fitted.
    """
    detections = rows["detections"].to_numpy(dtype=np.float64)
    overlap = np.where(detections > 0, rows["score"].to_numpy(dtype=np.float64) * detections, 0.0)
    images = np.empty(len(matches), dtype=object)
    images[:] = matches

    def of(weights: Floats, images: NDArray[np.object_]) -> dict[str, Floats]:
        listed = images.tolist()
        return {**weighted_precisions(weights, listed, classes), **weighted_froc(weights, listed, classes)}

    found: list[Drawable] = [
        ratios({"average_iou": (overlap, detections)}),
        means({"detections_per_image": detections}),
    ]
    if threshold is not None:
        found.append(_at_threshold(matches, threshold))
    return [*found, Weighted((images,), of)]


def _at_threshold(matches: Sequence[ImageMatches], threshold: float) -> Drawable:
    """``sensitivity_at_threshold`` and ``false_positives_at_threshold`` as ratios of sums over images."""
    found = _gathered(matches, None)
    count, counted = len(matches), found.scores >= threshold
    hits, errors = (np.bincount(found.image[counted & one], minlength=count) for one in (found.right, ~found.right))
    return ratios({"sensitivity_at_threshold": (hits, found.boxes), "false_positives_at_threshold": (errors, 1.0)})


class _Gathered(NamedTuple):
    """The detections of all images, (M,): their scores, whether they are right at an IoU of 0.5, and their image; and
    how many true boxes each image has, (N,)."""

    scores: Floats
    right: NDArray[np.bool_]
    image: NDArray[np.intp]
    boxes: Floats


def _gathered(matches: Sequence[ImageMatches], classes: Iterable[int] | None) -> _Gathered:
    chosen = None if classes is None else set(classes)
    own = [
        (place, found)
        for place, one in enumerate(matches)
        for index, found in one.items()
        if chosen is None or index in chosen
    ]
    places = np.array([place for place, _ in own], dtype=np.intp)
    boxes = np.bincount(places, [len(one["gtIgnore"]) for _, one in own], minlength=len(matches))
    return _Gathered(
        np.concatenate([np.empty(0), *(np.asarray(one["dtScores"], dtype=np.float64) for _, one in own)]),
        np.concatenate([np.empty(0, dtype=bool), *(one["dtMatches"][HALF].astype(bool) for _, one in own)]),
        np.repeat(places, np.array([len(one["dtScores"]) for _, one in own], dtype=np.intp)),
        boxes.astype(np.float64),
    )


def weighted_froc(weights: Floats, matches: Sequence[ImageMatches], classes: int) -> dict[str, Floats]:
    """Sensitivities at rates of false positives per image, those of
    :func:`~monai_robust.evaluation.tasks.detection.froc.froc_statistics`, of images that count as often as they are
    drawn.

    Args:
        weights: (D, N) how often each image counts.
        matches: of each image.
        classes: their number.

    Returns:
        (D,) ``froc``, ``sensitivity_at_<rate>_fp`` and, of class c (from 0), ``froc_<c>``; NaN where a draw holds no
        box.
    """
    every = _sensitivities(weights, _gathered(matches, range(classes)))
    found = {"froc": every.mean(axis=1)}
    found |= {f"sensitivity_at_{number(rate)}_fp": every[:, place] for place, rate in enumerate(FROC_RATES)}
    for index in range(classes):
        found[f"froc_{index}"] = _sensitivities(weights, _gathered(matches, [index])).mean(axis=1)
    return found


def _sensitivities(weights: Floats, detections: _Gathered) -> Floats:
    """(D, rates) sensitivity of some classes together at each of the rates."""
    scores, right, image, boxes = detections
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.diff(scores[order], append=-np.inf)) if len(scores) else np.empty(0, dtype=np.intp)
    found = np.full((len(weights), len(FROC_RATES)), np.nan)
    step = max(1, _CELLS // max(1, len(order)))
    for start in range(0, len(weights), step):
        times = weights[start : start + step]
        each = times[:, image[order]]
        everything = np.cumsum(each, axis=1)[:, last]
        hits = np.cumsum(each * right[order], axis=1)[:, last]
        targets, images = times @ boxes, times.sum(axis=1)
        for draw in np.flatnonzero((targets > 0) & (images > 0)):
            errors = np.append(0.0, everything[draw] - hits[draw]) / images[draw]
            found[start + draw] = np.interp(FROC_RATES, errors, np.append(0.0, hits[draw]) / targets[draw])
    return found


def weighted_precisions(weights: Floats, matches: Sequence[ImageMatches], classes: int) -> dict[str, Floats]:
    """Average precisions, those of :func:`~monai_robust.metrics.average_precisions`, of images that count as often as
    they are drawn.

    Args:
        weights: (D, N) how often each image counts.
        matches: of each image.
        classes: their number.

    Returns:
        (D,) ``map``, ``map_50``, and of class c (from 0) ``map_<c>`` and ``map_50_<c>``; NaN where a draw holds no box
        of the class. The means are over the classes that have boxes in a draw.
    """
    thresholds = next((len(own["dtMatches"]) for one in matches for own in one.values()), 1)
    found = np.stack([_of_class(weights, matches, index, thresholds) for index in range(classes)], axis=-1)  # (T, D, C)
    columns = {}
    for name, each in (("map", found.mean(axis=0)), ("map_50", found[HALF])):
        known = ~np.isnan(each)
        total, count = np.where(known, each, 0).sum(axis=1), known.sum(axis=1)
        columns[name] = np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
        columns |= {f"{name}_{index}": each[:, index] for index in range(classes)}
    return columns


def _of_class(weights: Floats, matches: Sequence[ImageMatches], index: int, thresholds: int) -> Floats:
    """(T, D) average precision at each threshold of the IoU."""
    own = [(place, one[index]) for place, one in enumerate(matches) if index in one]
    boxes = np.array([len(one["gtIgnore"]) for _, one in own], dtype=np.float64)
    images = np.array([place for place, _ in own], dtype=np.intp)
    counts = [len(one["dtScores"]) for _, one in own]
    if not boxes.sum():
        return np.full((thresholds, len(weights)), np.nan)
    order = np.argsort(-np.concatenate([one["dtScores"] for _, one in own]), kind="stable")
    hits = np.concatenate([one["dtMatches"] for _, one in own], axis=1)[:, order].astype(bool)
    image = np.repeat(images, counts)[order]
    step = max(1, _CELLS // max(1, len(order)))
    parts = [
        _curves(weights[start : start + step], image, hits, weights[start : start + step, images] @ boxes)
        for start in range(0, len(weights), step)
    ]
    return np.concatenate(parts, axis=1)


def _curves(weights: Floats, image: NDArray[np.intp], hits: NDArray[np.bool_], boxes: Floats) -> Floats:
    """(T, D) the mean over the recalls of the best precision at that recall or a higher one.

    Args:
        weights: (D, N) how often each image counts.
        image: (M,) the image of each detection, the surest first.
        hits: (T, M) which detections are right, at each threshold.
        boxes: (D,) how many true boxes there are.
    """
    each = weights[:, image]
    total = np.cumsum(each, axis=1)
    found = np.full((len(hits), len(weights)), np.nan)
    for place, hit in enumerate(hits):
        # precision is highest, and recall grows, at detections that are right
        right = np.cumsum(each[:, hit], axis=1)
        precision = np.divide(right, total[:, hit], out=np.zeros_like(right), where=total[:, hit] > 0)
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        best = np.concatenate([best, np.zeros((len(best), 1))], axis=1)
        for draw in np.flatnonzero(boxes > 0):
            reached = np.searchsorted(right[draw] / boxes[draw], RECALLS, side="left")
            found[place, draw] = best[draw, reached].mean()
    return found
