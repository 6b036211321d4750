"""Two names compared on the same samples: the difference, its interval, and a permutation test, all by patient.

The interval draws patients with replacement, and with each the samples of both names (:mod:`bootstrap`). The test
exchanges the outcomes of the two names, patient by patient: if it made no difference which of them was asked, either
order would be as likely (Good 2005, "Permutation, Parametric, and Bootstrap Tests of Hypotheses", section 3.7). Up to
:data:`EXACT` patients all exchanges are tried, beyond them :data:`EXCHANGES` are drawn, down to 999 of thousands of
patients, and 200 for statistics that look at all samples at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_robust.evaluation.statistics.bootstrap import (
    MINIMUM_PATIENTS,
    Drawable,
    Floats,
    Sums,
    Weighted,
    means,
    patient_draws,
    patient_sums,
    percentile_ends,
)
from monai_robust.evaluation.statistics.run_draws import DrawableOf, redraws
from monai_robust.evaluation.tables.run_folder import Perturbation, Run
from monai_robust.evaluation.tables.schema import CLEAN

__all__ = ["COLUMNS", "EXACT", "EXCHANGES", "holm", "paired_differences"]

EXACT = 12
EXCHANGES = 9_999
_REDRAWS = 200  # of statistics that look at all samples at once
_STEP = 500
_MOST, _LEAST = 5_000_000, 999  # exchanges times patients
_CLOSE = 1e-9

COLUMNS = [
    "name",
    "baseline",
    "perturbation",
    "kind",
    "severity",
    "statistic",
    "value",
    "baseline_value",
    "difference",
    "difference_low",
    "difference_high",
    "p",
    "samples",
    "patients",
    "identical",
]

Drawn = Mapping[str, Floats]
"""By statistic, (..., 2): of the name and of the baseline."""


@dataclass(frozen=True, eq=False)
class _Pair:
    """Runs of a name and of the baseline, and the samples that both were measured on.

    Attributes:
        sides: the runs of either.
        shared: ids of the samples.
        patients: of each sample id, an index.
        count: number of patients.
        exchanges: (F, P) which patients are exchanged, for statistics that follow from sums.
    """

    sides: tuple[Sequence[Run], Sequence[Run]]
    shared: frozenset[str]
    patients: Mapping[str, int]
    count: int
    exchanges: Floats = field(repr=False)


def paired_differences(runs: Sequence[Run], baseline: str, drawable: DrawableOf | None = None) -> pd.DataFrame:
    """The difference of every other name to the baseline, for each perturbation and severity and, with an empty
    severity, for the mean over the severities of a perturbation.

    Names are compared on the samples that both were measured on. Runs of one name are put together: of each patient the
    mean over the runs that saw them counts.

    Args:
        runs: comparable evaluations.
        baseline: a name among them.
        drawable: how the statistics of the task are drawn anew; the mean score is always told.

    Returns:
        The columns :data:`COLUMNS`: ``value`` of the name less ``baseline_value`` is ``difference``; ends of its 95 %
        interval, NaN for fewer than 10 patients; the two-sided ``p``; and ``identical``, whether no exchange of
        patients makes any difference, since the two do not differ in any of them. A statistic that looks at all samples
        at once is compared where all runs saw the same samples, and one that some run lacks, not at all. No rows where
        two names share no sample.
    """
    rows: list[dict[str, object]] = []
    for name in dict.fromkeys(run.name for run in runs):
        if name == baseline:
            continue
        sides = [run for run in runs if run.name == name], [run for run in runs if run.name == baseline]
        pair = _paired(*sides)
        if pair.count:
            rows += [{"name": name, "baseline": baseline, **row} for row in _rows_of(pair, drawable)]
    return pd.DataFrame(rows, columns=COLUMNS)


def holm(p: Sequence[float]) -> list[float]:
    """p-values adjusted for their number by the method of Holm 1979: with k of them, the smallest is multiplied by k,
    the next by k - 1 and so on, none is smaller than the one before, and none is above 1. NaN stays NaN.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted = values.copy()
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1.0)
    return [float(one) for one in adjusted]


def _paired(ours: Sequence[Run], theirs: Sequence[Run]) -> _Pair:
    tested = [frozenset().union(*(run.clean["sample_id"] for run in side)) for side in (ours, theirs)]
    shared = tested[0] & tested[1]
    owners: dict[str, str] = {}
    for run in (*ours, *theirs):
        for sample, patient in zip(run.clean["sample_id"], run.clean["patient_id"], strict=True):
            if sample in shared:
                owners.setdefault(sample, f"patient {patient}" if patient else f"sample {sample}")
    places = {owner: place for place, owner in enumerate(sorted(set(owners.values())))}
    count = len(places)
    if count <= EXACT:
        exchanges = np.array(list(product((0.0, 1.0), repeat=count))).reshape(2**count, count)
    else:
        times = int(np.clip(_MOST // count, _LEAST, EXCHANGES))
        exchanges = np.random.default_rng(0).integers(0, 2, (times, count)).astype(np.int8)
    return _Pair((ours, theirs), shared, {sample: places[owner] for sample, owner in owners.items()}, count, exchanges)


def _rows_of(pair: _Pair, drawable: DrawableOf | None) -> Iterator[dict[str, object]]:
    for one in pair.sides[0][0].perturbations:
        if one.kind in ("nearest", "shift"):
            continue
        found = [_Compared.of(pair, one, severity, drawable) for severity in one.severities]
        for severity, compared in zip(one.severities, found, strict=True):
            yield from compared.rows(one, severity, pair)
        yield from _Compared.averaged(found).rows(one, np.nan, pair)


@dataclass(frozen=True, eq=False)
class _Compared:
    """Statistics of the two names as they are, in every draw of patients, and in every exchange."""

    told: Drawn
    draws: Drawn
    exchanged: Drawn

    @classmethod
    def of(cls, pair: _Pair, one: Perturbation, severity: float, drawable: DrawableOf | None) -> _Compared:
        sides = [[_statistics(pair, run, (one.name, severity), drawable) for run in side] for side in pair.sides]
        told: dict[str, Floats] = {}
        draws: dict[str, Floats] = {}
        exchanged: dict[str, Floats] = {}
        # of very many rows what looks at all samples at once takes too long, as for intervals
        every = one.kind == CLEAN or all(redraws(len(run.outcomes)) for side in pair.sides for run in side)
        keyed = [
            [
                ({_names_of(each): each for each in found if every or isinstance(each, Sums)}, member)
                for found, member in side
            ]
            for side in sides
        ]
        for key, statistics in keyed[0][0][0].items():
            if not all(key in found for side in keyed for found, _ in side):
                continue  # such as shares at thresholds, where one run has no validation
            own = [[(found[key], member) for found, member in side] for side in keyed]
            if isinstance(statistics, Sums):
                parts = _of_sums(pair, own)
            elif all(len(member) == len(pair.shared) for side in own for _, member in side):
                parts = _of_weights(pair, own)
            else:
                continue
            for all_of, part in zip((told, draws, exchanged), parts, strict=True):
                all_of.update(part)
        return cls(told, draws, exchanged)

    @classmethod
    def averaged(cls, found: Sequence[_Compared]) -> _Compared:
        """The mean over severities."""
        parts = []
        for what in ("told", "draws", "exchanged"):
            several: list[Drawn] = [getattr(one, what) for one in found]
            names = [name for name in several[0] if all(name in one for one in several)]
            parts.append({name: np.mean([one[name] for one in several], axis=0) for name in names})
        return cls(*parts)

    def rows(self, one: Perturbation, severity: float, pair: _Pair) -> Iterator[dict[str, object]]:
        for name, both in self.told.items():
            ours, theirs = map(float, both)
            exchanged = -np.diff(self.exchanged[name])[:, 0]
            low, high = np.nan, np.nan
            if pair.count >= MINIMUM_PATIENTS:
                low, high = percentile_ends(-np.diff(self.draws[name]))[0]
            yield {
                "perturbation": one.name,
                "kind": one.kind,
                "severity": severity,
                "statistic": name,
                "value": ours,
                "baseline_value": theirs,
                "difference": ours - theirs,
                "difference_low": float(low),
                "difference_high": float(high),
                "p": _p_value(ours - theirs, exchanged, pair.count <= EXACT),
                "samples": len(pair.shared),
                "patients": pair.count,
                "identical": bool(np.abs([ours - theirs, *exchanged]).max() <= _CLOSE * max(1.0, abs(ours))),
            }


def _p_value(difference: float, exchanged: Floats, exact: bool) -> float:
    """The share of exchanges with a difference at least as large; of drawn ones, the data themselves are one."""
    if np.isnan(difference):
        return np.nan
    as_large = int((np.abs(exchanged) >= abs(difference) - _CLOSE * max(1.0, abs(difference))).sum())
    return as_large / len(exchanged) if exact else (as_large + 1) / (len(exchanged) + 1)


def _statistics(
    pair: _Pair, run: Run, key: tuple[str, float], drawable: DrawableOf | None
) -> tuple[list[Drawable], NDArray[np.intp]]:
    """The statistics of the shared samples of a run, in the order of their ids, and their patients."""
    rows = run.outcomes.iloc[run.places[key]]
    rows = rows[rows["sample_id"].isin(pair.shared)].sort_values("sample_id")
    member = np.array([pair.patients[sample] for sample in rows["sample_id"]], dtype=np.intp)
    found: list[Drawable] = [means({"score": rows["score"].to_numpy(dtype=np.float64)})]
    return [*found, *(drawable(run, rows) if drawable is not None else [])], member


def _of_sums(pair: _Pair, sides: Sequence[Sequence[tuple[Drawable, NDArray[np.intp]]]]) -> tuple[Drawn, Drawn, Drawn]:
    of, totals = _sums(sides[0][0][0]).of, []
    for side in sides:
        parts = [patient_sums(_sums(one).values, member, pair.count) for one, member in side]
        times = np.sum([np.bincount(np.unique(member), minlength=pair.count) for _, member in side], axis=0)
        totals.append(np.sum(parts, axis=0) / np.maximum(times, 1)[:, None])
    ours, theirs = totals
    both = np.concatenate([ours, theirs], axis=1)

    def side_by_side(sums: Floats) -> dict[str, Floats]:
        pairs = [of(part) for part in np.split(sums, 2, axis=-1)]
        return {name: np.stack([one[name] for one in pairs], axis=-1) for name in pairs[0]}

    told = side_by_side(both.sum(axis=0))
    draws = side_by_side(patient_draws(pair.count) @ both) if pair.count >= MINIMUM_PATIENTS else {}
    moved = np.concatenate([theirs - ours, ours - theirs], axis=1)
    steps = range(0, len(pair.exchanges), _STEP)
    swapped = [pair.exchanges[start : start + _STEP].astype(np.float64) @ moved for start in steps]
    return told, draws, side_by_side(both.sum(axis=0) + np.concatenate(swapped))


def _names_of(one: Drawable) -> tuple[str, ...]:
    """What the statistics are called, by which those of several runs go together."""
    if isinstance(one, Sums):
        return tuple(one.of(one.values.sum(axis=0)))
    return tuple(one.of(np.ones((1, len(one.columns[0]))), *one.columns))


def _sums(one: Drawable) -> Sums:
    assert isinstance(one, Sums)
    return one


def _of_weights(
    pair: _Pair, sides: Sequence[Sequence[tuple[Drawable, NDArray[np.intp]]]]
) -> tuple[Drawn, Drawn, Drawn]:
    """Means over the runs of a name; each run of it is exchanged with runs of the baseline, all of them equally often,
    so that exchanging every patient swaps the two names also where their numbers of runs differ."""
    member = sides[0][0][1]
    times = patient_draws(pair.count)[:_REDRAWS, member]
    once = np.ones((1, len(member)))
    told, draws = ([_averaged_runs(side, weights) for side in sides] for weights in (once, times))
    swap = pair.exchanges[:_REDRAWS].astype(np.float64)[:, member] if pair.count > EXACT else pair.exchanges[:, member]
    exchanged = []
    for order in ((0, 1), (1, 0)):
        found = []
        these, those = (sides[side] for side in order)
        for place in range(math.lcm(len(these), len(those))):
            one, other = these[place % len(these)][0], those[place % len(those)][0]
            assert isinstance(one, Weighted)
            assert isinstance(other, Weighted)
            columns = [np.concatenate(columns) for columns in zip(one.columns, other.columns, strict=True)]
            found.append(one.of(np.concatenate([1 - swap, swap], axis=1), *columns))
        exchanged.append({name: np.mean([part[name] for part in found], axis=0) for name in found[0]})
    stacked = [
        {name: np.stack([one[name] for one in part], axis=-1) for name in part[0]} for part in (told, draws, exchanged)
    ]
    return {name: both[0] for name, both in stacked[0].items()}, stacked[1], stacked[2]


def _averaged_runs(side: Sequence[tuple[Drawable, NDArray[np.intp]]], weights: Floats) -> Drawn:
    found = [one.of(weights, *one.columns) for one, _ in side if isinstance(one, Weighted)]
    return {name: np.mean([part[name] for part in found], axis=0) for name in found[0]}
