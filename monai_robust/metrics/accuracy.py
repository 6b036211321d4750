"""The share of correct predictions."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.metrics.inputs import MeanOfSamples, as_labels, as_plain

__all__ = ["AdversarialAccuracy", "adversarial_accuracy"]


def adversarial_accuracy(predictions_or_logits: Tensor | ArrayLike, labels: Tensor | ArrayLike) -> float:
    """The share of adversarial inputs that are classified correctly:

        (1 / N) * sum over i of 1(f(x_i + delta_i) = y_i).

    The arithmetic is that of accuracy: what makes it adversarial is that the predictions were made on adversarial
    inputs; on clean inputs it is the clean accuracy.

    Source: Martinez-Martinez et al. 2025 (RTDA), equation 11.

    Args:
        predictions_or_logits: (N,) or (N, 1) predicted class indices, or (N, C) logits or probabilities.
        labels: (N,) or (N, 1) class indices, or one-hot (N, C).

    Raises:
        BadInputError: for shapes that do not fit, scores that are NaN, or no sample at all.

    Example:
        >>> adversarial_accuracy([0, 2, 1, 1], [0, 2, 1, 0])
        0.75
    """
    hits = _correct(as_plain(predictions_or_logits), labels)
    if not len(hits):
        raise BadInputError("accuracy needs at least one sample.")
    return hits.mean().item()


class AdversarialAccuracy(MeanOfSamples):
    """:func:`adversarial_accuracy` for MONAI's engines.

    Measured on whatever predictions the engine makes: under an attack they are adversarial, otherwise clean.
    """

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:
        if y is None:
            raise BadInputError("AdversarialAccuracy needs labels (y).")
        return _correct(as_plain(y_pred), y)


def _correct(given: Tensor, labels: Tensor | ArrayLike) -> Tensor:
    """(N,): 1 where the prediction is right, 0 where not."""
    if given.ndim == 2 and given.shape[1] > 1:
        if given.isnan().any():
            raise BadInputError("accuracy: the class scores hold NaN, which predicts no class.")
        return (given.argmax(dim=1) == as_labels(labels, *given.shape)).double()
    if given.ndim not in (1, 2):
        raise BadInputError(f"accuracy: predictions must be (N,) class indices or (N, C) scores, got {given.shape}.")
    predictions = given.reshape(-1)
    if predictions.is_floating_point() and (predictions != predictions.round()).any():
        raise BadInputError(
            "accuracy: one value for each sample must be a predicted class index; threshold a sigmoid output first."
        )
    truth = as_plain(labels)
    classes = int(truth.max()) + 1 if truth.numel() else 1
    if truth.ndim == 2 and truth.shape[1] > 1:
        classes = truth.shape[1]
    return (predictions == as_labels(truth, len(predictions), classes)).double()
