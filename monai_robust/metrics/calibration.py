"""Whether predicted probabilities come true as often as they say."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.metrics.inputs import OfAllSamples, as_labels, as_probabilities, checked_choice
from monai_robust.scalars import is_whole

__all__ = [
    "ExpectedCalibrationError",
    "RMSCalibrationError",
    "ReliabilityBins",
    "expected_calibration_error",
    "reliability_bins",
    "rms_calibration_error",
]

BINNINGS = ("equal_mass", "equal_width")
KINDS = ("top_label", "marginal")
ESTIMATORS = ("plugin", "debiased")

Floats = NDArray[np.float64]


class ReliabilityBins(NamedTuple):
    """What a reliability diagram shows: arrays of shape (bins,), or (C, bins) for the marginal kind.

    Attributes:
        confidence: mean predicted probability in each bin, NaN where the bin is empty.
        accuracy: share of the predictions in each bin that came true, NaN where the bin is empty.
        samples: how many samples each bin holds.
    """

    confidence: Floats
    accuracy: Floats
    samples: NDArray[np.int64]


def reliability_bins(
    probabilities: Tensor | ArrayLike,
    labels: Tensor | ArrayLike,
    bins: int = 15,
    binning: str = "equal_width",
    kind: str = "top_label",
) -> ReliabilityBins:
    """Sort predictions into bins by their probability and compare it with how often they came true.

    Args:
        probabilities: (N, C), rows summing to 1.
        labels: (N,) or (N, 1) class indices, or one-hot (N, C).
        bins: number of bins. Equal-mass bins hold N / bins samples as nearly as ties allow: samples of the same
            probability share a bin, so that the order of the samples does not matter, and bins may stay empty.
            Equal-width bins are ((b - 1) / bins, b / bins], the first one with 0.
        binning: "equal_mass" or "equal_width".
        kind: "top_label" (the predicted class and its probability) or "marginal" (each class on its own).

    Raises:
        BadInputError: for values that are no probabilities, labels that do not fit, no sample, fewer than one bin, or
            an unknown binning or kind.
    """
    _check_settings(bins, binning, kind)
    rows = as_probabilities(probabilities)
    truth = as_labels(labels, *rows.shape)
    if not len(rows):
        raise BadInputError("calibration needs at least one sample.")
    if kind == "top_label":
        top = rows.max(dim=1)
        return _binned(top.values, top.indices == truth, bins, binning)
    classes = [_binned(rows[:, c], truth == c, bins, binning) for c in range(rows.shape[1])]
    return ReliabilityBins(*(np.stack(columns) for columns in zip(*classes, strict=True)))


def rms_calibration_error(
    probabilities: Tensor | ArrayLike,
    labels: Tensor | ArrayLike,
    *,
    bins: int = 15,
    kind: str = "top_label",
    estimator: str = "plugin",
    binning: str = "equal_mass",
) -> float:
    """Root mean square calibration error after Kumar, Liang and Ma 2019, "Verified uncertainty calibration".

    - ``kind="top_label"`` (its definition of the top-label calibration error):
      sqrt(E[(P(Y = prediction | confidence) - confidence)^2]);
    - ``kind="marginal"`` (its definition of the marginal calibration error, every class weighing 1 / C):
      sqrt((1 / C) * sum over classes c of E[(P(Y = c | p_c) - p_c)^2]).

    The conditional probability is estimated in bins. With n_b of N samples in bin b, their mean probability s_b and
    the share y_b that came true,

    - ``estimator="plugin"``: E is estimated by sum over b of n_b / N * (s_b - y_b)^2, which is too large on average,
      because y_b is noisy;
    - ``estimator="debiased"`` (its section 5): from each square y_b * (1 - y_b) / (n_b - 1) is subtracted; a negative
      total counts as 0. A bin with a single sample cannot tell error from noise and contributes nothing; if all bins
      are such the result is NaN.

    Binning averages errors of opposite sign within a bin, so that either is an estimate of a lower bound.

    Args:
        probabilities: (N, C), rows summing to 1.
        labels: (N,) or (N, 1) class indices, or one-hot (N, C).
        bins: number of bins (for each class, if marginal).
        kind: "top_label" or "marginal".
        estimator: "plugin" or "debiased".
        binning: "equal_mass" or "equal_width"; see :func:`reliability_bins`.

    Returns:
        The error as a probability, 0 to 1.

    Raises:
        BadInputError: as :func:`reliability_bins`, and for an unknown estimator.
    """
    checked_choice("estimator of the calibration error", estimator, ESTIMATORS)
    found = reliability_bins(probabilities, labels, bins, binning, kind)
    squares = _squared_errors(found, estimator)
    weights = found.samples / found.samples.sum(axis=-1, keepdims=True)
    if estimator == "debiased" and found.samples.max() < 2:
        return math.nan
    # over classes: their mean, and only then the root
    return math.sqrt(max((weights * squares).sum(axis=-1).mean(), 0.0))


def expected_calibration_error(
    probabilities: Tensor | ArrayLike, labels: Tensor | ArrayLike, *, bins: int = 15, binning: str = "equal_width"
) -> float:
    """Expected calibration error of the predicted class: sum over bins b of
    ``n_b / N * |accuracy_b - confidence_b|``.

    Source: Guo et al. 2017, "On calibration of modern neural networks", equation 3.

    Args:
        probabilities: (N, C), rows summing to 1.
        labels: (N,) or (N, 1) class indices, or one-hot (N, C).
        bins: number of bins.
        binning: "equal_width" as in the source, or "equal_mass"; see :func:`reliability_bins`.

    Returns:
        The error as a probability, 0 to 1.

    Raises:
        BadInputError: as :func:`reliability_bins`.
    """
    found = reliability_bins(probabilities, labels, bins, binning)
    gaps = np.nan_to_num(np.abs(found.confidence - found.accuracy))
    return float((found.samples / found.samples.sum() * gaps).sum())


class RMSCalibrationError(OfAllSamples):
    """:func:`rms_calibration_error` for MONAI's engines.

    In an ``IgniteMetricHandler`` set ``save_details=False``: there is no value for each sample to save.

    Args:
        bins, kind, estimator, binning: as for the function.
        softmax: the engine's predictions are logits.
    """

    def __init__(
        self,
        bins: int = 15,
        kind: str = "top_label",
        estimator: str = "plugin",
        binning: str = "equal_mass",
        softmax: bool = False,
    ) -> None:
        super().__init__(softmax)
        _check_settings(bins, binning, kind)
        self.bins, self.kind, self.binning = bins, kind, binning
        self.estimator = checked_choice("estimator of the calibration error", estimator, ESTIMATORS)

    def _of(self, probabilities: Tensor, labels: Tensor) -> float:
        return rms_calibration_error(
            probabilities, labels, bins=self.bins, kind=self.kind, estimator=self.estimator, binning=self.binning
        )


class ExpectedCalibrationError(OfAllSamples):
    """:func:`expected_calibration_error` for MONAI's engines.

    In an ``IgniteMetricHandler`` set ``save_details=False``: there is no value for each sample to save.

    Args:
        bins, binning: as for the function.
        softmax: the engine's predictions are logits.
    """

    def __init__(self, bins: int = 15, binning: str = "equal_width", softmax: bool = False) -> None:
        super().__init__(softmax)
        _check_settings(bins, binning, "top_label")
        self.bins, self.binning = bins, binning

    def _of(self, probabilities: Tensor, labels: Tensor) -> float:
        return expected_calibration_error(probabilities, labels, bins=self.bins, binning=self.binning)


def _check_settings(bins: int, binning: str, kind: str) -> None:
    checked_choice("binning", binning, BINNINGS)
    checked_choice("kind of calibration", kind, KINDS)
    if not is_whole(bins, 1):
        raise BadInputError(f"bins must be a whole number of at least 1, got {bins!r}.")


def _binned(confidence: Tensor, came_true: Tensor, bins: int, binning: str) -> ReliabilityBins:
    values = confidence.cpu().numpy()
    place = _equal_mass(values, bins) if binning == "equal_mass" else _equal_width(values, bins)
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(place, values, minlength=bins) / count
        accuracy = np.bincount(place, came_true.cpu().numpy(), minlength=bins) / count
    return ReliabilityBins(mean, accuracy, count)


def _equal_mass(values: Floats, bins: int) -> NDArray[np.int64]:
    """The bin of each value, by quantiles that are values themselves, so that equal values cannot be parted."""
    ranks = np.ceil(np.arange(1, bins) * len(values) / bins).astype(int)
    edges = np.sort(values)[np.minimum(ranks, len(values) - 1)]
    return np.searchsorted(np.unique(edges), values, side="right")


def _equal_width(values: Floats, bins: int) -> NDArray[np.int64]:
    return np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], values, side="left")


def _squared_errors(found: ReliabilityBins, estimator: str) -> Floats:
    squares = np.nan_to_num((found.confidence - found.accuracy) ** 2)
    if estimator == "plugin":
        return squares
    noise = np.nan_to_num(found.accuracy * (1 - found.accuracy)) / np.maximum(found.samples - 1, 1)
    return np.where(found.samples < 2, 0.0, squares - noise)
