"""Losses of pixels that are made for attacks: a pixel that is wrong already should not lead the search.

Each takes logits (B, C, *spatial), C at least 2, class indices (B, *spatial), and the share of the attack's steps that
is done, from 0 to 1, and returns the mean over a sample's pixels, (B,).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "balanced_masked_cross_entropy",
    "label_jensen_shannon",
    "masked_cross_entropy",
    "masked_spherical",
    "pixel_cross_entropy",
    "segpgd",
]

_Loss = Callable[[Tensor, Tensor, float], Tensor]
_TINY = 1e-12


def _mean_over_pixels(each: _Loss) -> _Loss:
    @wraps(each)
    def mean(logits: Tensor, labels: Tensor, progress: float) -> Tensor:
        return each(logits, labels, progress).flatten(1).mean(dim=1)

    return mean


def _each(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each pixel, (B, *spatial), in nats."""
    return F.cross_entropy(logits, labels, reduction="none")


@_mean_over_pixels
def pixel_cross_entropy(logits: Tensor, labels: Tensor, progress: float) -> Tensor:
    """Cross-entropy in nats."""
    return _each(logits, labels)


@_mean_over_pixels
def masked_cross_entropy(logits: Tensor, labels: Tensor, progress: float) -> Tensor:
    """Cross-entropy of the pixels that are still correct (Croce et al. 2024, section 3.4)."""
    return _correct(logits, labels) * _each(logits, labels)


@_mean_over_pixels
def balanced_masked_cross_entropy(logits: Tensor, labels: Tensor, progress: float) -> Tensor:
    """The same, each pixel weighted by 1 / N_y (Croce et al. 2024, section 3.4, MCE-Bal).

    N_y are the pixels of the class in the sample's own labels, in the publication those of the training images; the
    weights' mean over the sample's pixels is 1.
    """
    flat = labels.flatten(1)
    counts = F.one_hot(flat, logits.shape[1]).sum(dim=1)
    present = (counts > 0).sum(dim=1, keepdim=True)
    weight = flat.shape[1] / (present * counts.gather(1, flat))
    return weight.view_as(labels) * _correct(logits, labels) * _each(logits, labels)


@_mean_over_pixels
def segpgd(logits: Tensor, labels: Tensor, progress: float) -> Tensor:
    """Cross-entropy times 1 - lambda where a pixel is correct, lambda elsewhere; lambda = t / 2T (Gu et al. 2022)."""
    share = progress / 2
    correct = _correct(logits, labels)
    return ((1 - share) * correct + share * (1 - correct)) * _each(logits, labels)


@_mean_over_pixels
def label_jensen_shannon(logits: Tensor, labels: Tensor, progress: float) -> Tensor:
    """Jensen-Shannon divergence of the softmax p from the one-hot label, in nats (Croce et al. 2024, section 3.4).

    Written out, it is ``log 2 + (p_y log p_y - (1 + p_y) log(1 + p_y)) / 2`` of the label's p_y alone; its gradient
    vanishes as p_y does.
    """
    log_p = -_each(logits, labels)
    p = log_p.exp()
    return math.log(2) + (p * log_p - (1 + p) * p.log1p()) / 2


@_mean_over_pixels
def masked_spherical(logits: Tensor, labels: Tensor, progress: float) -> Tensor:
    """``-z_y / |z|_2`` of the pixels that are still correct (Croce et al. 2023, version 1: masked spherical loss).

    With two classes the direction of the logits says little of the margin, and with one logit nothing but its sign;
    the margin, ``z_other - z_y``, is raised then.
    """
    own = logits.gather(1, labels[:, None])[:, 0]
    if logits.shape[1] == 2:
        return _correct(logits, labels) * (logits.sum(dim=1) - 2 * own)
    length = torch.linalg.vector_norm(logits, dim=1).clamp_min(_TINY)
    return -_correct(logits, labels) * own / length


def _correct(logits: Tensor, labels: Tensor) -> Tensor:
    """1 where a pixel is classified as its label says, else 0; without a gradient."""
    return (logits.detach().argmax(dim=1) == labels).to(logits.dtype)
