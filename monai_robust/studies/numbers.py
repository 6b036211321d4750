"""What a study's page takes of a run, and the files that keep it where the run itself is gone."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from monai_robust.data.files.schemas import Line, Name, from_object
from monai_robust.data.files.side_files import read_fields
from monai_robust.data.files.whole import write_whole
from monai_robust.evaluation.report.triage import triage_frames
from monai_robust.evaluation.statistics.summary import summarise
from monai_robust.evaluation.tables.run_folder import read_run
from monai_robust.evaluation.tables.schema import CLEAN
from monai_robust.evaluation.tasks.registry import report_of
from monai_robust.studies.description import WEIGHTS, Arm, DataSet, Replicate, Study
from monai_robust.studies.job import COMMAND
from monai_robust.studies.jobs import Job, run_name

__all__ = ["Kept", "RunNumbers", "numbers_of"]

_PLACE = ["run", "name", "group", "value"]
_INTERVAL = re.compile(r".*_(low|high)")  # which tells of samples, and not of trainings
_OF_A_CLASS = re.compile(r"(.*)_\d+")


@dataclass(frozen=True)
class RunNumbers:
    """What a study's page takes of one run.

    Attributes:
        task: its name.
        machine: that measured it.
        samples: how many were tested.
        patients: of how many people; None where they are not named.
        commonest: the accuracy of saying the commonest class, whatever the image; 0 where samples have no class.
        parameters: of the network; None without its checkpoint.
        higher_is_better: whether the task's measure is a score, or an error.
        triage: by search, the score without the images that take least to turn; None where it has none.
        summary: the rows of :func:`~monai_robust.evaluation.statistics.summary.summarise` over all samples, without
            intervals, numbers of single classes, and what has no value.
    """

    task: Name
    machine: Line
    samples: int
    patients: int | None
    commonest: float
    parameters: int | None
    higher_is_better: bool
    triage: dict[str, float | None]
    summary: list[dict[str, Any]]


@dataclass(frozen=True)
class _File:
    settings: dict[str, Any]
    numbers: dict[str, Any]


class Kept:
    """Numbers of finished runs, a JSON file each, from which a study's page is written without running them again.

    Numbers are taken where a run's settings are those of the file: its ids and their values, the bundle's presets, the
    options of its data list, and the same of each network whose weights it took. Whether the data, the code or the
    bundle's own defaults are those of then cannot be seen from them.

    Args:
        folder: that has a folder for each study and preset, such as ``rtda-cpu``.
        study: whose.
    """

    def __init__(self, folder: str | Path, study: Study) -> None:
        self.folder = Path(folder) / f"{study.name}-{study.preset}"
        self.study = study

    def path(self, dataset: DataSet, arm: Arm, replicate: Replicate) -> Path:
        """The file of a run."""
        return self.folder / dataset.name / f"{arm.name}-{replicate.name}.json"

    def read(self, dataset: DataSet, arm: Arm, replicate: Replicate) -> RunNumbers | None:
        """The numbers of a run; None where there are none, or those of other settings.

        Raises:
            BadInputError: for a file that is something else.
        """
        path = self.path(dataset, arm, replicate)
        if not path.is_file():
            return None
        found = read_fields(path, _File, "file of a run's numbers")
        if found.settings != self._settings(dataset, arm, replicate):
            return None
        return from_object(RunNumbers, found.numbers, str(path), "numbers")

    def write(self, dataset: DataSet, arm: Arm, replicate: Replicate, numbers: RunNumbers) -> Path:
        """Keep the numbers of a run."""
        path = self.path(dataset, arm, replicate)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"settings": self._settings(dataset, arm, replicate), "numbers": asdict(numbers)}
        rows = content["numbers"].pop("summary")
        lines = ",\n   ".join(json.dumps(row) for row in rows)
        text = json.dumps(content, indent=1).removesuffix("\n }\n}")
        return write_whole(path, f'{text},\n  "summary": [\n   {lines}\n  ]\n }}\n}}\n'.encode())

    def without(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs but for evaluations whose numbers are there."""
        there = {f"{run_name(*run)}/robustness" for run in self.study.runs if self.read(*run) is not None}
        return [job for job in jobs if job.name not in there]

    def add(self, jobs: Sequence[Job], output: Path) -> None:
        """Keep the numbers of the evaluations that are among the results, made by these very commands.

        Args:
            jobs: all that the study has now.
            output: the folder of its results.
        """
        by_name = {job.name: job for job in jobs}
        for run in self.study.runs:
            training, evaluation = (by_name.get(f"{run_name(*run)}{end}") for end in ("", "/robustness"))
            if (
                training is not None
                and evaluation is not None
                and _made(training, output)
                and _made(evaluation, output)
            ):
                folder = output / run_name(*run)
                self.write(*run, numbers_of(folder / "robustness", folder / WEIGHTS))

    def _settings(self, dataset: DataSet, arm: Arm, replicate: Replicate) -> dict[str, Any]:
        """What a run was made with, as JSON has it; the weights that it took by what they were made with."""
        evaluation = self.study.evaluation(dataset, arm, replicate)
        evaluation.pop("name")  # what tables call it
        found = {**self._of_training(dataset, arm, replicate), "evaluation": evaluation}
        return json.loads(json.dumps(found))

    def _of_training(self, dataset: DataSet, arm: Arm, replicate: Replicate) -> dict[str, Any]:
        weights = {
            name: self._of_training(dataset, self.study.all_arms[other], replicate)
            | ({} if file == WEIGHTS else {"file": file})
            for name, (other, file) in arm.files.items()
        }
        return {
            "bundle": dataset.bundle,
            "presets": list(dataset.presets),
            "list": dataset.list,
            "training": self.study.training(dataset, arm, replicate),
            "weights": weights,
        }


def numbers_of(folder: str | Path, weights: str | Path) -> RunNumbers:
    """The numbers of a finished evaluation.

    Args:
        folder: its folder.
        weights: the checkpoint that it measured.

    Raises:
        BadInputError: for a folder without a finished evaluation.
    """
    run = read_run(folder)
    task = report_of(run.task)
    summary = summarise([run], task.statistics)
    rows = summary[summary["group"] == ""].drop(columns=_PLACE)
    rows = rows[[name for name in rows if not _is_detail(str(name), rows.columns)]]
    triage = triage_frames([run], task).get("triage", pd.DataFrame(columns=["perturbation", "left"]))
    clean = run.clean
    named = run.patients[run.outcomes["perturbation"].to_numpy() == CLEAN]
    return RunNumbers(
        task=run.task,
        machine=str(run.info.get("machine") or "machine not recorded"),
        samples=int(clean["sample_id"].nunique()),
        patients=len(np.unique(named)) if run.names_patients else None,
        commonest=float(clean["label"].value_counts(normalize=True).max()) if "label" in clean else 0.0,
        parameters=_parameters(Path(weights)),
        higher_is_better=bool((run.info.get("score") or {}).get("higher_is_better", True)),
        triage={str(row["perturbation"]): _known(row["left"]) for _, row in triage.iterrows()},
        summary=[_without_nothing(row) for row in rows.to_dict("records")],
    )


def _made(job: Job, output: Path) -> bool:
    """Whether a job is done, and was done by the command that it has now."""
    command = output / Path(job.output).parent / COMMAND
    made = (output / job.output).is_file() and command.is_file()
    return made and json.loads(command.read_text(encoding="utf-8")) == list(job.command)


def _is_detail(column: str, columns: Collection[str]) -> bool:
    """Whether a column is an interval, or of a single class: ``adi_2`` beside ``adi_1``, but not ``map_50``."""
    stem = _OF_A_CLASS.fullmatch(column)
    of_a_class = stem is not None and f"{stem[1]}_1" in columns
    return of_a_class or _INTERVAL.fullmatch(column) is not None


def _without_nothing(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row without NaN, which JSON does not have, and with Python's own numbers."""
    plain = {str(name): value.item() if isinstance(value, np.generic) else value for name, value in row.items()}
    return {name: value for name, value in plain.items() if not (isinstance(value, float) and math.isnan(value))}


def _known(value: Any) -> float | None:
    return None if math.isnan(float(value)) else float(value)


def _parameters(checkpoint: Path) -> int | None:
    """The number of a network's parameters, of its checkpoint: running statistics of batches are none."""
    if not checkpoint.is_file():
        return None
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["network"]
    running = ("running_mean", "running_var", "num_batches_tracked")
    return sum(value.numel() for name, value in state.items() if not name.endswith(running))
