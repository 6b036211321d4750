"""Files that keep the numbers of a study's runs where the runs themselves are gone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from monai_robust.data.files.schemas import from_object
from monai_robust.data.files.side_files import read_fields
from monai_robust.data.files.whole import write_whole
from monai_robust.studies.description import WEIGHTS, Arm, DataSet, Replicate, Study
from monai_robust.studies.jobs import Job, finished, run_name
from monai_robust.studies.numbers import RunNumbers, numbers_of

__all__ = ["Kept"]


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
        done = {job.name for job in finished(jobs, output)}
        for run in self.study.runs:
            name = run_name(*run)
            if f"{name}/robustness" in done:
                self.write(*run, numbers_of(output / name / "robustness", output / name / WEIGHTS))

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
