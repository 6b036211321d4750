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
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_robust.errors import BadInputError
from monai_robust.evaluation.tables.run_folder import Perturbation, Run
from monai_robust.evaluation.tables.schema import CLEAN
from monai_robust.metrics import auc_robust

__all__ = [
    "Statistics",
    "auc_by_attack",
    "bootstrap_intervals",
    "breaking_radii",
    "largest_error",
    "mean_input_norm",
    "mean_over_severities",
    "over_replicates",
    "radius_at_half_score",
    "radius_at_twice_error",
    "rated_by",
    "summarise",
]

Statistics = Callable[[Run, pd.DataFrame], Mapping[str, float]]
"""A run and some of its rows -> named numbers about them."""

DRAWS = 1000
CHUNK = 100
KEYS = ["name", "group", "value", "perturbation", "kind", "norm"]
COUNTS = ["n", "patients"]
INTERVAL = ["score_low", "score_high"]


def summarise(runs: Sequence[Run], statistics: Statistics) -> pd.DataFrame:
    """One row for each run, group value, perturbation and severity.

    A search for nearest changes is left out: its scores are those of successes, and no attack's.

    Args:
        runs: finished evaluations.
        statistics: what the task computes from rows of the table.

    Returns:
        ``run`` (its position in ``runs``), ``name, group, value, perturbation, kind, norm, severity``,
        ``radius_percent`` (an L2 radius in percent of the mean L2 norm of the clean inputs, else NaN), ``n`` (samples
        that have a score), ``patients`` (theirs), ``score`` (mean), ``score_low`` and ``score_high``
        (:func:`bootstrap_intervals`), then the columns of ``statistics``.
    """
    rows = [
        {"run": index, "name": run.name, **row, **statistics(run, block)}
        for index, run in enumerate(runs)
        for row, block in _blocks(run, by_severity=True)
    ]
    return pd.DataFrame(rows)


def mean_over_severities(runs: Sequence[Run], summary: pd.DataFrame) -> pd.DataFrame:
    """The unweighted mean over the severities of each perturbation: one row for each run, group value, perturbation.

    The mean of an attack over its radii is the "Adversarial" of Martinez-Martinez and Nabavi 2023, Table I. The
    intervals are those of the mean, not the mean of intervals.

    Args:
        runs: as given to :func:`summarise`.
        summary: what it returned.

    Returns:
        The columns of ``summary`` but for ``severity`` and ``radius_percent``, and ``severities``, their number.
    """
    keys = ["run", *KEYS]
    means = summary.drop(columns=["severity", "radius_percent", *INTERVAL]).groupby(keys, sort=False)
    table = means.mean().join(means.size().rename("severities")).reset_index()
    intervals = pd.DataFrame(
        {"run": index, "name": run.name, **row} for index, run in enumerate(runs) for row, _ in _blocks(run, False)
    )
    merged = table.merge(intervals[[*keys, *INTERVAL]], on=keys, validate="one_to_one")
    return merged.astype(dict.fromkeys(COUNTS, int))


def over_replicates(summary: pd.DataFrame) -> pd.DataFrame:
    """Put runs of one name together.

    Args:
        summary: from :func:`summarise` or :func:`mean_over_severities`.

    Returns:
        Every numeric column is the mean over the runs of a name; beside it stands ``<column>_std``, the sample
        standard deviation (divisor: runs less 1), NaN for a single run. ``n_runs`` is their number. The bootstrap
        interval, which tells of samples and not of training, is kept for single runs and NaN for several.
    """
    keys = [key for key in (*KEYS, "severity") if key in summary.columns]
    grouped = summary.drop(columns="run").groupby(keys, sort=False)
    table = grouped.mean()
    spread = grouped.std(ddof=1).drop(columns=[*COUNTS, *INTERVAL])
    table = table.join(spread.add_suffix("_std")).join(grouped.size().rename("n_runs"))
    table.loc[table["n_runs"] > 1, INTERVAL] = math.nan
    return table.copy().reset_index()  # a copy, since columns were put in one by one


def rated_by(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """The same frame with one of the task's statistics in the place of the score, for all that reads ``score``.

    Args:
        frame: any frame of this module.
        column: the statistic.

    Returns:
        A copy. The interval, which is that of the mean score, is kept only where the statistic is the mean score.
    """
    parts = {"score": frame[column]}
    if f"{column}_std" in frame:
        parts["score_std"] = frame[f"{column}_std"]
    same = np.isclose(frame[column], frame["score"], rtol=1e-9, atol=0)
    return frame.assign(**parts, **{end: frame[end].where(same) for end in INTERVAL})


def auc_by_attack(summary: pd.DataFrame, *, higher_is_better: bool = True, scale: float | None = None) -> pd.DataFrame:
    """:func:`~monai_robust.metrics.auc_robust` of the mean score of each run under each attack, over its radii and 0.

    Args:
        summary: from :func:`summarise`.
        higher_is_better: whether the score is one, or an error.
        scale: what scores are divided by; required for errors.

    Returns:
        ``name, perturbation, auc_robust`` (mean over the runs of the name), ``auc_robust_std`` (sample standard
        deviation, NaN for a single run), ``n_runs`` and ``largest_radius``. NaN where no sample has a score.
    """
    all_samples = summary[summary["group"] == ""]
    rows = []
    for _, of_run in all_samples.groupby("run", sort=False):
        clean = of_run.loc[of_run["perturbation"] == CLEAN, "score"].iloc[0]
        for attack, block in of_run[of_run["kind"] == "attack"].groupby("perturbation", sort=False):
            radii, scores = [0.0, *block["severity"]], [clean, *block["score"]]
            known = not np.isnan(scores).any()
            area = auc_robust(radii, scores, higher_is_better=higher_is_better, scale=scale) if known else math.nan
            rows.append({"name": of_run["name"].iloc[0], "perturbation": attack, "auc_robust": area, "top": max(radii)})
    frame = pd.DataFrame(rows, columns=["name", "perturbation", "auc_robust", "top"])
    grouped = frame.groupby(["name", "perturbation"], sort=False)
    table = grouped.agg(
        auc_robust=("auc_robust", "mean"),
        auc_robust_std=("auc_robust", "std"),
        n_runs=("auc_robust", "size"),
        largest_radius=("top", "first"),
    )
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
        network's input; NaN if no evaluated radius gets there), ``percent_of_image_norm`` (L2 only) and
        ``largest_radius`` evaluated.
    """
    found, column = (
        (radius_at_half_score, "radius_at_half_score")
        if higher_is_better
        else (radius_at_twice_error, "radius_at_twice_error")
    )
    whole = replicated[replicated["group"] == ""]
    clean = whole[whole["perturbation"] == CLEAN].set_index("name")["score"]
    rows = []
    for (name, attack), block in whole[whole["kind"] == "attack"].groupby(["name", "perturbation"], sort=False):
        radius = found(float(clean.loc[str(name)]), block["severity"].to_numpy(), block["score"].to_numpy())
        percent = float((block["radius_percent"] / block["severity"]).mean())
        rows.append(
            {
                "name": name,
                "perturbation": attack,
                "norm": block["norm"].iloc[0],
                column: radius,
                "percent_of_image_norm": radius * percent,
                "largest_radius": float(block["severity"].max()),
            }
        )
    columns = ["name", "perturbation", "norm", column, "percent_of_image_norm", "largest_radius"]
    return pd.DataFrame(rows, columns=columns)


def radius_at_half_score(clean: float, radii: NDArray[np.float64], scores: NDArray[np.float64]) -> float:
    """The smallest radius at which the score is half of the clean score.

    Between evaluated radii, and between 0 and the first, the score is taken to be linear.

    Args:
        clean: score at radius 0.
        radii: (R,) evaluated radii, in any order.
        scores: (R,) their scores; higher is better.

    Returns:
        The radius, NaN if the score stays above half at all radii (or there is none).
    """
    return _radius_down_to(clean / 2, clean, radii, scores)


def radius_at_twice_error(clean: float, radii: NDArray[np.float64], errors: NDArray[np.float64]) -> float:
    """The smallest radius at which an error is twice the clean one; the same for errors, of which less is better.

    Args:
        clean: error at radius 0.
        radii: (R,) evaluated radii, in any order.
        errors: (R,) their errors.

    Returns:
        The radius, NaN if the error stays below twice the clean one at all radii (or there is none).
    """
    return _radius_down_to(-2 * clean, -clean, radii, -np.asarray(errors))


def _radius_down_to(level: float, clean: float, radii: NDArray[np.float64], scores: NDArray[np.float64]) -> float:
    order = np.argsort(radii)
    before, previous = 0.0, clean
    for radius, score in zip(np.asarray(radii)[order], np.asarray(scores)[order], strict=True):
        if score <= level:
            share = (previous - level) / (previous - score) if previous > score else 1.0
            return float(before + share * (radius - before))
        before, previous = radius, score
    return math.nan


def bootstrap_intervals(
    values: NDArray[np.float64],
    patients: NDArray[np.str_] | Sequence[str],
    *,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Percentile bootstrap intervals of means, drawing patients with replacement and all samples of a patient together.

    Samples of one patient are alike, so that drawing single samples would give intervals that are too short.

    Args:
        values: (N, K) one column for each mean; samples with a NaN among them are left out.
        patients: (N,) the patient of each sample.
        level: the share of draws within the interval.
        draws: number of draws.
        seed: seed of the draws.

    Returns:
        (K, 2) lower and upper ends; NaN if there are fewer than two patients, or where all values are equal, since
        draws from them are equal too and would pretend to certainty.

    Raises:
        BadInputError: if the lengths differ or ``level`` is no share.
    """
    values, patients = np.asarray(values, dtype=np.float64), np.asarray(patients)
    if len(values) != len(patients) or not 0 < level < 1:
        raise BadInputError(f"bootstrap: {len(values)} values, {len(patients)} patients and level {level} do not fit")
    scored = ~np.isnan(values).any(axis=1)
    values = values[scored]
    names, member = np.unique(patients[scored], return_inverse=True)
    if len(names) < 2:
        return np.full((values.shape[1], 2), np.nan)
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, member, values)
    sizes = np.bincount(member)
    generator = np.random.default_rng(seed)
    even = np.full(len(names), 1 / len(names))
    means = []
    for start in range(0, draws, CHUNK):
        times = generator.multinomial(len(names), even, size=min(CHUNK, draws - start))
        means.append(times @ sums / (times @ sizes)[:, None])
    tail = (1 - level) / 2
    ends = np.quantile(np.concatenate(means), [tail, 1 - tail], axis=0).T
    ends[np.ptp(values, axis=0) == 0] = np.nan
    return ends


def mean_input_norm(run: Run) -> float:
    """Mean L2 norm of the clean inputs of a run, in units of the network's input."""
    return float(run.clean["input_norm"].mean())


def _blocks(run: Run, by_severity: bool) -> Iterator[tuple[dict[str, object], pd.DataFrame]]:
    """What a row of a summary says but for the statistics, and the rows of the table it speaks of."""
    norm, rows, everywhere = mean_input_norm(run), run.outcomes, _places(run.outcomes)
    scores = rows[["sample_id", "patient_id", "score"]]
    for group, value, inside in _groups(run):
        places = {key: own[inside[own]] for key, own in everywhere.items()}
        ends = _intervals([block for _, _, block in _perturbed(run, scores, places, by_severity)])
        for (one, severity, block), end in zip(_perturbed(run, rows, places, by_severity), ends, strict=True):
            row: dict[str, object] = {"group": group, "value": value}
            row |= {"perturbation": one.name, "kind": one.kind, "norm": one.norm}
            if by_severity:
                radius = block["radius"].mean() if "unit" in one.settings and "radius" in block else severity
                percent = 100 * radius / norm if one.norm == "l2" and norm > 0 else math.nan
                row |= {"severity": severity, "radius_percent": percent}
                scored = block[block["score"].notna()]
                row |= {"n": len(scored), "patients": len(set(_patients(scored))), "score": scored["score"].mean()}
            yield row | dict(zip(INTERVAL, end, strict=True)), block


def _groups(run: Run) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """Name and value of each group, and which rows of the table are in it, (N,); first of all, everything."""
    yield "", "", np.ones(len(run.outcomes), dtype=bool)
    for group in run.groups:
        for value in sorted(run.outcomes[group].unique()):
            yield group, str(value), (run.outcomes[group] == value).to_numpy(dtype=bool)


def _places(rows: pd.DataFrame) -> dict[Any, NDArray[np.intp]]:
    """Where the rows of each perturbation and severity are."""
    groups = rows.groupby(["perturbation", "severity"], sort=False)
    return {key: np.asarray(places) for key, places in groups.indices.items()}


def _perturbed(
    run: Run, rows: pd.DataFrame, places: Mapping[Any, NDArray[np.intp]], by_severity: bool
) -> Iterator[tuple[Perturbation, float, pd.DataFrame]]:
    """The rows of each perturbation and severity, or of each perturbation, one after the other: a table is large."""
    for one in run.perturbations:
        if one.kind == "nearest":
            continue
        own = [places[one.name, severity] for severity in one.severities]
        if not by_severity:
            yield one, math.nan, rows.iloc[np.sort(np.concatenate(own))]
            continue
        for severity, here in zip(one.severities, own, strict=True):
            yield one, severity, rows.iloc[here]


def _intervals(blocks: Sequence[pd.DataFrame]) -> NDArray[np.float64]:
    """Intervals of the mean score of blocks that all hold the same samples, (K, 2)."""
    patients = pd.Series(_patients(blocks[0]), index=blocks[0]["sample_id"])
    patients = patients[~patients.index.duplicated()]
    scores = [block.groupby("sample_id")["score"].mean().reindex(patients.index) for block in blocks]
    return bootstrap_intervals(np.stack([one.to_numpy() for one in scores], axis=1), patients.to_numpy(dtype=str))


def _patients(rows: pd.DataFrame) -> NDArray[np.str_]:
    """The patient of each row; a sample whose patient is unknown counts as a patient of its own."""
    known = rows["patient_id"] != ""
    return np.where(known, "patient " + rows["patient_id"], "sample " + rows["sample_id"]).astype(str)
