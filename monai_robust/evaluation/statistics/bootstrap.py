"""How far a number would differ with other patients: draws of patients, and percentile intervals from them.

Patients are drawn with replacement, and all samples of a patient together: samples of one patient are alike, so that
drawing single samples would give intervals that are too short (Davison and Hinkley 1997, sections 2.4 and 3.8). What is
drawn anew is said in one of two forms: :class:`Sums`, for statistics that follow from sums over samples, such as means
and ratios, which costs a product of matrices; and :class:`Weighted`, for those that look at all samples at once, such
as an area under a curve, which costs a pass over the samples for each draw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from monai_robust.errors import BadInputError

__all__ = [
    "DRAWS",
    "LEVEL",
    "MINIMUM_PATIENTS",
    "Drawable",
    "Floats",
    "Sums",
    "Weighted",
    "bootstrap_intervals",
    "drawn",
    "means",
    "patient_draws",
    "patient_sums",
    "percentile_ends",
    "ratios",
]

DRAWS = 1000
LEVEL = 0.95
MINIMUM_PATIENTS = 10
"""With fewer patients a percentile interval holds the true value clearly less often than it says, and none is given."""
_UNDEFINED = 0.05  # the share of draws that may be undefined, such as those without a case of a class
_PASSES = 2_000_000  # samples times draws that a Weighted statistic looks at in one go

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sums:
    """Statistics that follow from sums over samples.

    Attributes:
        values: (N, K) what is summed of each sample; no NaN among them.
        of: sums (..., K) -> by name, statistics (...); NaN where one is undefined.
    """

    values: Floats
    of: Callable[[Floats], Mapping[str, Floats]]


@dataclass(frozen=True, eq=False)
class Weighted:
    """Statistics that look at all samples at once.

    Attributes:
        columns: arrays (N, ...) that belong to the samples.
        of: how often each sample was drawn (D, N), and the columns -> by name, statistics (D,); NaN where undefined.
    """

    columns: tuple[NDArray[np.generic], ...]
    of: Callable[..., Mapping[str, Floats]]


Drawable = Sums | Weighted


def means(columns: Mapping[str, ArrayLike]) -> Sums:
    """Means of per-sample values, samples without a value (NaN) left out.

    Args:
        columns: by name, (N,) values.
    """
    return ratios({name: (values, 1.0) for name, values in columns.items()})


def ratios(columns: Mapping[str, tuple[ArrayLike, ArrayLike]]) -> Sums:
    """Ratios of sums, such as a mean over all landmarks of all images.

    Args:
        columns: by name, what is summed above and below the line, each (N,) or one number for all; a sample where
            either is NaN is left out.
    """
    tops, bottoms = [], []
    for top, bottom in columns.values():
        above, below = np.broadcast_arrays(np.asarray(top, dtype=np.float64), np.asarray(bottom, dtype=np.float64))
        known = ~(np.isnan(above) | np.isnan(below))
        tops.append(np.where(known, above, 0.0))
        bottoms.append(np.where(known, below, 0.0))
    names, count = list(columns), len(columns)

    def of(sums: Floats) -> dict[str, Floats]:
        with np.errstate(invalid="ignore", divide="ignore"):
            found = np.where(sums[..., count:] != 0, sums[..., :count] / sums[..., count:], np.nan)
        return {name: found[..., place] for place, name in enumerate(names)}

    return Sums(np.stack([*tops, *bottoms], axis=-1), of)


@lru_cache(maxsize=4)
def patient_draws(patients: int, draws: int = DRAWS, seed: int = 0) -> Floats:
    """How often each patient is drawn, (D, P); the same for the same numbers, so that runs are drawn alike.

    Args:
        patients: P, of which as many are drawn, with replacement.
        draws: D.
        seed: of the draws.
    """
    generator = np.random.default_rng(seed)
    return generator.multinomial(patients, np.full(patients, 1 / patients), size=draws).astype(np.float64)


def drawn(statistics: Drawable, member: NDArray[np.intp], times: Floats) -> dict[str, Floats]:
    """Statistics of every draw.

    Args:
        statistics: of N samples.
        member: (N,) the patient of each sample, an index.
        times: (D, P) how often each patient is drawn.

    Returns:
        By name, (D,); NaN where a draw has no such statistic.
    """
    if isinstance(statistics, Sums):
        return dict(statistics.of(times @ patient_sums(statistics.values, member, times.shape[1])))
    step = max(1, _PASSES // max(1, len(member)))
    parts = [
        statistics.of(times[start : start + step, member], *statistics.columns) for start in range(0, len(times), step)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def patient_sums(values: Floats, member: NDArray[np.intp], patients: int) -> Floats:
    """(P, K) sums over the samples of each patient."""
    places = np.arange(len(member))
    return np.asarray(csr_array((np.ones(len(member)), (member, places)), shape=(patients, len(member))) @ values)


def percentile_ends(draws: Floats, level: float = LEVEL) -> Floats:
    """Ends of the percentile intervals of statistics.

    Args:
        draws: (D, K) one column for each statistic.
        level: the share of draws within the interval.

    Returns:
        (K, 2) lower and upper ends; NaN for a statistic that more than 5 % of the draws do not have, or that is the
        same in all of them, which would pretend to certainty.
    """
    missing = np.isnan(draws)
    usable = missing.mean(axis=0) <= _UNDEFINED
    ends = np.full((draws.shape[1], 2), np.nan)
    tail = [(1 - level) / 2, (1 + level) / 2]
    whole = usable & ~missing.any(axis=0)
    if whole.any():
        ends[whole] = np.quantile(draws[:, whole], tail, axis=0).T
    for place in np.flatnonzero(usable & ~whole):
        ends[place] = np.nanquantile(draws[:, place], tail)
    same = np.isclose(ends[:, 0], ends[:, 1], rtol=1e-12, atol=0)
    ends[same] = np.nan
    return ends


def bootstrap_intervals(
    values: ArrayLike,
    patients: NDArray[np.str_] | Sequence[str],
    *,
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
) -> Floats:
    """Percentile bootstrap intervals of means.

    Args:
        values: (N, K) one column for each mean; samples with a NaN among them are left out.
        patients: (N,) the patient of each sample.
        level: the share of draws within the interval.
        draws: number of draws.
        seed: seed of the draws.

    Returns:
        (K, 2) lower and upper ends; NaN if there are fewer than :data:`MINIMUM_PATIENTS` patients, or where all values
        are equal, since draws from them are equal too and would pretend to certainty.

    Raises:
        BadInputError: if the lengths differ or ``level`` is no share.
    """
    numbers, names = np.asarray(values, dtype=np.float64), np.asarray(patients)
    if len(numbers) != len(names) or not 0 < level < 1:
        raise BadInputError(f"bootstrap: {len(numbers)} values, {len(names)} patients and level {level} do not fit")
    scored = ~np.isnan(numbers).any(axis=1)
    known, member = np.unique(names[scored], return_inverse=True)
    if len(known) < MINIMUM_PATIENTS:
        return np.full((numbers.shape[1], 2), np.nan)
    columns = {str(place): column for place, column in enumerate(numbers[scored].T)}
    found = drawn(means(columns), member, patient_draws(len(known), draws, seed))
    return percentile_ends(np.stack(list(found.values()), axis=1), level)
