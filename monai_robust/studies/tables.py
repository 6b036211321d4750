"""The tables of a study's page: the paper's columns, and in them the numbers of our runs.

A table of a study's file has ``title``, ``statistic`` (a column of the summary of a run, such as ``accuracy``),
``columns`` and, where wanted, ``sets`` (else all), ``scale`` (what numbers are multiplied by, 100 for percent),
``digits``, ``figure`` (``lines`` over the severities, ``bars``, or ``front``: its second column over its first, with a
line through each list of arms in ``joined``) and ``paper``: data set -> arm -> column -> number. A column has

- ``perturbation``, at each of its severities, or at those listed in ``severities``; or with ``over: mean`` their mean,
  or with ``over: auc_robust`` the area of AMAT's equation 4, or with ``over: largest_gap`` the one at which the best
  and the worst arm, of all or ``among`` some, are furthest apart under it, or under the perturbation ``by``
  (model-complexity, Table 1), which the head of the column tells;
- or ``measure``: ``parameters`` of the network, of its training ``seconds_per_epoch`` or
  ``processor_seconds_per_epoch``, or ``triage`` (the score without the fifth of the images with the smallest radii that
  the search ``perturbation`` found);
- or ``line``, arms through which a line is laid, such as the same training at several radii: what the column ``of`` has
  on it where the column ``at``, both of them before this one, has the number of the arm itself, replicate by replicate;
- and where wanted ``statistic``, ``label`` with ``{severity}``, ``minus``: the label of a column before it, whose
  number of the same run is taken from its own, and ``minus_arm``: an arm, whose number of the same replicate is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from monai_robust.errors import BadInputError, require_choice
from monai_robust.evaluation.statistics.curves import auc_by_attack, largest_error
from monai_robust.evaluation.statistics.defined import means_of_all
from monai_robust.evaluation.tasks.registry import report_of
from monai_robust.studies.description import WEIGHTS, DataSet, Study
from monai_robust.studies.jobs import run_name
from monai_robust.studies.kept import Kept
from monai_robust.studies.keys import MEASURES, NUMBERS, label_of
from monai_robust.studies.numbers import RunNumbers, numbers_of

__all__ = ["Cells", "Measured", "measured", "table_cells"]

Key = tuple[str, str]
"""Names of an arm and of a replicate."""


@dataclass(frozen=True)
class Measured:
    """What of a study's runs on one data set is there.

    Attributes:
        runs: by arm and replicate.
        summary: of them, with ``run`` as their place in ``runs`` and the arm's title as ``name``.
        rated: the same with the task's own measure as ``score``.
        higher_is_better: whether the task's measure is a score, or an error.
        kept: how many of them are numbers of earlier runs.
    """

    runs: Mapping[Key, RunNumbers]
    summary: pd.DataFrame
    rated: pd.DataFrame
    higher_is_better: bool
    kept: int = 0


@dataclass(frozen=True)
class Cells:
    """A table: for each column and arm the numbers of its replicates.

    Attributes:
        labels: of the columns, in order.
        values: by column and arm, a number for each replicate that was measured.
        higher_is_better: by column.
        rows: of labels that belong together, such as the radii of an attack, in order.
        titles: of columns whose heads say more than their labels.
    """

    labels: Sequence[str]
    values: Mapping[tuple[str, str], Mapping[str, float]]
    higher_is_better: Mapping[str, bool]
    rows: Sequence[Sequence[str]] = ()
    titles: Mapping[str, str] = field(default_factory=dict)

    def title(self, label: str) -> str:
        """The head of a column."""
        return self.titles.get(label, label)

    def of(self, label: str, arm: str) -> Mapping[str, float]:
        """Numbers of the replicates of an arm; none where it was not run."""
        return self.values.get((label, arm), {})


def measured(study: Study, dataset: DataSet, output: Path, kept: Kept | None = None) -> Measured | None:
    """Read the finished evaluations of a data set; None where there is none.

    Args:
        study: by a preset.
        dataset: one of its data sets.
        output: the folder of its results.
        kept: numbers of runs, which are taken where they are of today's settings.
    """
    runs, names, old = {}, [], 0
    for arm in study.all_arms.values():
        for replicate in study.replicates_of(arm) if arm.name in dataset.arms else []:
            folder = output / run_name(dataset, arm, replicate)
            there = (folder / "robustness" / "report.html").is_file()
            numbers = None if kept is None else kept.read(dataset, arm, replicate)
            if numbers is None and there:
                numbers = numbers_of(folder / "robustness", folder / WEIGHTS)
            if numbers is not None:
                runs[arm.name, replicate.name] = numbers
                names.append(arm.title)
                old += not there
    if not runs:
        return None
    parts = [
        pd.DataFrame(one.summary).assign(run=place, name=name, group="", value="")
        for place, (one, name) in enumerate(zip(runs.values(), names, strict=True))
    ]
    summary = pd.concat(parts, ignore_index=True)
    first = next(iter(runs.values()))
    rated = summary.assign(score=summary[report_of(first.task).searched])
    return Measured(runs, summary, rated, first.higher_is_better, old)


def table_cells(table: Mapping[str, Any], found: Measured) -> Cells:
    """The numbers of a table on one data set.

    Raises:
        BadInputError: for a statistic that runs of this kind do not have.
    """
    labels: list[str] = []
    values: dict[tuple[str, str], dict[str, float]] = {}
    higher: dict[str, bool] = {}
    rows: list[list[str]] = []
    titles: dict[str, str] = {}
    scale = float(table.get("scale", 1.0))
    for column in table["columns"]:
        rows.append([])
        minus, other = column.get("minus"), column.get("minus_arm")
        if minus is not None and minus not in labels:
            raise BadInputError(
                f"table {table['title']!r} takes {minus!r} from a column, and has before it: {', '.join(labels)}"
            )
        made = [_on_line(column, values, higher)] if "line" in column else _column(table, column, found)
        for label, better, by_run, title in made:
            titles |= {label: title} if title else {}
            factor = 1.0 if column.get("measure") in NUMBERS or "line" in column else float(column.get("scale", scale))
            if label in labels:
                raise BadInputError(
                    f"table {table['title']!r} has two columns {label!r}; give each a label of its own, with "
                    "{severity} in that of several radii"
                )
            labels.append(label)
            rows[-1].append(label)
            higher[label] = better
            if other is not None:
                by_run = {
                    (arm, replicate): value - by_run.get((other, replicate), math.nan)
                    for (arm, replicate), value in by_run.items()
                    if arm != other
                }
            for (arm, replicate), value in by_run.items():
                taken = 0.0 if minus is None else values.get((minus, arm), {}).get(replicate, math.nan)
                number = value * factor - taken
                if not math.isnan(number):
                    values.setdefault((label, arm), {})[replicate] = number
    return Cells(labels, values, higher, [row for row in rows if row], titles)


def _column(
    table: Mapping[str, Any], column: Mapping[str, Any], found: Measured
) -> Iterator[tuple[str, bool, dict[Key, float], str]]:
    """Label, whether more is better, the number of each run, and the head where it is no label, of the columns that one
    of the file stands for."""
    keys = list(found.runs)
    if "measure" in column:
        yield *_measure(column, found), ""
        return
    statistic = str(column.get("statistic", table["statistic"]))
    name, over = str(column["perturbation"]), column.get("over")
    frame = found.summary[found.summary["perturbation"] == name]
    better = _higher(statistic, found)
    if not len(frame):
        return
    if over == "auc_robust":
        yield label_of(column), found.higher_is_better, _areas(name, found), ""
        return
    if statistic not in frame and any(statistic in one.undefined for one in found.runs.values()):
        frame = frame.assign(**{statistic: math.nan})
    if statistic not in frame:
        raise BadInputError(
            f"table {table['title']!r} asks for {statistic!r}, and runs have {', '.join(map(str, frame.columns))}"
        )
    if over == "mean":
        means = means_of_all(frame.groupby("run")[statistic])
        by_run = {keys[int(place)]: float(one) for place, one in means.items()}
        yield label_of(column), better, by_run, ""
        return
    if over == "largest_gap":
        widest = _widest(column, statistic, found)
        frame = frame[frame["severity"] == widest]
    for severity, rows in frame.groupby("severity", sort=True):
        if float(severity) not in [float(one) for one in column.get("severities", [severity])]:  # type: ignore[arg-type]
            continue
        label = label_of(column).format(severity=f"{severity:g}")
        by_run = {keys[int(run)]: float(one) for run, one in zip(rows["run"], rows[statistic], strict=True)}
        yield label, better, by_run, f"{label} ({severity:.3g})" if over == "largest_gap" else ""


def _on_line(
    column: Mapping[str, Any], values: Mapping[tuple[str, str], Mapping[str, float]], higher: Mapping[str, bool]
) -> tuple[str, bool, dict[Key, float], str]:
    """What a line through arms has in one column where another has an arm's own number; beyond its ends nothing."""
    wanted, at, line = str(column["of"]), str(column["at"]), column["line"]
    by_run: dict[Key, float] = {}
    for (label, arm), own in values.items():
        for replicate, place in own.items() if label == at and arm not in line else ():
            points = sorted(
                (values[at, one][replicate], values[wanted, one][replicate])
                for one in line
                if replicate in values.get((at, one), {}) and replicate in values.get((wanted, one), {})
            )
            if points and points[0][0] <= place <= points[-1][0]:
                ats, numbers = zip(*points, strict=True)
                by_run[arm, replicate] = float(np.interp(place, ats, numbers))
    return label_of(column), higher.get(wanted, True), by_run, ""


def _measure(column: Mapping[str, Any], found: Measured) -> tuple[str, bool, dict[Key, float]]:
    what = column["measure"]
    if what == "triage":
        search = column["perturbation"]
        left = {key: one.triage.get(search) for key, one in found.runs.items()}
        known = {key: score for key, score in left.items() if score is not None}
        return label_of(column), found.higher_is_better, known
    require_choice("measure of a table", what, MEASURES)
    own = {key: float(value) for key, one in found.runs.items() if (value := getattr(one, what)) is not None}
    return label_of(column), False, own


def _widest(column: Mapping[str, Any], statistic: str, found: Measured) -> float:
    """The severity at which the means of the arms span most."""
    keys, among = list(found.runs), column.get("among")
    frame = found.summary[found.summary["perturbation"] == str(column.get("by", column["perturbation"]))]
    frame = frame.assign(arm=[keys[int(run)][0] for run in frame["run"]])
    frame = frame if among is None else frame[frame["arm"].isin(among)]
    means = frame.groupby(["severity", "arm"])[statistic].mean().unstack()
    return float((means.max(axis=1) - means.min(axis=1)).idxmax()) if len(means) else math.nan  # type: ignore[arg-type]


def _areas(perturbation: str, found: Measured) -> dict[Key, float]:
    scale = None if found.higher_is_better else largest_error(found.rated)
    areas = {}
    for place, key in enumerate(found.runs):
        own = found.rated[found.rated["run"] == place]
        table = auc_by_attack(own, higher_is_better=found.higher_is_better, scale=scale).set_index("perturbation")
        if perturbation in table.index:
            areas[key] = float(table.loc[perturbation, "auc_robust"])  # type: ignore[arg-type]
    return areas


_ERRORS = {"brier", "calibration", "ece", "entropy", "false", "distance", "hd95", "loss", "mre", "rvd", "sd"}
_MERITS = {"brier_resolution"}


def _higher(statistic: str, found: Measured) -> bool:
    if statistic == "score":
        return found.higher_is_better
    return statistic in _MERITS or not _ERRORS & set(
        statistic.split("_")
    )  # whole words: a detection rate (sdr) and nsd are none
