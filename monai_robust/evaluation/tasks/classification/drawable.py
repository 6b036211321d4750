"""How the statistics of classifiers follow from sums over images, so that patients can be drawn anew.

Calibration errors are left out: their bins see more equal samples in a draw than in the data, and so larger errors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monai_robust.evaluation.statistics.bootstrap import Drawable, means
from monai_robust.metrics.brier import brier_per_sample
from monai_robust.metrics.entropy import predictive_entropy

__all__ = ["probability_drawable"]


def probability_drawable(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> list[Drawable]:
    """``brier_multiclass``, of two classes ``brier_binary``, and ``entropy``, as ``statistics`` names them.

    Args:
        probabilities: (N, C), rows summing to 1.
        labels: (N,) class indices.
    """
    forms = {"brier_multiclass": "multiclass"} | ({"brier_binary": "binary"} if probabilities.shape[1] == 2 else {})
    columns = {name: brier_per_sample(probabilities, labels, form).numpy() for name, form in forms.items()}
    return [means({**columns, "entropy": predictive_entropy(probabilities).numpy()})]
