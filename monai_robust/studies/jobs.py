"""The graph of a study's jobs: phantoms or data lists, then trainings, then evaluations; each is one command."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from monai_robust.studies.description import WEIGHTS, Arm, DataSet, Replicate, Study
from monai_robust.studies.job import record_of

__all__ = ["Job", "Place", "finished", "in_words", "jobs_of", "needed_for", "run_name"]

_PHANTOM_PATIENTS = {"radiographs": 24, "volumes": 12, "cephalograms": 12, "smears": 12}


@dataclass(frozen=True)
class Place:
    """Where a study runs.

    Attributes:
        output: the folder of its results.
        bundles: the folder of bundles.
        data: the folder of each data set by its name; without one it is not run, or made of phantoms.
        phantoms: whether phantoms stand for all data.
        makes: whether data sets that need no folder are made; else they are not run.
        python: that has this package.
    """

    output: Path
    bundles: Path
    data: Mapping[str, Path]
    phantoms: bool = False
    makes: bool = True
    python: str = sys.executable


@dataclass(frozen=True)
class Job:
    """One command of a study.

    Attributes:
        name: what it makes, such as ``radiographs/erm/seed0``.
        kind: ``phantoms``, ``list``, ``train`` or ``evaluate``.
        inputs: files that must be there before, from the study's folder on.
        output: the file that is there when it is done, likewise.
        command: its words.
        passes: of a training, how many times it shows a batch to the network; of anything else 1.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    output: str
    command: tuple[str, ...]
    passes: float = 1.0

    def as_data(self) -> dict[str, Any]:
        """For a file that the workflow reads."""
        return asdict(self)


def jobs_of(study: Study, place: Place) -> list[Job]:
    """All jobs of a study, each after those it needs.

    Args:
        study: what is to be run.
        place: where; data sets without a folder are left out.
    """
    from monai_robust.configuration.ids import read_configuration  # loads torch

    jobs: list[Job] = []
    for dataset in study.sets.values():
        if not place.phantoms and dataset.name not in place.data and not (dataset.made and place.makes):
            continue
        configuration = read_configuration(_configs(dataset, place))
        arms = [arm for arm in study.arms.values() if arm.name in dataset.arms]
        wanted = [one for arm in arms for one in study.replicates_of(arm)]
        for replicate in [one for one in dict.fromkeys([*study.replicates, *wanted]) if one in wanted]:
            before = _before(dataset, replicate, place)
            jobs += [one for one in before if one.name not in {job.name for job in jobs}]
            for arm in arms:
                if replicate not in study.replicates_of(arm):
                    continue
                needs = tuple(job.output for job in before)
                training = _training(study, dataset, arm, replicate, place, needs, configuration)
                jobs += [training, _evaluation(study, dataset, arm, replicate, place, training)]
    return jobs


def finished(jobs: Iterable[Job], output: Path) -> list[Job]:
    """Those whose file was made by the command that they have now, after those that they need, which were, too.

    Args:
        jobs: each after those it needs.
        output: the study's folder.
    """
    jobs = list(jobs)
    left = {job.output for job in jobs}
    found = []
    for job in jobs:
        if left.isdisjoint(job.inputs) and _made_by_its_command(job, output):
            left.remove(job.output)
            found.append(job)
    return found


def _made_by_its_command(job: Job, output: Path) -> bool:
    file = output / job.output
    if job.kind == "phantoms" or not file.is_file():
        return file.is_file()
    record, made = record_of(file, job.kind), file.stat().st_mtime
    if any(one.is_file() and one.stat().st_mtime > made for one in (output / name for name in job.inputs)):
        return False
    if not record.is_file():
        return job.kind == "list"  # earlier ones have none
    return bool(json.loads(record.read_text(encoding="utf-8")) == list(job.command))


def needed_for(targets: Iterable[str], jobs: Sequence[Job]) -> list[Job]:
    """The jobs that make some files, and those before them, in their order."""
    by_output: Mapping[str, Job] = {job.output: job for job in jobs}
    found: set[str] = set()
    waiting = list(targets)
    while waiting:
        one = waiting.pop()
        if one not in found and one in by_output:
            found.add(one)
            waiting += by_output[one].inputs
    return [job for job in jobs if job.output in found]


def run_name(dataset: DataSet, arm: Arm, replicate: Replicate) -> str:
    """The folder of a run from the study's on, which is its training's name, too."""
    return f"{dataset.name}/{arm.name}/{replicate.name}"


def in_words(value: Any) -> str:
    """A setting as a word of a command line.

    >>> in_words([0.5, 1.0]), in_words(True), in_words(None), in_words("rtda")
    ('[0.5, 1.0]', 'true', 'null', 'rtda')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)


def _data_folder(dataset: DataSet, place: Place) -> Path:
    kind = dataset.made or (dataset.phantoms if place.phantoms else "")
    return place.output / "phantoms" / kind if kind else place.data[dataset.name]


def _before(dataset: DataSet, replicate: Replicate, place: Place) -> list[Job]:
    """What a data set needs before anything is trained on it."""
    package = (place.python, "-m", "monai_robust")
    if dataset.made:
        output = f"phantoms/{dataset.made}"
        maker = (place.python, "-m", f"monai_robust.studies.{dataset.made}", str(_data_folder(dataset, place)))
        return [Job(output, "phantoms", (), f"{output}/phantom.json", maker)]
    if place.phantoms:
        folder, kind = _data_folder(dataset, place), dataset.phantoms
        number = str(_PHANTOM_PATIENTS[kind])
        size = ("--size", "96") if kind == "radiographs" else ()
        words = ("phantoms", "--kind", kind, "--output_dir", str(folder), "--patients", number, *size)
        return [Job(f"phantoms/{kind}", "phantoms", (), f"phantoms/{kind}/phantom.json", (*package, *words))]
    if dataset.list is None:
        return []
    output = _list_file(dataset, replicate)
    options = [word for name, value in dataset.list.items() for word in _option(name, value)]
    seed = ("--seed", str(replicate.split_seed or 0))
    words = ("datalist", str(_data_folder(dataset, place)), "--output", str(place.output / output), *seed, *options)
    return [Job(output.removesuffix(".json"), "list", (), output, (*package, *words))]


def _list_file(dataset: DataSet, replicate: Replicate) -> str:
    draw = "" if replicate.split_seed is None else f"-split{replicate.split_seed}"
    return f"lists/{dataset.name}{draw}.json"


def _option(name: str, value: Any) -> tuple[str, ...]:
    """An option of one of this package's commands, whose switches take no word."""
    if isinstance(value, bool):
        return (f"--{name}",) if value else ()
    return (f"--{name}", in_words(value))


def _training(
    study: Study,
    dataset: DataSet,
    arm: Arm,
    replicate: Replicate,
    place: Place,
    needs: Sequence[str],
    configuration: Mapping[str, Any],
) -> Job:
    from monai_robust.studies.passes import passes_of  # loads torch

    folder = run_name(dataset, arm, replicate)
    settings = study.training(dataset, arm, replicate)
    others = {name: (f"{dataset.name}/{other}/{replicate.name}", file) for name, (other, file) in arm.files.items()}
    words = {
        "config_file": _configs(dataset, place),
        "bundle_root": place.bundles / dataset.bundle,
        **_data_ids(dataset, replicate, place),
        **settings,
        **{name: place.output / other / file for name, (other, file) in others.items()},
        "output_dir": place.output / folder,
    }
    return Job(
        name=folder,
        kind="train",
        inputs=(*needs, *dict.fromkeys(f"{other}/{WEIGHTS}" for other, _ in others.values())),
        output=f"{folder}/{WEIGHTS}",
        command=(place.python, "-m", "monai.bundle", "run", *_options(words)),
        passes=passes_of(settings, configuration),
    )


def _evaluation(study: Study, dataset: DataSet, arm: Arm, replicate: Replicate, place: Place, training: Job) -> Job:
    folder = f"{run_name(dataset, arm, replicate)}/robustness"
    bundle = place.bundles / dataset.bundle
    words = {**_data_ids(dataset, replicate, place), **study.evaluation(dataset, arm, replicate)}
    presets = [word for path in _presets(dataset, bundle) for word in ("--preset", path)]
    checkpoint = ("--checkpoint", str(place.output / training.output))
    return Job(
        name=folder,
        kind="evaluate",
        inputs=(training.output,),
        output=f"{folder}/report.html",
        command=(
            *(place.python, "-m", "monai_robust", "evaluate", str(bundle), *checkpoint),
            *("--output_dir", str(place.output / folder), *presets, *_options(words)),
        ),
    )


def _configs(dataset: DataSet, place: Place) -> list[str]:
    bundle = place.bundles / dataset.bundle
    return [str(bundle / "configs" / "train.yaml"), *_presets(dataset, bundle)]


def _presets(dataset: DataSet, bundle: Path) -> list[str]:
    return [str(bundle / "configs" / "presets" / f"{name}.yaml") for name in dataset.presets]


def _data_ids(dataset: DataSet, replicate: Replicate, place: Place) -> dict[str, Any]:
    found: dict[str, Any] = {"dataset_dir": _data_folder(dataset, place)}
    if dataset.list is not None and not place.phantoms:
        found["datalist"] = place.output / _list_file(dataset, replicate)
    return found


def _options(words: Mapping[str, Any]) -> list[str]:
    return [word for name, value in words.items() for word in (f"--{name}", in_words(value))]
