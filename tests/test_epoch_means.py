"""What a training tells of an epoch: means of its terms and margins, among the trainer's metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader
from monai.engines import SupervisedTrainer
from torch import nn

from monai_robust.attacks import PGD
from monai_robust.engines import AroundIteration, RobustUpdate
from monai_robust.handlers import AdaptiveMargins

FILMS = [
    {"image": torch.full((1, 4, 4), 0.1 * place), "label": place % 2, "sample_id": f"film-{place}"}
    for place in range(7)
]


class AtTheEnd:
    """Keeps what a handler that logs metrics would log, and every batch's output."""

    def __init__(self) -> None:
        self.metrics: list[dict[str, Any]] = []
        self.outputs: list[list[dict[str, Any]]] = [[]]

    def attach(self, engine: Any) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.keep)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.log)

    def keep(self, engine: Any) -> None:
        self.outputs[-1].append(dict(engine.state.output))

    def log(self, engine: Any) -> None:
        self.metrics.append(dict(engine.state.metrics))
        self.outputs.append([])

    def mean(self, epoch: int, name: str) -> float:
        return torch.cat([one[name] for one in self.outputs[epoch]]).double().mean().item()


def trained(update: Any, epochs: int = 2, **settings: Any) -> tuple[AtTheEnd, SupervisedTrainer]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    end = AtTheEnd()
    margins = [update.margins] if getattr(update, "margins", None) is not None else []
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=DataLoader(FILMS, batch_size=3),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        loss_function=nn.CrossEntropyLoss(),
        iteration_update=update,
        train_handlers=[*margins, end],
        decollate=False,
        **settings,
    )
    trainer.run()
    return end, trainer


@pytest.mark.parametrize("kind", [RobustUpdate, AroundIteration])
def test_means_over_samples_are_there_when_handlers_log_an_epoch(kind):
    own = {"iteration": _stock} if kind is AroundIteration else {}
    end, _ = trained(kind("sat", PGD(eps=0.5, steps=2), **own))
    for epoch in (0, 1):
        for name in ("clean_loss", "adv_loss", "adv_norm", "eps"):
            assert end.metrics[epoch][f"robust_{name}"] == pytest.approx(end.mean(epoch, name), rel=1e-6), name
    assert end.metrics[0] != end.metrics[1]  # the second epoch forgets the first
    assert set(end.metrics[0]) == {f"robust_{name}" for name in ("clean_loss", "adv_loss", "adv_norm", "eps")}


def _stock(engine: Any, batch: Any) -> Any:
    engine.state.output = {"pred": engine.network(batch["image"])}
    engine.optimizer.zero_grad()
    engine.state.output["loss"] = engine.loss_function(engine.state.output["pred"], batch["label"])
    engine.state.output["loss"].backward()
    engine.optimizer.step()
    return engine.state.output


def test_a_training_without_attack_tells_nothing_of_its_own():
    end, trainer = trained(RobustUpdate("erm"))
    assert end.metrics == [{}, {}]
    assert trainer.state.metrics == {}


def test_quantiles_of_margins_are_there_too():
    margins = AdaptiveMargins(step=0.2, thresholds={"loss": 0.6}, output_dir=None)
    end, _ = trained(RobustUpdate("amat", PGD(steps=2), margins=margins), epochs=3)
    told = [end.metrics[-1][f"robust_margin_{name}"] for name in ("p10", "p50", "p90")]
    assert told == pytest.approx(np.quantile(list(margins.margins.values()), [0.1, 0.5, 0.9]))


def test_an_epoch_that_is_cut_short_tells_of_what_it_saw():
    class Cut(AtTheEnd):
        def keep(self, engine: Any) -> None:
            super().keep(engine)
            if engine.state.iteration == 2:
                engine.terminate_epoch()

    torch.manual_seed(0)
    network, end = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), Cut()
    trainer = SupervisedTrainer(
        torch.device("cpu"), 1, DataLoader(FILMS, batch_size=3), network,
        torch.optim.SGD(network.parameters(), lr=0.1), nn.CrossEntropyLoss(),
        iteration_update=RobustUpdate("at", PGD(eps=0.5, steps=2)), train_handlers=[end], decollate=False,
    )  # fmt: skip
    trainer.run()
    assert trainer.state.metrics["robust_adv_loss"] == pytest.approx(end.mean(0, "adv_loss"), rel=1e-6)


def test_samples_that_lack_a_term_do_not_count():
    from monai_robust.engines.epoch_means import EpochMeans

    class Engine:
        def __init__(self) -> None:
            self.state: Any = type("State", (), {"epoch_length": 2, "iteration": 0, "metrics": {}})()

        def add_event_handler(self, *_: Any) -> None:
            pass

    engine, means = Engine(), EpochMeans()
    for values in ([1.0, 5.0], [3.0, 0.0]):
        engine.state.iteration += 1
        means.add(engine, {"loss": torch.tensor(values)}, {"loss": torch.tensor([True, False])})
    assert engine.state.metrics == {"robust_loss": 2.0}
