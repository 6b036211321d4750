"""How far the class distributions of several views of the same samples are apart."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from monai_robust.errors import BadInputError
from monai_robust.losses.class_distributions import log_probabilities

__all__ = ["JensenShannonLoss", "jensen_shannon"]


def jensen_shannon(logits: Sequence[Tensor]) -> Tensor:
    """Jensen-Shannon divergence between the class distributions of K views, one value for each sample, in nats.

    With p_k = softmax(logits[k]) and M = (p_1 + ... + p_K) / K,

        JSD = (1 / K) * sum over k of KL(p_k || M),

    which is 0 where all views agree and at most log K. Everything is computed from log-probabilities, so that no
    clamp is needed and the gradient is finite for any finite logits.

    Source: Martinez-Martinez et al. 2025 (RTDA), equations 7 and 8, there for three views; Hendrycks et al. 2020.

    Args:
        logits: K >= 2 tensors of one shape (B, C, *spatial) with C >= 2; half precision is computed in float32.

    Returns:
        (B,): the divergence of each sample, averaged over the spatial positions where there are any; float32, or
        float64 where a view is float64.

    Raises:
        BadInputError: for fewer than two views, views of different shapes, or views without a class distribution.
    """
    log_p = log_probabilities(logits, "Jensen-Shannon divergence")
    log_m = torch.logsumexp(log_p, dim=0) - math.log(len(log_p))
    divergence = (log_p.exp() * (log_p - log_m)).sum(dim=2).mean(dim=0)
    return divergence.reshape(len(divergence), -1).mean(dim=1)


class JensenShannonLoss(nn.Module):
    """Consistency loss over the logits of several views of a batch: :func:`jensen_shannon` as a module.

    Args:
        reduction: "mean" for one value of the batch, "none" for one value of each sample, (B,).

    Raises:
        BadInputError: for another reduction.
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        if reduction not in ("mean", "none"):
            raise BadInputError(f'JensenShannonLoss: reduction is "mean" or "none", not {reduction!r}.')
        self.reduction = reduction

    def forward(self, logits: Sequence[Tensor]) -> Tensor:
        """The divergence of K >= 2 views of shape (B, C, *spatial); see :func:`jensen_shannon`."""
        divergence = jensen_shannon(logits)
        return divergence.mean() if self.reduction == "mean" else divergence
