"""One rule for a mean of numbers of which some do not exist: it does not exist either.

Without it a measure that vanishes, such as a Hausdorff distance of what is no longer found, would make a network look
better: what is left is the mean of where it still did well. It holds for means over runs, severities and corruptions;
means over samples, patients and classes leave out what has no value, and say so.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

__all__ = ["mean_of_all", "means_of_all", "spreads_of_all"]


def mean_of_all(values: ArrayLike) -> float:
    """The mean, NaN where one of the values is, or where there is none.

    Example:
        >>> mean_of_all([1.0, 2.0]), mean_of_all([1.0, np.nan])
        (1.5, nan)
    """
    numbers = np.asarray(values, dtype=np.float64)
    return float(numbers.mean()) if len(numbers) else float("nan")


def means_of_all(grouped: Any) -> Any:
    """The means of the groups of a pandas frame or column, NaN in a group that lacks one of the values."""
    return grouped.mean().mask(_lacking(grouped))


def spreads_of_all(grouped: Any) -> Any:
    """Their sample standard deviations (divisor: values less 1), NaN in a group that lacks one, or has a single one."""
    return grouped.std(ddof=1).mask(_lacking(grouped))


def _lacking(grouped: Any) -> pd.DataFrame | pd.Series:
    count, size = grouped.count(), grouped.size()
    return count.ne(size, axis=0) if isinstance(count, pd.DataFrame) else count.ne(size)
