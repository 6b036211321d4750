"""Every epoch's draws follow from the seed and the epoch's number, whatever draws."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader, Dataset
from monai.transforms import Compose, RandGaussianNoise, RandomizableTransform
from torch.utils.data import DistributedSampler, RandomSampler

from monai_robust.data import CheckedDataset
from monai_robust.errors import BadInputError
from monai_robust.handlers import EpochSeed


class Stamped(RandomizableTransform):
    """Adds what every generator draws in the process that loads."""

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        self.randomize(None)
        draws = [self.R.rand(), np.random.rand(), random.random(), float(torch.rand(()))]
        return {**item, "drawn": torch.tensor(draws, dtype=torch.float64)}


class Counted(torch.utils.data.Sampler[int]):
    """A sampler that others count the epochs of."""

    epoch = -1

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        return iter([self.epoch % 3, 0, 1, 2])

    def __len__(self) -> int:
        return 4


ITEMS = [{"image": torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(n)), "place": n} for n in range(6)]


def datasets(kind: str) -> Any:
    if kind == "checked":
        return CheckedDataset(ITEMS, lambda item: item, [Stamped()])
    return Dataset(ITEMS, Compose([Stamped(), lambda item: {**item, "image": RandGaussianNoise(1.0)(item["image"])}]))


LOADERS = {
    "shuffled": lambda: DataLoader(datasets("checked"), batch_size=2, shuffle=True),
    "workers": lambda: DataLoader(datasets("monai"), batch_size=2, shuffle=True, num_workers=2),
    "torch's loader": lambda: torch.utils.data.DataLoader(datasets("checked"), batch_size=2, shuffle=True),
    "a generator": lambda: DataLoader(
        datasets("checked"), batch_size=2, sampler=RandomSampler(ITEMS, generator=torch.Generator().manual_seed(4))
    ),
    "the loader's generator": lambda: DataLoader(
        datasets("checked"), batch_size=2, shuffle=True, generator=torch.Generator().manual_seed(4)
    ),
    "a counted sampler": lambda: DataLoader(datasets("checked"), batch_size=2, sampler=Counted()),
    "a distributed sampler": lambda: DataLoader(
        datasets("checked"), batch_size=2, sampler=DistributedSampler(ITEMS, num_replicas=2, rank=1)
    ),
}


def epochs(loader: Any, first: int, last: int, seed: int = 3) -> dict[int, list[torch.Tensor]]:
    """What each epoch from ``first`` on shows a trainer."""
    seen: dict[int, list[torch.Tensor]] = {}

    def step(engine: Engine, batch: dict[str, Any]) -> None:
        drawn = torch.cat([batch["drawn"].flatten(), batch["image"].double().flatten(), torch.rand(2).double()])
        seen.setdefault(engine.state.epoch, []).append(torch.cat([batch["place"].double(), drawn]))

    engine = Engine(step)
    EpochSeed(seed).attach(engine)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: torch.rand(3))  # as a validation would
    if first > 1:
        engine.load_state_dict({"epoch": first - 1, "max_epochs": last, "epoch_length": len(loader)})
    engine.run(loader, max_epochs=last)
    return seen


@pytest.mark.parametrize("kind", list(LOADERS))
def test_an_epoch_is_the_same_whether_epochs_went_before_it_or_not(kind):
    whole = epochs(LOADERS[kind](), 1, 3)
    torch.manual_seed(99)
    np.random.seed(99)
    again = epochs(LOADERS[kind](), 2, 3)
    for epoch in (2, 3):
        assert all(map(torch.equal, whole[epoch], again[epoch]))
        assert len(whole[epoch]) == len(again[epoch])
    assert not torch.equal(torch.cat(whole[1]), torch.cat(whole[2]))
    assert not torch.equal(torch.cat(whole[1]), torch.cat(epochs(LOADERS[kind](), 1, 1, seed=4)[1]))


def test_what_cannot_be_seeded_is_told(caplog):
    loader = DataLoader(datasets("monai"), batch_size=2, num_workers=1, persistent_workers=True)
    engine = Engine(lambda engine, batch: None)
    EpochSeed().attach(engine)
    engine.run(loader, max_epochs=1, epoch_length=2)
    assert "persistent_workers=False" in caplog.text
    assert "an epoch of 2 batches is not one pass of the data loader" in caplog.text


@pytest.mark.parametrize("seed", [-1, 1.5, "0", True, None])
def test_a_seed_that_is_none_is_refused(seed):
    with pytest.raises(BadInputError, match="the seed of the epochs"):
        EpochSeed(seed)
