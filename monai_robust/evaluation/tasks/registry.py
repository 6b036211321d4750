"""The one place that says which tasks a report reads: a new one adds a file like ``classification.py`` and a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import pandas as pd

from monai_robust.errors import BadInputError
from monai_robust.evaluation.sections.parts import Section
from monai_robust.evaluation.tables.run_folder import Run
from monai_robust.evaluation.tasks.classification import ClassificationReading
from monai_robust.evaluation.tasks.detection import DetectionReading
from monai_robust.evaluation.tasks.landmarks import LandmarkReading
from monai_robust.evaluation.tasks.segmentation import SegmentationReading

__all__ = ["READINGS", "TaskReading", "reading_of"]


class TaskReading(Protocol):
    """What is particular to a task when its outcomes are read.

    Attributes:
        glossary: for each measure, what it means in one sentence for a clinician.
        searched: the statistic, or ``score``, by which networks are compared when a setting of training is searched.
    """

    glossary: Mapping[str, str]
    searched: str

    def check(self, run: Run) -> None:
        """Refuse outcomes that are not this task's."""

    def statistics(self, run: Run, rows: pd.DataFrame) -> dict[str, float]:
        """Numbers about some rows of a table, those of one perturbation and severity."""

    def frames(self, runs: Sequence[Run]) -> dict[str, pd.DataFrame]:
        """Every frame a report is made from, by the stem of its CSV file."""

    def pilot(self, runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> str:
        """Why the results are a pilot only, "" if they are not."""

    def headline(self, runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> list[str]:
        """The results in sentences."""

    def sections(self, runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> list[Section]:
        """Tables and figures."""


READINGS: Mapping[str, TaskReading] = {
    "classification": ClassificationReading(),
    "segmentation": SegmentationReading(),
    "landmarks": LandmarkReading(),
    "detection": DetectionReading(),
}


def reading_of(task: str) -> TaskReading:
    """The reading of a task.

    Raises:
        BadInputError: if there is none.
    """
    if task not in READINGS:
        raise BadInputError(f"there is no report for the task {task!r}; there is one for {', '.join(READINGS)}")
    return READINGS[task]
