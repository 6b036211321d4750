from __future__ import annotations

import logging
import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import TinyNet
from ignite.engine import Engine, Events
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import LrScheduleHandler, StatsHandler, from_engine
from torch import nn

from monai_robust.attacks import PGD
from monai_robust.engines import RobustUpdate
from monai_robust.errors import BadInputError
from monai_robust.handlers import BestWeights, PredictionsCSV, ProgressBar, TrainingLoader, TrainingSaver

EPOCHS = 4
BATCHES = 3


def items(count: int = 12) -> list[dict[str, object]]:
    generator = torch.Generator().manual_seed(7)
    return [
        {"image": torch.rand(1, 8, 8, generator=generator), "label": index % 3, "sample_id": f"film{index}"}
        for index in range(count)
    ]


def session(folder: Path, resume: Path | None = None, epochs: int = EPOCHS, classes: int = 3, **loading):
    """A trainer with the handlers of the bundle in their order: saver first, learning rate after it."""
    torch.manual_seed(1)
    network = TinyNet(classes)
    network.dropout.p = 0.0  # its draws are no part of a checkpoint
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    state = {"network": network, "optimizer": optimizer, "lr_scheduler": scheduler}
    handlers = [
        TrainingLoader(None if resume is None else str(resume), state, "cpu", **loading),
        TrainingSaver(str(folder), state, save_final=True, final_filename="model.pt", save_interval=1, n_saved=1),
        StatsHandler(iteration_log=False, output_transform=from_engine("loss", first=True)),
        LrScheduleHandler(scheduler, print_lr=False),
    ]
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=epochs,
        train_data_loader=DataLoader(items(), batch_size=4),
        network=network,
        optimizer=optimizer,
        loss_function=nn.CrossEntropyLoss(),
        iteration_update=RobustUpdate("at", PGD(eps=0.3, steps=2)),
        train_handlers=handlers,
    )
    return trainer, network, optimizer, scheduler


def interrupt(trainer, event) -> None:
    def stop(engine):
        raise KeyboardInterrupt

    trainer.add_event_handler(event, stop)
    with pytest.raises(KeyboardInterrupt):
        trainer.run()


def assert_equal_weights(first: nn.Module, second: nn.Module) -> None:
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def stored(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def test_ctrl_c_leaves_a_checkpoint_of_primitives_with_all_that_is_needed_and_says_where(tmp_path, caplog):
    trainer, network, optimizer, scheduler = session(tmp_path)
    with caplog.at_level(logging.WARNING):
        interrupt(trainer, Events.ITERATION_COMPLETED(once=5))
    state = stored(tmp_path / "model.pt")
    assert set(state) == {"network", "optimizer", "lr_scheduler", "trainer"}
    assert state["trainer"]["iteration"] == 5
    assert state["lr_scheduler"]["last_epoch"] == scheduler.last_epoch == 1
    assert state["optimizer"]["param_groups"][0]["lr"] == optimizer.param_groups[0]["lr"] == 0.05
    for name, value in network.state_dict().items():
        assert torch.equal(state["network"][name], value), name
    told = [record.getMessage() for record in caplog.records if str(tmp_path / "model.pt") in record.getMessage()]
    assert len(told) == 1
    assert "KeyboardInterrupt" in told[0]


def test_an_error_in_the_middle_of_training_leaves_a_checkpoint_and_is_raised(tmp_path):
    trainer, *_ = session(tmp_path)

    def fail(engine):
        raise FloatingPointError("the loss is NaN")

    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), fail)
    with pytest.raises(FloatingPointError, match="the loss is NaN"):
        trainer.run()
    assert stored(tmp_path / "model.pt")["trainer"]["iteration"] == 2


@pytest.mark.parametrize("checkpoint", ["checkpoint_epoch=2.pt", "model.pt"])
def test_a_resumed_run_ends_with_the_weights_of_one_that_was_never_stopped(tmp_path, checkpoint):
    whole, expected, _, _ = session(tmp_path / "whole")
    whole.run()
    stopped, *_ = session(tmp_path / "stopped")
    interrupt(stopped, Events.EPOCH_STARTED(once=3) if checkpoint == "model.pt" else Events.ITERATION_STARTED(once=7))
    resumed, network, optimizer, scheduler = session(tmp_path / "resumed", resume=tmp_path / "stopped" / checkpoint)
    iterations = []
    resumed.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: iterations.append(engine.state.iteration))
    resumed.run()
    assert iterations == list(range(2 * BATCHES + 1, EPOCHS * BATCHES + 1))
    assert scheduler.last_epoch == EPOCHS
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * 0.5**EPOCHS)
    assert_equal_weights(network, expected)


def test_only_the_newest_epochs_checkpoint_is_kept(tmp_path):
    trainer, *_ = session(tmp_path, epochs=3)
    trainer.run()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint_epoch=3.pt", "model.pt"]
    assert stored(tmp_path / "checkpoint_epoch=3.pt")["lr_scheduler"]["last_epoch"] == 3


def test_loading_without_the_trainer_starts_from_epoch_one_with_those_weights(tmp_path):
    first, trained, _, _ = session(tmp_path / "first", epochs=1)
    first.run()
    trainer, network, _, _ = session(tmp_path / "second", tmp_path / "first" / "model.pt", epochs=2, trainer=False)
    seen = []

    def note(engine):
        seen.append(engine.state.iteration)
        if len(seen) == 1:
            assert_equal_weights(network, trained)

    trainer.add_event_handler(Events.ITERATION_STARTED, note)
    trainer.run()
    assert seen == list(range(1, 2 * BATCHES + 1))


def test_a_missing_checkpoint_is_refused_by_name(tmp_path):
    trainer, *_ = session(tmp_path, resume=tmp_path / "gone.pt")
    with pytest.raises(BadInputError, match=r"there is no checkpoint .*gone\.pt"):
        trainer.run()


def test_the_checkpoint_of_another_network_is_refused(tmp_path):
    session(tmp_path, epochs=1)[0].run()
    trainer, *_ = session(tmp_path / "other", resume=tmp_path / "model.pt", classes=4)
    with pytest.raises(BadInputError, match=r"model\.pt cannot restore network.*size mismatch"):
        trainer.run()


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "notes.pt").write_text("these are no weights")
    trainer, *_ = session(tmp_path, resume=tmp_path / "notes.pt")
    with pytest.raises(BadInputError, match=r"notes\.pt"):
        trainer.run()


def test_a_checkpoint_without_a_part_that_is_asked_for_is_refused(tmp_path):
    torch.save({"network": TinyNet().state_dict()}, tmp_path / "weights.pt")
    trainer, *_ = session(tmp_path, resume=tmp_path / "weights.pt")
    with pytest.raises(BadInputError, match=r"weights\.pt cannot restore"):
        trainer.run()


def test_a_run_that_cannot_start_does_not_replace_the_model_that_is_there(tmp_path):
    session(tmp_path, epochs=1)[0].run()
    before = (tmp_path / "model.pt").read_bytes()
    trainer, *_ = session(tmp_path, resume=tmp_path / "gone.pt")
    with pytest.raises(BadInputError):
        trainer.run()
    assert (tmp_path / "model.pt").read_bytes() == before


class StillBar:
    """What a bar was told, in place of one on the screen."""

    def __init__(self, **keywords):
        self.keywords = keywords
        self.steps = 0
        self.shown: dict[str, str] = {}
        self.closed = False

    def update(self, steps):
        self.steps += steps

    def set_postfix(self, shown, refresh=True):
        self.shown = shown

    def close(self):
        self.closed = True


@pytest.fixture
def bars(monkeypatch):
    made = []

    def make(**keywords):
        made.append(StillBar(**keywords))
        return made[-1]

    monkeypatch.setattr("monai_robust.handlers.progress.tqdm", make)
    return made


def evaluator(**keywords) -> SupervisedEvaluator:
    torch.manual_seed(1)
    network = TinyNet()
    return SupervisedEvaluator(
        device="cpu", val_data_loader=DataLoader(items(), batch_size=5), network=network, decollate=False, **keywords
    )


def test_the_progress_bar_counts_the_batches_of_all_epochs_and_shows_loss_and_metric(tmp_path, bars):
    trainer, *_ = session(tmp_path, epochs=2)
    validator = evaluator()
    validator.state.metrics["accuracy"] = 0.75
    ProgressBar("training by at", "accuracy", validator).attach(trainer)
    losses = []
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: losses.append(engine.state.output[0]["loss"]))
    trainer.run()
    (bar,) = bars
    assert bar.keywords["total"] == bar.steps == 2 * BATCHES
    assert bar.keywords["desc"] == "training by at"
    assert bar.shown == {"epoch": "2/2", "loss": f"{float(losses[-1]):.3f}", "accuracy": "0.750"}
    assert bar.closed


def test_the_progress_bar_of_a_resumed_run_starts_where_it_stopped(tmp_path, bars):
    session(tmp_path, epochs=1)[0].run()
    trainer, *_ = session(tmp_path / "more", resume=tmp_path / "model.pt", epochs=3)
    ProgressBar().attach(trainer)
    trainer.run()
    assert bars[0].keywords["initial"] == BATCHES
    assert bars[0].keywords["total"] == 3 * BATCHES
    assert bars[0].steps == 2 * BATCHES


def test_the_real_progress_bar_shows_a_remaining_time(tmp_path, capsys):
    trainer, *_ = session(tmp_path, epochs=1)
    ProgressBar("training").attach(trainer)
    trainer.run()
    shown = capsys.readouterr().err
    assert f"{BATCHES}/{BATCHES}" in shown
    assert "<" in shown  # tqdm's [elapsed<remaining]


def test_predictions_are_the_networks_probabilities_of_every_image(tmp_path):
    path = tmp_path / "new" / "predictions.csv"
    engine = evaluator(val_handlers=[PredictionsCSV(path, ["a", "b", "c"])])
    engine.run()
    table = pd.read_csv(path)
    images = torch.stack([item["image"] for item in items()])
    with torch.no_grad():
        expected = engine.network.eval()(images).softmax(dim=1)
    assert table.columns.tolist() == ["file", "prediction", "probability_a", "probability_b", "probability_c"]
    assert table["file"].tolist() == [item["sample_id"] for item in items()]
    assert table["prediction"].tolist() == ["abc"[index] for index in expected.argmax(dim=1)]
    assert torch.allclose(torch.tensor(table.iloc[:, 2:].to_numpy()).float(), expected, atol=1e-6)


def test_a_second_run_writes_its_own_predictions_only(tmp_path):
    path = tmp_path / "predictions.csv"
    engine = evaluator(val_handlers=[PredictionsCSV(path, ["a", "b", "c"])])
    engine.run()
    engine.run()
    assert len(pd.read_csv(path)) == 12


@pytest.mark.parametrize(("patience", "ends"), [(None, 6), (2, 4)])
def test_the_best_weights_are_restored_and_patience_ends_a_training(patience, ends):
    network = nn.Linear(1, 1)
    values = {1: 0.4, 2: 0.9, 3: 0.5, 4: 0.6, 5: 0.7, 6: 0.1}
    trainer, evaluator = Engine(lambda engine, batch: None), Engine(lambda engine, batch: None)
    evaluator.state.key_metric_name = "accuracy"
    best = BestWeights(network, evaluator, patience)
    best.attach(trainer)
    saved = []
    trainer.add_event_handler(Events.COMPLETED, lambda: saved.append(float(network.weight)))

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate(engine):
        nn.init.constant_(network.weight, engine.state.epoch)
        evaluator.state.metrics["accuracy"] = values[engine.state.epoch]
        evaluator.fire_event(Events.COMPLETED)

    trainer.run([0], max_epochs=6)
    assert trainer.state.epoch == ends
    assert saved == [2.0]
    again = BestWeights(network, evaluator, patience)
    again.load_state_dict(best.state_dict())
    assert (again.best, again.epoch, again.waited) == (0.9, 2, best.waited)
    with pytest.raises(BadInputError, match="patience is 0"):
        BestWeights(network, evaluator, 0)


@pytest.mark.parametrize("higher_is_better", [True, False])
@pytest.mark.parametrize(("values", "kept", "ends"), [((math.nan, 0.9, 0.9, math.nan), 2, 4), ((math.nan,) * 4, 2, 2)])
def test_a_validation_by_nan_is_not_the_best_one(higher_is_better, values, kept, ends):
    network = nn.Linear(1, 1)
    trainer, evaluator = Engine(lambda engine, batch: None), Engine(lambda engine, batch: None)
    evaluator.state.key_metric_name = "auroc"
    best = BestWeights(network, evaluator, patience=2, higher_is_better=higher_is_better)
    best.attach(trainer)

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate(engine):
        nn.init.constant_(network.weight, engine.state.epoch)
        evaluator.state.metrics["auroc"] = values[engine.state.epoch - 1]
        evaluator.fire_event(Events.COMPLETED)

    trainer.run([0], max_epochs=4)
    assert (float(network.weight), trainer.state.epoch) == (kept, ends)
