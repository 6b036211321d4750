"""Several processes measure together: the table is the one that a single process makes, and an error ends all."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import environment
from synthetic_runs import measured_lines
from test_measure import Killed, Stopping, measurement
from test_shifts import SiteB
from test_validation_run import OtherFilms
from warm_python import WarmPython

from monai_robust.evaluation import read_run

TESTS = Path(__file__).parent
TABLES = ("outcomes.csv", "outcomes.parquet", "sanity.json", "cases.parquet")
SCRIPT = """
import os, sys
sys.path.insert(0, {tests!r})
from test_failures import Unreadable
from test_measure import Killed, Stopping, measurement
from test_shifts import SiteB
from test_validation_run import OtherFilms
from monai_robust.errors import BadInputError, install_excepthook
from monai_robust.evaluation.tables import writer

install_excepthook()
rank = int(os.environ["RANK"])
changes = dict(sanity_samples=4)
if {case!r} == "other site":
    changes |= dict(shifts={{"site_b": SiteB()}}, validation=OtherFilms())
if {case!r} == "failing sample":
    changes["dataset"] = Unreadable()
if {case!r} == "killed" and rank == 1:
    writer.SECONDS = writer.SHARE = 0.0
    changes["task"] = Stopping(9)
if {case!r} == "refusing" and rank == 1:
    class Refusing(Stopping):
        def terms(self, outputs, targets):
            raise BadInputError("this label has no loss; mend it")
    changes["task"] = Refusing(99)
try:
    measurement({folder!r}, **changes).run()
except Killed:
    os._exit(9)
"""


def by_two(warm_python: WarmPython, folder: Path, case: str = "") -> subprocess.CompletedProcess[str]:
    script = folder.with_name(f"{folder.name}.py")
    script.write_text(SCRIPT.format(tests=str(TESTS), folder=str(folder), case=case))
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    return warm_python.run(*words, script, env=environment(), timeout=120)


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in TABLES}


def record(folder: Path) -> dict[str, Any]:
    info = json.loads((folder / "run.json").read_text())
    assert info.pop("finished")
    return {key: value for key, value in info.items() if key != "started"}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return measurement(tmp_path_factory.mktemp("alone"), sanity_samples=4).run()


def test_two_processes_make_the_table_of_one(alone: Path, tmp_path: Path, warm_python: WarmPython) -> None:
    done = by_two(warm_python, tmp_path / "run")
    assert done.returncode == 0, done.stderr[-3000:]
    assert content(tmp_path / "run") == content(alone)
    assert record(tmp_path / "run") == record(alone)
    assert not (tmp_path / "run" / "parts").exists()


@pytest.mark.full
def test_another_site_and_the_validation_split_are_measured_by_two_processes(
    tmp_path: Path, warm_python: WarmPython
) -> None:
    others = {"shifts": {"site_b": SiteB()}, "validation": OtherFilms()}
    own = measurement(tmp_path / "alone", sanity_samples=4, **others).run()
    done = by_two(warm_python, tmp_path / "run", "other site")
    assert done.returncode == 0, done.stderr[-3000:]
    for part in ("shifts/site_b", "validation"):
        for table in ("outcomes.csv", "outcomes.parquet"):
            assert (tmp_path / "run" / part / table).read_bytes() == (own / part / table).read_bytes()
        assert not (tmp_path / "run" / part / "parts").exists()
    found = read_run(tmp_path / "run").shifts["site_b"].clean
    assert found["score"].equals(read_run(own).shifts["site_b"].clean["score"])


@pytest.mark.full
def test_a_sample_that_fails_in_one_of_the_processes_is_listed(tmp_path: Path, warm_python: WarmPython) -> None:
    done = by_two(warm_python, tmp_path / "run", "failing sample")
    assert done.returncode == 0, done.stderr[-3000:]
    assert read_run(tmp_path / "run").failed == {"film5"}


@pytest.mark.full
def test_one_process_continues_what_two_have_begun(alone: Path, tmp_path: Path, warm_python: WarmPython) -> None:
    done = by_two(warm_python, tmp_path / "run", "killed")
    assert done.returncode != 0
    begun = set(measured_lines(tmp_path / "run"))
    assert begun < set((alone / "outcomes.csv").read_text().splitlines())
    assert begun
    measurement(tmp_path / "run", sanity_samples=4).run()
    assert content(tmp_path / "run") == content(alone)


@pytest.mark.full
def test_two_processes_continue_what_one_has_begun(alone: Path, tmp_path: Path, warm_python: WarmPython) -> None:
    with pytest.raises(Killed):
        measurement(tmp_path / "run", sanity_samples=4, task=Stopping(14)).run()
    done = by_two(warm_python, tmp_path / "run")
    assert done.returncode == 0, done.stderr[-3000:]
    assert content(tmp_path / "run") == content(alone)


@pytest.mark.full
def test_an_error_of_one_process_ends_all_with_its_sentence(tmp_path: Path, warm_python: WarmPython) -> None:
    done = by_two(warm_python, tmp_path / "run", "refusing")
    assert done.returncode != 0
    assert "error: this label has no loss; mend it" in done.stderr.splitlines()


METRIC_SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
import torch
from ignite.metrics import Accuracy
from monai.handlers import from_engine
from test_measure_evaluator import Brightness, evaluator_of, films
from monai_robust.attacks import PGD
from monai_robust.evaluation import AttackSweep, CleanSweep, Measurement

metric = {{"accuracy": Accuracy(output_transform=from_engine(["pred", "label"]))}}
evaluator = evaluator_of(Brightness(), films(), key_val_metric=metric, decollate=False)
sweeps = [CleanSweep(), AttackSweep(PGD(steps=2, bounds=(0, 1)), radii=[2.0])]
loss = torch.nn.CrossEntropyLoss()
Measurement.of(evaluator, sweeps, {folder!r}, task="key_metric", loss=loss, sanity_samples=2).run()
"""


@pytest.mark.full
def test_the_key_metric_of_a_sample_is_that_of_its_process_alone(tmp_path: Path, warm_python: WarmPython) -> None:
    """Metrics of ignite and MONAI gather from all processes, which score different samples at a time."""
    scored = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        script = tmp_path / f"{processes}.py"
        script.write_text(METRIC_SCRIPT.format(tests=str(TESTS), folder=str(folder)))
        words = [] if processes == 1 else ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
        done = warm_python.run(*words, script, env=environment(), timeout=120)
        assert done.returncode == 0, done.stderr[-3000:]
        scored.append(read_run(folder).outcomes[["sample_id", "perturbation", "severity", "score"]])
    assert scored[1].equals(scored[0])
    assert set(scored[0]["score"]) == {0.0, 1.0}, "an accuracy of one sample is right or wrong"
