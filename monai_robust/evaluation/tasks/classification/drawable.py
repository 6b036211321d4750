"""How the statistics of classifiers follow from sums over images, so that patients can be drawn anew.

Calibration errors are left out: their bins see more equal samples in a draw than in the data, and so larger errors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monai_robust.evaluation.statistics.bootstrap import Drawable, Floats, Sums, means
from monai_robust.metrics.brier import brier_per_sample
from monai_robust.metrics.entropy import predictive_entropy

__all__ = ["answer_drawable", "probability_drawable"]


def answer_drawable(labels: NDArray[np.int64], predictions: NDArray[np.int64], classes: int) -> Drawable:
    """``accuracy``, ``balanced_accuracy`` and ``f1``, as ``statistics`` names them, from the cells of the confusion
    matrix.

    Args:
        labels: (N,) class indices.
        predictions: (N,) class indices.
        classes: their number.
    """
    cells = np.zeros((len(labels), classes * classes))
    cells[np.arange(len(labels)), labels * classes + predictions] = 1

    def of(sums: Floats) -> dict[str, Floats]:
        matrix = sums.reshape(*sums.shape[:-1], classes, classes)
        right, true = matrix.diagonal(axis1=-2, axis2=-1), matrix.sum(axis=-1)
        f1 = _share(2 * right, true + matrix.sum(axis=-2))
        return {
            "accuracy": _share(right.sum(axis=-1), true.sum(axis=-1)),
            "balanced_accuracy": _mean(_share(right, true)),
            "f1": f1[..., 1] if classes == 2 else _mean(f1),
        }

    return Sums(cells, of)


def probability_drawable(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> list[Drawable]:
    """``brier_multiclass``, of two classes ``brier_binary``, and ``entropy``, as ``statistics`` names them.

    Args:
        probabilities: (N, C), rows summing to 1.
        labels: (N,) class indices.
    """
    forms = {"brier_multiclass": "multiclass"} | ({"brier_binary": "binary"} if probabilities.shape[1] == 2 else {})
    columns = {name: brier_per_sample(probabilities, labels, form).numpy() for name, form in forms.items()}
    return [means({**columns, "entropy": predictive_entropy(probabilities).numpy()})]


def _share(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)


def _mean(shares: Floats) -> Floats:
    """Over the classes that there are."""
    known = ~np.isnan(shares)
    return _share(np.where(known, shares, 0).sum(axis=-1), known.sum(axis=-1).astype(np.float64))
