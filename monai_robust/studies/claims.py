"""Whether a paper's claims are seen again in the numbers of a study's runs.

A claim of a study's file has ``text``, ``table`` (its name; else the first), ``column`` (its label, or one for each
data set), ``better`` (an arm), ``than`` (arms) or ``than_columns`` (labels of the same table, for that arm itself),
where wanted ``sets`` (else all) and, where the paper says no more than that little is lost, ``within`` (in the table's
numbers).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from monai_robust.studies.description import DataSet, Study
from monai_robust.studies.tables import Cells

__all__ = ["Claim", "claims_of"]


@dataclass(frozen=True)
class Claim:
    """What the numbers say of a claim on one data set.

    Attributes:
        text: the claim.
        verdict: ``held``, ``did not hold``, ``not told apart`` or ``not run``.
        numbers: that it rests on, in words.
    """

    text: str
    verdict: str
    numbers: str


@dataclass(frozen=True)
class _Side:
    """One of the two cells that a claim compares."""

    arm: str
    label: str


def claims_of(study: Study, dataset: DataSet, cells: Mapping[str, Cells]) -> list[Claim]:
    """What is to be said of the study's claims on a data set.

    Two arms, or two columns of one arm, are compared replicate by replicate. A claim held where the mean difference is
    on its side by more than its standard deviation over the replicates, did not hold where it is on the other side by
    more; of a single replicate nothing can be told apart.

    Args:
        study: with claims.
        dataset: on which.
        cells: by the name of each table.
    """
    found = []
    for claim in study.claims:
        if dataset.name not in claim.get("sets", [dataset.name]):
            continue
        label = claim["column"][dataset.name] if isinstance(claim["column"], Mapping) else claim["column"]
        better = _Side(claim["better"], label)
        others = [_Side(arm, label) for arm in claim.get("than", ())]
        others += [_Side(claim["better"], other) for other in claim.get("than_columns", ())]
        for other in others:
            if better.arm in dataset.arms and other.arm in dataset.arms:
                found.append(_judged(study, claim, better, other, cells.get(claim["table"])))
    return found


def _judged(study: Study, claim: Mapping[str, Any], better: _Side, other: _Side, cells: Cells | None) -> Claim:
    titles = [study.all_arms[one.arm].title for one in (better, other)]
    sides = (
        f"{titles[0]}: {better.label} against {other.label}"
        if better.arm == other.arm
        else f"{titles[0]} against {titles[1]}, {better.label}"
    )
    text = f"{claim['text']} ({sides})"
    mine, rest = ({} if cells is None else cells.of(one.label, one.arm) for one in (better, other))
    both = [name for name in mine if name in rest]
    if cells is None or not both:
        return Claim(text, "not run", "")
    sign = 1.0 if cells.higher_is_better[better.label] else -1.0
    gaps = np.array([sign * (mine[name] - rest[name]) for name in both]) + float(claim.get("within", 0.0))
    mean, spread = float(gaps.mean()), float(gaps.std(ddof=1)) if len(gaps) > 1 else math.nan
    mean = round(mean, 9)  # a sum to nothing leaves 1e-15
    numbers = f"{np.mean([mine[one] for one in both]):.4g} against {np.mean([rest[one] for one in both]):.4g}"
    if len(gaps) == 1:
        return Claim(text, "not told apart", f"{numbers}, one replicate")
    difference = sign * (mean - float(claim.get("within", 0.0))) + 0.0  # which makes 0 of -0
    numbers += f"; difference {difference:+.3g} ± {spread:.2g}, {len(gaps)} replicates"
    verdict = "held" if mean > spread else "did not hold" if mean < -spread else "not told apart"
    return Claim(text, verdict, numbers)
