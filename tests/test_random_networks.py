"""Networks that answer at random: named, and measured with draws from a fixed seed."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import DataLoader
from monai.engines import SupervisedTrainer
from torch import Tensor, nn

from monai_robust.attacks import APGD, PGD
from monai_robust.engines import RobustUpdate
from monai_robust.evaluation import AttackSweep, CleanSweep, CorruptionSweep, Measurement
from monai_robust.handlers import AdaptiveMargins
from monai_robust.networks.repeatable import answered_twice
from monai_robust.tasks import Classification


class LeftOn(nn.Module):
    """Dropout that evaluation mode does not switch off."""

    def __init__(self, probability: float = 0.5) -> None:
        super().__init__()
        self.head = nn.Linear(16, 3)
        self.probability = probability

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.head(nn.functional.dropout(inputs.flatten(1), self.probability, training=True))
        return found


class Films(torch.utils.data.Dataset[Any]):
    def __init__(self, bad: int | None = None) -> None:
        draw = torch.Generator().manual_seed(0)
        self.items = [
            {
                "sample_id": f"film{i}",
                "patient_id": f"p{i}",
                "label": i % 3,
                "image": torch.rand(1, 4, 4, generator=draw),
            }
            for i in range(7)
        ]
        if bad is not None:
            self.items[bad]["image"] = torch.full((1, 4, 4), torch.nan)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.items[index]


def measurement(folder: Path, network: nn.Module, attack: Any = None, **more: Any) -> Measurement:
    attack = attack or PGD(norm="l2", steps=2, bounds=(0, 1))
    sweeps = [CleanSweep(), AttackSweep(attack, [0.1, 0.4], name="attack"), CorruptionSweep("gaussian", [0.1])]
    arguments: dict[str, Any] = {"dataset": Films(), "sanity_samples": 0, "batch_size": 3, **more}
    return Measurement(
        network,
        task=Classification(),
        perturbations=sweeps,
        output_dir=folder,
        name="left_on",
        classes=["a", "b", "c"],
        progress=False,
        **arguments,
    )


def network(**settings: Any) -> LeftOn:
    torch.manual_seed(3)
    return LeftOn(**settings)


@pytest.mark.filterwarnings("ignore:The network answers at random")
@pytest.mark.parametrize("bad", [None, 2])
def test_a_network_that_answers_at_random_is_measured_alike_twice(tmp_path: Path, bad: int | None) -> None:
    tables = []
    for folder in ("one", "two"):
        made = measurement(tmp_path / folder, network(), dataset=Films(bad))
        torch.manual_seed(len(tables))  # whoever draws before has no part in it
        done = made.run()
        tables.append((done / "outcomes.csv").read_bytes())
    assert tables[0] == tables[1]
    other = measurement(tmp_path / "seed", network(), dataset=Films(bad), seed=1).run()
    assert (other / "outcomes.csv").read_bytes() != tables[0]


def test_it_is_named_before_anything_is_measured(tmp_path: Path) -> None:
    named = r"answers at random.*fixed seed, and attack should average .* APGD\(eot=10\)"
    with pytest.warns(UserWarning, match=named):
        measurement(tmp_path / "single", network()).run()
    with pytest.warns(UserWarning, match=r"draws from a fixed seed\.$"):
        measurement(tmp_path / "average", network(), APGD(norm="l2", steps=2, eot=3)).run()


@pytest.mark.filterwarnings("error")
def test_others_are_not(tmp_path: Path) -> None:
    measurement(tmp_path, network(probability=0.0)).run()


class AmongOthers(LeftOn):
    """Normalises by the statistics of the batch, also in evaluation mode."""

    def __init__(self) -> None:
        super().__init__(probability=0.0)
        self.norm = nn.BatchNorm2d(1, track_running_stats=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(self.norm(inputs))


class AddedUp(LeftOn):
    """Ends in half precision, where the order of sums shows."""

    def __init__(self) -> None:
        super().__init__(probability=0.0)

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs).bfloat16().float() * (1 + 1e-3 * len(inputs))


def test_one_that_answers_by_the_batch_is_named_before_anything_is_measured(tmp_path: Path) -> None:
    torch.manual_seed(3)
    with pytest.warns(UserWarning, match="depends on the other images of its batch .* batches of 3"):
        measurement(tmp_path, AmongOthers()).run()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("batch_size", [1, 3])
def test_rounding_is_no_answer_by_the_batch(tmp_path: Path, batch_size: int) -> None:
    measurement(tmp_path, AddedUp(), batch_size=batch_size).run()


def test_answers_are_compared_wherever_their_tensors_are() -> None:
    draws = iter(range(4))
    assert answered_twice(lambda: {"a": [torch.ones(2)], "b": torch.full((1,), float(next(draws)))}).at_random
    assert not answered_twice(lambda: (torch.ones(2), "text", None)).at_random


@pytest.mark.parametrize(("probability", "told"), [(0.5, True), (0.0, False)])
def test_training_with_margins_names_it_once(probability: float, told: bool, caplog: Any, tmp_path: Path) -> None:
    caplog.set_level(logging.WARNING)
    net = network(probability=probability)
    margins = AdaptiveMargins(step=0.1, thresholds={"loss": 9.0}, output_dir=tmp_path)
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=2,
        train_data_loader=DataLoader(Films(), batch_size=3),
        network=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.01),
        loss_function=nn.CrossEntropyLoss(),
        iteration_update=RobustUpdate("amat", PGD(norm="l2", steps=1), margins=margins),
        train_handlers=[margins],
    )
    trainer.run()
    assert sum("answers at random" in record.message for record in caplog.records) == told
