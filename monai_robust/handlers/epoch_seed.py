"""Every epoch's draws by the seed and the epoch's number: a training that goes on is the one that never stopped."""

from __future__ import annotations

import logging
import random
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader
from monai.data.utils import set_rnd
from torch.nn.parallel import DistributedDataParallel

from monai_robust.errors import BadInputError
from monai_robust.scalars import is_whole

__all__ = ["EpochSeed"]

_LOG = logging.getLogger(__name__)


class EpochSeed:
    """Seed all that draws when an epoch starts: by the seed, the epoch's number and, but for samplers, the process.

    Random states then need no place in checkpoints, and a training that goes on from the end of any epoch has the
    batches, augmentations, dropout and attacks of one that was never stopped. Seeded are the generators of Python,
    NumPy and torch (from which data-loading processes get theirs), the random transforms of the data set of a MONAI
    ``DataLoader``, the generators of the loader and its samplers; samplers with a ``set_epoch`` get the epoch's number,
    counted from 0, which ``DistributedSampler`` needs to shuffle anew. ``RobustUpdate`` seeds its views alike.

    When an epoch ends, the processes of a ``DistributedDataParallel`` that broadcasts its buffers, such as the running
    statistics of BatchNorm, all get those of the first. Before its next training pass they would anyway, but attacks
    and validation come before that, and a checkpoint has those of the first process alone.

    Put it first among the handlers of a trainer, on every process.

    Args:
        seed: 0 or more; the same when the training goes on.

    Raises:
        BadInputError: for a seed that is no whole number from 0.
    """

    def __init__(self, seed: int = 0) -> None:
        if not is_whole(seed, 0):
            raise BadInputError(f"the seed of the epochs is {seed!r}; it can be a whole number from 0")
        self.seed = int(seed)

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.STARTED, self._check)
        engine.add_event_handler(Events.EPOCH_STARTED, self)
        engine.add_event_handler(Events.EPOCH_COMPLETED, _share_buffers)

    def __call__(self, engine: Engine) -> None:
        epoch = engine.state.epoch
        shared, own = _derived(self.seed, epoch), _derived(self.seed, epoch, idist.get_rank())
        random.seed(own)
        np.random.seed(own)
        torch.manual_seed(own)
        loader = engine.state.dataloader
        if isinstance(loader, DataLoader):
            set_rnd(loader.dataset, own)
        elif hasattr(getattr(loader, "dataset", None), "set_random_state"):
            loader.dataset.set_random_state(own)  # type: ignore[union-attr]
        for one in _that_draw(loader):
            if hasattr(one, "set_epoch"):
                one.set_epoch(epoch - 1)
            if isinstance(getattr(one, "generator", None), torch.Generator):
                one.generator.manual_seed(shared)
        # A sampler may draw once more when its old iterator ends, which ignite would see to only after this.
        if _is_one_pass(engine) and engine.state.iteration % len(loader) == 0:  # type: ignore[arg-type]
            engine.set_data(loader)  # type: ignore[arg-type]

    def _check(self, engine: Engine) -> None:
        """Tell what cannot be seeded from here."""
        loader: Any = engine.state.dataloader
        if getattr(loader, "persistent_workers", False):
            _LOG.warning(
                "the workers of the data loader persist and draw on from one epoch to the next, so that a training "
                "which goes on from a checkpoint draws others; use persistent_workers=False"
            )
        if not _is_one_pass(engine):
            _LOG.warning(
                "an epoch of %s batches is not one pass of the data loader, so that a training which goes on from a "
                "checkpoint sees others",
                engine.state.epoch_length,
            )


def _share_buffers(engine: Engine) -> None:
    network = getattr(engine, "network", None)
    if isinstance(network, DistributedDataParallel) and network.broadcast_buffers:
        first = torch.distributed.get_global_rank(network.process_group, 0)
        for buffer in network.buffers():
            torch.distributed.broadcast(buffer.detach(), first, network.process_group)


def _is_one_pass(engine: Engine) -> bool:
    """Whether an epoch is what one iterator of the data loader gives."""
    try:
        return engine.state.epoch_length == len(engine.state.dataloader)  # type: ignore[arg-type]
    except TypeError:
        return False


def _derived(*numbers: int) -> int:
    """A seed of 32 bits that follows from some numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _that_draw(loader: Any) -> list[Any]:
    """The loader and its samplers, each once."""
    batches = getattr(loader, "batch_sampler", None)
    found = [loader, getattr(loader, "sampler", None), batches, getattr(batches, "sampler", None)]
    return list({id(one): one for one in found if one is not None}.values())
