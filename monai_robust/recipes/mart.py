"""The two terms of misclassification-aware adversarial training (MART) that look at the label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.losses.class_distributions import log_probabilities
from monai_robust.tasks.classification import class_indices

__all__ = ["likeliest_wrong_class", "probability_of_error"]


def likeliest_wrong_class(logits: Tensor, targets: Any) -> Tensor:
    """-log(1 - p_k) of the likeliest wrong class k, (B,), in nats: what boosts cross-entropy.

    With it, the cross-entropy of an adversarial example becomes the boosted cross-entropy of MART,
    ``-log p_y(x') - log(1 - max over k != y of p_k(x'))`` (Wang et al. 2020). The complement of p_k is the sum of all
    other probabilities, from their logarithms, so that value and gradient are finite for any finite logits.

    Args:
        logits: (B, C) with C >= 2.
        targets: class indices (B,) or (B, 1), or one-hot (B, C).

    Raises:
        BadInputError: for outputs or targets of another form.
    """
    log_p, labels = _checked(logits, targets)
    true = torch.zeros_like(log_p, dtype=torch.bool).scatter_(1, labels[:, None], True)
    wrong = log_p.detach().masked_fill(true, -torch.inf).argmax(dim=1, keepdim=True)
    return -log_p.scatter(1, wrong, -torch.inf).logsumexp(dim=1)


def probability_of_error(views: Sequence[Tensor], targets: Any) -> Tensor:
    """1 - p_y of the first view, (B,): how much MART asks the views of a sample to agree (Wang et al. 2020).

    Args:
        views: logits (B, C) with C >= 2, those of the clean inputs first.
        targets: class indices (B,) or (B, 1), or one-hot (B, C).

    Raises:
        BadInputError: for outputs or targets of another form.
    """
    log_p, labels = _checked(views[0], targets)
    return -log_p.gather(1, labels[:, None])[:, 0].expm1()


def _checked(logits: Any, targets: Any) -> tuple[Tensor, Tensor]:
    """Log-probabilities (B, C) and class indices (B,)."""
    if not isinstance(logits, Tensor) or logits.ndim != 2 or logits.shape[1] < 2:
        what = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"type {type(logits).__name__}"
        raise BadInputError(
            f"the terms of 'mart' take logits (B, C) of two or more classes, one class for each image, and not outputs "
            f"of {what}; train dense outputs by 'trades' or 'sat'"
        )
    log_p = log_probabilities([logits], "misclassification-aware training", views=1)[0]
    return log_p, class_indices(targets, logits.shape[1]).to(log_p.device)
