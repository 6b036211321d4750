"""Kills: training and evaluation of a bundle end at a random moment, or inside the writing of a file, and go on.

After a kill of a training, the checkpoint of the last epoch that was saved loads, and training that goes on from it
ends with the weights and margins of one that nobody killed. After a kill of an evaluation, the same command ends with
the very table. Runs are forked from one process that has imported everything, and are as small as can be.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events

from monai_robust.data import write_radiograph_phantoms
from monai_robust.evaluation.tables import writer

__all__ = ["run_kills"]

_BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "chest_xray_classification"
_EPOCHS = 4
_LONGEST = 120.0
_NETWORK = {
    "_target_": "monai.networks.nets.DenseNet",
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 3,
    "init_features": 4,
    "growth_rate": 4,
    "block_config": [1, 1],
}
_SETTINGS = {"bundle_root": str(_BUNDLE), "image_size": 32, "batch_size": 8, "network_def": _NETWORK, "device": "cpu"}
_INSIDE = ("half of it written", "before a rename", "after a rename", "before a removal")


@dataclass(frozen=True)
class _Place:
    """Where all of it happens: the films, and what runs that nobody kills leave."""

    folder: Path

    @property
    def films(self) -> Path:
        return self.folder / "films"

    def whole(self, name: str, job: Callable[[Path], None]) -> Path:
        """The folder of a run that nobody kills, made once."""
        folder = self.folder / f"whole_{name}"
        if not folder.exists():
            _until_end(_start(job, folder), folder)
        return folder


def run_kills(training: int, evaluation: int, first: int = 0) -> Iterator[tuple[str, str]]:
    """Kill so many runs of both kinds.

    Yields:
        the case, such as ``training/3``, and what is wrong, "" if nothing is.
    """
    with tempfile.TemporaryDirectory(prefix="kills") as name:
        place = _Place(Path(name))
        _until_end(_start(lambda folder: _write_films(place), place.folder / "writing"), place.folder / "writing")
        for kind, count, one in (("training", training, _training), ("evaluation", evaluation, _evaluation)):
            for number in range(first, first + count):
                try:
                    yield f"{kind}/{number}", one(place, number)
                except Exception as error:
                    yield f"{kind}/{number}", f"{type(error).__name__}: {error}"


def _write_films(place: _Place) -> None:
    write_radiograph_phantoms(place.films, patients=12, size=48)


# One kill


def _training(place: _Place, number: int) -> str:
    draw = random.Random(f"training {number}")
    recipe = "rtda" if number % 4 == 3 else "amat"
    whole = place.whole(f"training_{recipe}", lambda folder: _train(place, folder, recipe))
    seconds = json.loads((whole / "seconds").read_text())
    folder = place.folder / f"training_{number}"
    if number % 2:
        how = _INSIDE[number // 2 % len(_INSIDE)]
        count = draw.randint(1, _EPOCHS)
        killed = _start(lambda folder: _train(place, folder, recipe, _killing(how, count)), folder)
        said = f"{recipe}, killed {how}, time {count}"
        _until_end(killed, folder, may_be_killed=True)
    else:
        wait = draw.uniform(0.2, 1.0) * seconds
        killed = _start(lambda folder: _train(place, folder, recipe), folder)
        said = f"{recipe}, killed after {wait:.2f} of {seconds:.2f} s"
        _kill_after(killed, wait)
    saved = _saved_epochs(folder)
    found = _newest(folder)
    if found is None and saved:
        return f"{said}: {saved} epochs were saved, but no checkpoint loads among {sorted(os.listdir(folder))}"
    if found is not None and found[1] < saved:
        return f"{said}: {saved} epochs were saved, but the newest checkpoint that loads is of epoch {found[1]}"
    path, epoch = found or (None, 0)
    _until_end(_start(lambda folder: _train(place, folder, recipe, resume=path), folder), folder)
    wrong = _differing_training(folder, whole)
    return f"{said}, went on after epoch {epoch}: {wrong}" if wrong else ""


def _evaluation(place: _Place, number: int) -> str:
    draw = random.Random(f"evaluation {number}")
    trained = place.whole("training_amat", lambda folder: _train(place, folder, "amat"))
    whole = place.whole("evaluation", lambda folder: _evaluate(place, trained, folder))
    seconds = json.loads((whole / "seconds").read_text())
    folder = place.folder / f"evaluation_{number}"
    killed = _start(lambda folder: _evaluate(place, trained, folder), folder)
    if number % 2:
        parts = draw.randint(0, 30)
        said = f"killed once {parts} parts were written"
        _kill_when(killed, lambda: len(list(folder.glob("parts/*.parquet"))) > parts)
    else:
        wait = draw.uniform(0.2, 1.0) * seconds
        said = f"killed after {wait:.2f} of {seconds:.2f} s"
        _kill_after(killed, wait)
    _until_end(_start(lambda folder: _evaluate(place, trained, folder), folder), folder)
    for name in ("outcomes.csv", "outcomes.parquet", "sanity.json"):
        if (folder / name).read_bytes() != (whole / name).read_bytes():
            return f"{said}: {name} is another"
    if not _same_info(folder, whole):
        return f"{said}: run.json is another"
    return ""


def _same_info(one: Path, other: Path) -> bool:
    changing = ("started", "finished", "machine")
    infos = [json.loads((folder / "run.json").read_text()) for folder in (one, other)]
    return (
        all(info.pop("finished") for info in infos)
        and len(
            {
                json.dumps({key: value for key, value in info.items() if key not in changing}, sort_keys=True)
                for info in infos
            }
        )
        == 1
    )


def _newest(folder: Path) -> tuple[Path, int] | None:
    """The checkpoint of the latest epoch among those that load."""
    found = []
    for path in folder.glob("*.pt"):
        try:
            content = torch.load(path, weights_only=True)
            found.append((int(content["trainer"]["iteration"]) // int(content["trainer"]["epoch_length"]), path))
        except Exception:
            continue
    return None if not found else (max(found)[1], max(found)[0])


def _differing_training(folder: Path, whole: Path) -> str:
    states = [torch.load(one / "model.pt", weights_only=True)["network"] for one in (folder, whole)]
    wrong = [name for name, value in states[1].items() if not torch.equal(states[0][name], value)]
    if wrong:
        return f"{len(wrong)} of {len(states[1])} weights are others, such as {wrong[0]}"
    for name in ("margins.csv",):
        if (whole / name).exists() and (folder / name).read_bytes() != (whole / name).read_bytes():
            return f"{name} is another"
    return ""


# What runs in a child


def _train(
    place: _Place, folder: Path, recipe: str, hook: Callable[[], None] | None = None, resume: Path | None = None
) -> None:
    from monai.bundle import run

    _note_epochs(folder)
    if hook:
        hook()
    amat = {"robust#thresholds": {"loss": 1.2}, "robust#step": 0.05} if recipe == "amat" else {}
    more = {} if resume is None else {"resume": str(resume)}
    run(
        config_file=str(_BUNDLE / "configs" / "train.yaml"),
        dataset_dir=str(place.films),
        output_dir=str(folder),
        recipe=recipe,
        epochs=_EPOCHS,
        **{"robust#attack#steps": 2},
        **_SETTINGS,
        **amat,
        **more,
    )


def _evaluate(place: _Place, trained: Path, folder: Path) -> None:
    from monai.bundle import run

    writer.SECONDS = writer.SHARE = 0.0  # a part for every unit
    configs = [str(_BUNDLE / "configs" / f"{name}.yaml") for name in ("train", "robustness")]
    run(
        config_file=configs,
        dataset_dir=str(place.films),
        checkpoint=str(trained / "model.pt"),
        recipe="amat",
        evaluation_dir=str(folder),
        radii=[0.5, 2.0],
        **{**_SETTINGS, "batch_size": 2},
        **{"robust#thresholds": {"loss": 1.2}},
    )


def _note_epochs(folder: Path) -> None:
    """Note each epoch whose checkpoint has been written: when the next one begins, or training has ended."""
    fire = Engine._fire_event
    progress = os.open(folder / "epochs", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def noting(engine: Any, event: Any, *arguments: Any, **keywords: Any) -> Any:
        if event == Events.EPOCH_STARTED and (engine.state.max_epochs or 1) > 1:
            os.pwrite(progress, str(engine.state.epoch - 1).encode(), 0)
        return fire(engine, event, *arguments, **keywords)

    Engine._fire_event = noting  # type: ignore[method-assign]


def _saved_epochs(folder: Path) -> int:
    text = (folder / "epochs").read_text() if (folder / "epochs").exists() else ""
    return int(text or 0)


def _killing(how: str, count: int) -> Callable[[], None]:
    """Have the process killed inside the writing of its ``count``-th checkpoint."""

    def hook() -> None:
        left = [count]

        def now() -> bool:
            left[0] -= 1
            return left[0] == 0

        def end(*_: Any) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        save, replace, unlink, remove = torch.save, os.replace, os.unlink, os.remove

        def half_save(content: Any, file: Any, *arguments: Any, **keywords: Any) -> None:
            if not now():
                return save(content, file, *arguments, **keywords)
            buffer = io.BytesIO()
            save(content, buffer)
            with open(file, "wb") if isinstance(file, (str, os.PathLike)) else contextlib.nullcontext(file) as stream:
                stream.write(buffer.getvalue()[: buffer.tell() // 2])
                stream.flush()
                end()

        def killing(call: Callable[..., Any], before: bool, place: int) -> Callable[..., Any]:
            def wrapped(*arguments: Any, **keywords: Any) -> Any:
                met = str(arguments[place]).endswith(".pt") and now()
                end() if met and before else None
                found = call(*arguments, **keywords)
                end() if met else None
                return found

            return wrapped

        if how == _INSIDE[0]:
            torch.save = half_save
        elif how == _INSIDE[3]:
            os.unlink, os.remove = killing(unlink, True, 0), killing(remove, True, 0)
        else:
            os.replace = killing(replace, how == _INSIDE[1], 1)

    return hook


# Processes


def _start(job: Callable[[Path], None], folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        start = time.monotonic()
        job(folder)
        (folder / "seconds").write_text(str(time.monotonic() - start))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _kill_after(pid: int, seconds: float) -> None:
    start = time.monotonic()
    _kill_when(pid, lambda: time.monotonic() - start > seconds)


def _kill_when(pid: int, met: Callable[[], bool]) -> None:
    start = time.monotonic()
    while not met() and time.monotonic() - start < _LONGEST:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _until_end(pid: int, folder: Path, may_be_killed: bool = False) -> None:
    start = time.monotonic()
    while time.monotonic() - start < _LONGEST:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            if os.waitstatus_to_exitcode(status) not in ((0, -signal.SIGKILL) if may_be_killed else (0,)):
                raise RuntimeError(f"a run failed: {(folder / 'log').read_text()[-1500:]}")
            return
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise RuntimeError(f"a run takes more than {_LONGEST:g} s")
