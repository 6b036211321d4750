"""The same network elsewhere: the difference of another site's samples to the clean ones, with an unpaired interval.

No sample is in both sets, so that patients of either are drawn by themselves, with other seeds: a draw's difference is
that of two independent draws (Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 8.3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from monai_robust.evaluation.statistics.bootstrap import (
    DRAWS,
    MINIMUM_PATIENTS,
    Drawable,
    Floats,
    Weighted,
    drawn,
    means,
    patient_draws,
    percentile_ends,
)
from monai_robust.evaluation.statistics.defined import means_of_all, spreads_of_all
from monai_robust.evaluation.statistics.run_draws import DrawableOf, redraws
from monai_robust.evaluation.tables.run_folder import Run
from monai_robust.evaluation.tables.schema import CLEAN

__all__ = ["COLUMNS", "shift_differences"]

COLUMNS = [
    "name",
    "shift",
    "statistic",
    "value",
    "clean_value",
    "difference",
    "difference_low",
    "difference_high",
    "difference_std",
    "samples",
    "patients",
    "clean_samples",
    "clean_patients",
    "n_runs",
]
_LEAST = 200


def shift_differences(runs: Sequence[Run], drawable: DrawableOf | None = None) -> pd.DataFrame:
    """For each name and other site, how every statistic differs there from the run's own clean samples.

    Args:
        runs: comparable evaluations.
        drawable: how the statistics of the task are drawn anew; the mean score is always told.

    Returns:
        The columns :data:`COLUMNS`: ``value`` at the site less ``clean_value`` is ``difference``. A single run has the
        ends of its 95 % interval, NaN where either side has fewer than 10 patients; of several runs of one name values
        are means (NaN where one of them has none), and ``difference_std`` is the standard deviation of their
        differences. Samples and patients are those of the first run.
    """
    rows = [row for run in runs for name in run.shifts for row in _differences(run, name, drawable)]
    if not rows:
        return pd.DataFrame(columns=COLUMNS)
    grouped = pd.DataFrame(rows).groupby(["name", "shift", "statistic"], sort=False)
    values = ["value", "clean_value", "difference"]
    table = grouped.first().assign(**{name: means_of_all(grouped[name]) for name in values})
    table["difference_std"] = spreads_of_all(grouped["difference"])
    table["n_runs"] = grouped.size()
    table.loc[table["n_runs"] > 1, ["difference_low", "difference_high"]] = np.nan
    return table.reset_index()[COLUMNS]


def _differences(run: Run, name: str, drawable: DrawableOf | None) -> Iterator[dict[str, object]]:
    here, there = (_Side(run, key, seed, drawable) for key, seed in ((CLEAN, 0), (name, 1)))
    enough = min(here.patients, there.patients) >= MINIMUM_PATIENTS
    for statistic, value in there.told.items():
        clean = here.told.get(statistic, np.nan)
        low, high = np.nan, np.nan
        if enough and statistic in here.draws:
            one, two = here.draws[statistic], there.draws[statistic]
            count = min(len(one), len(two))
            low, high = percentile_ends((two[:count] - one[:count])[:, None])[0]
        yield {
            "name": run.name,
            "shift": name,
            "statistic": statistic,
            "value": value,
            "clean_value": clean,
            "difference": value - clean,
            "difference_low": float(low),
            "difference_high": float(high),
            "samples": there.samples,
            "patients": there.patients,
            "clean_samples": here.samples,
            "clean_patients": here.patients,
        }


class _Side:
    """The statistics of one set of samples, as they are (``told``) and in every draw of its patients (``draws``)."""

    def __init__(self, run: Run, key: str, seed: int, drawable: DrawableOf | None) -> None:
        places = run.places[key, 0.0]
        rows = run.outcomes.iloc[places]
        known, member = np.unique(run.patients[places], return_inverse=True)
        self.samples, self.patients = len(rows), len(known)
        statistics: list[Drawable] = [means({"score": rows["score"].to_numpy(dtype=np.float64)})]
        statistics += drawable(run, rows) if drawable is not None else []
        once = np.ones((1, len(known)))
        self.told = {name: float(one[0]) for name, one in _drawn(statistics, member, once).items()}
        self.draws: Mapping[str, Floats] = {}
        if len(known) >= MINIMUM_PATIENTS:
            self.draws = _drawn(statistics, member, patient_draws(len(known), DRAWS, seed))


def _drawn(statistics: Sequence[Drawable], member: np.ndarray, times: Floats) -> dict[str, Floats]:
    found: dict[str, Floats] = {}
    for one in statistics:
        few = times[: redraws(len(member)) or _LEAST] if isinstance(one, Weighted) else times
        found |= drawn(one, member, few)
    return found
