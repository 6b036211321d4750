"""How unequally a network treats groups of samples: the best and the worst of them, and the gap with its interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from monai_robust.evaluation.statistics.bootstrap import (
    MINIMUM_PATIENTS,
    Drawable,
    Floats,
    Sums,
    Weighted,
    drawn,
    means,
    patient_draws,
    percentile_ends,
)
from monai_robust.evaluation.statistics.run_draws import DrawableOf, redraws
from monai_robust.evaluation.tables.run_folder import Run
from monai_robust.evaluation.tables.schema import CLEAN

__all__ = ["MINIMUM_GROUP", "subgroup_gaps"]

MINIMUM_GROUP = 10
"""Patients that a group needs to be rated."""
_REDRAWS = 200
COLUMNS = [
    "name",
    "group",
    "perturbation",
    "worst",
    "worst_value",
    "best",
    "best_value",
    "gap",
    "gap_low",
    "gap_high",
    "not_rated",
    "undefined",
]


def subgroup_gaps(
    runs: Sequence[Run],
    averaged: pd.DataFrame,
    drawable: DrawableOf | None = None,
    *,
    column: str = "score",
    higher_is_better: bool = True,
    minimum: int = MINIMUM_GROUP,
) -> pd.DataFrame:
    """For each name, group column and perturbation the worst and the best group, and the gap between them.

    Args:
        runs: finished evaluations.
        averaged: their means over severities
            (:func:`~monai_robust.evaluation.statistics.summary.over_replicates`), with ``column``.
        drawable: how the statistics of the task are drawn anew.
        column: the measure.
        higher_is_better: whether it is a score, or an error.
        minimum: patients that a group needs to be rated.

    Returns:
        The columns ``name, group, perturbation, worst, worst_value, best, best_value, gap`` (0 or more), ``gap_low,
        gap_high`` (95 % interval of a single run for these two groups, patients drawn; NaN for fewer than 10 patients),
        ``not_rated``, the groups with fewer patients than ``minimum``, and ``undefined``, the others in which the
        measure has no value. Where fewer than two groups are rated, worst, best and gap are empty.
    """
    rows: list[dict[str, object]] = []
    inside = averaged[averaged["group"] != ""]
    for (name, group, perturbation), block in inside.groupby(["name", "group", "perturbation"], sort=False):
        large, lacking = block["patients"] >= minimum, block[column].isna()
        row: dict[str, object] = {"name": name, "group": group, "perturbation": perturbation}
        for key, chosen in (("not_rated", ~large), ("undefined", large & lacking)):
            row[key] = ", ".join(str(value) or "(empty)" for value in block.loc[chosen, "value"])
        rated = block[large & ~lacking].sort_values(column, kind="stable")
        if len(rated) > 1:
            worst, best = (rated.iloc[place] for place in ((0, -1) if higher_is_better else (-1, 0)))
            row |= {"worst": worst["value"], "worst_value": worst[column], "best": best["value"]}
            row |= {"best_value": best[column], "gap": abs(best[column] - worst[column])}
            own = [run for run in runs if run.name == name]
            if len(own) == 1:
                pair = str(best["value"]), str(worst["value"])
                low, high = _interval(own[0], str(group), pair, str(perturbation), drawable, column)
                ends = (low, high) if higher_is_better else (-high, -low)
                row |= dict(zip(("gap_low", "gap_high"), ends, strict=True))
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)


def _interval(
    run: Run, group: str, pair: tuple[str, str], perturbation: str, drawable: DrawableOf | None, column: str
) -> tuple[float, float]:
    """Ends of the interval of the first group's measure less the second's, patients drawn for both at once."""
    sides: list[Floats] = []
    every = [places for (name, _), places in run.places.items() if name == perturbation]
    known = np.unique(run.patients[np.concatenate(every)])
    if len(known) < MINIMUM_PATIENTS:
        return np.nan, np.nan
    times = patient_draws(len(known))
    for value in pair:
        inside = (run.outcomes[group] == value).to_numpy(dtype=bool)
        found = []
        for places in (own[inside[own]] for own in every):
            rows = run.outcomes.iloc[places]
            statistics: list[Drawable] = [means({"score": rows["score"].to_numpy(dtype=np.float64)})]
            statistics += drawable(run, rows) if drawable is not None and len(rows) else []
            one = _with(column, statistics)
            if isinstance(one, Weighted) and perturbation != CLEAN and not redraws(len(run.outcomes)):
                return np.nan, np.nan
            if one is not None:
                draws = times[:_REDRAWS] if isinstance(one, Weighted) else times
                found.append(drawn(one, np.searchsorted(known, run.patients[places]), draws)[column])
        if not found:
            return np.nan, np.nan
        sides.append(np.mean(found, axis=0))
    low, high = percentile_ends((sides[0] - sides[1])[:, None])[0]
    return float(low), float(high)


def _with(column: str, statistics: Sequence[Drawable]) -> Drawable | None:
    """The form that draws a statistic, the task's own rather than another; None where there is none. Those that look at
    all samples at once are tried last, since that takes long."""
    for one in sorted(reversed(statistics), key=lambda one: isinstance(one, Weighted)):
        if isinstance(one, Sums):
            names = one.of(one.values.sum(axis=0))
        else:
            names = one.of(np.ones((1, len(one.columns[0]))), *one.columns)
        if column in names:
            return one
    return None
