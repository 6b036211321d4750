from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import pytest
import torch
import torch.distributed
from linear_margins import BOUNDARIES, Ramp, expected, items, make_margins, make_trainer
from monai.data import DataLoader
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DistributedSampler

from monai_robust.attacks import PGD
from monai_robust.handlers import AdaptiveMargins, EpochSeed, TrainingLoader, TrainingSaver, fit_thresholds
from monai_robust.tasks import LossTask

RANKS = 2
EPOCHS = 3
ODD = dict(list(BOUNDARIES.items())[:7])  # one sample is padded, so that both processes visit it


def learner() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.SiLU(), nn.Flatten(), nn.Linear(4 * 64, 3)
    )


def pictures() -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(7)
    return [
        {"image": torch.rand(1, 8, 8, generator=generator), "label": index % 3, "sample_id": f"film{index}"}
        for index in range(12)
    ]


def loader(data: list[Any], ranks: int, rank: int, batch_size: int) -> DataLoader:
    """In two processes the batches that together are those of one process, in its order."""
    if ranks == 1:
        return DataLoader(data, batch_size=batch_size)
    sampler = DistributedSampler(data, ranks, rank, shuffle=False)  # type: ignore[arg-type]
    return DataLoader(data, batch_size=batch_size // ranks, sampler=sampler)


def wrapped(network: nn.Module, ranks: int) -> nn.Module:
    return network if ranks == 1 else DistributedDataParallel(network)


def trained(ranks: int, rank: int, folder: Path, update: str) -> dict[str, Any]:
    """Margins of a network that learns."""
    margins = make_margins(0.3, {"loss": 1.1}, update=update, output_dir=folder, floor=0.05)
    network = wrapped(learner(), ranks)
    make_trainer(
        margins, loader=loader(pictures(), ranks, rank, 4), network=network, loss=nn.CrossEntropyLoss(), lr=0.1,
        epochs=EPOCHS, attack=PGD(steps=4),
    ).run()  # fmt: skip
    return {"margins": margins.margins, "ever_shrunk": margins.ever_shrunk}


def padded(ranks: int, rank: int, folder: Path, update: str) -> dict[str, Any]:
    """Margins of an odd number of samples whose boundaries are known."""
    margins = make_margins(update=update, output_dir=folder)
    network = wrapped(Ramp(), ranks)
    make_trainer(margins, loader=loader(items(ODD), ranks, rank, 2), network=network, epochs=EPOCHS).run()
    return {"margins": margins.margins, "ever_shrunk": margins.ever_shrunk}


def fitted(ranks: int, rank: int) -> dict[str, Any]:
    network = wrapped(learner(), ranks)
    data = loader(pictures(), ranks, rank, 4)
    found = fit_thresholds(network, data, LossTask(nn.CrossEntropyLoss()), statistic="quantile", quantile=0.7)
    return {"thresholds": dict(found), "samples": found.statistics["loss"]["samples"]}


def batch_normed() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.SiLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(256, 3)
    )


def stopped_and_not(rank: int, folder: Path, update: str) -> dict[str, Any]:
    """Margins, weights and buffers of a shuffled training of four epochs, and of one that two were resumed to."""

    def train(name: str, epochs: int, resume: Path | None = None) -> tuple[AdaptiveMargins, dict[str, Any]]:
        margins = make_margins(0.3, {"loss": 1.1}, update=update, output_dir=folder / name, floor=0.05)
        network = batch_normed()
        sampler = DistributedSampler(pictures(), RANKS, rank, shuffle=True, seed=3)  # type: ignore[arg-type]
        saver = TrainingSaver(str(folder / name), {"network": network, "margins": margins}, save_interval=1)
        resumed = TrainingLoader(None if resume is None else str(resume), {"network": network, "margins": margins})
        make_trainer(
            margins, loader=DataLoader(pictures(), batch_size=2, sampler=sampler), network=wrapped(network, RANKS),
            loss=nn.CrossEntropyLoss(), lr=0.1, epochs=epochs, attack=PGD(steps=4, random_start="ball"),
            handlers=[EpochSeed(5), resumed, *([saver] if rank == 0 else [])],
        ).run()  # fmt: skip
        return margins, {key: value.tolist() for key, value in network.state_dict().items()}

    whole, weights = train("whole", 4)
    train("parts", 2)
    torch.distributed.barrier()  # the first process writes the checkpoint
    again, resumed = train("parts", 4, folder / "parts" / "checkpoint_epoch=2.pt")
    return {
        "whole": {"margins": whole.margins, "ever_shrunk": whole.ever_shrunk, "network": weights},
        "resumed": {"margins": again.margins, "ever_shrunk": again.ever_shrunk, "network": resumed},
    }


def all_of(ranks: int, rank: int, folder: Path) -> dict[str, Any]:
    result: dict[str, Any] = {"fitted": fitted(ranks, rank)}
    for update in ("iteration", "epoch"):
        result[f"trained {update}"] = trained(ranks, rank, folder / f"trained {update}", update)
        result[f"padded {update}"] = padded(ranks, rank, folder / f"padded {update}", update)
        if ranks > 1:
            result[f"stopped {update}"] = stopped_and_not(rank, folder / f"stopped {update}", update)
    return result


def work(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=RANKS
    )
    idist.sync()
    result = all_of(RANKS, rank, folder / "two")
    (folder / f"rank{rank}.json").write_text(json.dumps(result))
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Any]:
    """What one process and the two of a group came to."""
    folder = tmp_path_factory.mktemp("ranks")
    # A fork has everything imported already, which takes a spawned process longer than all these tests.
    method = "fork" if "fork" in torch.multiprocessing.get_all_start_methods() else "spawn"
    torch.multiprocessing.start_processes(work, (folder,), nprocs=RANKS, start_method=method)
    ranks = [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(RANKS)]
    return {"one": all_of(1, 0, folder / "one"), "two": ranks, "folder": folder}


@pytest.mark.parametrize("update", ["iteration", "epoch"])
@pytest.mark.parametrize("case", ["trained", "padded"])
def test_all_processes_hold_the_same_margins(runs, case, update):
    first, second = (rank[f"{case} {update}"] for rank in runs["two"])
    assert first == second


@pytest.mark.parametrize("update", ["iteration", "epoch"])
def test_two_processes_that_go_on_end_with_the_margins_of_two_that_never_stopped(runs, update):
    for rank in runs["two"]:
        found = rank[f"stopped {update}"]
        assert found["resumed"] == found["whole"]  # to the last bit, with weights and running statistics
    first, second = (rank[f"stopped {update}"]["whole"] for rank in runs["two"])
    assert first["margins"] == second["margins"]
    assert first["ever_shrunk"] > 0
    assert len(set(first["margins"].values())) > 4


@pytest.mark.parametrize("update", ["iteration", "epoch"])
def test_two_processes_learn_the_margins_of_one(runs, update):
    one, two = runs["one"][f"trained {update}"], runs["two"][0][f"trained {update}"]
    assert two["margins"] == pytest.approx(one["margins"], rel=1e-3)
    assert two["ever_shrunk"] == one["ever_shrunk"]
    assert len(set(one["margins"].values())) > 4  # samples differ, so that a mix-up would show


@pytest.mark.parametrize("update", ["iteration", "epoch"])
def test_a_sample_that_pads_the_last_batch_is_updated_once_an_epoch(runs, update):
    found = runs["two"][0][f"padded {update}"]
    for name, boundary in ODD.items():
        assert found["margins"][name] == pytest.approx(expected(boundary, EPOCHS, 0.5)[-1], rel=1e-3), name
    assert found["ever_shrunk"] == runs["one"][f"padded {update}"]["ever_shrunk"]


def test_thresholds_are_those_of_all_the_data_in_every_process(runs):
    one = runs["one"]["fitted"]
    for rank in runs["two"]:
        assert rank["fitted"]["samples"] == 12
        assert rank["fitted"]["thresholds"] == pytest.approx(one["thresholds"], rel=1e-5)


def test_one_process_writes_the_tables_for_all(runs):
    for part in ("one", "two"):
        table = (runs["folder"] / part / "trained iteration" / "margins.csv").read_text().splitlines()
        header = table[0].split(",")
        rows = [dict(zip(header, line.split(","), strict=True)) for line in table[1:]]
        assert [row["epoch"] for row in rows] == ["1", "2", "3"]
        assert [row["visited"] for row in rows] == ["12", "12", "12"]
        assert [int(row["enlarged"]) + int(row["refined"]) for row in rows] == [12, 12, 12]
