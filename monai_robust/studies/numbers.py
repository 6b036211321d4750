"""What a study's page takes of a run."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from monai_robust.data.files.schemas import Line, Name
from monai_robust.evaluation.report.training import training_frames
from monai_robust.evaluation.report.triage import triage_frames
from monai_robust.evaluation.statistics.summary import summarise
from monai_robust.evaluation.tables.run_folder import read_run
from monai_robust.evaluation.tables.schema import CLEAN
from monai_robust.evaluation.tasks.registry import report_of

__all__ = ["RunNumbers", "numbers_of"]

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
        seconds_per_epoch: the median over the epochs of its training; None where it left no times.
        processor_seconds_per_epoch: likewise, of the processor, which other programs of the machine disturb less.
        undefined: columns of the summary that have no value in any row, such as a calibration error of a few samples.
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
    seconds_per_epoch: float | None = None
    processor_seconds_per_epoch: float | None = None
    undefined: list[str] = field(default_factory=list)


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
    times = training_frames([run]).get("epoch_times", pd.DataFrame()).median(numeric_only=True)
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
        seconds_per_epoch=_known(times.get("seconds", math.nan)),
        processor_seconds_per_epoch=_known(times.get("processor_seconds", math.nan)),
        undefined=[str(name) for name in rows if rows[name].isna().all()],
    )


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
