"""From outcomes to numbers: means, spreads and intervals, from tables alone.

Three frames, each made from the one before:

- :func:`summarise`: for each run, perturbation and severity, over all samples and within each group;
- :func:`mean_over_severities`: for each run and perturbation;
- :func:`over_replicates`: either of them with runs of one name put together.

Rows over all samples have ``group`` and ``value`` empty; within a group, ``group`` is the column, ``value`` its value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_robust.evaluation.statistics.blocks import blocks, groups_of
from monai_robust.evaluation.statistics.defined import means_of_all, spreads_of_all
from monai_robust.evaluation.statistics.run_draws import DrawableOf, Ends, RunDraws
from monai_robust.evaluation.tables.run_folder import Run

__all__ = [
    "Statistics",
    "mean_input_norm",
    "mean_over_severities",
    "over_replicates",
    "rated_by",
    "summaries",
    "summarise",
]

Statistics = Callable[[Run, pd.DataFrame], Mapping[str, float]]
"""A run and some of its rows -> named numbers about them."""

KEYS = ["name", "group", "value", "perturbation", "kind", "norm"]
COUNTS = ["n", "patients"]
LOW, HIGH = "_low", "_high"
INTERVAL = ["score_low", "score_high"]


def summarise(runs: Sequence[Run], statistics: Statistics, drawable: DrawableOf | None = None) -> pd.DataFrame:
    """One row for each run, group value, perturbation and severity.

    A search for nearest changes is left out: its scores are those of successes, and no attack's.

    Args:
        runs: finished evaluations.
        statistics: what the task computes from rows of the table.
        drawable: how the task's statistics are drawn anew; by default there is an interval of the mean score alone.

    Returns:
        ``run`` (its position in ``runs``), ``name, group, value, perturbation, kind, norm, severity``,
        ``radius_percent`` (an L2 radius in percent of the mean L2 norm of the clean inputs, else NaN), ``n`` (samples
        that have a score), ``patients`` (theirs), ``score`` (mean), ``score_low`` and ``score_high``, then the columns
        of ``statistics`` and, of those that can be drawn, their intervals ``<column>_low`` and ``<column>_high``
        (:mod:`~monai_robust.evaluation.statistics.bootstrap`).
    """
    return summaries(runs, statistics, drawable)[0]


def mean_over_severities(
    runs: Sequence[Run], summary: pd.DataFrame, drawable: DrawableOf | None = None
) -> pd.DataFrame:
    """The unweighted mean over the severities of each perturbation: one row for each run, group value, perturbation.

    What has no value at one of the severities has no mean. The mean of an attack over its radii is the "Adversarial"
    of Martinez-Martinez and Nabavi 2023, Table I. The intervals are those of the mean, not the mean of intervals.

    Args:
        runs: as given to :func:`summarise`.
        summary: what it returned.
        drawable: as given to it.

    Returns:
        The columns of ``summary`` but for ``severity`` and ``radius_percent``, and ``severities``, their number.
    """
    return _averaged(summary, [(index, run, _group_ends(run, drawable)) for index, run in enumerate(runs)])


def summaries(
    runs: Sequence[Run], statistics: Statistics, drawable: DrawableOf | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """:func:`summarise` and :func:`mean_over_severities`, for which patients are drawn once."""
    ends = [(index, run, _group_ends(run, drawable)) for index, run in enumerate(runs)]
    summary = pd.DataFrame(row for one in ends for row in _rows(*one, statistics))
    return summary, _averaged(summary, ends)


def over_replicates(summary: pd.DataFrame) -> pd.DataFrame:
    """Put runs of one name together.

    Args:
        summary: from :func:`summarise` or :func:`mean_over_severities`.

    Returns:
        Every numeric column is the mean over the runs of a name, NaN where one of them has no value; beside it stands
        ``<column>_std``, the sample standard deviation (divisor: runs less 1), NaN for a single run. ``n_runs`` is
        their number. Bootstrap intervals, which tell of samples and not of training, are kept for single runs and NaN
        for several.
    """
    keys = [key for key in (*KEYS, "severity") if key in summary.columns]
    grouped = summary.drop(columns="run").groupby(keys, sort=False)
    table, ends = means_of_all(grouped), _intervals_in(summary)
    spread = spreads_of_all(grouped).drop(columns=[*COUNTS, *ends])
    table = table.join(spread.add_suffix("_std")).join(grouped.size().rename("n_runs"))
    table.loc[table["n_runs"] > 1, ends] = math.nan
    return table.copy().reset_index()  # a copy, since columns were put in one by one


def rated_by(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """The same frame with one of the task's statistics in the place of the score, for all that reads ``score``.

    Args:
        frame: any frame of this module.
        column: the statistic.

    Returns:
        A copy. Where the statistic has no interval of its own, that of the mean score is kept where both are the same.
    """
    parts = {"score": frame[column]}
    if f"{column}_std" in frame:
        parts["score_std"] = frame[f"{column}_std"]
    if f"{column}{LOW}" in frame:
        return frame.assign(**parts, score_low=frame[f"{column}{LOW}"], score_high=frame[f"{column}{HIGH}"])
    same = np.isclose(frame[column], frame["score"], rtol=1e-9, atol=0)
    return frame.assign(**parts, **{end: frame[end].where(same) for end in INTERVAL})


def mean_input_norm(run: Run) -> float:
    """Mean L2 norm of the clean inputs of a run, in units of the network's input."""
    return float(run.clean["input_norm"].mean())


_Groups = Sequence[tuple[str, str, NDArray[np.bool_], Ends]]


def _group_ends(run: Run, drawable: DrawableOf | None) -> _Groups:
    """Name and value of each group, its rows, and the intervals within it; first of all, everything."""
    draws = RunDraws(run, drawable)
    return [(group, value, inside, draws.ends(inside if group else None)) for group, value, inside in groups_of(run)]


def _rows(index: int, run: Run, groups: _Groups, statistics: Statistics) -> Iterator[dict[str, object]]:
    """The rows of a summary about one run."""
    norm = mean_input_norm(run)
    for group, value, inside, ends in groups:
        for block in blocks(run, inside):
            one, rows = block.perturbation, run.outcomes.iloc[block.places]
            scored = rows["score"].notna().to_numpy(dtype=bool)
            radius = rows["radius"].mean() if "unit" in one.settings and "radius" in rows else block.severity
            percent = 100 * radius / norm if one.norm == "l2" and norm > 0 else math.nan
            intervals = _columns(ends, *block.key)
            yield {
                "run": index,
                "name": run.name,
                "group": group,
                "value": value,
                "perturbation": one.name,
                "kind": one.kind,
                "norm": one.norm,
                "severity": block.severity,
                "radius_percent": percent,
                "n": int(scored.sum()),
                "patients": len(np.unique(run.patients[block.places[scored]])),
                "score": rows["score"].mean(),
                **{end: intervals.pop(end, math.nan) for end in INTERVAL},
                **statistics(run, rows),
                **intervals,
            }


def _averaged(summary: pd.DataFrame, ends: Sequence[tuple[int, Run, _Groups]]) -> pd.DataFrame:
    keys = ["run", *KEYS]
    numbers = summary.drop(columns=["severity", "radius_percent", *_intervals_in(summary)])
    means = numbers.groupby(keys, sort=False)
    table = means_of_all(means).join(means.size().rename("severities"))
    table = table.copy().reset_index()  # a copy, since columns were put in one by one
    intervals = {(index, group, value): found for index, _, groups in ends for group, value, _, found in groups}
    columns = [
        _columns(intervals[run, group, value], name, None)
        for run, group, value, name in zip(
            *(table[key] for key in ("run", "group", "value", "perturbation")), strict=True
        )
    ]
    found = pd.DataFrame(columns, index=table.index).reindex(columns=_intervals_in(summary))
    return table.join(found).astype(dict.fromkeys(COUNTS, int))


def _columns(ends: Ends, perturbation: str, severity: float | None) -> dict[str, float]:
    """The columns of intervals in a row."""
    found = ends.get((perturbation, severity), {})
    return {
        f"{name}{end}": number
        for name, numbers in found.items()
        for end, number in zip((LOW, HIGH), numbers, strict=True)
    }


def _intervals_in(frame: pd.DataFrame) -> list[str]:
    """The columns of a frame that are ends of intervals."""
    return [
        str(name)
        for name in frame
        if any(str(name).endswith(end) and str(name).removesuffix(end) in frame for end in (LOW, HIGH))
    ]
