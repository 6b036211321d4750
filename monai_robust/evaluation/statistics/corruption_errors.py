"""Corruption errors of every run relative to a baseline, from the summary of a report."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from monai_robust.evaluation.statistics.defined import mean_of_all, means_of_all, spreads_of_all
from monai_robust.evaluation.tables.schema import CLEAN
from monai_robust.metrics import corruption_error, relative_corruption_error

__all__ = ["ALL", "corruption_errors"]

ALL = "all"
"""In place of a corruption: the mean over all of them."""

COLUMNS = ["corruption_error", "relative_corruption_error"]


def corruption_errors(
    summary: pd.DataFrame, baseline: str, corruptions: Sequence[str], *, higher_is_better: bool = True
) -> pd.DataFrame:
    """Corruption errors of each run, put together by name.

    The baseline's errors are the means over its runs, so that each of its own replicates is near 1.

    Args:
        summary: from :func:`~monai_robust.evaluation.statistics.summary.summarise`, the measure as ``score``.
        baseline: the name that all are compared with.
        corruptions: names of perturbations.
        higher_is_better: whether the measure is a score from 0 to 1, whose error is 1 less it, or an error.

    Returns:
        ``name, perturbation`` (each corruption, then :data:`ALL`), ``corruption_error``, ``relative_corruption_error``
        (means over the runs of the name), each with ``_std`` (sample standard deviation, NaN for a single run), and
        ``n_runs``. NaN where the baseline has no errors, or a score is not known. The means over corruptions are of
        those where it is known of every run, so that all runs have the mean of the same ones.
    """
    whole = summary[(summary["group"] == "") & summary["perturbation"].isin([CLEAN, *corruptions])]
    errors = whole.assign(error=1 - whole["score"] if higher_is_better else whole["score"])
    of_runs = [
        (str(name), block.set_index(["perturbation", "severity"])["error"].sort_index())
        for (_, name), block in errors.groupby(["run", "name"], sort=False)
    ]
    replicates = [own for name, own in of_runs if name == baseline]
    reference = pd.concat(replicates, axis=1).mean(axis=1, skipna=False)
    each = np.array([[_errors_of(own, reference, one) for one in corruptions] for _, own in of_runs])  # (run, one, 2)
    known = ~np.isnan(each).any(axis=0)
    rows = []
    for (name, _), pairs in zip(of_runs, each, strict=True):
        whole_of = [mean_of_all(column[there]) for column, there in zip(pairs.T, known.T, strict=True)]
        for one, pair in zip([*corruptions, ALL], [*pairs, whole_of], strict=True):
            rows.append({"name": name, "perturbation": one, **dict(zip(COLUMNS, map(float, pair), strict=True))})
    grouped = pd.DataFrame(rows).groupby(["name", "perturbation"], sort=False)[COLUMNS]
    spread = spreads_of_all(grouped).add_suffix("_std")
    return means_of_all(grouped).join(spread).join(grouped.size().rename("n_runs")).reset_index()


def _errors_of(own: pd.Series, reference: pd.Series, corruption: str) -> tuple[float, float]:
    mine, theirs = own[corruption].to_numpy(dtype=float), reference[corruption].to_numpy(dtype=float)
    clean, baseline_clean = float(own[CLEAN].iloc[0]), float(reference[CLEAN].iloc[0])
    if not np.isfinite([*mine, *theirs, clean, baseline_clean]).all():
        return math.nan, math.nan
    relative = relative_corruption_error(mine, theirs, clean=clean, baseline_clean=baseline_clean)
    return corruption_error(mine, theirs), relative
