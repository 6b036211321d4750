"""Whether a network gives the same answer when it is asked the same again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from monai_robust.networks.structures import leaves

__all__ = ["AT_RANDOM", "Repeated", "answered_twice"]

AT_RANDOM = (
    "the network answers at random: the same image gets another answer when it is shown again (dropout that is left "
    "on, stochastic depth)"
)
_BY_BATCH = 1e-2  # of the largest output; half precision adds up to some thousandths
_RANDOM = 1e-4  # of the largest output; accelerators repeat themselves to about 1e-6


class Repeated(NamedTuple):
    """Two answers to the same question.

    Attributes:
        difference: the largest between two of their values.
        largest: the largest value of the first, in magnitude.
    """

    difference: float
    largest: float

    @property
    def by_batch(self) -> bool:
        """Whether they differ by more than the order of sums does, which batches of another size have."""
        return self.difference > _BY_BATCH * self.largest

    @property
    def at_random(self) -> bool:
        """Whether they differ by more than rounding."""
        return self.difference > _RANDOM * self.largest


def answered_twice(answer: Callable[[], Any], again: Callable[[], Any] | None = None) -> Repeated:
    """What a network answers when it is asked twice, in tensors anywhere in its outputs.

    Args:
        answer: asks it once.
        again: asks it the second time, ``answer`` by default.
    """
    with torch.no_grad():
        pairs = [
            (one.double(), other.double())
            for one, other in zip(leaves(answer()), leaves((again or answer)()), strict=True)
            if isinstance(one, Tensor) and one.numel() and one.shape == other.shape
        ]
    apart = max((float((one - other).abs().where(one != other, 0).max()) for one, other in pairs), default=0.0)
    return Repeated(apart, max((float(one.abs().max()) for one, _ in pairs), default=0.0))
