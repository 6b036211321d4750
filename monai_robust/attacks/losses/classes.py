"""Losses of class outputs that are made for attacks."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from monai_robust.attacks.fmn import LogitMargin
from monai_robust.tasks import Classification
from monai_robust.tasks.classification import class_indices

__all__ = ["DLR", "TargetedDLR", "wrong_classes"]

_TINY = 1e-12


class DLR(Classification):
    """Classification whose loss term is the difference of logits ratio (Croce and Hein 2020, section 4).

    ``-(z_y - max_{i != y} z_i) / (z_p1 - z_p3)`` of logits z, of which z_pk is the k-th largest: unlike cross-entropy
    it changes neither with a shift nor with a scale of the logits, so that a confident network does not hide its
    gradient. It is positive for a wrong prediction. With two classes nothing but a sign is free of shift and scale; the
    term is then the logit margin, the numerator alone.
    """

    def terms(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        logits = self.logits(outputs).float()
        margin = LogitMargin().terms(logits, targets)["margin"]
        if logits.shape[1] == 2:
            return {"margin": margin}
        first, _, third = logits.topk(3, dim=1).values.unbind(dim=1)
        return {"dlr": margin / (first - third + _TINY)}


class TargetedDLR(Classification):
    """Classification whose loss term is the targeted difference of logits ratio (Croce and Hein 2020, section 4).

    ``-(z_y - z_t) / (z_p1 - (z_p3 + z_p4) / 2)`` for a wrong class t. With three classes any such ratio is constant
    where t is the least likely, and with two always; below four classes the term is ``z_t - z_y``.

    Args:
        toward: (B,) the class t of each sample; by default the most likely wrong class of the outputs at hand.
    """

    def __init__(self, toward: Tensor | None = None) -> None:
        self.toward = toward

    def terms(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        logits = self.logits(outputs).float()
        own = class_indices(targets, logits.shape[1]).to(logits.device)
        toward = wrong_classes(logits, own)[:, 0] if self.toward is None else self.toward
        margin = (logits.gather(1, toward[:, None]) - logits.gather(1, own[:, None]))[:, 0]
        if logits.shape[1] < 4:
            return {"targeted_margin": margin}
        first, _, third, fourth = logits.topk(4, dim=1).values.unbind(dim=1)
        return {"targeted_dlr": margin / (first - (third + fourth) / 2 + _TINY)}


def wrong_classes(logits: Tensor, own: Tensor) -> Tensor:
    """For each sample all classes but its own, (B, C - 1), the most likely first."""
    return logits.scatter(1, own[:, None], -math.inf).argsort(dim=1, descending=True)[:, :-1]
