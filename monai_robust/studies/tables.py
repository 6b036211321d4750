"""The tables of a study's page: the paper's columns, its numbers beside ours, and whether its claims are seen again.

A table of a study's file has ``title``, ``statistic`` (a column of the summary of a run, such as ``accuracy``),
``columns`` and, where wanted, ``sets`` (else all), ``scale`` (what numbers are multiplied by, 100 for percent),
``digits``, ``figure`` (``lines`` over the severities, ``bars``, or ``front``: its last column over its first, with a
line through the arms that are ``joined``) and ``paper``: data set -> arm -> column -> number. A column has

- ``perturbation``, at each of its severities, or at those listed in ``severities``; or with ``over: mean`` their mean,
  or with ``over: auc_robust`` the area of AMAT's equation 4, or with ``over: largest_gap`` the one at which the best
  and the worst arm are furthest apart (model-complexity, Table 1);
- or ``measure``: ``parameters`` of the network, or ``triage`` (the score without the fifth of the images with the
  smallest radii that the search ``perturbation`` found);
- and where wanted ``statistic``, and ``label`` with ``{severity}``.

A claim has ``text``, ``table`` (its place from 0), ``column`` (its label, or one for each data set), ``better`` (an
arm), ``than`` (arms) and, where the paper says no more than that little is lost, ``within`` (in the table's numbers).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from monai_robust.errors import BadInputError
from monai_robust.evaluation.statistics.curves import auc_by_attack, largest_error
from monai_robust.evaluation.statistics.defined import means_of_all
from monai_robust.evaluation.tables.schema import CLEAN
from monai_robust.evaluation.tasks.registry import report_of
from monai_robust.studies.description import WEIGHTS, DataSet, Study
from monai_robust.studies.jobs import run_name
from monai_robust.studies.numbers import Kept, RunNumbers, numbers_of

__all__ = ["Cells", "Claim", "Measured", "claims_of", "measured", "table_cells"]

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
    """

    labels: Sequence[str]
    values: Mapping[tuple[str, str], Mapping[str, float]]
    higher_is_better: Mapping[str, bool]
    rows: Sequence[Sequence[str]] = ()

    def of(self, label: str, arm: str) -> Mapping[str, float]:
        """Numbers of the replicates of an arm; none where it was not run."""
        return self.values.get((label, arm), {})


@dataclass(frozen=True)
class Claim:
    """What the numbers say of a claim on one data set.

    Attributes:
        text: the claim.
        verdict: ``held``, ``did not hold``, ``not told apart`` or ``not run``.
        numbers: that it rests on, in words.
    """

    text: str
    verdict: str
    numbers: str


def measured(study: Study, dataset: DataSet, output: Path, kept: Kept | None = None) -> Measured | None:
    """Read the finished evaluations of a data set; None where there is none.

    Args:
        study: by a preset.
        dataset: one of its data sets.
        output: the folder of its results.
        kept: numbers of earlier runs, for those that are not there.
    """
    runs, names, old = {}, [], 0
    for arm in study.all_arms.values():
        for replicate in study.replicates_of(arm) if arm.name in dataset.arms else []:
            folder = output / run_name(dataset, arm, replicate)
            there = (folder / "robustness" / "report.html").is_file()
            earlier = None if there or kept is None else kept.read(dataset, arm, replicate)
            if there or earlier is not None:
                runs[arm.name, replicate.name] = earlier or numbers_of(folder / "robustness", folder / WEIGHTS)
                names.append(arm.title)
                old += earlier is not None
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
    scale = float(table.get("scale", 1.0))
    for column in table["columns"]:
        rows.append([])
        for label, better, by_run in _column(table, column, found):
            factor = 1.0 if column.get("measure") == "parameters" else float(column.get("scale", scale))
            if label not in labels:
                labels.append(label)
                rows[-1].append(label)
            higher[label] = better
            for key, value in by_run.items():
                if not math.isnan(value):
                    values.setdefault((label, key[0]), {})[key[1]] = value * factor
    return Cells(labels, values, higher, [row for row in rows if row])


def claims_of(study: Study, dataset: DataSet, cells: Mapping[str, Cells]) -> list[Claim]:
    """What is to be said of the study's claims on a data set.

    Two arms are compared replicate by replicate. A claim held where the mean difference is on its side by more than its
    standard deviation over the replicates, did not hold where it is on the other side by more; of a single replicate
    nothing can be told apart.

    Args:
        study: with claims.
        dataset: on which.
        cells: by the title of each table.
    """
    found = []
    for claim in study.claims:
        if dataset.name not in claim.get("sets", [dataset.name]):
            continue
        table = study.tables[int(claim.get("table", 0))]
        label = claim["column"][dataset.name] if isinstance(claim["column"], Mapping) else claim["column"]
        for other in claim["than"]:
            if claim["better"] in dataset.arms and other in dataset.arms:
                found.append(_judged(study, claim, label, other, cells.get(table["title"])))
    return found


def _judged(study: Study, claim: Mapping[str, Any], label: str, other: str, cells: Cells | None) -> Claim:
    ours, theirs = study.all_arms[claim["better"]].title, study.all_arms[other].title
    text = f"{claim['text']} ({ours} against {theirs}, {label})"
    mine = {} if cells is None else cells.of(label, claim["better"])
    rest = {} if cells is None else cells.of(label, other)
    both = [name for name in mine if name in rest]
    if cells is None or not both:
        return Claim(text, "not run", "")
    sign = 1.0 if cells.higher_is_better[label] else -1.0
    gaps = np.array([sign * (mine[name] - rest[name]) for name in both]) + float(claim.get("within", 0.0))
    mean, spread = float(gaps.mean()), float(gaps.std(ddof=1)) if len(gaps) > 1 else math.nan
    mean = round(mean, 9)  # a sum to nothing leaves 1e-15
    numbers = f"{np.mean([mine[one] for one in both]):.4g} against {np.mean([rest[one] for one in both]):.4g}"
    if len(gaps) == 1:
        return Claim(text, "not told apart", f"{numbers}, one replicate")
    numbers += (
        f"; difference {sign * (mean - float(claim.get('within', 0.0))):+.3g} ± {spread:.2g}, {len(gaps)} replicates"
    )
    verdict = "held" if mean > spread else "did not hold" if mean < -spread else "not told apart"
    return Claim(text, verdict, numbers)


def _column(
    table: Mapping[str, Any], column: Mapping[str, Any], found: Measured
) -> Iterator[tuple[str, bool, dict[Key, float]]]:
    """Label, whether more is better, and the number of each run, of the columns that one of the file stands for."""
    keys = list(found.runs)
    if "measure" in column:
        yield _measure(column, found)
        return
    statistic = str(column.get("statistic", table["statistic"]))
    name, over = str(column["perturbation"]), column.get("over")
    frame = found.summary[found.summary["perturbation"] == name]
    better = _higher(statistic, found)
    if not len(frame):
        return
    if over == "auc_robust":
        yield str(column.get("label", "AUC_robust")), found.higher_is_better, _areas(name, found)
        return
    if statistic not in frame:
        raise BadInputError(
            f"table {table['title']!r} asks for {statistic!r}, and runs have {', '.join(map(str, frame.columns))}"
        )
    if over == "mean":
        means = means_of_all(frame.groupby("run")[statistic])
        yield str(column.get("label", name)), better, {keys[int(place)]: float(one) for place, one in means.items()}
        return
    if over == "largest_gap":
        frame = frame[frame["severity"] == _widest(frame, statistic, keys)]
    for severity, rows in frame.groupby("severity", sort=True):
        if float(severity) not in [float(one) for one in column.get("severities", [severity])]:  # type: ignore[arg-type]
            continue
        default = "clean" if name == CLEAN else f"{name} {severity:g}"
        label = str(column.get("label", default)).format(severity=f"{severity:g}")
        yield label, better, {keys[int(run)]: float(one) for run, one in zip(rows["run"], rows[statistic], strict=True)}


def _measure(column: Mapping[str, Any], found: Measured) -> tuple[str, bool, dict[Key, float]]:
    what = column["measure"]
    if what == "triage":
        search = column["perturbation"]
        own = {key: left for key, one in found.runs.items() if (left := one.triage.get(search)) is not None}
        return str(column.get("label", "without the most sensitive fifth")), found.higher_is_better, own
    if what == "parameters":
        sizes = {key: float(one.parameters) for key, one in found.runs.items() if one.parameters is not None}
        return str(column.get("label", "parameters")), False, sizes
    raise BadInputError(f"a table asks for the measure {what!r}; there are parameters and triage")


def _widest(frame: pd.DataFrame, statistic: str, keys: Sequence[Key]) -> float:
    """The severity at which the means of the arms span most."""
    arms = [keys[int(run)][0] for run in frame["run"]]
    means = frame.assign(arm=arms).groupby(["severity", "arm"])[statistic].mean().unstack()
    return float((means.max(axis=1) - means.min(axis=1)).idxmax())  # type: ignore[arg-type]


def _areas(perturbation: str, found: Measured) -> dict[Key, float]:
    scale = None if found.higher_is_better else largest_error(found.rated)
    areas = {}
    for place, key in enumerate(found.runs):
        own = found.rated[found.rated["run"] == place]
        table = auc_by_attack(own, higher_is_better=found.higher_is_better, scale=scale).set_index("perturbation")
        if perturbation in table.index:
            areas[key] = float(table.loc[perturbation, "auc_robust"])  # type: ignore[arg-type]
    return areas


_ERRORS = {"brier", "calibration", "ece", "entropy", "mre", "sd", "hd95", "distance"}


def _higher(statistic: str, found: Measured) -> bool:
    if statistic == "score":
        return found.higher_is_better
    return not _ERRORS & set(statistic.split("_"))  # whole words: a detection rate (sdr) and nsd are none
