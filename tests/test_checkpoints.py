"""What lies on the disk while checkpoints are written, and which of them a training goes on from."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import CheckpointLoader, CheckpointSaver, ValidationHandler
from torch import nn

from monai_robust.checkpoints import join_checkpoints, newest_checkpoint
from monai_robust.checkpoints.attached import handlers_of
from monai_robust.data.files.epoch_tables import append_rows, keep_epochs
from monai_robust.data.files.weights import read_checkpoint
from monai_robust.data.files.whole import append_whole_lines, remove_drafts, write_whole
from monai_robust.errors import BadInputError
from monai_robust.handlers import TrainingLoader, TrainingSaver

BATCHES = 2


class Counting(nn.Module):
    """A network whose one weight is the number of iterations it was trained for."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


class Named:
    """Something that keeps sample ids."""

    def state_dict(self) -> dict[str, Any]:
        return {"ids": ["film of Jane Doe"], "count": 1}

    def state_dict_without_ids(self) -> dict[str, Any]:
        return {"count": 1}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert state["ids"]


def trainer(folder: Path, resume: Path | None = None, named: bool = False, **saving: Any) -> tuple[Engine, Counting]:
    network = Counting()

    def train(engine: Engine, batch: Any) -> None:
        network.weight.data += 1

    engine = Engine(train)
    state = {"network": network, **({"named": Named()} if named else {})}
    TrainingLoader(None if resume is None else str(resume), state).attach(engine)
    saving = {"save_final": True, "final_filename": "model.pt", "save_interval": 1, "n_saved": 1, **saving}
    TrainingSaver(save_dir=str(folder), save_dict=dict(state), **saving).attach(engine)
    return engine, network


def trained(folder: Path, epochs: int = 3, **more: Any) -> float:
    engine, network = trainer(folder, **more)
    engine.run(range(BATCHES), max_epochs=epochs)
    return float(network.weight)


def stopped(folder: Path, iteration: int, **more: Any) -> None:
    engine, _ = trainer(folder, **more)

    @engine.on(Events.ITERATION_COMPLETED(once=iteration))
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.run(range(BATCHES), max_epochs=9)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class FullDisk(io.RawIOBase):
    """Takes some bytes and no more."""

    def __init__(self, error: BaseException) -> None:
        self.left, self.error = 400, error

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self.left -= len(content)
        if self.left < 0:
            raise self.error
        return len(content)


@pytest.fixture
def breaking_saves(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, BaseException], None]:
    """Let the n-th save and all later ones break in the middle of the file."""
    real, saves = torch.save, []

    def install(first: int, error: BaseException) -> None:
        def save(content: Any, target: Any) -> None:
            saves.append(target)
            real(content, FullDisk(error) if len(saves) >= first else target)

        monkeypatch.setattr(torch, "save", save)

    return install


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("first", [2, 3, 4], ids=["second epoch", "third epoch", "final"])
@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()], ids=["full disk", "Ctrl-C"])
def test_whatever_breaks_a_save_leaves_the_last_checkpoint(tmp_path, breaking_saves, first, error):
    breaking_saves(first, error)
    told = BadInputError if error is FULL else KeyboardInterrupt
    with pytest.raises(told) as raised:
        trained(tmp_path)
    if error is FULL:
        assert str(raised.value) == (
            f"{tmp_path / ('model.pt' if first == 4 else f'checkpoint_epoch={first}.pt')} cannot be written: "
            "No space left on device"
        )
    assert names(tmp_path) == [f"checkpoint_epoch={first - 1}.pt"]
    assert torch.load(tmp_path / f"checkpoint_epoch={first - 1}.pt", weights_only=True)["network"]["weight"] == (
        (first - 1) * BATCHES
    )
    assert newest_checkpoint(tmp_path) is not None


def test_a_full_disk_during_the_answer_to_ctrl_c_is_told(tmp_path, breaking_saves):
    breaking_saves(2, FULL)
    engine, _ = trainer(tmp_path)

    @engine.on(Events.ITERATION_COMPLETED(once=3))
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(BadInputError, match=r"model\.pt cannot be written: No space left on device"):
        engine.run(range(BATCHES), max_epochs=9)
    assert names(tmp_path) == ["checkpoint_epoch=1.pt"]


def test_files_have_the_permissions_that_the_umask_gives(tmp_path):
    before = os.umask(0o027)
    try:
        trained(tmp_path, epochs=1)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o640}


def test_n_saved_and_the_best_key_metrics_are_kept_as_monai_keeps_them(tmp_path):
    engine, _ = trainer(
        tmp_path, n_saved=2, save_key_metric=True, key_metric_name="dice", key_metric_n_saved=2, file_prefix="net"
    )
    values = iter([0.1, 0.5, 0.3, 0.2])

    @engine.on(Events.EPOCH_STARTED)
    def measure() -> None:
        engine.state.metrics["dice"] = next(values)

    engine.run(range(BATCHES), max_epochs=4)
    assert names(tmp_path) == [
        "model.pt",
        "net_checkpoint_epoch=3.pt",
        "net_checkpoint_epoch=4.pt",
        "net_checkpoint_key_metric=0.3000.pt",
        "net_checkpoint_key_metric=0.5000.pt",
    ]


def test_a_fixed_name_holds_the_best_and_a_final_file_without_a_name_takes_the_place_of_the_last(tmp_path):
    best = {"save_key_metric": True, "key_metric_name": "dice", "key_metric_filename": "best.pt"}
    engine, _ = trainer(tmp_path, save_interval=0, final_filename=None, **best)

    @engine.on(Events.EPOCH_STARTED)
    def measure() -> None:
        engine.state.metrics["dice"] = {1: 0.2, 2: 0.7, 3: 0.4}.get(engine.state.epoch, 0.0)

    engine.run(range(BATCHES), max_epochs=3)
    assert torch.load(tmp_path / "best.pt", weights_only=True)["network"]["weight"] == 2 * BATCHES
    engine.run(range(BATCHES), max_epochs=4)
    assert names(tmp_path) == ["best.pt", "checkpoint_final_iteration=8.pt"]


@pytest.mark.parametrize("nothing", [float("nan"), torch.tensor(float("nan")), torch.zeros(2)])
def test_an_epoch_without_a_key_metric_is_not_the_best_one(tmp_path, nothing):
    best = {"save_key_metric": True, "key_metric_name": "dice", "key_metric_filename": "best.pt"}
    for folder, sign in (("score", 1), ("error", -1)):
        engine, _ = trainer(tmp_path / folder, key_metric_negative_sign=sign < 0, **best)

        @engine.on(Events.EPOCH_STARTED)
        def measure(engine: Any = engine, sign: int = sign) -> None:
            engine.state.metrics["dice"] = {2: 2.0 + sign, 3: 2.0}.get(engine.state.epoch, nothing)

        engine.run(range(BATCHES), max_epochs=1)
        assert "best.pt" not in names(tmp_path / folder)
        engine.run(range(BATCHES), max_epochs=4)
        assert torch.load(tmp_path / folder / "best.pt", weights_only=True)["network"]["weight"] == 2 * BATCHES


def test_final_files_and_those_of_the_best_metric_hold_no_sample_ids(tmp_path):
    engine, _ = trainer(tmp_path, named=True, save_key_metric=True, key_metric_name="dice")
    engine.state.metrics["dice"] = 0.5
    engine.add_event_handler(Events.EPOCH_STARTED, lambda: engine.state.metrics.update(dice=0.5))
    engine.run(range(BATCHES), max_epochs=2)
    for name, has in (("model.pt", False), ("checkpoint_key_metric=0.5000.pt", False), ("checkpoint_epoch=2.pt", True)):
        stored = torch.load(tmp_path / name, weights_only=True)
        assert stored["named"]["count"] == 1
        assert ("ids" in stored["named"]) is has
        assert (b"Jane Doe" in (tmp_path / name).read_bytes()) is has


# --- which checkpoint a training goes on from ------------------------------------------------------------------------


def resumed(folder: Path, source: Path, **more: Any) -> list[int]:
    """The iterations of a training of four epochs that goes on from ``source``, and its weight."""
    engine, network = trainer(folder, source, **more)
    done: list[int] = []
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: done.append(engine.state.iteration))
    engine.run(range(BATCHES), max_epochs=4)
    assert float(network.weight) == 4 * BATCHES
    return done


@pytest.mark.parametrize("source", [".", "model.pt", "checkpoint_epoch=2.pt"])
@pytest.mark.parametrize("iteration", [5, 6], ids=["in the middle", "in the last iteration"])
def test_a_stop_within_an_epoch_goes_on_from_the_end_of_the_last(tmp_path, caplog, source, iteration):
    stopped(tmp_path, iteration)
    assert torch.load(tmp_path / "model.pt", weights_only=True)["trainer"]["iteration"] == iteration
    assert resumed(tmp_path, tmp_path / source) == [5, 6, 7, 8]
    told = [one.getMessage() for one in caplog.records if "was written within an epoch" in one.getMessage()]
    assert len(told) == (source != "checkpoint_epoch=2.pt")
    assert names(tmp_path) == ["checkpoint_epoch=4.pt", "model.pt"]  # the newest one alone, as if never stopped


def test_a_stop_within_the_first_epoch_starts_anew(tmp_path, caplog):
    stopped(tmp_path, 1)
    for source in (tmp_path, tmp_path / "model.pt"):
        assert resumed(tmp_path / "more", source) == list(range(1, 9))
    assert "model.pt was written within an epoch, which is trained again from its start" in caplog.text


def test_without_a_checkpoint_of_an_epoch_a_stopped_one_goes_on_and_says_so(tmp_path, caplog):
    stopped(tmp_path, 5, save_interval=0)
    assert resumed(tmp_path / "more", tmp_path / "model.pt") == [6, 7, 8]
    assert "begins with batches that were trained on before" in caplog.text


def test_damaged_checkpoints_are_named_and_passed_over(tmp_path, caplog):
    trained(tmp_path, 3, n_saved=9)
    (tmp_path / "model.pt").write_bytes((tmp_path / "model.pt").read_bytes()[:300])
    (tmp_path / "checkpoint_epoch=3.pt").write_bytes(b"")
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint_epoch=2.pt"
    for source in (tmp_path, tmp_path / "model.pt"):
        caplog.clear()
        assert resumed(tmp_path / "more", source) == [5, 6, 7, 8]
        for name in ("model.pt", "checkpoint_epoch=3.pt"):
            (line,) = [
                one.getMessage()
                for one in caplog.records
                if f"{name} " in one.getMessage() and "looking for" in one.getMessage()
            ]
            assert "\n" not in line


def test_final_weights_without_ids_stand_for_the_checkpoint_of_their_epoch(tmp_path):
    trained(tmp_path, 2, named=True)
    assert resumed(tmp_path / "more", tmp_path / "model.pt", named=True) == [5, 6, 7, 8]
    (tmp_path / "checkpoint_epoch=2.pt").unlink()
    with pytest.raises(BadInputError, match=r"model\.pt has no sample ids.*checkpoint_epoch=2\.pt"):
        resumed(tmp_path / "more", tmp_path / "model.pt", named=True)


def test_a_folder_without_checkpoints_is_refused(tmp_path):
    with pytest.raises(BadInputError, match=f"there is no checkpoint in {tmp_path}"):
        resumed(tmp_path / "more", tmp_path)
    assert newest_checkpoint(tmp_path) is None


def test_more_epochs_behind_it_than_there_are_to_be_is_refused(tmp_path):
    trained(tmp_path, 5)
    with pytest.raises(BadInputError, match="has 5 epochs behind it, and this run is to have 4"):
        resumed(tmp_path / "more", tmp_path)


def test_a_checkpoint_that_would_run_code_is_refused_without_advice_to_run_it(tmp_path):
    torch.save({"network": Path("x")}, tmp_path / "odd.pt")
    with pytest.raises(BadInputError, match=r"cannot restore network, trainer of this run.*holds Python obj") as raised:
        resumed(tmp_path / "more", tmp_path / "odd.pt")
    assert "weights_only" not in str(raised.value)


def test_the_best_validation_is_part_of_a_checkpoint(tmp_path):
    def validated(resume: Path | None, epochs: int) -> SupervisedEvaluator:
        network = nn.Linear(1, 1)
        data = DataLoader([{"image": torch.ones(1), "label": torch.ones(1)}])
        evaluator = SupervisedEvaluator("cpu", data, network, decollate=False)
        evaluator.state.key_metric_name = "score"
        scores = {1: 0.9, 2: 0.1, 3: 0.4}
        state = {"network": network}
        engine = SupervisedTrainer(
            "cpu",
            epochs,
            data,
            network,
            torch.optim.SGD(network.parameters(), 0.1),
            nn.MSELoss(),
            train_handlers=[
                TrainingLoader(None if resume is None else str(resume), state),
                TrainingSaver(str(tmp_path), dict(state), save_interval=1),
                ValidationHandler(1, evaluator),
            ],
        )

        @evaluator.on(Events.EPOCH_COMPLETED)
        def compare() -> None:
            value = scores[engine.state.epoch]
            if evaluator.state.best_metric_epoch == -1 or value > evaluator.state.best_metric:
                evaluator.state.best_metric, evaluator.state.best_metric_epoch = value, engine.state.epoch

        engine.run()
        return evaluator

    validated(None, 2)
    state = validated(tmp_path / "checkpoint_epoch=2.pt", 3).state
    assert (state.best_metric, state.best_metric_epoch) == (0.9, 1)


# --- other files -----------------------------------------------------------------------------------------------------


def test_what_a_killed_process_left_half_written_is_removed_when_the_next_training_starts(tmp_path):
    dead = os.fork()
    if dead == 0:
        os._exit(0)
    os.waitpid(dead, 0)
    own = tmp_path / f".other.csv.{os.getpid()}.part"
    for name in (f".model.pt.{dead}.part", own.name):
        (tmp_path / name).write_bytes(b"half")
    trained(tmp_path, 1)
    assert names(tmp_path) == [own.name, "checkpoint_epoch=1.pt", "model.pt"]
    remove_drafts(tmp_path / "no folder")


def test_a_file_that_cannot_be_written_is_named_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    for write in (write_whole, lambda path, content: append_whole_lines(path, content.decode())):
        with pytest.raises(BadInputError, match=r"file.table\.csv cannot be written: (File exists|Not a directory)"):
            write(tmp_path / "file" / "table.csv", b"1\n")


def test_a_table_goes_on_after_a_line_that_was_not_finished(tmp_path):
    path = tmp_path / "margins.csv"
    rows = [{"epoch": epoch, "mean": epoch / 3, "sample_id": "=1+1"} for epoch in (1, 2, 3)]
    for row in rows:
        append_rows(path, [row])
    whole = path.read_bytes()
    path.write_bytes(whole + b"1")  # of 12, say
    keep_epochs(path, 3)
    assert path.read_bytes() == whole
    keep_epochs(path, 2)
    append_rows(path, rows[2:])
    assert path.read_bytes() == whole
    assert b"'=1+1" in whole


# --- what stands in checkpoints without the others -------------------------------------------------------------------


def test_entries_that_are_none_are_none(tmp_path):
    network = Counting()
    for epochs, resume in ((2, None), (3, tmp_path)):
        engine = Engine(lambda engine, batch: None)
        TrainingLoader(None if resume is None else str(resume), {"margins": None, "network": network}).attach(engine)
        TrainingSaver(str(tmp_path), {"network": network, "margins": None}, save_interval=1).attach(engine)
        engine.run(range(BATCHES), max_epochs=epochs)
    stored = torch.load(tmp_path / "checkpoint_epoch=3.pt", weights_only=True)
    assert sorted(stored) == ["network", "trainer"]
    assert stored["trainer"]["iteration"] == 3 * BATCHES


def test_what_is_kept_by_sample_id_may_be_new_in_a_run_that_goes_on(tmp_path):
    trained(tmp_path, 2)
    assert resumed(tmp_path / "more", tmp_path, named=True) == [5, 6, 7, 8]
    assert torch.load(tmp_path / "more" / "checkpoint_epoch=4.pt", weights_only=True)["named"]["count"] == 1


def test_a_loader_hands_out_an_objects_state_and_restores_the_others_from_one_read(tmp_path, monkeypatch):
    trained(tmp_path, 2, named=True)
    reads = []
    monkeypatch.setattr(
        "monai_robust.checkpoints.stored.read_checkpoint", lambda *of: reads.append(of) or read_checkpoint(*of)
    )
    network = Counting()
    loader = TrainingLoader(str(tmp_path / "checkpoint_epoch=2.pt"), {"network": network})
    engine = Engine(lambda engine, batch: None)
    before: list[Any] = []
    engine.add_event_handler(Events.STARTED, lambda: before.append(loader.take("named")))
    loader.attach(engine)
    engine.run(range(BATCHES), max_epochs=3)
    assert before == [{"ids": ["film of Jane Doe"], "count": 1}]
    assert (float(network.weight), engine.state.iteration, len(reads)) == (2 * BATCHES, 3 * BATCHES, 1)


def test_all_that_handles_an_engines_events_is_found(tmp_path):
    engine = Engine(lambda engine, batch: None)
    saver = CheckpointSaver(str(tmp_path), {"network": Counting()}, save_interval=2)

    def plain() -> None: ...

    saver.attach(engine)  # by a method, in every second epoch alone
    engine.add_event_handler(Events.STARTED | Events.COMPLETED, plain)
    assert handlers_of(engine) == [saver, plain]
    assert not engine.has_event_handler(lambda: None)


@pytest.mark.parametrize("also", [False, True], ids=["alone", "beside the trainer's"])
def test_a_saver_of_the_best_validation_keeps_what_no_saver_of_the_trainer_does(tmp_path, also):
    network = nn.Linear(1, 1)
    data = DataLoader([{"image": torch.ones(1), "label": torch.ones(1)}])
    best = CheckpointSaver(str(tmp_path / "best"), {"network": network}, save_final=True)
    own = CheckpointSaver(str(tmp_path / "own"), {"network": network}, save_final=True)
    evaluator = SupervisedEvaluator("cpu", data, network, val_handlers=[best])
    handlers = [ValidationHandler(1, evaluator), *([own] if also else [])]
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    engine = SupervisedTrainer("cpu", 1, data, network, optimizer, nn.MSELoss(), train_handlers=handlers)
    keeper = Named()
    state, folder = join_checkpoints(engine, "named", keeper)
    assert state is None
    assert folder == tmp_path / ("own" if also else "best")
    assert [saver.save_dict.get("named") for saver in (own, best)] == ([keeper, None] if also else [None, keeper])


def test_monais_loader_is_asked_for_an_object_without_loading_the_rest(tmp_path, monkeypatch):
    trained(tmp_path, 1, named=True)
    engine = Engine(lambda engine, batch: None)
    CheckpointLoader(str(tmp_path / "checkpoint_epoch=1.pt"), {"network": Counting()}).attach(engine)
    mapped = []
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda *of, **how: mapped.append(how.get("mmap")) or load(*of, **how))
    assert join_checkpoints(engine, "named", Named())[0] == {"ids": ["film of Jane Doe"], "count": 1}
    assert join_checkpoints(engine, "starts", Named())[0] is None
    assert mapped == [True, True]
    (tmp_path / "checkpoint_epoch=1.pt").write_bytes(b"PK\x03\x04")
    with pytest.raises(BadInputError, match=r"checkpoint_epoch=1\.pt cannot be read as a checkpoint"):
        join_checkpoints(engine, "named", Named())


def trained_by(make: Callable[[Any], Any], folder: Path, batch: int, resume: Path | None = None) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    state = {"network": network, "optimizer": make(network.parameters())}
    data = [{"image": torch.rand(1, 2, 2), "label": number % 2} for number in range(12)]
    SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1 if resume is None else 2,
        train_data_loader=DataLoader(data, batch_size=batch),
        network=network,
        optimizer=state["optimizer"],
        loss_function=nn.CrossEntropyLoss(),
        train_handlers=[
            TrainingLoader(None if resume is None else str(resume), state),
            TrainingSaver(str(folder), state, save_interval=1),
        ],
    ).run()


def sgd(parameters: Any) -> Any:
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)


def test_a_training_goes_on_with_as_many_batches_an_epoch_and_the_same_kind_of_optimizer(tmp_path: Path) -> None:
    trained_by(sgd, tmp_path, batch=4)
    with pytest.raises(BadInputError, match="of a training of 3 batches an epoch, and this run has 6; "):
        trained_by(sgd, tmp_path / "new", batch=2, resume=tmp_path)
    with pytest.raises(BadInputError, match="another optimizer than Adam, without betas"):
        trained_by(torch.optim.Adam, tmp_path / "new", batch=4, resume=tmp_path)
    trained_by(sgd, tmp_path, batch=4, resume=tmp_path)
    assert (tmp_path / "checkpoint_epoch=2.pt").is_file()
