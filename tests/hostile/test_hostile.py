"""Damaged files are read rightly or refused by name, and this test would notice if they were not."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY, environment
from warm_python import WarmPython

from hostile.judging import Kind, difference
from hostile.pool import run_cases
from monai_robust.errors import BadInputError, BadSampleError


def _bad(folder: Path) -> Any:
    raise BadSampleError(f"{folder / 'a.txt'} is damaged")


def _nameless(folder: Path) -> Any:
    raise BadInputError("a file is damaged")


class _TalkativeError(BadInputError):
    def __str__(self) -> str:
        return f"{super().__str__()}\nsee there"


def _talkative(folder: Path) -> Any:
    raise _TalkativeError(f"{folder / 'a.txt'} is damaged")


def _crash(folder: Path) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def _hang(folder: Path) -> Any:
    (folder / "pipe").unlink(missing_ok=True)
    os.mkfifo(folder / "pipe")
    return (folder / "pipe").read_bytes()


def _greedy(folder: Path) -> Any:
    return float(np.ones(2**25).sum())  # 256 MB


def _wild(folder: Path) -> Any:
    return np.ones(2**40)


def _run_code(folder: Path) -> Any:
    Path("code_was_run").touch()
    return 1.0


@pytest.mark.parametrize(
    ("read", "verdict"),
    [
        (lambda folder: 1.0, "loaded"),
        (lambda folder: 1.5, "silently wrong"),
        (_run_code, "silently wrong"),
        (_bad, "refused"),
        (_nameless, "tracebacks"),
        (_talkative, "tracebacks"),
        (lambda folder: {}["x"], "tracebacks"),
        (_crash, "crashes"),
        (_hang, "hangs"),
        (_greedy, "over the memory limit"),
        (_wild, "over the memory limit"),
    ],
    ids=lambda value: getattr(value, "__name__", value).strip("_"),
)
def test_each_way_to_fail_is_seen(read: Any, verdict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hostile.pool._SECONDS", 2.0)
    write = lambda folder: (folder / "a.txt").write_text("something")  # noqa: E731
    kind = Kind("text", write, ["a.txt"], {}, read, lambda folder: 1.0, difference)
    start = time.monotonic()
    outcomes = list(run_cases([kind], ["text/1", "text/2"], processes=1))
    assert [outcome.verdict for outcome in outcomes] == [verdict] * 2
    assert time.monotonic() - start < 30


def test_what_the_reference_refuses_must_not_be_loaded() -> None:
    write = lambda folder: (folder / "a.txt").write_text("something")  # noqa: E731
    kind = Kind("text", write, ["a.txt"], {}, lambda folder: 1.0, lambda folder: {}["x"], difference)
    outcome = next(iter(run_cases([kind], ["text/1"])))
    assert (outcome.verdict, "reference refuses" in outcome.said) == ("silently wrong", True)


def test_a_good_example_must_be_read() -> None:
    write = lambda folder: (folder / "a.txt").write_text("something")  # noqa: E731
    kind = Kind("text", write, ["a.txt"], {}, _bad, lambda folder: 1.0, difference)
    said = {one.case: (one.verdict, one.said) for one in run_cases([kind], ["text/0", "text/1"], processes=1)}
    assert said["text/1"][0] == "refused"
    assert said["text/0"][0] == "tracebacks"
    assert "good example" in said["text/0"][1]


def test_the_same_case_is_the_same_damage(tmp_path: Path) -> None:
    write = lambda folder: (folder / "a.txt").write_text("something" * 9)  # noqa: E731
    kind = Kind("text", write, ["a.txt"], {}, lambda folder: 1.0, lambda folder: 1.0, difference)
    said = [
        [one.damage for one in run_cases([kind], [f"text/{k}" for k in range(1, 10)], processes=1)] for _ in range(2)
    ]
    assert said[0] == said[1]
    assert len(set(said[0])) == 9


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"a": np.zeros((2, 3))}, {"a": np.zeros((3, 2))}),
        ({"a": np.zeros(3)}, {"a": np.array([0, np.nan, 0])}),
        ([1, 2], [1, 2, 3]),
        ({"a": 1}, {"b": 1}),
        ("1", 1),
        (True, 1.5),
        (1.0, float("nan")),
    ],
)
def test_readings_that_differ_are_told_apart(found: Any, expected: Any) -> None:
    assert difference(found, expected)
    assert not difference(found, found)
    assert not difference(expected, expected)


def _run(warm_python: WarmPython, *words: object) -> None:
    done = warm_python.run("-m", "hostile", *words, cwd=REPOSITORY / "tests", env=environment())
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


@pytest.mark.slow
def test_three_hundred_damaged_files(warm_python: WarmPython) -> None:
    _run(warm_python, "--cases", 300)


@pytest.mark.slow
def test_two_killed_trainings_and_two_killed_evaluations_lose_nothing(warm_python: WarmPython) -> None:
    _run(warm_python, "--kills", 2)
