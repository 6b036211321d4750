"""Losses of one class an image, and of several labels, that are made for attacks.

Each takes logits (B, C), of which C is at least 2 where classes exclude each other, their labels, and the share of the
attack's steps that is done, and returns (B,). The higher the loss, the worse is the prediction.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "binary_cross_entropy",
    "cross_entropy",
    "dlr",
    "label_margin",
    "logit_margin",
    "targeted_dlr",
    "wrong_classes",
]

_TINY = 1e-12


def cross_entropy(logits: Tensor, labels: Tensor, progress: float) -> Tensor:
    """Cross-entropy in nats; ``labels`` (B,) are class indices."""
    return F.cross_entropy(logits, labels, reduction="none")


def logit_margin(logits: Tensor, labels: Tensor, progress: float) -> Tensor:
    """The largest other logit less that of the class (positive: wrong).

    With more than two classes the nearest boundary is found by it rather than by cross-entropy, which also raises the
    other classes' probabilities.
    """
    labels = labels[:, None]
    return logits.scatter(1, labels, -math.inf).amax(dim=1) - logits.gather(1, labels)[:, 0]


def dlr(logits: Tensor, labels: Tensor, progress: float) -> Tensor:
    """The difference of logits ratio (Croce and Hein 2020, section 4).

    ``-(z_y - max_{i != y} z_i) / (z_p1 - z_p3)`` of logits z, of which z_pk is the k-th largest: unlike cross-entropy
    it changes neither with a shift nor with a scale of the logits, so that a confident network does not hide its
    gradient. It is positive for a wrong prediction. With two classes nothing but a sign is free of shift and scale; the
    loss is then the logit margin, the numerator alone.
    """
    margin = logit_margin(logits, labels, progress)
    if logits.shape[1] == 2:
        return margin
    first, _, third = logits.topk(3, dim=1).values.unbind(dim=1)
    return margin / (first - third + _TINY)


def targeted_dlr(logits: Tensor, labels: Tensor | tuple[Tensor, Tensor], progress: float) -> Tensor:
    """The targeted difference of logits ratio (Croce and Hein 2020, section 4).

    ``-(z_y - z_t) / (z_p1 - (z_p3 + z_p4) / 2)`` for a wrong class t. With three classes any such ratio is constant
    where t is the least likely, and with two always; below four classes the loss is ``z_t - z_y``.

    Args:
        logits: (B, C).
        labels: (B,) class indices; or a pair of them and of the classes t to steer to, (B,), by default the most likely
            wrong one of the logits at hand.
        progress: does not matter.
    """
    labels, toward = labels if isinstance(labels, tuple) else (labels, wrong_classes(logits, labels)[:, 0])
    margin = (logits.gather(1, toward[:, None]) - logits.gather(1, labels[:, None]))[:, 0]
    if logits.shape[1] < 4:
        return margin
    first, _, third, fourth = logits.topk(4, dim=1).values.unbind(dim=1)
    return margin / (first - (third + fourth) / 2 + _TINY)


def wrong_classes(logits: Tensor, labels: Tensor) -> Tensor:
    """For each sample all classes but its own, (B, C - 1), the most likely first."""
    return logits.scatter(1, labels[:, None], -math.inf).argsort(dim=1, descending=True)[:, :-1]


def binary_cross_entropy(logits: Tensor, labels: Tensor, progress: float) -> Tensor:
    """The sum over classes of the binary cross-entropies; ``labels`` (B, C) are true or false."""
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none").sum(dim=1)


def label_margin(logits: Tensor, labels: Tensor, progress: float) -> Tensor:
    """``max_c (1 - 2 y_c) z_c``, of the class nearest to a change of its prediction: positive where one is wrong."""
    return torch.where(labels, -logits, logits).amax(dim=1)
