"""Radii for the samples of a batch, and what an attack within them showed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.tasks import Task

__all__ = ["AttackTrace", "SampleRadii"]

Terms = dict[str, Tensor]


@dataclass(frozen=True)
class AttackTrace:
    """What one attack on a batch of B samples showed; all terms are those of the network in evaluation mode.

    Attributes:
        ids: of the samples.
        eps: (B,) the radii the attack was allowed.
        size: (B,) the norm of the perturbation it returned.
        path_sizes: (K, B) the norms of the iterates at which it looked at the loss, in order.
        path_terms: for each loss term, (K, B), its values there.
        final: for each loss term, (B,), its value at what the attack returned.
        defined: for each loss term, (B,), whether a sample has it; None where all have all.
        at: ``(share, rows) -> terms`` at ``clean + share * (adversarial - clean)`` for the chosen rows of the batch;
            each call is a forward pass.
    """

    ids: list[str]
    eps: Tensor
    size: Tensor
    path_sizes: Tensor
    path_terms: Terms
    final: Terms
    at: Callable[[Tensor, Tensor], Terms]
    defined: Mapping[str, Tensor] | None = None


class SampleRadii:
    """Gives a training step a radius for every sample; a handler, which must stand first among the trainer's.

    Subclasses say what the radii are, and may learn from every attack.
    """

    wants_trace: bool = False
    """Whether :meth:`observe` is to be called."""

    def __init__(self) -> None:
        self.engine: Engine | None = None
        self._task_of: Callable[[Any], Task] | None = None
        self._as_supervised: Callable[[Any], Any] = lambda engine: engine

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer.

        Raises:
            BadInputError: when it starts, for radii that no training step was given.
        """
        self.engine = engine
        engine.add_event_handler(Events.STARTED, self._require_use)

    def _require_use(self) -> None:
        if self._task_of is None:
            raise BadInputError(
                f"the radii of {type(self).__name__} are used by no training step; give them to "
                "RobustUpdate(..., margins=...)"
            )

    def bind(self, task_of: Callable[[Any], Task], as_supervised: Callable[[Any], Any] | None = None) -> None:
        """Learn, from the training step these radii are for, which task a trainer's network is trained for, and what
        its network and inferer are, where that is not as in a supervised trainer."""
        self._task_of = task_of
        self._as_supervised = as_supervised or self._as_supervised

    def radii(self, engine: Any, batch: Any, size: int) -> Tensor:
        """The radius of each sample of ``batch``, (size,) float32, on the CPU."""
        raise NotImplementedError

    def observe(self, trace: AttackTrace) -> None:
        """Learn from an attack."""

    def ids(self, batch: Any, size: int) -> list[str]:
        """The id of each sample of ``batch``."""
        return [""] * size


def stacked(terms: list[Terms]) -> Terms:
    """The terms of several iterates as one tensor (K, B) a term."""
    return {name: torch.stack([one[name] for one in terms]) for name in terms[0]} if terms else {}
