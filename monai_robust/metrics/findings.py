"""Measures of each class against the rest, or of each of several findings, over a whole set of samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai.metrics import CumulativeIterationMetric
from numpy.typing import NDArray
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.metrics.inputs import as_findings, as_plain, as_scores, checked_choice

__all__ = ["OfFindings"]

AVERAGES = ("macro", "none")
ACTIVATIONS = ("none", "softmax", "sigmoid")


class OfFindings(CumulativeIterationMetric):
    """Keeps scores (N, C) and findings (N, C), and measures each class.

    Args:
        average: ``"macro"``, the mean over the classes that have a value, or ``"none"`` for (C,).
        activation: ``"softmax"`` or ``"sigmoid"``, what makes probabilities of the engine's predictions.
    """

    def __init__(self, average: str = "macro", activation: str = "none") -> None:
        super().__init__()
        self.average = checked_choice("average", average, AVERAGES)
        self.activation = checked_choice("activation", activation, ACTIVATIONS)

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> list[Tensor]:
        if y is None:
            raise BadInputError(f"{type(self).__name__} needs labels (y).")
        rows = as_plain(y_pred).double()
        if self.activation != "none":
            rows = rows.softmax(dim=1) if self.activation == "softmax" else rows.sigmoid()
        scores = as_scores(rows)
        if scores.ndim != 2:
            raise BadInputError(f"{type(self).__name__} needs predictions of shape (N, C), got {scores.shape}.")
        return [torch.from_numpy(scores), torch.from_numpy(as_findings(y, scores.shape))]

    def _measure(self, scores: NDArray[np.float64], labels: NDArray[np.int8]) -> NDArray[np.float64]:
        """The measure of each class, (C,), NaN where there is none."""
        raise NotImplementedError

    def aggregate(self, *args: Any, **kwargs: Any) -> Tensor:
        """The mean over the classes that have a value, a scalar tensor (NaN where none has), or that of each, (C,).

        Raises:
            BadInputError: if there was no sample.
        """
        buffers = self.get_buffer()
        if buffers is None:
            raise BadInputError(f"{type(self).__name__}: no sample was given before aggregate().")
        found = torch.from_numpy(self._measure(*(one.cpu().numpy() for one in buffers)))
        return found if self.average == "none" else found.nanmean()
