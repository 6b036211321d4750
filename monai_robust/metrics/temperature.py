"""Probabilities made softer or sharper by one number, so that they come true as often as they say."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, logsumexp
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.metrics.inputs import as_findings, as_labels, as_probabilities, as_scores
from monai_robust.scalars import is_above_zero

__all__ = ["TEMPERATURES", "fitted_temperature", "tempered"]

_SMALLEST = 1e-300  # probabilities below have no logarithm
TEMPERATURES = (0.01, 100.0)
"""Between which a temperature is searched."""
_LIMITS = (math.log(TEMPERATURES[0]), math.log(TEMPERATURES[1]))


def tempered(probabilities: Tensor | ArrayLike, temperature: float, independent: bool = False) -> NDArray[np.float64]:
    """Probabilities of logits that are divided by a temperature: softmax(log p / T).

    Args:
        probabilities: (N, C), rows summing to 1; or of independent findings.
        temperature: above 1 makes them less sure of themselves.
        independent: the columns are findings, each with a sigmoid of its own.

    Raises:
        BadInputError: for values that are no probabilities, or a temperature that is not above 0.

    Example:
        >>> tempered([[0.9, 0.1]], 2.0).round(2).tolist()
        [[0.75, 0.25]]
    """
    if not is_above_zero(temperature):
        raise BadInputError(f"a temperature of {temperature} makes no sense; it must be above 0.")
    logits = _logits(probabilities, independent) / temperature
    return expit(logits) if independent else np.exp(log_softmax(logits, axis=1))


def fitted_temperature(
    probabilities: Tensor | ArrayLike, labels: Tensor | ArrayLike, independent: bool = False
) -> float:
    """The temperature at which the negative log-likelihood of the labels is least.

    Source: Guo et al. 2017, "On calibration of modern neural networks", section 4.2. It changes no prediction.

    Args:
        probabilities: (N, C), of samples that nothing is measured on.
        labels: (N,) class indices; findings (N, C) of 0 and 1 (-1 or NaN where unknown) where independent.
        independent: as for :func:`tempered`.

    Returns:
        The temperature, from 0.01 to 100; at an end where the likelihood has no maximum between them, such as where
        every prediction is right. NaN without a label.

    Raises:
        BadInputError: for values that are no probabilities, or labels that do not fit.
    """
    logits = _logits(probabilities, independent)
    if independent:
        truth = as_findings(labels, logits.shape)
        signed = np.where(truth == 1, -logits, logits)[truth >= 0]

        def loss(log_temperature: float) -> float:
            return float(np.logaddexp(0, signed / math.exp(log_temperature)).mean())

        known = signed.size
    else:
        indices = as_labels(labels, *logits.shape).cpu().numpy()
        own = logits[np.arange(len(logits)), indices] if len(logits) else np.empty(0)

        def loss(log_temperature: float) -> float:
            scale = math.exp(log_temperature)
            return float((logsumexp(logits / scale, axis=1) - own / scale).mean())

        known = len(own)
    if not known:
        return math.nan
    inside = float(minimize_scalar(loss, bounds=_LIMITS, method="bounded", options={"xatol": 1e-5}).x)
    return math.exp(min((*_LIMITS, inside), key=loss))  # the search stops where the loss is flat, which may be anywhere


def _logits(probabilities: Tensor | ArrayLike, independent: bool) -> NDArray[np.float64]:
    if not independent:
        return np.log(np.maximum(as_probabilities(probabilities).cpu().numpy(), _SMALLEST))
    rows = as_scores(probabilities)
    if rows.ndim != 2 or (rows < 0).any() or (rows > 1).any():
        raise BadInputError("probabilities of findings must have shape (N, C) and lie in [0, 1].")
    return np.log(np.maximum(rows, _SMALLEST)) - np.log(np.maximum(1 - rows, 2.0**-53))
