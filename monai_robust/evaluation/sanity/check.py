"""Whether the outcomes of attacks can be trusted: a few more attacks on a few samples, and what they give away."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from monai_robust.evaluation.measure.perturbations import AttackSweep, EvaluatedBatch, Sweep
from monai_robust.evaluation.sanity.attack_checks import run_checks
from monai_robust.evaluation.sanity.probed_attack import ProbedAttack
from monai_robust.evaluation.sanity.probes import Probe
from monai_robust.evaluation.tables.outcomes import read_outcomes
from monai_robust.evaluation.tables.sanity_file import Finding, Sanity, read_sanity, write_sanity
from monai_robust.evaluation.tables.schema import CLEAN

__all__ = ["check_sanity", "probe_radius", "telling_samples"]


def check_sanity(
    folder: str | Path,
    sweeps: Sequence[Sweep],
    batches: Callable[[Sequence[int]], Sequence[EvaluatedBatch]],
    *,
    samples: int,
    higher_is_better: bool,
    groups: Sequence[str] = (),
    left_out: Collection[str] = (),
    seed: int = 0,
    progress: bool = False,
) -> Sanity:
    """Check every attack of a measured folder and write ``sanity.json`` there, unless that was done already.

    For each attack of S steps, n samples pass the network forward and backward 3.5 S + 2 times and forward about 60
    times more. That is about 3.5 n / (N R) of a measurement of N samples at R radii (3 % for 16 of 300 samples at 7
    radii), and as many times more as a search of the smallest radius is faster than that.

    The same arguments give the identical file.

    Args:
        folder: with a finished outcomes table.
        sweeps: the perturbations; those that are no attacks are passed over.
        batches: batches of the samples at some places of the table, in order.
        samples: n, at most.
        higher_is_better: of the task's score.
        groups: group columns of the table.
        left_out: ids of samples on which something failed.
        seed: of a network that answers at random.
        progress: show a bar.

    Returns:
        What was found.
    """
    before = read_sanity(folder)
    attacks = [sweep for sweep in sweeps if isinstance(sweep, AttackSweep)]
    if (
        before is not None
        and before.samples == samples
        and {one.perturbation for one in before.findings} == {sweep.name for sweep in attacks}
    ):
        return before
    outcomes = read_outcomes(folder, groups)
    outcomes.loc[outcomes["sample_id"].isin(left_out), "score"] = np.nan
    findings: list[Finding] = []
    if attacks:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            chosen = batches(telling_samples(outcomes[outcomes["perturbation"] == CLEAN], samples, higher_is_better))
            for sweep in tqdm(attacks, desc="sanity checks", unit="attack", disable=not progress):
                scores = dict(_scores(outcomes, sweep))
                findings += run_checks(
                    ProbedAttack(Probe(sweep, chosen, probe_radius(scores, higher_is_better)), scores)
                )
    sanity = Sanity(samples, findings)
    write_sanity(folder, sanity)
    return sanity


def telling_samples(clean: pd.DataFrame, count: int, higher_is_better: bool) -> list[int]:
    """Places of at most ``count`` samples that have something to lose, evenly over the table and over its labels.

    Args:
        clean: the rows of the clean inputs, in the order of the samples.
        count: how many at most.
        higher_is_better: of the score; a score of 0 then has nothing left to lose.
    """
    scores = clean["score"].to_numpy(dtype=float)
    telling = np.isfinite(scores) & (scores > 0 if higher_is_better else True)
    telling = (
        telling if telling.any() else np.isfinite(scores) if np.isfinite(scores).any() else np.full(len(scores), True)
    )
    places = np.flatnonzero(telling)
    labels = clean["label"].to_numpy()[places] if "label" in clean else np.zeros(len(places))
    classes = [places[labels == label] for label in np.unique(labels)]
    turns = [index for turn in range(len(places)) for index, own in enumerate(classes) if turn < len(own)]
    shares = [turns[:count].count(index) for index in range(len(classes))]
    return sorted(place for own, share in zip(classes, shares, strict=True) for place in _spread(own, share))


def probe_radius(scores: dict[float, np.ndarray], higher_is_better: bool) -> float:
    """The largest radius at which samples keep at least half of their score (an error is at most doubled), where more
    and less harm can be told apart; the smallest one where none does.

    Args:
        scores: by severity, 0 (clean) first.
        higher_is_better: of the score.
    """
    means = {radius: float(np.nanmean(own)) for radius, own in scores.items()}
    clean = means.pop(0.0)
    standing = [
        radius for radius, mean in means.items() if (mean >= clean / 2 if higher_is_better else mean <= 2 * clean)
    ]
    return max(standing, default=min(means))


def _scores(outcomes: pd.DataFrame, sweep: AttackSweep) -> Iterator[tuple[float, np.ndarray]]:
    """For each severity, ascending from 0 (clean), the scores in the order of the samples."""
    yield 0.0, outcomes.loc[outcomes["perturbation"] == CLEAN, "score"].to_numpy(dtype=float)
    own = outcomes[outcomes["perturbation"] == sweep.name]
    for severity in sorted(sweep.severities):
        yield severity, own.loc[own["severity"] == severity, "score"].to_numpy(dtype=float)


def _spread(places: np.ndarray, count: int) -> list[int]:
    """``count`` of the places, each from the middle of an equal part of them."""
    return [int(places[(2 * part + 1) * len(places) // (2 * count)]) for part in range(count)]
