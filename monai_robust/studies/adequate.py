"""Whether the smallest adequate network is the most robust one: the advice of model-complexity, as a sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from monai_robust.studies.description import DataSet, Study
from monai_robust.studies.tables import Cells

__all__ = ["adequate_sentence"]


def adequate_sentence(study: Study, dataset: DataSet, cells: Mapping[str, Cells]) -> str:
    """What the numbers say of "select the least complex model" among those that are equally good on clean images.

    Source: model-complexity, "Discussion". Adequate are the arms whose mean clean number is within ``within`` of the
    best.

    Args:
        study: with ``adequate``: ``table`` (its name), ``clean``, ``attacked`` and ``size`` (labels of its columns),
            ``within`` (in its numbers) and ``arms``.
        dataset: on which.
        cells: by the name of each table.

    Returns:
        One sentence; empty where the study asks for none, or fewer than two arms were run.
    """
    rule: Mapping[str, Any] = study.adequate
    if not rule:
        return ""
    table = cells.get(rule["table"])
    if table is None:
        return ""

    def mean(label: str, arm: str) -> float:
        return float(np.mean(list(table.of(label, arm).values())))

    labels = [rule[name] for name in ("clean", "attacked", "size")]
    arms = [arm for arm in rule["arms"] if arm in dataset.arms and all(table.of(label, arm) for label in labels)]
    run = [arm for arm in arms if all(math.isfinite(mean(label, arm)) for label in labels)]
    if len(run) < 2:
        return ""
    clean, attacked, size = labels

    def merit(label: str, arm: str) -> float:
        return mean(label, arm) if table.higher_is_better[label] else -mean(label, arm)

    best = max(run, key=lambda arm: merit(clean, arm))
    adequate = [arm for arm in run if merit(clean, arm) >= merit(clean, best) - float(rule["within"])]
    smallest = min(adequate, key=lambda arm: mean(size, arm))
    sturdiest = max(adequate, key=lambda arm: merit(attacked, arm))
    titles = {arm: study.all_arms[arm].title for arm in run}
    sizes = f"{mean(size, smallest):,.0f} parameters"
    are = "is" if len(adequate) == 1 else "are"
    first = (
        f"Of {len(run)} networks, {len(adequate)} {are} within {rule['within']:g} of the best clean number "
        f"({mean(clean, best):.4g})"
    )
    first = f"{first}; the smallest of them, {titles[smallest]} ({sizes}),"
    under = table.title(attacked)
    if smallest == sturdiest:
        return f"{first} is also the most robust ({under})."
    return (
        f"{first} has {mean(attacked, smallest):.4g} under attack ({under}), and {titles[sturdiest]} has "
        f"{mean(attacked, sturdiest):.4g}: the smallest is not the most robust."
    )
