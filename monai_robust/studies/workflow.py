"""Hand a study's jobs to Snakemake, which lives in an environment of its own, and tell how far it is."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from tqdm import tqdm

from monai_robust.errors import BadInputError
from monai_robust.studies.jobs import Job, finished, needed_for

__all__ = ["costs", "find_snakemake", "run_jobs", "seconds_of", "write_jobs"]

_ENVIRONMENT = ".venv-studies"
_LOG = "snakemake.log"
_POLL = 1.0  # seconds
_LAST_LINES = 30


def find_snakemake(root: Path) -> Path:
    """Snakemake of ``.venv-studies`` in the folder of the checkout.

    Raises:
        BadInputError: there is none; says how to make it.
    """
    found = root / _ENVIRONMENT / "bin" / "snakemake"
    if not found.is_file():
        raise BadInputError(
            f"studies are run by Snakemake, and {root} has no environment {_ENVIRONMENT} with it; make it once by "
            "`make studies-install` there"
        )
    return found


def write_jobs(jobs: Sequence[Job], output: Path, python: str, threads: int) -> Path:
    """Write ``jobs.json``, which the workflow reads."""
    content = {"python": python, "threads": threads, "jobs": {job.name: job.as_data() for job in jobs}}
    output.mkdir(parents=True, exist_ok=True)
    path = output / "jobs.json"
    path.write_text(f"{json.dumps(content, indent=1)}\n", encoding="utf-8")
    return path


def run_jobs(
    snakemake: Path,
    snakefile: Path,
    jobs: Sequence[Job],
    output: Path,
    *,
    processes: int = 1,
    targets: Sequence[str] = (),
    words: Sequence[str] = (),
) -> None:
    """Run jobs that are not done yet, with progress and remaining time at the end of a line.

    Args:
        snakemake: the program.
        snakefile: the workflow.
        jobs: all of them, as ``jobs.json`` in ``output`` has them.
        output: the study's folder.
        processes: so many jobs at once.
        targets: files to be made; all by default.
        words: further words for Snakemake, such as ``--executor slurm``.

    Raises:
        BadInputError: a job failed; with the last lines of what Snakemake said.
    """
    command = [
        *(str(snakemake), "--snakefile", str(snakefile), "--directory", str(output), "--jobs", str(processes)),
        *("--rerun-incomplete", "--keep-going", "--nolock", *words, *targets),
    ]
    wanted = needed_for(targets, jobs) if targets else list(jobs)
    _remove_stale(wanted, output)
    with (
        (output / _LOG).open("w", encoding="utf-8") as log,
        subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT) as process,
    ):
        try:
            _watch(process, wanted, output, processes)
        except KeyboardInterrupt:
            process.wait()  # it was interrupted, too, and ends its jobs
            raise
    if process.returncode != 0:
        lines = (output / _LOG).read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
        print("\n".join(lines), file=sys.stderr)
        raise BadInputError(
            f"the workflow ended with exit status {process.returncode}; what failed stands above and in the log.txt of "
            f"its folder in {output}; the same command goes on from there"
        )


def _remove_stale(jobs: Sequence[Job], output: Path) -> None:
    """Remove the files of jobs whose command is another one now, which Snakemake would take for done."""
    done = {job.name for job in finished(jobs, output)}
    for job in jobs:
        if job.name not in done:
            (output / job.output).unlink(missing_ok=True)


def seconds_of(job: Job, output: Path) -> float | None:
    """How long a job took, from the file that Snakemake writes; None where it is not known."""
    path = output / "times" / ("/".join(job.output.split("/")[:3]) + f"/{job.kind}.tsv")
    if not path.is_file():
        return None
    rows = path.read_text().splitlines()
    return float(rows[1].split("\t")[0]) if len(rows) > 1 else None


def costs(jobs: Iterable[Job], output: Path) -> dict[str, float]:
    """Seconds of each training and evaluation, known or told from those that are.

    Those are of the same arm on the same data set, or else of any arm on it, or else all.

    A training takes as long as its passes (:mod:`monai_robust.studies.passes`); evaluations are alike.
    """
    jobs = [job for job in jobs if job.kind in ("train", "evaluate")]
    known = {job.name: seconds for job in jobs if (seconds := seconds_of(job, output)) is not None}
    rates: dict[tuple[str, ...], list[float]] = {}
    for job in jobs:
        if job.name in known:
            for alike in _alike(job):
                rates.setdefault(alike, []).append(known[job.name] / job.passes)
    found = {}
    for job in jobs:
        rate = next((rates[alike] for alike in _alike(job) if alike in rates), [])
        if job.name in known:
            found[job.name] = known[job.name]
        elif rate:
            found[job.name] = job.passes * sum(rate) / len(rate)
    return found


def _alike(job: Job) -> list[tuple[str, ...]]:
    """Names of the jobs that say most of how long one takes, and of more of them that say less."""
    dataset, arm = job.name.split("/")[:2]
    return [(job.kind, dataset, arm), (job.kind, dataset), (job.kind,)]


def _watch(process: subprocess.Popen[bytes], jobs: Sequence[Job], output: Path, processes: int) -> None:
    """Show how many jobs are done, and for how long what is left will run, until the process ends."""
    done = len(finished(jobs, output))
    line = "{desc}: {n_fmt}/{total_fmt} jobs |{bar}| {elapsed}{postfix}"
    with tqdm(total=len(jobs), initial=done, desc="study", bar_format=line, mininterval=0) as bar:
        told = 0.0
        while process.poll() is None:
            now = time.monotonic()
            ready = finished(jobs, output)
            if len(ready) != bar.n or now - told > 10 * _POLL:
                told = now
                seconds = costs(jobs, output)
                left = sum(seconds.get(job.name, 0.0) for job in jobs if job not in ready) / processes
                bar.n = len(ready)
                bar.set_postfix_str(f"about {tqdm.format_interval(left)} left" if seconds else "", refresh=True)
            time.sleep(_POLL)
        bar.n = len(finished(jobs, output))
        bar.set_postfix_str("", refresh=True)
