"""What a training by a recipe comes to in an epoch, where every handler that logs metrics finds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Events
from torch import Tensor

__all__ = ["EpochMeans"]


class EpochMeans:
    """Means over the samples of an epoch, in the trainer's ``state.metrics`` as ``robust_<name>``.

    Those of the epoch stand there after its last batch, before anything hears that the epoch is over, so that every
    handler which logs metrics (``MLFlowHandler``, ``TensorBoardStatsHandler``) logs them. (The very first epoch of data
    of unknown length is the exception: nobody knows its last batch, and the means follow when it is over.) They are
    sums of what the training step has computed already, and over the samples of all processes.
    """

    def __init__(self) -> None:
        self._engine: Any = None
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor] = {}

    def add(self, engine: Any, values: Mapping[str, Tensor], defined: Mapping[str, Tensor] | None = None) -> None:
        """Take in a batch.

        Args:
            engine: the trainer.
            values: (B,) each, by name.
            defined: which samples have a value, (B,) bool, by name; all where a name is not listed, but for NaN.
        """
        if self._engine is not engine:
            self._engine = engine
            engine.add_event_handler(Events.EPOCH_STARTED, self._forget)
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._tell)
        for name, value in values.items():
            value = value.detach().double()
            known = (defined or {}).get(name)
            known = torch.ones_like(value, dtype=torch.bool) if known is None else known.to(value.device)
            known = known & ~value.isnan()  # such as of a patch all of whose labels the loss ignores
            self._sums[name] = self._sums.get(name, 0) + value[known].sum()
            self._counts[name] = self._counts.get(name, 0) + known.sum()
        length = engine.state.epoch_length
        if length is not None and engine.state.iteration % length == 0:
            self._tell(engine)

    def _forget(self) -> None:
        self._sums, self._counts = {}, {}

    def _tell(self, engine: Any) -> None:
        if not self._sums:
            return
        own = {name: (float(total), int(self._counts[name])) for name, total in self._sums.items()}
        self._forget()
        parts: Any = idist.all_gather(own)  # of what is no tensor: a list
        for name in own:
            told = [part[name] for part in parts if name in part]
            count = sum(one for _, one in told)
            if count:
                engine.state.metrics[f"robust_{name}"] = sum(total for total, _ in told) / count
