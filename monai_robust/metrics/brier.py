"""The squared distance of predicted probabilities from what came true."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn.functional import one_hot

from monai_robust.errors import BadInputError
from monai_robust.metrics.inputs import MeanOfSamples, as_labels, as_probabilities, checked_choice

__all__ = ["BrierScore", "brier_per_sample", "brier_score"]

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
