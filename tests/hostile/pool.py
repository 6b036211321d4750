"""Cases in processes with limits of time and memory: one process runs many cases, and one that dies is replaced."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hostile.damage import damage_bytes, damage_place
from hostile.judging import Kind
from monai_robust.errors import BadInputError, user_error

__all__ = ["COUNTED", "Outcome", "run_cases"]

COUNTED = ("silently wrong", "tracebacks", "crashes", "hangs", "over the memory limit")
_SECONDS = 10.0
_MEMORY = 200 * 2**20
_ADDRESSES = 4 * 2**30  # a wild request ends in a MemoryError instead of taking the machine down
_LONGEST_LINE = 1200
_CASES_A_PROCESS = 150
_MARK = "code_was_run"


@dataclass(frozen=True)
class Outcome:
    """What came of a case.

    Args:
        case: ``kind/number``.
        verdict: ``"loaded"``, ``"refused"``, or one of :data:`COUNTED`.
        damage: what was done to which file.
        said: the message, or what is wrong.
    """

    case: str
    verdict: str
    damage: str = ""
    said: str = ""


def run_cases(
    kinds: Sequence[Kind], cases: Sequence[str], processes: int = 2, keep: Path | None = None
) -> Iterator[Outcome]:
    """Run cases and judge each.

    Args:
        kinds: that the cases are of.
        cases: ``kind/number`` each; number 0 is the good example.
        processes: at a time.
        keep: a folder to leave the damaged files in.
    """
    by_name = {kind.name: kind for kind in kinds}
    with tempfile.TemporaryDirectory(prefix="hostile") as folder:
        good = Path(folder) / "good"
        for kind in kinds:
            (good / kind.name).mkdir(parents=True)
            kind.write(good / kind.name)
        yield from _distribute(by_name, good, list(reversed(cases)), processes, keep)


def _distribute(
    kinds: Mapping[str, Kind], good: Path, waiting: list[str], processes: int, keep: Path | None
) -> Iterator[Outcome]:
    gc.collect()
    gc.freeze()  # what is imported stays, and need not be looked at after each case
    workers = [_Worker(kinds, good, keep) for _ in range(min(processes, len(waiting)))]
    try:
        while waiting or any(worker.case for worker in workers):
            for place, worker in enumerate(workers):
                if not worker.case and waiting:
                    if worker.done >= _CASES_A_PROCESS:
                        worker.end()
                        workers[place] = worker = _Worker(kinds, good, keep)
                    worker.start(waiting.pop())
            ready, _, _ = select.select([one.answers for one in workers if one.case], [], [], 0.2)
            for place, worker in enumerate(workers):
                outcome = worker.outcome(worker.answers in ready) if worker.case else None
                if outcome is not None:
                    yield outcome
                if worker.dead:
                    worker.end()
                    workers[place] = _Worker(kinds, good, keep)
    finally:
        for worker in workers:
            worker.end()


@dataclass
class _Worker:
    kinds: Mapping[str, Kind]
    good: Path
    keep: Path | None
    case: str = ""
    done: int = 0
    dead: bool = False
    deadline: float = 0.0
    phase: str = ""
    damage: str = ""
    used: float = 0.0
    pid: int = field(init=False)
    _read: bytes = b""

    def __post_init__(self) -> None:
        self._asked, self._ask = os.pipe()
        self._answered, self._answer = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._ask)
            os.close(self._answered)
            status = 1
            try:
                _work(self.kinds, self.good, self.keep, os.fdopen(self._asked), os.fdopen(self._answer, "w"))
                status = 0
            finally:
                os._exit(status)
        os.close(self._asked)
        os.close(self._answer)
        self.answers = self._answered

    def start(self, case: str) -> None:
        os.write(self._ask, f"{case}\n".encode())
        self.case, self.phase, self.damage = case, "", ""
        self.used = self._seconds()
        self.deadline = time.monotonic() + _SECONDS + (20 if not self.done else 0)

    def outcome(self, ready: bool) -> Outcome | None:
        """The outcome of the case, if it is known now."""
        if not ready:
            return self._late() if time.monotonic() > self.deadline and not self._starved() else None
        more = os.read(self.answers, 65536)
        *lines, self._read = (self._read + more).split(b"\n")
        if not more:
            self.dead = True
            _, status = os.waitpid(self.pid, 0)
            self.pid = 0
            number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
            said = f"ended by {signal.Signals(number).name}" if number else f"exit status {os.WEXITSTATUS(status)}"
            return self._finished("crashes", f"{said} while {self.phase or 'starting'}")
        for told in map(json.loads, lines):
            if "verdict" in told:
                return self._finished(told["verdict"], told["said"])
            self.phase, self.damage = told["phase"], told.get("damage", self.damage)
            self.deadline = time.monotonic() + _SECONDS
        return None

    def _starved(self) -> bool:
        """Whether the process would go on if other processes left it a core; then it is given more time."""
        state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        if state != "R" or self._seconds() - self.used > _SECONDS / 2:
            return False
        self.deadline = time.monotonic() + _SECONDS / 2
        return True

    def _seconds(self) -> float:
        """Time on a core."""
        words = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def _late(self) -> Outcome:
        self.dead = True
        return self._finished("hangs", f"{self.phase or 'starting'} takes more than {_SECONDS:g} s")

    def _finished(self, verdict: str, said: str) -> Outcome:
        case, self.case, self.done = self.case, "", self.done + 1
        return Outcome(case, verdict, self.damage, said)

    def end(self) -> None:
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0
        for end in (self._ask, self.answers):
            with contextlib.suppress(OSError):
                os.close(end)


def _work(kinds: Mapping[str, Kind], good: Path, keep: Path | None, cases: Any, answers: Any) -> None:
    """What a child process does until nobody asks any more."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    warnings.simplefilter("ignore")

    def tell(**words: str) -> None:
        answers.write(json.dumps(words) + "\n")
        answers.flush()

    for line in iter(cases.readline, ""):
        case = line.strip()
        name, _, number = case.partition("/")
        kind = kinds[name]
        folder = Path(tempfile.mkdtemp(prefix=f"{name}_{number}_", dir=keep or good.parent))
        here = Path.cwd()
        try:
            shutil.copytree(good / name, folder, dirs_exist_ok=True)
            damaged, what = _damage(kind, folder, int(number))
            tell(phase="reading", damage=f"{damaged.name}: {what}")
            os.chdir(folder)
            verdict, said = _judge(kind, folder, damaged, tell)
            if verdict == "refused" and not int(number):
                verdict, said = "tracebacks", f"the good example is refused: {said}"
            if (folder / _MARK).exists():
                verdict, said = "silently wrong", "code of the file was run"
        finally:
            os.chdir(here)
            if keep is None:
                shutil.rmtree(folder, ignore_errors=True)
        tell(verdict=verdict, said=said)


def _damage(kind: Kind, folder: Path, number: int) -> tuple[Path, str]:
    """Damage one file; number 0 leaves the good example as it is."""
    random = np.random.default_rng([zlib.crc32(kind.name.encode()), number])
    files = sorted(path for pattern in kind.damaged for path in folder.glob(pattern))
    path = files[int(random.integers(len(files)))]
    if not number:
        return path, "as it was written"
    fields = next((damage for end, damage in kind.fields.items() if path.name.endswith(end)), None)
    draw = random.random()
    if draw < 0.04:
        return path, damage_place(path, random)
    if fields is not None and draw < 0.6:
        return path, fields(path, random)
    return path, damage_bytes(path, random)


def _judge(kind: Kind, folder: Path, damaged: Path, tell: Any) -> tuple[str, str]:
    gc.collect()
    before = _memory("VmRSS", reset=True)
    with _bounded_addresses():
        try:
            found, error = kind.read(folder), None
        except BaseException as raised:
            found, error = None, raised
    grown = _memory("VmHWM") - before
    refusal = _refusal(error, folder, damaged) if error is not None else ""
    if grown > _MEMORY + 4 * kind.size or isinstance(error, MemoryError):
        return "over the memory limit", f"{grown / 2**20:.0f} MB ({error or 'loaded'})"
    if error is not None:
        said = f"{type(error).__name__}: {error}"
        return ("tracebacks", f"{refusal}: {said[:400]}") if refusal else ("refused", str(error))
    tell(phase="reading by the reference")
    with _bounded_addresses():
        try:
            expected = kind.reference(folder)
        except Exception as raised:
            reason = f"{type(raised).__name__}: {raised}"
            return "silently wrong", f"loaded, but the reference refuses ({reason[:200]})"
    tell(phase="comparing")
    wrong = kind.difference(found, expected)
    return ("silently wrong", wrong) if wrong else ("loaded", "")


def _refusal(error: BaseException, folder: Path, damaged: Path) -> str:
    """Why an error is not a sentence for the person who gave the file."""
    known = user_error(error)
    if not isinstance(known, BadInputError):
        return "no refusal"
    text = str(known)
    if "\n" in text or "\r" in text:
        return "more than a line"
    if len(text) > _LONGEST_LINE:
        return f"{len(text)} characters"
    return "" if str(folder) in text or damaged.name in text else "names no file"


def _memory(name: str, reset: bool = False) -> int:
    """Bytes of this process as the kernel counts them; the peak counts from the last reset."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return 0


@contextlib.contextmanager
def _bounded_addresses() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_memory("VmSize") + _ADDRESSES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
