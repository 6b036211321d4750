"""How far one view's class distributions are from another's."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from monai_robust.losses.class_distributions import log_probabilities

__all__ = ["kullback_leibler"]


def kullback_leibler(logits: Sequence[Tensor]) -> Tensor:
    """Kullback-Leibler divergence of the second view's class distributions from the first's, in nats.

    With p = softmax(logits[0]) and q = softmax(logits[1]),

        KL(p || q) = sum over classes k of p_k * (log p_k - log q_k),

    which is 0, with a gradient of 0, where both agree, and has no upper bound. Both views are differentiated.
    Everything is computed from log-probabilities, so that value and gradient are finite for any finite logits.

    Source: the second term of TRADES (Zhang et al. 2019, as its program computes it) and of MART (Wang et al. 2020),
    both with the clean view first and the adversarial one second.

    Args:
        logits: two tensors of one shape (B, C, *spatial) with C >= 2; half precision is computed in float32.

    Returns:
        (B,): the divergence of each sample, averaged over the spatial positions where there are any; float32, or
        float64 where a view is float64.

    Raises:
        BadInputError: for another number of views, views of different shapes, or views without a class distribution.
    """
    log_p, log_q = log_probabilities(logits, "Kullback-Leibler divergence", views=2).unbind()
    divergence = (log_p.exp() * (log_p - log_q)).sum(dim=1)
    return divergence.reshape(len(divergence), -1).mean(dim=1)
