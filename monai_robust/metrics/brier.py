"""The squared distance of predicted probabilities from what came true."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn.functional import one_hot

from monai_robust.errors import BadInputError
from monai_robust.metrics.calibration import reliability_bins
from monai_robust.metrics.inputs import MeanOfSamples, as_labels, as_probabilities, checked_choice

__all__ = ["BrierDecomposition", "BrierScore", "brier_decomposition", "brier_per_sample", "brier_score"]

FORMS = ("multiclass", "binary")


def brier_per_sample(probabilities: Tensor | ArrayLike, labels: Tensor | ArrayLike, form: str = "multiclass") -> Tensor:
    """The Brier score of each sample, (N,); see :func:`brier_score`."""
    checked_choice("form of the Brier score", form, FORMS)
    rows = as_probabilities(probabilities)
    truth = as_labels(labels, *rows.shape)
    if form == "multiclass":
        return (rows - one_hot(truth, rows.shape[1])).square().sum(dim=1)
    if rows.shape[1] != 2:
        raise BadInputError(f'the binary Brier score needs two classes, got {rows.shape[1]}; use form="multiclass".')
    return (rows[:, 1] - truth).square()


def brier_score(probabilities: Tensor | ArrayLike, labels: Tensor | ArrayLike, form: str = "multiclass") -> float:
    """The Brier score: the mean squared error of predicted probabilities. Lower is better.

    - ``"multiclass"`` (Brier 1950): (1 / N) * sum over i and classes c of (p_ic - 1(y_i = c))^2, from 0 to 2;
    - ``"binary"``: (1 / N) * sum over i of (p_i - y_i)^2 with p_i the probability of class 1, from 0 to 1.

    At two classes the multi-class form is exactly twice the binary one, so a table must say which it holds.

    Source: Martinez-Martinez et al. 2025 (RTDA), equation 12, is the binary form.

    Args:
        probabilities: (N, C), rows summing to 1.
        labels: (N,) or (N, 1) class indices, or one-hot (N, C).
        form: "multiclass" or "binary".

    Raises:
        BadInputError: for values that are no probabilities, labels that do not fit, no sample, an unknown form, or
            the binary form with more than two classes.

    Example:
        >>> brier_score([[0.5, 0.5], [0.0, 1.0]], [1, 1])
        0.25
        >>> brier_score([[0.5, 0.5], [0.0, 1.0]], [1, 1], form="binary")
        0.125
    """
    scores = brier_per_sample(probabilities, labels, form)
    if not len(scores):
        raise BadInputError("the Brier score needs at least one sample.")
    return scores.mean().item()


class BrierDecomposition(NamedTuple):
    """The parts of a Brier score: ``reliability - resolution + uncertainty + within_bins`` is the score.

    Attributes:
        reliability: how far probabilities are from how often they came true; 0 is perfect.
        resolution: how far what came true differs between probabilities; more is better.
        uncertainty: of the labels alone, whatever was predicted.
        within_bins: what binning leaves over: variance within bins, less twice the covariance with what came true.
    """

    reliability: float
    resolution: float
    uncertainty: float
    within_bins: float


def brier_decomposition(
    probabilities: Tensor | ArrayLike, labels: Tensor | ArrayLike, bins: int = 15
) -> BrierDecomposition:
    """Murphy's decomposition of the Brier score, in its multi-class form: the sum over classes.

    With n_b of N samples in bin b of a class, their mean probability p_b, the share y_b that came true, and y over all,

    reliability = sum n_b / N (p_b - y_b)^2, resolution = sum n_b / N (y_b - y)^2, uncertainty = y (1 - y).

    Source: Murphy 1973, "A new vector partition of the probability score"; for bins that hold different probabilities
    Stephenson, Coelho and Jolliffe 2008, "Two extra components in the Brier score decomposition".

    Args:
        probabilities: (N, C), rows summing to 1.
        labels: (N,) or (N, 1) class indices, or one-hot (N, C).
        bins: of equal width, for each class.

    Raises:
        BadInputError: as :func:`~monai_robust.metrics.reliability_bins`.
    """
    found = reliability_bins(probabilities, labels, bins, kind="marginal")
    samples = found.samples.sum(axis=1, keepdims=True)
    shares = found.samples / samples
    came_true, confidence = np.nan_to_num(found.accuracy), np.nan_to_num(found.confidence)
    overall = (shares * came_true).sum(axis=1, keepdims=True)
    parts = (
        float((shares * (confidence - came_true) ** 2).sum()),
        float((shares * (came_true - overall) ** 2).sum()),
        float((overall * (1 - overall)).sum()),
    )
    reliability, resolution, uncertainty = parts
    rest = brier_score(probabilities, labels) - (reliability - resolution + uncertainty)
    return BrierDecomposition(*parts, rest)


class BrierScore(MeanOfSamples):
    """:func:`brier_score` for MONAI's engines.

    Args:
        form: "multiclass" (sum over classes) or "binary" (class 1 of two; half the multi-class value).
        softmax: the engine's predictions are logits.
    """

    def __init__(self, form: str = "multiclass", softmax: bool = False) -> None:
        super().__init__()
        self.form = checked_choice("form of the Brier score", form, FORMS)
        self.softmax = softmax

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:
        if y is None:
            raise BadInputError("BrierScore needs labels (y).")
        return brier_per_sample(as_probabilities(y_pred, softmax=self.softmax), y, self.form)
