"""What metrics are given, checked and brought into one form; and the accumulation that they share."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai.metrics import CumulativeIterationMetric
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from monai_robust.errors import BadInputError

__all__ = [
    "MeanOfSamples",
    "OfAllSamples",
    "as_findings",
    "as_labels",
    "as_plain",
    "as_probabilities",
    "as_scores",
    "checked_choice",
]

# Rows of a half-precision softmax over many classes miss 1 by up to about this much.
SUM_TOLERANCE = 1e-2


def as_plain(values: Tensor | ArrayLike) -> Tensor:
    """A plain detached tensor of a tensor, MetaTensor, array, data frame column or list.

    Raises:
        BadInputError: for anything but numbers.
    """
    if isinstance(values, Tensor):
        return values.detach().as_subclass(Tensor)
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise BadInputError(f"metrics need numbers, got values of type {array.dtype}; name classes by their index.")
    # a copy, because torch warns about the read-only arrays that pandas hands out
    return torch.from_numpy(array.astype(np.float64 if array.dtype.kind == "f" else np.int64))


def as_probabilities(values: Tensor | ArrayLike, *, softmax: bool = False) -> Tensor:
    """Class probabilities as float64.

    Args:
        values: (N, C) with C >= 2, probabilities, or logits if ``softmax``.
        softmax: turn logits into probabilities.

    Raises:
        BadInputError: for another shape, a value that is not finite, or rows that are no distributions.
    """
    rows = as_plain(values).double()
    if rows.ndim != 2 or rows.shape[1] < 2:
        raise BadInputError(f"probabilities must have shape (N, C) with two or more classes, got {tuple(rows.shape)}.")
    if not rows.isfinite().all():
        raise BadInputError("probabilities hold a value that is not finite (NaN or infinity).")
    if softmax:
        return rows.softmax(dim=1)
    off = (rows.sum(dim=1) - 1).abs() > SUM_TOLERANCE
    if off.any() or (rows < 0).any() or (rows > 1 + SUM_TOLERANCE).any():
        raise BadInputError(
            "probabilities must lie in [0, 1] and sum to 1 in each row; logits need a softmax first "
            "(MONAI's Activationsd(softmax=True), or softmax=True of the metric)."
        )
    return rows


def as_labels(labels: Tensor | ArrayLike, count: int, classes: int) -> Tensor:
    """Class indices as int64, (N,).

    Args:
        labels: (N,) or (N, 1) class indices, or (N, C) one-hot.
        count: N, the number of samples there must be.
        classes: C, the number of classes.

    Raises:
        BadInputError: for another shape, or labels outside 0 ... C - 1.
    """
    given = as_plain(labels)
    if given.shape == (count, classes) and classes > 1:
        return _from_one_hot(given)
    if given.shape not in ((count,), (count, 1)):
        raise BadInputError(
            f"labels must have shape ({count},), ({count}, 1) or one-hot ({count}, {classes}), "
            f"got {tuple(given.shape)}."
        )
    indices = given.reshape(count)
    whole = indices.long()
    if count and ((whole != indices).any() or whole.min() < 0 or whole.max() >= classes):
        raise BadInputError(
            f"labels must be class indices from 0 to {classes - 1}, got values from {indices.min()} to {indices.max()}."
        )
    return whole


def as_scores(values: Tensor | ArrayLike) -> NDArray[np.float64]:
    """Scores as float64, (N,) or (N, C), of which larger ones speak for a finding.

    Raises:
        BadInputError: for another shape, or a value that is not finite.
    """
    scores = as_plain(values).double().cpu().numpy()
    if scores.ndim not in (1, 2):
        raise BadInputError(f"scores must have shape (N,) or (N, C), got {scores.shape}.")
    if not np.isfinite(scores).all():
        raise BadInputError("scores hold a value that is not finite (NaN or infinity).")
    return scores


def as_findings(labels: Tensor | ArrayLike, shape: tuple[int, ...]) -> NDArray[np.int8]:
    """For each sample and class 1 where it has it, 0 where it has not, and -1 where nobody knows.

    Args:
        labels: of that shape, of 0, 1 and -1 or NaN; or (N,) or (N, 1) class indices for a shape (N, C).
        shape: (N,) or (N, C) of the scores.

    Raises:
        BadInputError: for another shape or other values.
    """
    given = as_plain(labels).cpu()
    if len(shape) == 2 and given.shape in ((shape[0],), (shape[0], 1)) and shape[1] > 1:
        return np.eye(shape[1], dtype=np.int8)[as_labels(given, *shape).numpy()]
    if tuple(given.shape) != shape:
        raise BadInputError(f"labels must have the shape of the scores, {shape}, got {tuple(given.shape)}.")
    found = np.nan_to_num(given.double().numpy(), nan=-1.0)
    if not np.isin(found, (-1, 0, 1)).all():
        raise BadInputError("labels of findings must be 1 (present), 0 (absent), or -1 or NaN (unknown).")
    return found.astype(np.int8)


def checked_choice(name: str, value: str, choices: tuple[str, ...]) -> str:
    """The value itself, refused with the choices there are if it is none of them."""
    if value not in choices:
        raise BadInputError(f"{name} must be one of {', '.join(choices)}, not {value!r}.")
    return value


class MeanOfSamples(CumulativeIterationMetric):
    """A metric that is the mean of one value for each sample, whatever the batches and ranks they came in."""

    def aggregate(self, *args: Any, **kwargs: Any) -> Tensor:
        """The mean over all samples since the last reset, a scalar tensor.

        Raises:
            BadInputError: if there was no sample.
        """
        values = self.get_buffer()
        if values is None:
            raise BadInputError(f"{type(self).__name__}: no sample was given before aggregate().")
        return values.mean()


class OfAllSamples(CumulativeIterationMetric):
    """Keeps probabilities and labels, for a measure of the whole set that is no mean over batches.

    Args:
        softmax: the engine's predictions are logits of classes that exclude each other.
    """

    def __init__(self, softmax: bool = False) -> None:
        super().__init__()
        self.softmax = softmax

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> list[Tensor]:
        if y is None:
            raise BadInputError(f"{type(self).__name__} needs labels (y).")
        rows = as_probabilities(y_pred, softmax=self.softmax)
        return [rows, as_labels(y, *rows.shape)]

    def _of(self, probabilities: Tensor, labels: Tensor) -> Any:
        raise NotImplementedError

    def aggregate(self, *args: Any, **kwargs: Any) -> Tensor:
        """The measure of all samples since the last reset, a scalar tensor or one for each class.

        Raises:
            BadInputError: if there was no sample.
        """
        buffers = self.get_buffer()
        if buffers is None:
            raise BadInputError(f"{type(self).__name__}: no sample was given before aggregate().")
        return torch.as_tensor(self._of(*buffers), dtype=torch.float64)


def _from_one_hot(rows: Tensor) -> Tensor:
    if not (((rows == 0) | (rows == 1)).all() and (rows.sum(dim=1) == 1).all()):
        raise BadInputError(f"labels of shape {tuple(rows.shape)} must be one-hot: a single 1 in each row.")
    return rows.argmax(dim=1)
