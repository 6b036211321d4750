"""How undecided a prediction is."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from monai_robust.metrics.inputs import MeanOfSamples, as_probabilities

__all__ = ["PredictiveEntropy", "predictive_entropy"]


def predictive_entropy(probabilities: Tensor | ArrayLike) -> Tensor:
    """Shannon entropy of each predicted class distribution, in nats: -sum over c of p_c log p_c, with 0 log 0 = 0.

    It is 0 for a certain prediction and log C for a uniform one. (The "output entropy" of Martinez-Martinez and
    Nabavi 2023, Table II, exceeds log 3 with three classes; its definition is not printed and cannot be this one.)

    Args:
        probabilities: (N, C), rows summing to 1.

    Returns:
        (N,) float64.

    Raises:
        BadInputError: for values that are no probabilities.
    """
    return torch.special.entr(as_probabilities(probabilities)).sum(dim=1)


class PredictiveEntropy(MeanOfSamples):
    """The mean of :func:`predictive_entropy` for MONAI's engines, in nats; labels are ignored.

    Args:
        softmax: the engine's predictions are logits.
    """

    def __init__(self, softmax: bool = False) -> None:
        super().__init__()
        self.softmax = softmax

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:
        return predictive_entropy(as_probabilities(y_pred, softmax=self.softmax))
