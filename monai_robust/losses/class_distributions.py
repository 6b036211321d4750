"""Class distributions of several views of the same samples, checked for being comparable."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from monai_robust.errors import BadInputError

__all__ = ["log_probabilities"]


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
            f"{measure}: logits of shape {shapes[0]} hold no class distribution; "
            "it needs (B, C, *spatial) with two or more classes (for one sigmoid output stack [0, logit])."
        )
    return torch.stack([_log_probabilities(view.as_subclass(Tensor)) for view in logits])


def _log_probabilities(view: Tensor) -> Tensor:
    precise = view if view.dtype == torch.float64 else view.float()
    return torch.log_softmax(precise, dim=1)
