"""Figures of classification that clinicians read: ROC curves, clean and under attack, and confusion matrices."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from monai_robust.evaluation.sections.drawing import WIDTH, legend_label, legend_of, run_colour, styled
from monai_robust.evaluation.sections.parts import number
from monai_robust.evaluation.sections.perturbations import perturbation_label
from monai_robust.evaluation.tables.schema import CLEAN

__all__ = ["confusion_figure", "roc_figure"]

ACROSS = 3
CELLS = 8  # classes up to which cells hold numbers
DASHES: tuple[Any, ...] = ("solid", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1, 2)))


@styled
def roc_figure(curves: pd.DataFrame, points: pd.DataFrame) -> Figure:
    """ROC curves, a panel for each finding, a colour for each name, a kind of line for each setting.

    Args:
        curves: ``name, run, finding, perturbation, severity, false_positive_rate, sensitivity``, along each curve. Of
            several runs of a name each is a thin line, and the one called ``mean`` a thick one.
        points: operating points in the same columns, marked on the curves; may be empty.
    """
    findings, names = list(dict.fromkeys(curves["finding"])), list(dict.fromkeys(curves["name"]))
    settings = list(dict.fromkeys(zip(curves["perturbation"], curves["severity"], strict=True)))
    several = curves.groupby("name")["run"].nunique() > 1
    columns = 2 if len(findings) == 4 else min(len(findings), ACROSS)
    rows = math.ceil(len(findings) / columns)
    figure = Figure(
        figsize=(max(WIDTH * columns / ACROSS, 4.2), (3.0 if columns > 1 else 3.6) * rows + 0.1), layout="constrained"
    )
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes, finding in zip(panels, findings, strict=False):
        axes.plot([0, 1], [0, 1], color="#B0B6BD", linewidth=0.9)
        for (name, run, perturbation, severity), curve in curves[curves["finding"] == finding].groupby(
            ["name", "run", "perturbation", "severity"], sort=False
        ):
            thin = run != "mean" and several[name]
            axes.plot(
                curve["false_positive_rate"],
                curve["sensitivity"],
                color=run_colour(names.index(name)),
                linestyle=DASHES[settings.index((perturbation, severity)) % len(DASHES)],
                linewidth=0.7 if thin else 1.6,
                alpha=0.5 if thin else 1.0,
            )
        for _, point in points[points["finding"] == finding].iterrows():
            axes.plot(
                point["false_positive_rate"],
                point["sensitivity"],
                marker="o",
                color=run_colour(names.index(point["name"])),
                markeredgecolor="white",
                markersize=6.5,
                zorder=4,
            )
        axes.set_title(textwrap.shorten(str(finding), 28, placeholder="..."))
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))
            axis.set_ticks([0, 0.5, 1])
    for spare in panels[len(findings) :]:
        spare.set_axis_off()
    for axes in panels[-columns:] if len(findings) % columns == 0 else panels[len(findings) - columns : len(findings)]:
        axes.set_xlabel("1 - specificity [%]")
        axes.tick_params(labelbottom=True)
    for axes in panels[::columns]:
        axes.set_ylabel("sensitivity [%]")
    handles = [Line2D([], [], color=run_colour(at), label=legend_label(str(name))) for at, name in enumerate(names)]
    handles += [
        Line2D([], [], color="#44546A", linestyle=DASHES[at % len(DASHES)], label=legend_label(_setting(*setting)))
        for at, setting in enumerate(settings)
    ]
    legend_of(figure, handles, 2 if columns < ACROSS else 4)
    return figure


@styled
def confusion_figure(confusion: pd.DataFrame, classes: Sequence[str]) -> Figure:
    """Confusion matrices in percent of each true class, a row of panels for each name, a panel for each setting.

    Args:
        confusion: ``name, perturbation, severity, label, prediction`` (class indices) and ``images``, their number.
        classes: their names.
    """
    names = list(dict.fromkeys(confusion["name"]))
    settings = list(dict.fromkeys(zip(confusion["perturbation"], confusion["severity"], strict=True)))
    size = min(max(2.3, 0.62 * len(classes)), WIDTH / max(len(settings), 1))
    figure = Figure(figsize=(size * len(settings) + 0.6, size * len(names) + 0.7), layout="constrained")
    panels = figure.subplots(len(names), len(settings), squeeze=False)
    ticks = [textwrap.shorten(name, 16, placeholder="...") for name in classes]
    for row, name in enumerate(names):
        for column, setting in enumerate(settings):
            axes = panels[row, column]
            own = confusion[
                (confusion["name"] == name)
                & (confusion["perturbation"] == setting[0])
                & (confusion["severity"] == setting[1])
            ]
            counts = own.pivot_table(index="label", columns="prediction", values="images", aggfunc="sum").fillna(0)
            order = range(len(classes))
            _matrix(axes, counts.reindex(index=order, columns=order, fill_value=0).to_numpy(dtype=float))
            axes.set_title(f"{textwrap.shorten(str(name), 24, placeholder='...')}\n{_setting(*setting)}")
            axes.set_xticks(
                range(len(classes)),
                ticks if row == len(names) - 1 else [""] * len(ticks),
                rotation=45,
                ha="right",
                rotation_mode="anchor",
                fontsize=8.5,
            )
            axes.set_yticks(range(len(classes)), ticks if column == 0 else [""] * len(ticks), fontsize=8.5)
            if row == len(names) - 1:
                axes.set_xlabel("said")
            if column == 0:
                axes.set_ylabel("is")
    return figure


def _matrix(axes: Axes, counts: NDArray[np.float64]) -> None:
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    if len(counts) > CELLS:
        return
    for place in np.ndindex(*counts.shape):
        text = f"{100 * shares[place]:.0f} %\n{counts[place]:.0f}" if totals[place[0], 0] else "none"
        colour = "white" if shares[place] > 0.55 else "#222222"
        axes.text(place[1], place[0], text, ha="center", va="center", fontsize=8, color=colour)


def _setting(perturbation: str, severity: float) -> str:
    return "clean" if perturbation == CLEAN else f"{perturbation_label(perturbation)}, radius {number(float(severity))}"
