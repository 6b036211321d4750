"""What each task writes down and shows: a row for its name in :data:`TASKS`, the one place that lists them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any, Protocol, runtime_checkable

import pandas as pd

from monai_robust.errors import BadInputError
from monai_robust.evaluation.measure.task_outcomes import TaskOutcomes
from monai_robust.evaluation.sections.comparisons import ScoreStyle
from monai_robust.evaluation.sections.parts import Section
from monai_robust.evaluation.statistics.bootstrap import Drawable
from monai_robust.evaluation.tables.run_folder import Run
from monai_robust.evaluation.tasks.classification import ClassificationOutcomes, ClassificationReport
from monai_robust.evaluation.tasks.detection import DetectionOutcomes, DetectionReport
from monai_robust.evaluation.tasks.key_metric import KeyMetricOutcomes, KeyMetricReport
from monai_robust.evaluation.tasks.landmarks import LandmarkOutcomes, LandmarkReport
from monai_robust.evaluation.tasks.multi_label import MultiLabelOutcomes, MultiLabelReport
from monai_robust.evaluation.tasks.segmentation import SegmentationOutcomes, SegmentationReport
from monai_robust.tasks import Task, base_task

__all__ = ["TASKS", "Choosing", "Confident", "TaskReport", "TaskView", "outcomes_of", "register_task", "report_of"]


class TaskReport(Protocol):
    """What is particular to a task when its outcomes are read.

    Attributes:
        glossary: for each measure, what it means in one sentence for a clinician.
        searched: the statistic, or ``score``, by which networks are compared when a setting of training is searched.
    """

    glossary: Mapping[str, str]
    searched: str

    def style(self, runs: Sequence[Run]) -> ScoreStyle:
        """The measure that networks are first of all judged by, and how it is written."""

    def check(self, run: Run) -> None:
        """Refuse outcomes that are not this task's."""

    def statistics(self, run: Run, rows: pd.DataFrame) -> dict[str, float]:
        """Numbers about some rows of a table, those of one perturbation and severity."""

    def drawable(self, run: Run, rows: pd.DataFrame) -> Sequence[Drawable]:
        """How those of ``statistics`` that have intervals are drawn anew, under the same names; the mean score is
        anyway."""

    def frames(self, runs: Sequence[Run]) -> dict[str, pd.DataFrame]:
        """Every frame a report is made from, by the stem of its CSV file."""

    def pilot(self, runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> str:
        """Why the results are a pilot only, "" if they are not."""

    def headline(self, runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> list[str]:
        """The results in sentences."""

    def sections(self, runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> list[Section]:
        """Tables and figures."""


@runtime_checkable
class Choosing(Protocol):
    """A report of a task in which a prevalence and a rule for patients can be chosen."""

    def choosing(self, prevalence: float | None, patient_rule: str) -> TaskReport:
        """The same report with these."""


@runtime_checkable
class Confident(Protocol):
    """A report of a task whose outcomes tell how sure a network is of an image.

    Attributes:
        confidence_is: what it is taken to be, such as ``the probability of the class that is said``.
    """

    confidence_is: str

    def confidence(self, run: Run, rows: pd.DataFrame) -> pd.Series | None:
        """Of each of some rows of one perturbation and severity, in their order; None where it was not measured."""


@dataclass(frozen=True)
class TaskView:
    """What a task writes down and shows.

    Attributes:
        outcomes: of a task, what is written down of its samples.
        report: what a report says of it; None where there is only a table of outcomes.
    """

    outcomes: Callable[..., TaskOutcomes]
    report: TaskReport | None = None


TASKS: dict[str, TaskView] = {
    "classification": TaskView(ClassificationOutcomes, ClassificationReport()),
    "multi_label": TaskView(MultiLabelOutcomes, MultiLabelReport()),
    "segmentation": TaskView(SegmentationOutcomes, SegmentationReport()),
    "landmarks": TaskView(LandmarkOutcomes, LandmarkReport()),
    "detection": TaskView(DetectionOutcomes, DetectionReport()),
    "key_metric": TaskView(KeyMetricOutcomes, KeyMetricReport()),
}
"""By the name of a task."""


def register_task(name: str, outcomes: Callable[[Any], TaskOutcomes], report: TaskReport | None = None) -> None:
    """Have evaluations write down, and reports show, a task that is not of this package.

    Args:
        name: of the task, as its class has it.
        outcomes: a subclass of :class:`~monai_robust.evaluation.measure.task_outcomes.TaskOutcomes`.
        report: what a report says of the task; without one, outcomes can be measured and compared as tables only.

    Raises:
        BadInputError: for a name that already stands for another task.
    """
    view = TaskView(outcomes, report)
    if TASKS.setdefault(name, view) != view:
        raise BadInputError(f"a task called {name!r} has outcomes already; give the new one another name")


def outcomes_of(task: Task, measures: Mapping[str, Any] | None = None) -> TaskOutcomes:
    """What is written down of a task's samples, also where the task is wrapped to be run by an inferer.

    Args:
        task: of a network.
        measures: what is measured of a sample, where the task leaves the choice: keywords of its outcomes.

    Raises:
        BadInputError: for a task of which nothing is, or a measure that it does not have.
    """
    if task.name not in TASKS:
        raise BadInputError(f"the task {task.name!r} has no outcomes to write down; evaluate with a task that has")
    made = TASKS[task.name].outcomes
    known = list(signature(made).parameters)[1:]
    for name in measures or {}:
        if name not in known:
            there_are = f"it has {', '.join(known)}" if known else "it has none to choose"
            raise BadInputError(f"measures holds {name!r}, which the task {task.name!r} does not have; {there_are}")
    return made(base_task(task), **(measures or {}))


def report_of(task: str) -> TaskReport:
    """What a report says of the task of this name.

    Raises:
        BadInputError: if there is nothing.
    """
    view = TASKS.get(task)
    if view is None or view.report is None:
        known = ", ".join(name for name, one in TASKS.items() if one.report is not None)
        raise BadInputError(f"there is no report for the task {task!r}; there is one for {known}")
    return view.report
