"""Which slices make a batch: in training with enough foreground, in evaluation of one size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.random import default_rng
from torch.utils.data import Sampler

from monai_robust.errors import BadInputError
from monai_robust.scalars import checked_whole, is_number, is_whole

__all__ = ["ForegroundBatchSampler", "same_size_batches"]

_VISITS, _FOREGROUND = 0, 1


class ForegroundBatchSampler(Sampler[list[int]]):
    """Batches of which the last part holds foreground, as nnU-Net oversamples it, and whose other visits are even.

    Of a batch of B, the last ``B - round(B * (1 - foreground))`` are slices with foreground: a class is drawn evenly,
    then a slice that holds it. The others run through all slices in random order, then again in another: no slice is
    visited twice by them before each was visited once, also from one epoch to the next. (nnU-Net draws them with
    replacement; where margins grow with every visit, even visits matter.)

    With several processes, the batch of all of them, of ``batch_size * world_size``, is drawn from the one seed, and
    each takes every ``world_size``-th of it: together they see what one process with that batch size sees.

    An epoch's batches follow from the seed and the epoch's number alone. Each iteration is the next epoch;
    :meth:`set_epoch`, or a state put into a checkpoint, continues a run.

    Source: Isensee et al. 2021 (nnU-Net), foreground oversampling.

    Args:
        items: one for each slice, with ``foreground``, the classes it holds.
        batch_size: slices in a batch of one process.
        batches: batches in an epoch.
        foreground: share of a batch that must hold foreground.
        seed: of every draw.
        rank: of this process.
        world_size: number of processes.

    Raises:
        BadInputError: for arguments that cannot work, or where no slice holds foreground but some must.
    """

    def __init__(
        self,
        items: Sequence[Mapping[str, Any]],
        batch_size: int,
        batches: int,
        *,
        foreground: float = 1 / 3,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if not all(is_whole(one, 1) for one in (batch_size, batches, world_size)):
            raise BadInputError(
                f"batch_size is {batch_size}, batches {batches}, world_size {world_size}; each must be 1 or more"
            )
        if not is_number(foreground, 0, 1):
            raise BadInputError(f"foreground is {foreground}; it can be from 0 to 1")
        if not is_whole(rank, 0) or rank >= world_size:
            raise BadInputError(f"rank is {rank}; it can be 0 to world_size - 1, which is {world_size - 1}")
        checked_whole("seed", seed, 0)
        if not items:
            raise BadInputError("there are no slices to draw batches from")
        self.batch_size = batch_size
        self.batches = batches
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self._slices = len(items)
        total = batch_size * world_size
        self._even = round(total * (1 - foreground))
        self._oversampled = total - self._even
        self._holding = _slices_by_class(items)
        if self._oversampled and not self._holding:
            raise BadInputError(
                f"none of {len(items)} slices holds foreground, but {self._oversampled} of a batch must"
            )

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[int]]:
        epoch = self.epoch  # a generator: with workers, a loader makes two iterators an epoch and uses one
        self.epoch += 1
        for batch in self._whole_batches(epoch):
            yield batch[self.rank :: self.world_size]

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration be that of this epoch, counted from 0."""
        self.epoch = epoch

    def state_dict(self) -> dict[str, int]:
        """The number of epochs begun, and the seed."""
        return {"epoch": self.epoch, "seed": self.seed}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue after the epochs of the state, in its seed's order."""
        self.epoch, self.seed = int(state["epoch"]), int(state["seed"])

    def _whole_batches(self, epoch: int) -> list[list[int]]:
        """The batches of all processes together."""
        even = self._visits(epoch * self.batches * self._even, self.batches * self._even)
        rng = default_rng([self.seed, _FOREGROUND, epoch])
        batches = []
        for number in range(self.batches):
            batch = even[number * self._even : (number + 1) * self._even]
            classes = rng.integers(len(self._holding), size=self._oversampled) if self._oversampled else ()
            batches.append([*batch, *(int(rng.choice(self._holding[one])) for one in classes)])
        return batches

    def _visits(self, start: int, count: int) -> list[int]:
        """So many entries of the endless sequence of permutations, from ``start`` on."""
        if not count:
            return []
        first, last = start // self._slices, (start + count - 1) // self._slices
        rounds = [
            default_rng([self.seed, _VISITS, number]).permutation(self._slices) for number in range(first, last + 1)
        ]
        skipped = start - first * self._slices
        return [int(index) for index in np.concatenate(rounds)[skipped : skipped + count]]


def same_size_batches(items: Sequence[Mapping[str, Any]], batch_size: int) -> list[list[int]]:
    """Batches of indices in order, each of images of one size; to be used as a loader's ``batch_sampler``.

    Args:
        items: one for each image, with its ``size`` where sizes differ; those of one size had better follow each other.
        batch_size: slices in a batch at most.

    Raises:
        BadInputError: for a batch size below 1.
    """
    checked_whole("batch_size", batch_size, 1)
    batches: list[list[int]] = []
    for index, item in enumerate(items):
        if not batches or len(batches[-1]) == batch_size or _size(items[batches[-1][0]]) != _size(item):
            batches.append([])
        batches[-1].append(index)
    return batches


def _size(item: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(int(length) for length in item.get("size", ()))


def _slices_by_class(items: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """For each class that any slice holds, the slices that hold it."""
    classes = sorted(set(chain.from_iterable(item["foreground"] for item in items)))
    return [[index for index, item in enumerate(items) if one in item["foreground"]] for one in classes]
