"""Run a paper's study again: trainings, evaluations, tables and its page."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monai_robust.errors import BadInputError

if TYPE_CHECKING:
    from monai_robust.studies.description import Study
    from monai_robust.studies.jobs import Job

__all__ = ["study"]

_HOUR = 3600.0


def study(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(help="rtda, robustaugmix-xray, oncology-stability, model-complexity or amat; or a file.")
    ],
    preset: Annotated[str, typer.Option(help="paper (as printed), cpu (smaller) or smoke (phantoms).")] = "cpu",
    data_dir: Annotated[
        Path | None, typer.Option("--data_dir", help="The folder that holds the data sets' folders.")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", help="One data set's folder, as NAME=FOLDER; may be given several times."),
    ] = None,
    sets: Annotated[str | None, typer.Option(help="Names of data sets, separated by commas.")] = None,
    arms: Annotated[str | None, typer.Option(help="Names of arms, separated by commas.")] = None,
    output_dir: Annotated[
        Path | None, typer.Option("--output_dir", help="Where results go [studies/output/NAME-PRESET]")
    ] = None,
    kept: Annotated[
        Path | None,
        typer.Option(help="Folder with numbers of earlier runs, which are not run again while settings are the same."),
    ] = None,
    page: Annotated[Path | None, typer.Option(help="The page to write [page.md among the results]")] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="So many jobs at once.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would run, and run nothing.")] = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Time a first training and evaluation, say the hours, and stop.")
    ] = False,
    page_only: Annotated[
        bool, typer.Option("--page_only", help="Write the page from what is there, and run nothing.")
    ] = False,
) -> None:
    """Run a paper's study again, job by job, by Snakemake in .venv-studies; a stopped study goes on.

    Folders of data are options and are stored nowhere but among the results; data sets without one are not run, and the
    page says so. Before most of it starts, a first job of each data set is timed and the hours are told. Further words
    behind -- are Snakemake's, such as --executor slurm.

    With --kept a study goes on over several computers and days: numbers of runs stay in files there, by their settings.

    Example: monai-robust study rtda --preset cpu --data_dir data --dry-run
    """
    from monai_robust.studies.description import read_study
    from monai_robust.studies.jobs import Place, finished, jobs_of, needed_for
    from monai_robust.studies.kept import Kept
    from monai_robust.studies.page import write_page
    from monai_robust.studies.workflow import find_snakemake, run_jobs, write_jobs

    root = _root()
    file = Path(name) if name.endswith((".yaml", ".yml")) else root / "studies" / f"{name}.yaml"
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in (root / "studies").glob("*.yaml")))
        raise BadInputError(f"there is no study {name!r}; there are {known}, or a file of yours")
    found = read_study(file, preset, _names(sets), _names(arms))
    output = (output_dir or root / "studies" / "output" / f"{found.name}-{preset}").absolute()
    phantoms = preset == "smoke"
    folders = {} if phantoms else _folders(found, data_dir, data or [])
    # with numbers that are kept and without data nothing is run at all
    place = Place(output, root / "bundles", folders, phantoms, makes=phantoms or bool(folders) or kept is None)
    every = jobs_of(found, place)
    earlier = None if kept is None else Kept(kept, found)
    wanted = every if earlier is None else earlier.without(every)
    graph = needed_for([job.output for job in wanted if job.kind == "evaluate"], every)
    target = page or output / "page.md"
    command = _command(found, sets, arms, kept)

    def end() -> None:
        if earlier is not None:
            earlier.add(every, output)
        print(f"page: {write_page(found, output, target, command, earlier)}")

    done = finished(graph, output)
    if dry_run:
        for job in graph:
            print(f"{'done' if job in done else 'to do'}  {job.kind:9} {job.name}")
        print(f"{len(graph)} jobs, {len(graph) - len(done)} to do; results in {output}")
        return
    if not every and not page_only and earlier is None:
        raise BadInputError(
            f"no data set of {found.name} has a folder: {_wanted(found)}; give --data_dir or --data NAME=FOLDER"
        )
    if page_only or not graph:
        end()
        return
    snakemake = find_snakemake(root)
    threads = (
        max(1, (os.cpu_count() or 1) // jobs)
        if "OMP_NUM_THREADS" not in os.environ
        else int(os.environ["OMP_NUM_THREADS"])
    )
    write_jobs(graph, output, sys.executable, threads)
    words, snakefile = list(context.args), root / "studies" / "Snakefile"
    try:
        if not phantoms:
            first = _first_of_each_set(graph)
            run_jobs(snakemake, snakefile, graph, output, processes=jobs, targets=first, words=words)
            _tell_hours(graph, output, jobs)
            if estimate:
                return
        run_jobs(snakemake, snakefile, graph, output, processes=jobs, words=words)
    finally:
        if any(job.kind == "evaluate" for job in finished(graph, output)):
            end()


def _root() -> Path:
    """The checkout, which has the studies and bundles: the current folder, or that of the package."""
    for folder in (Path.cwd(), Path(__file__).resolve().parents[2]):
        if (folder / "studies" / "Snakefile").is_file():
            return folder
    raise BadInputError(
        "there are no studies here; run this in a checkout of monai-robust, whose folder studies has them"
    )


def _names(words: str | None) -> list[str]:
    return [] if words is None else [one.strip() for one in words.split(",") if one.strip()]


def _folders(found: Study, data_dir: Path | None, given: Sequence[str]) -> dict[str, Path]:
    """The folder of each data set that has one."""
    folders = {}
    for name, dataset in found.sets.items():
        if data_dir is not None and dataset.folder and (data_dir / dataset.folder).is_dir():
            folders[name] = (data_dir / dataset.folder).absolute()
    for word in given:
        name, equals, folder = word.partition("=")
        if not equals or name not in found.sets:
            raise BadInputError(f"--data is {word!r}; it takes NAME=FOLDER with one of {', '.join(found.sets)}")
        if not Path(folder).is_dir():
            raise BadInputError(f"there is no data set folder {folder} for {name}")
        folders[name] = Path(folder).absolute()
    if data_dir is not None and not data_dir.is_dir():
        raise BadInputError(f"there is no folder {data_dir} with data sets; it is to hold {_wanted(found)}")
    return folders


def _wanted(found: Study) -> str:
    return ", ".join(f"{name} in a folder {one.folder}" if one.folder else name for name, one in found.sets.items())


def _first_of_each_set(graph: Sequence[Job]) -> list[str]:
    first: dict[str, str] = {}
    for job in graph:
        if job.kind == "evaluate":
            first.setdefault(job.name.split("/")[0], job.output)
    return list(first.values())


def _tell_hours(graph: Sequence[Job], output: Path, processes: int) -> None:
    from monai_robust.studies.jobs import finished
    from monai_robust.studies.workflow import costs

    done = {job.name for job in finished(graph, output)}
    seconds = costs(graph, output)
    left = [job for job in graph if job.name not in done]
    total = sum(seconds.get(job.name, 0.0) for job in left) / processes
    hours = f"about {total / _HOUR:.1f} hours with -j {processes}"
    print(f"{len(left)} jobs are left; by those that were timed they take {hours}", flush=True)


def _command(found: Study, sets: str | None, arms: str | None, kept: Path | None) -> str:
    words = [f"monai-robust study {found.name} --preset {found.preset}"]
    words += [] if found.preset == "smoke" else ["--data_dir DATA"]
    words += [f"--sets {sets}"] if sets else []
    words += [f"--arms {arms}"] if arms else []
    words += [] if kept is None else ["--kept studies/kept"]
    return " ".join([*words, f"--page docs/results/{found.name}.md"])
