"""Run one job of a study: ``python -m monai_robust.studies.job JOBS.json NAME``; what the workflow calls for each.

A training that was stopped goes on from its newest checkpoint, and an evaluation from what it has measured, unless the
command is another one now: then it begins anew. What the command prints goes into ``log.txt`` beside its result.
Nothing but Python's own library is imported, so that a job starts at once.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["COMMAND", "main", "record_of", "run_job"]

COMMAND = "command.json"
"""The file in a result's folder with the words of the command that made it."""
_LOG = "log.txt"
_EPOCHS = "checkpoint_epoch=*.pt"
_LAST_LINES = 12


def record_of(file: Path, kind: str) -> Path:
    """Where the command stands that made a job's file: in its folder, which data lists share, and phantoms need not."""
    return file.with_suffix(f".{COMMAND}") if kind == "list" else file.with_name(COMMAND)


def run_job(output: Path, kind: str, file: str, command: Sequence[str]) -> int:
    """Run a job's command in its folder's name, and see that its file is there.

    Args:
        output: the study's folder.
        kind: of the job.
        file: that it makes, from ``output`` on.
        command: its words.

    Returns:
        The exit status: that of the command, or 1 where it left no file.
    """
    folder = (output / file).parent
    folder.mkdir(parents=True, exist_ok=True)
    words = list(command)
    record = record_of(output / file, kind)
    stored = json.loads(record.read_text()) if record.is_file() else None
    if kind == "evaluate" and stored not in (None, words):
        shutil.rmtree(folder)  # another measurement, which none can go on from
        folder.mkdir()
    if kind == "train":
        checkpoints = sorted(folder.glob(_EPOCHS))
        if stored != words:
            for one in checkpoints:
                one.unlink()
        elif checkpoints:
            words += ["--resume", str(folder)]
    if kind != "phantoms":  # whose folder is a data set's, in which nothing else belongs
        record.write_text(f"{json.dumps(list(command))}\n")
    log = output / "logs" / f"{file.replace('/', '_')}.txt" if kind in ("phantoms", "list") else folder / _LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as stream:
        status = subprocess.run(words, stdout=stream, stderr=subprocess.STDOUT, check=False).returncode
    if status == 0 and not (output / file).is_file():
        print(f"{file} was not made; see {log}", file=sys.stderr)
        return 1
    if status == 0 and kind == "train":
        for one in folder.glob(_EPOCHS):  # model.pt holds the same weights
            one.unlink()
    if status != 0:
        last = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").splitlines()[-_LAST_LINES:]
        print(
            "\n".join([f"the job of {file} ended with exit status {status}; {log} ends with", *last]), file=sys.stderr
        )
    return status


def main(arguments: Sequence[str]) -> int:
    """The job named on the command line."""
    path, name = Path(arguments[0]), arguments[1]
    content = json.loads(path.read_text(encoding="utf-8"))
    job = content["jobs"][name]
    os.environ.setdefault("OMP_NUM_THREADS", str(content["threads"]))
    return run_job(path.parent, job["kind"], job["output"], job["command"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
