"""How many lesions are found: connected areas of truth and prediction, counted."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from monai.metrics import CumulativeIterationMetric
from numpy.typing import NDArray
from scipy.ndimage import generate_binary_structure, label
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.metrics.inputs import as_plain
from monai_robust.metrics.segmentation.pixel_counts import label_maps
from monai_robust.scalars import is_number

__all__ = ["LesionCounts", "LesionSensitivity", "lesion_counts"]


class LesionCounts(NamedTuple):
    """Of each sample and foreground class, (B, K) int64.

    Attributes:
        lesions: connected areas of the truth.
        found: those of them that the prediction meets.
        components: connected areas of the prediction.
        false: those of them that meet no lesion.
    """

    lesions: Tensor
    found: Tensor
    components: Tensor
    false: Tensor


def lesion_counts(found: Tensor, truth: Tensor, classes: int, *, iou: float = 0.0) -> LesionCounts:
    """Count lesions, those that are found, and components that are none.

    A lesion is a connected area of one class, where pixels that touch at a corner are connected (8 neighbours in 2-D,
    26 in 3-D). It is found where its intersection over union with all predicted components that touch it, taken
    together, is at least ``iou``, by default where they share one pixel. A predicted component is false where the same
    holds of it and of the lesions that it touches.

    Args:
        found: (B, *spatial) class indices of the prediction.
        truth: (B, *spatial) class indices.
        classes: K, number of foreground classes, whose indices are 1 to K.
        iou: the least intersection over union of a lesion that is found, 0 for one shared pixel.

    Returns:
        The counts of each sample and class.

    Raises:
        BadInputError: for shapes that do not fit, or an ``iou`` that is none.

    Example:
        >>> truth, found = torch.tensor([[1, 1, 0, 0, 1, 0, 0]]), torch.tensor([[0, 1, 0, 0, 0, 0, 1]])
        >>> [int(count) for count in lesion_counts(found, truth, 1)]
        [2, 1, 2, 1]
    """
    if found.shape != truth.shape or found.ndim < 2:
        raise BadInputError(
            f"lesions: prediction and truth must both be (B, *spatial), got {tuple(found.shape)} and "
            f"{tuple(truth.shape)}"
        )
    _require_overlap(iou)
    ours, theirs = found.detach().cpu().numpy(), truth.detach().cpu().numpy()
    counts = torch.zeros(4, len(ours), classes, dtype=torch.int64)
    for sample in range(len(ours)):
        for index in range(1, classes + 1):
            counts[:, sample, index - 1] = torch.tensor(_counts(ours[sample] == index, theirs[sample] == index, iou))
    return LesionCounts(*counts)


class LesionSensitivity(CumulativeIterationMetric):
    """The share of all lesions that are found (:func:`lesion_counts`), of all samples and classes together.

    Takes predictions (B, C, *spatial), logits or one-hot, where a single channel is foreground above 0, and labels
    (B, 1, *spatial) of class indices or one-hot (B, C, *spatial); class 0 is the background.

    Args:
        iou: the least intersection over union of a lesion that is found, 0 for one shared pixel.
    """

    def __init__(self, iou: float = 0.0) -> None:
        super().__init__()
        _require_overlap(iou)
        self.iou = iou

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:
        """(B, 4, K) counts."""
        if y is None:
            raise BadInputError("LesionSensitivity needs labels (y).")
        found, truth, classes = label_maps(as_plain(y_pred), as_plain(y))
        return torch.stack(lesion_counts(found, truth, classes - 1, iou=self.iou), dim=1)

    def aggregate(self, *args: Any, **kwargs: Any) -> Tensor:
        """The share of the lesions since the last reset that were found, a scalar tensor; NaN where there were none.

        Raises:
            BadInputError: if there was no sample.
        """
        counts = self.get_buffer()
        if counts is None:
            raise BadInputError("LesionSensitivity: no sample was given before aggregate().")
        lesions, found = counts[:, 0].sum().double(), counts[:, 1].sum().double()
        return found / lesions


def _counts(found: NDArray[np.bool_], truth: NDArray[np.bool_], iou: float) -> tuple[int, int, int, int]:
    touching = generate_binary_structure(found.ndim, found.ndim)
    ours, components = label(found, touching)
    theirs, lesions = label(truth, touching)
    if not lesions or not components:
        return lesions, 0, components, components
    # pixels that each lesion (a row) and each component (a column) share, 0 being neither
    pairs = np.bincount((theirs * (components + 1) + ours).ravel(), minlength=(lesions + 1) * (components + 1))
    shared = pairs.reshape(lesions + 1, components + 1)
    sizes = shared.sum(axis=1)[1:], shared.sum(axis=0)[1:]
    shared = shared[1:, 1:]
    hit = int(_met(shared, *sizes, iou).sum())
    return lesions, hit, components, components - int(_met(shared.T, *sizes[::-1], iou).sum())


def _met(shared: NDArray[Any], own: NDArray[Any], others: NDArray[Any], iou: float) -> NDArray[np.bool_]:
    """Which areas, (N,), are met by those of another map that touch them: ``shared`` is (N, M) pixels."""
    common = shared.sum(axis=1)
    union = own + ((shared > 0) * others).sum(axis=1) - common
    met: NDArray[np.bool_] = (common > 0) & (common >= iou * union)
    return met


def _require_overlap(iou: float) -> None:
    if not is_number(iou, 0, 1):
        raise BadInputError(f"lesions: iou is {iou!r}; it must be from 0 (one shared pixel) to 1")
