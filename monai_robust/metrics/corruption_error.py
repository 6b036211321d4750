"""How much worse than a baseline a network is under corruptions, in one number."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_robust.errors import BadInputError

__all__ = ["corruption_error", "mean_corruption_error", "relative_corruption_error"]


def corruption_error(errors: ArrayLike, baseline: ArrayLike) -> float:
    """Corruption error: the errors over the severities of one corruption, in units of the baseline's,

        CE = sum_s E_s / sum_s E_s(baseline).

    Source: Hendrycks and Dietterich 2019, section 4.2, where errors are shares of images that are misclassified. Here
    an error is 1 less a score from 0 to 1 (accuracy, Dice, mAP), or an error as it is, such as one in mm.

    Args:
        errors: (S,) of the network, one for each severity.
        baseline: (S,) of the baseline at the same severities.

    Returns:
        1 for the baseline itself; less is better. NaN where the baseline makes no errors at all.

    Raises:
        BadInputError: for lengths that differ, none at all, or errors that are negative or not finite.

    Example:
        >>> corruption_error([0.1, 0.2, 0.3], [0.2, 0.4, 0.6])
        0.5
    """
    own, theirs = _checked(errors, baseline)
    return _ratio(float(own.sum()), float(theirs.sum()))


def relative_corruption_error(errors: ArrayLike, baseline: ArrayLike, *, clean: float, baseline_clean: float) -> float:
    """Relative corruption error: by how much errors grow, in units of how much the baseline's grow,

        relative CE = sum_s (E_s - E_clean) / sum_s (E_s(baseline) - E_clean(baseline)).

    A network that is bad from the start has a large CE; this says how far it falls. Source: Hendrycks and Dietterich
    2019, section 4.2.

    Args:
        errors: (S,) of the network, one for each severity.
        baseline: (S,) of the baseline at the same severities.
        clean: the network's error without corruption.
        baseline_clean: the baseline's.

    Returns:
        1 for the baseline itself; less is better. NaN where the baseline's errors do not grow.

    Raises:
        BadInputError: as :func:`corruption_error`.

    Example:
        >>> round(relative_corruption_error([0.2, 0.3], [0.3, 0.5], clean=0.1, baseline_clean=0.2), 6)
        0.75
    """
    own, theirs = _checked(errors, baseline)
    _checked([clean], [baseline_clean])
    return _ratio(float((own - clean).sum()), float((theirs - baseline_clean).sum()))


def mean_corruption_error(
    errors: Mapping[str, ArrayLike],
    baseline: Mapping[str, ArrayLike],
    *,
    clean: float | None = None,
    baseline_clean: float | None = None,
) -> float:
    """Mean corruption error (mCE): the mean of :func:`corruption_error` over corruptions; with the clean errors, of
    :func:`relative_corruption_error`.

    Args:
        errors: of the network, by corruption, (S,) each.
        baseline: of the baseline.
        clean: the network's error without corruption, for relative mCE.
        baseline_clean: the baseline's.

    Returns:
        The mean over the corruptions that have one, NaN where none has.

    Raises:
        BadInputError: for other corruptions than the baseline's, none at all, one clean error without the other, and as
            :func:`corruption_error`.

    Example:
        >>> mean_corruption_error({"noise": [0.1, 0.2], "blur": [0.4, 0.5]}, {"noise": [0.2, 0.4], "blur": [0.4, 0.5]})
        0.75
    """
    if not errors or set(errors) != set(baseline):
        raise BadInputError(f"mCE: corruptions {sorted(errors)} and those of the baseline, {sorted(baseline)}, differ")
    if (clean is None) != (baseline_clean is None):
        raise BadInputError("mCE: relative mCE needs the clean error of the network and that of the baseline")
    found = np.array(
        [
            corruption_error(own, baseline[name])
            if clean is None or baseline_clean is None
            else relative_corruption_error(own, baseline[name], clean=clean, baseline_clean=baseline_clean)
            for name, own in errors.items()
        ]
    )
    return float(found[~np.isnan(found)].mean()) if (~np.isnan(found)).any() else float("nan")


def _checked(errors: ArrayLike, baseline: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    own, theirs = np.asarray(errors, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if own.ndim != 1 or own.shape != theirs.shape or not len(own):
        raise BadInputError(f"corruption error: {own.shape} errors and {theirs.shape} of the baseline do not fit")
    both = np.concatenate([own, theirs])
    if not np.isfinite(both).all() or both.min() < 0:
        raise BadInputError(f"corruption error: errors must be finite and not negative, got {both.tolist()}")
    return own, theirs


def _ratio(own: float, theirs: float) -> float:
    return own / theirs if theirs > 1e-12 else float("nan")
