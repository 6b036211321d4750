"""Free-response operating characteristic (FROC): the share of objects found over false positives per image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.metrics import CumulativeIterationMetric, compute_froc_score
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.metrics.detection import ImageMatches, match_images
from monai_robust.scalars import is_above_zero

__all__ = [
    "FROC_RATES",
    "FreeResponse",
    "FreeResponseCurve",
    "MatchedScores",
    "free_response_curve",
    "froc_score",
    "matched_scores",
    "score_threshold",
]

FROC_RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False positives per image at which sensitivities are averaged, those of the LUNA16 challenge."""


class MatchedScores(NamedTuple):
    """What a curve is made of.

    Attributes:
        true: (P,) scores of the detections that are matched to an object.
        false: (F,) scores of the others.
        targets: number of objects.
        images: number of images.
    """

    true: NDArray[np.float64]
    false: NDArray[np.float64]
    targets: int
    images: int


class FreeResponseCurve(NamedTuple):
    """A point for each score, from the highest to the lowest, after (0, 0).

    Attributes:
        false_positives: (S,) per image, of detections with at least that score.
        sensitivity: (S,) share of the objects that such detections are matched to; NaN where there are no objects.
        scores: (S,) the scores, infinity first.
    """

    false_positives: NDArray[np.float64]
    sensitivity: NDArray[np.float64]
    scores: NDArray[np.float64]


def matched_scores(matches: Sequence[ImageMatches], classes: Iterable[int] | None = None) -> MatchedScores:
    """The scores of the detections of some images, matched to their objects at an IoU of 0.5 or more.

    Args:
        matches: from :func:`~monai_robust.metrics.match_images`: of each class and image the 100 surest detections.
        classes: the classes that count, by index; all by default.
    """
    own = None if classes is None else set(classes)
    found = [one for image in matches for index, one in image.items() if own is None or index in own]
    scores = np.concatenate([np.asarray(one["dtScores"], dtype=np.float64) for one in found] or [np.empty(0)])
    hit = np.concatenate([np.asarray(one["dtMatches"][0], dtype=bool) for one in found] or [np.empty(0, dtype=bool)])
    return MatchedScores(scores[hit], scores[~hit], sum(len(one["gtIgnore"]) for one in found), len(matches))


def free_response_curve(true: ArrayLike, false: ArrayLike, targets: int, images: int) -> FreeResponseCurve:
    """False positives per image and sensitivity at every score.

    The points of MONAI's ``compute_froc_curve_data``, sorted once instead of counted anew for each score, which takes
    hours for a data set with 100,000 detections.

    Args:
        true: (P,) scores of the detections that are matched to an object.
        false: (F,) scores of the others.
        targets: number of objects.
        images: number of images.

    Raises:
        BadInputError: for scores that are not finite, fewer objects than matched detections, or no image.

    Example:
        >>> curve = free_response_curve([0.9, 0.4], [0.6], targets=4, images=2)
        >>> curve.false_positives.tolist(), curve.sensitivity.tolist()
        ([0.0, 0.0, 0.5, 0.5], [0.0, 0.25, 0.25, 0.5])
    """
    hits, errors = (np.sort(np.asarray(one, dtype=np.float64).reshape(-1)) for one in (true, false))
    if not (np.isfinite(hits).all() and np.isfinite(errors).all()):
        raise BadInputError("FROC: the scores of detections must be finite numbers")
    if images < 1 or targets < len(hits):
        raise BadInputError(f"FROC: {len(hits)} detections are matched to {targets} objects in {images} images")
    scores = np.unique(np.concatenate([hits, errors]))[::-1]
    found, wrong = (len(one) - np.searchsorted(one, scores, side="left") for one in (hits, errors))
    with np.errstate(invalid="ignore"):
        sensitivity = np.concatenate([[0], found]) / np.float64(targets)
    return FreeResponseCurve(np.concatenate([[0], wrong]) / images, sensitivity, np.concatenate([[np.inf], scores]))


def froc_score(curve: FreeResponseCurve, rates: Sequence[float] = FROC_RATES) -> float:
    """The mean sensitivity at some rates of false positives per image, by MONAI's ``compute_froc_score``.

    Between points a curve is linear; beyond its last one, the lowest score that was kept, it stays where it is.

    Args:
        curve: from :func:`free_response_curve`.
        rates: false positives per image; one number for the sensitivity at that rate.

    Returns:
        The mean; NaN where there are no objects.
    """
    if np.isnan(curve.sensitivity).any():
        return float("nan")
    return float(compute_froc_score(curve.false_positives[::-1], curve.sensitivity[::-1], tuple(rates)))


def score_threshold(curve: FreeResponseCurve, rate: float) -> float:
    """The lowest score at which there are at most ``rate`` false positives per image; infinity where there is none."""
    return float(curve.scores[curve.false_positives <= rate].min())


class FreeResponse(CumulativeIterationMetric):
    """:func:`froc_score` for MONAI's engines: of all detections of all images since the last reset.

    Takes for each image the detections, a dictionary with ``boxes`` (P, 2D), ``labels`` (P,) class indices and
    ``scores`` (P,), and the true boxes, one with ``boxes`` (T, 2D) and ``labels`` (T,), as lists.

    Args:
        rates: false positives per image.
    """

    def __init__(self, rates: Sequence[float] = FROC_RATES) -> None:
        super().__init__()
        self.rates = tuple(rates) if isinstance(rates, Iterable) else (rates,)
        if not self.rates or not all(map(is_above_zero, self.rates)):
            raise BadInputError(f"FreeResponse: rates is {rates!r}; it takes numbers of false positives above 0.")

    def __call__(self, y_pred: Any, y: Any = None, **kwargs: Any) -> Tensor:
        """Keep a batch of images; returns its rows, (N, 2), see :meth:`_compute_tensor`."""
        if y is None:
            raise BadInputError("FreeResponse needs labels (y).")
        rows = torch.cat([self._compute_tensor(*pair) for pair in zip(y_pred, y, strict=True)])
        self.extend(rows)
        return rows

    def curve(self) -> FreeResponseCurve:
        """The curve of all images since the last reset.

        Raises:
            BadInputError: if there was no image.
        """
        rows = self.get_buffer()
        if rows is None:
            raise BadInputError("FreeResponse: no sample was given before aggregate().")
        kinds, values = rows[:, 0], rows[:, 1].cpu().numpy()
        hits, errors = (values[(kinds == kind).cpu().numpy()] for kind in (_TRUE, _FALSE))
        images = kinds == _IMAGE
        return free_response_curve(hits, errors, int(rows[images][:, 1].sum()), int(images.sum()))

    def aggregate(self, *args: Any, **kwargs: Any) -> Tensor:
        """The mean sensitivity of all images since the last reset, a scalar tensor; NaN where there are no objects.

        Raises:
            BadInputError: if there was no image.
        """
        return torch.tensor(froc_score(self.curve(), self.rates), dtype=torch.float64)

    def _compute_tensor(self, detections: Mapping[str, Any], truth: Mapping[str, Any], **kwargs: Any) -> Tensor:  # type: ignore[override]
        """(N, 2): a row for the image with its number of objects, and one for each detection with its score."""
        given = [{key: _array(values) for key, values in one.items()} for one in (detections, truth)]
        own = matched_scores(match_images(given[:1], given[1:]))
        parts = {_IMAGE: [float(own.targets)], _TRUE: own.true.tolist(), _FALSE: own.false.tolist()}
        rows = [[kind, value] for kind, values in parts.items() for value in values]
        return torch.tensor(rows, dtype=torch.float64)


_IMAGE, _TRUE, _FALSE = 0.0, 1.0, 2.0


def _array(values: Any) -> NDArray[Any]:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
