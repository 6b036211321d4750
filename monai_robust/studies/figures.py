"""The figure of a study's table: lines over its columns, bars, or its second column over its first."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from monai_robust.errors import writing
from monai_robust.studies.description import Study
from monai_robust.studies.keys import FIGURES
from monai_robust.studies.tables import Cells

__all__ = ["draw_figure", "drawable", "spread_of"]


@dataclass(frozen=True)
class _Arm:
    """What a figure shows of an arm: means and spreads of its columns."""

    name: str
    title: str
    means: Sequence[float]
    spreads: Sequence[float]


def drawable(table: Mapping[str, Any], cells: Cells) -> bool:
    """Whether a table has a figure, and runs the columns that it shows."""
    return "figure" in table and len(cells.labels) >= (2 if table["figure"] == "front" else 1)


def draw_figure(study: Study, table: Mapping[str, Any], cells: Cells, path: Path) -> None:
    """Draw a table's figure into a file.

    Args:
        study: that has the table.
        table: with ``figure``, one of :data:`~monai_robust.studies.keys.FIGURES`.
        cells: its numbers.
        path: of the PNG file.
    """
    figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    arms = [
        _Arm(
            arm.name,
            arm.title,
            [float(np.mean(list(cells.of(label, arm.name).values()) or [math.nan])) for label in cells.labels],
            [spread_of(list(cells.of(label, arm.name).values())) for label in cells.labels],
        )
        for arm in study.all_arms.values()
        if any(cells.of(label, arm.name) for label in cells.labels)
    ]
    _KINDS[table["figure"]](axes, table, cells, arms)
    axes.legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path):
        figure.savefig(path, dpi=120)
    plt.close(figure)


def spread_of(values: Sequence[float]) -> float:
    """Standard deviation over replicates; zero of one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def _lines(axes: Axes, table: Mapping[str, Any], cells: Cells, arms: Sequence[_Arm]) -> None:
    places = np.arange(len(cells.labels))
    for number, arm in enumerate(arms):
        first = 0
        for row in cells.rows:  # radii of an attack are joined, and not its last with the first of the next
            own, title = slice(first, first + len(row)), None if first else arm.title
            axes.errorbar(
                *(places[own], arm.means[own]),
                arm.spreads[own],
                marker="o",
                capsize=2,
                color=f"C{number}",
                label=title,
            )
            first += len(row)
    _columns_below(axes, table, cells)


def _bars(axes: Axes, table: Mapping[str, Any], cells: Cells, arms: Sequence[_Arm]) -> None:
    places, width = np.arange(len(cells.labels)), 0.8 / len(arms)
    for number, arm in enumerate(arms):
        beside = (number - (len(arms) - 1) / 2) * width
        axes.bar(places + beside, arm.means, width, yerr=arm.spreads, label=arm.title)
    _columns_below(axes, table, cells)


def _columns_below(axes: Axes, table: Mapping[str, Any], cells: Cells) -> None:
    axes.set_xticks(np.arange(len(cells.labels)), cells.labels, rotation=30, ha="right")
    axes.set_ylabel(str(table["statistic"]).replace("_", " ") + (" (%)" if table.get("scale") == 100 else ""))


def _front(axes: Axes, table: Mapping[str, Any], cells: Cells, arms: Sequence[_Arm]) -> None:
    """The second column over the first, with a line through each group of ``joined`` arms."""
    for arm in arms:
        (x, y), (wide, high) = arm.means[:2], arm.spreads[:2]
        axes.errorbar(x, y, xerr=wide, yerr=high, marker="o", label=arm.title)
    for names in table.get("joined", ()):
        line = [arm.means[:2] for arm in arms if arm.name in names]
        if line:
            axes.plot(*zip(*line, strict=True), color="grey", linestyle="--", zorder=0)
    axes.set_xlabel(cells.labels[0])
    if table["columns"][0].get("measure") == "parameters":
        axes.set_xscale("log")
    axes.set_ylabel(cells.labels[1])


_KINDS: Mapping[str, Callable[[Axes, Mapping[str, Any], Cells, Sequence[_Arm]], None]] = dict(
    zip(FIGURES, (_lines, _bars, _front), strict=True)
)
