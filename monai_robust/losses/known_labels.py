"""The loss of several labels of an image, some of which nobody knows."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monai_robust.errors import BadInputError

__all__ = ["KnownLabelsLoss"]


class KnownLabelsLoss(nn.Module):
    """The mean binary cross-entropy over the known labels of a batch: logits (B, C), labels (B, C) of 0 and 1.

    Labels of -1 or NaN, such as uncertain or missing findings, are left out; a batch without a known label has loss 0.
    Where all are known, it is ``torch.nn.BCEWithLogitsLoss``. Of such outputs views agree as independent Bernoulli
    variables.

    Example:
        >>> loss = KnownLabelsLoss()
        >>> round(loss(torch.tensor([[0.0, 5.0]]), torch.tensor([[1.0, -1.0]])).item(), 4)
        0.6931
    """

    agreement: ClassVar[str] = "bernoulli"

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss, a scalar.

        Raises:
            BadInputError: for labels of another shape than the logits.
        """
        if labels.shape != logits.shape:
            raise BadInputError(
                f"labels have shape {tuple(labels.shape)}; several labels of an image are (B, C) = "
                f"{tuple(logits.shape)} of 0 and 1, and of -1 or NaN where it is not known"
            )
        states = labels.to(logits.dtype).nan_to_num(nan=-1.0)
        known = states >= 0
        losses = F.binary_cross_entropy_with_logits(logits, states.clamp(min=0), reduction="none")
        return torch.where(known, losses, 0.0).sum() / known.sum().clamp(min=1)
