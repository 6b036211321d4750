"""The time of every epoch, without the validation after it."""

from __future__ import annotations

import time
from pathlib import Path

import pandas as pd
import pytest
from ignite.engine import Engine, Events

from monai_robust.handlers import EpochTimes


def trained(folder: Path, epochs: int, begun: int = 0, seconds: float = 0.02) -> pd.DataFrame:
    """Epochs of three iterations, each of which sleeps, and a validation after them that sleeps far longer."""
    engine = Engine(lambda engine, batch: time.sleep(seconds))
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: time.sleep(10 * seconds))
    EpochTimes(folder).attach(engine)
    engine.load_state_dict({"iteration": 3 * begun, "max_epochs": epochs, "epoch_length": 3})
    engine.run(range(3), max_epochs=epochs, epoch_length=3)
    return pd.read_csv(folder / "epoch_times.csv")


def test_an_epochs_time_is_that_of_its_iterations_without_its_validation(tmp_path: Path) -> None:
    table = trained(tmp_path, epochs=2)
    assert list(table.columns) == ["epoch", "seconds", "processor_seconds"]
    assert list(table["epoch"]) == [1, 2]
    assert (table["seconds"] >= 3 * 0.02).all()
    # the validation is asleep for 0.2 s; on a busy machine iterations take longer, and never that much together
    assert table["seconds"].min() < 3 * 0.02 + 10 * 0.02


def test_processor_time_does_not_count_what_a_process_waits(tmp_path: Path) -> None:
    table = trained(tmp_path, epochs=2, seconds=0.1)
    assert (table["processor_seconds"] < 0.5 * table["seconds"]).all()


def test_a_training_that_goes_on_replaces_the_epochs_that_it_does_again(tmp_path: Path) -> None:
    first = trained(tmp_path, epochs=3)
    table = trained(tmp_path, epochs=4, begun=2)
    assert list(table["epoch"]) == [1, 2, 3, 4]
    pd.testing.assert_frame_equal(table[:2], first[:2])
    assert table["seconds"][2] != pytest.approx(first["seconds"][2], rel=1e-9)
