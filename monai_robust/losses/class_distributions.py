"""Class distributions of several views of the same samples, checked for being comparable."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from monai_robust.errors import BadInputError

__all__ = ["independent_classes", "log_probabilities"]


def independent_classes(logits: Tensor) -> Tensor:
    """Logits of independent labels as those of class distributions: each label a distribution of its own, no or yes.

    With z the logits, ``softmax([0, z])`` is ``[1 - sigmoid(z), sigmoid(z)]``, so that whatever compares class
    distributions compares Bernoulli distributions, and averages over labels as it does over spatial positions. The
    divergence of L labels is then the mean of their divergences (that of their joint distribution, for
    Kullback-Leibler, is L times as much): it is weighed against losses that are means over labels, too.

    Args:
        logits: (B, L, *spatial), or (B,) of one label.

    Returns:
        (B, 2, L, *spatial); of one label (B, 2, *spatial), which are the logits of two classes.
    """
    classes = torch.stack([torch.zeros_like(logits), logits], dim=1)
    return classes[:, :, 0] if logits.ndim > 1 and logits.shape[1] == 1 else classes


def log_probabilities(logits: Sequence[Tensor], measure: str, *, views: int | None = None) -> Tensor:
    """Log-probabilities of every view, (K, B, C, *spatial).

    Args:
        logits: K tensors of one shape (B, C, *spatial) with C >= 2; half precision is computed in float32.
        measure: what compares them, the subject of the messages.
        views: how many it compares; two or more by default.

    Returns:
        float32, or float64 where a view is float64; without metadata, which would travel through every operation.

    Raises:
        BadInputError: for another number of views, views of different shapes, or views without a class distribution.
    """
    odd = [type(view).__name__ for view in logits if not isinstance(view, Tensor)]
    if odd:
        raise BadInputError(f"{measure} compares tensors of logits; a view has a {odd[0]} of outputs")
    if len(logits) < 2 if views is None else len(logits) != views:
        many = "two or more" if views is None else views
        raise BadInputError(f"{measure} compares {many} views, got {len(logits)}.")
    shapes = [tuple(view.shape) for view in logits]
    if len(set(shapes)) > 1:
        raise BadInputError(f"{measure}: all views must have one shape (B, C, *spatial), got {shapes}.")
    if len(shapes[0]) < 2 or shapes[0][1] < 2:
        raise BadInputError(
            f"{measure}: logits of shape {shapes[0]} hold no class distribution; it needs (B, C, *spatial) with two or "
            "more classes (of sigmoids say agreement='bernoulli', or give independent_classes(logits))."
        )
    return torch.stack([_log_probabilities(view.as_subclass(Tensor)) for view in logits])


def _log_probabilities(view: Tensor) -> Tensor:
    precise = view if view.dtype == torch.float64 else view.float()
    return torch.log_softmax(precise, dim=1)
