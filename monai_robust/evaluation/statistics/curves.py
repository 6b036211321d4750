"""What a curve of scores over the radius of an attack says in one number: its area, and the radius where it breaks."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_robust.evaluation.statistics.defined import means_of_all, spreads_of_all
from monai_robust.evaluation.tables.schema import CLEAN
from monai_robust.metrics import auc_robust

__all__ = [
    "auc_by_attack",
    "breaking_radii",
    "largest_error",
    "radius_at_half_score",
    "radius_at_twice_error",
]


def auc_by_attack(summary: pd.DataFrame, *, higher_is_better: bool = True, scale: float | None = None) -> pd.DataFrame:
    """:func:`~monai_robust.metrics.auc_robust` of the mean score of each run under each attack, over its radii and 0.

    Args:
        summary: from :func:`summarise`.
        higher_is_better: whether the score is one, or an error.
        scale: what scores are divided by; required for errors.

    Returns:
        ``name, perturbation, auc_robust`` (mean over the runs of the name), ``auc_robust_std`` (sample standard
        deviation, NaN for a single run), ``n_runs`` and ``largest_radius``. NaN where a run has no score somewhere, or
        a negative one, of whose area there is no root.
    """
    all_samples = summary[summary["group"] == ""]
    rows = []
    for _, of_run in all_samples.groupby("run", sort=False):
        clean = of_run.loc[of_run["perturbation"] == CLEAN, "score"].iloc[0]
        for attack, block in of_run[of_run["kind"] == "attack"].groupby("perturbation", sort=False):
            radii, scores = [0.0, *block["severity"]], [clean, *block["score"]]
            known = bool((np.array(scores) >= 0).all())  # NaN is not
            area = auc_robust(radii, scores, higher_is_better=higher_is_better, scale=scale) if known else math.nan
            rows.append({"name": of_run["name"].iloc[0], "perturbation": attack, "auc_robust": area, "top": max(radii)})
    frame = pd.DataFrame(rows, columns=["name", "perturbation", "auc_robust", "top"])
    grouped = frame.groupby(["name", "perturbation"], sort=False)
    areas = grouped["auc_robust"]
    columns = {"auc_robust": means_of_all(areas), "auc_robust_std": spreads_of_all(areas)}
    table = pd.DataFrame({**columns, "n_runs": areas.size(), "largest_radius": grouped["top"].first()})
    return table.reset_index()


def largest_error(summary: pd.DataFrame) -> float:
    """The largest mean error of clean and attacked inputs among all runs, what AUC_robust of errors is divided by.

    Source: AMAT, Table 11, whose numbers are those of errors divided by its largest one.

    Args:
        summary: from :func:`summarise`.

    Returns:
        1 where every error is 0 or unknown, so that it can be divided by.
    """
    shown = summary[(summary["group"] == "") & summary["kind"].isin(["clean", "attack"])]
    largest = float(shown["score"].max())
    return largest if largest > 0 else 1.0


def breaking_radii(replicated: pd.DataFrame, *, higher_is_better: bool = True) -> pd.DataFrame:
    """Where each name's mean score under each attack falls to half of its clean score, or an error doubles.

    Args:
        replicated: :func:`over_replicates` of :func:`summarise`.
        higher_is_better: whether the score is one, or an error.

    Returns:
        ``name, perturbation, norm, radius_at_half_score`` (of errors ``radius_at_twice_error``; in units of the
        network's input; NaN if no evaluated radius gets there, or nobody can tell), ``percent_of_image_norm`` (L2
        only), ``largest_radius`` evaluated, and ``undefined``: why nobody can tell, "" where that is not so.
    """
    column = "radius_at_half_score" if higher_is_better else "radius_at_twice_error"
    whole = replicated[replicated["group"] == ""]
    clean = whole[whole["perturbation"] == CLEAN].set_index("name")["score"]
    rows = []
    for (name, attack), block in whole[whole["kind"] == "attack"].groupby(["name", "perturbation"], sort=False):
        scores = float(clean.loc[str(name)]), block["severity"].to_numpy(), block["score"].to_numpy()
        radius, why = _crossing(*scores, higher_is_better)
        percent = float((block["radius_percent"] / block["severity"]).mean())
        rows.append(
            {
                "name": name,
                "perturbation": attack,
                "norm": block["norm"].iloc[0],
                column: radius,
                "percent_of_image_norm": radius * percent,
                "largest_radius": float(block["severity"].max()),
                "undefined": why,
            }
        )
    columns = ["name", "perturbation", "norm", column, "percent_of_image_norm", "largest_radius", "undefined"]
    return pd.DataFrame(rows, columns=columns)


def radius_at_half_score(clean: float, radii: NDArray[np.float64], scores: NDArray[np.float64]) -> float:
    """The smallest radius at which the score is half of the clean score.

    Between evaluated radii, and between 0 and the first, the score is taken to be linear.

    Args:
        clean: score at radius 0.
        radii: (R,) evaluated radii, in any order.
        scores: (R,) their scores; higher is better.

    Returns:
        The radius, NaN if the score stays above half at all radii (or there is none), or that cannot be told.
    """
    return _crossing(clean, radii, scores, True)[0]


def radius_at_twice_error(clean: float, radii: NDArray[np.float64], errors: NDArray[np.float64]) -> float:
    """The smallest radius at which an error is twice the clean one; the same for errors, of which less is better.

    Args:
        clean: error at radius 0.
        radii: (R,) evaluated radii, in any order.
        errors: (R,) their errors.

    Returns:
        The radius, NaN if the error stays below twice the clean one at all radii (or there is none), or that cannot be
        told.
    """
    return _crossing(clean, radii, errors, False)[0]


def _crossing(
    clean: float, radii: NDArray[np.float64], scores: NDArray[np.float64], higher_is_better: bool
) -> tuple[float, str]:
    """Where a score is half, or an error twice the clean one, NaN where it is nowhere; and why nobody can tell, ""
    where that is not so: a curve with a gap may have got there within the gap."""
    if math.isnan(clean):
        return math.nan, "it has no value on clean images"
    if clean <= 0:
        return (
            math.nan,
            f"it is {clean:.3g} on clean images, of which there is no {'half' if higher_is_better else 'double'}",
        )
    sign = 1 if higher_is_better else -1
    level = sign * clean * (0.5 if higher_is_better else 2)
    order = np.argsort(radii)
    before, previous = 0.0, sign * clean
    for radius, score in zip(np.asarray(radii)[order], sign * np.asarray(scores, dtype=np.float64)[order], strict=True):
        if math.isnan(score):
            return math.nan, f"it has no value at radius {radius:.3g}"
        if score <= level:
            share = (previous - level) / (previous - score) if previous > score else 1.0
            return float(before + share * (radius - before)), ""
        before, previous = radius, score
    return math.nan, ""
