"""Figures of detection."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from monai_robust.evaluation.sections.drawing import WIDTH, legend, styled
from monai_robust.evaluation.sections.parts import number
from monai_robust.metrics import FROC_RATES, FreeResponseCurve

__all__ = ["froc_curves"]

_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))


@styled
def froc_curves(panels: Mapping[str, Mapping[float, FreeResponseCurve]], attack: str) -> Figure:
    """Sensitivity over false positives per image, a panel for each run and a line for each radius, 0 being clean.

    Args:
        panels: of each run's name its curves by radius, the same radii in all.
        attack: what the attack is called.
    """
    figure = Figure(figsize=(WIDTH, 3.7), layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    low, high = FROC_RATES[0] / 2, FROC_RATES[-1] * 1.5
    for axes, (name, curves) in zip(grid, panels.items(), strict=True):
        for place, (radius, curve) in enumerate(curves.items()):
            rates = np.geomspace(low, high, 400)
            values = np.interp(rates, curve.false_positives, curve.sensitivity)
            ends = curve.false_positives[-1]
            style = {
                "color": colormaps["cividis"](0.78 * place / max(len(curves) - 1, 1)),
                "linestyle": _STYLES[place % len(_STYLES)],
                "clip_on": False,
            }
            label = f"radius {number(radius)}" if radius else "clean"
            axes.plot(rates[rates <= max(ends, low)], values[rates <= max(ends, low)], label=label, **style)
            marks = np.array([rate for rate in FROC_RATES if rate <= max(ends, low)])
            at = np.interp(marks, curve.false_positives, curve.sensitivity)
            axes.plot(marks, at, "o", markersize=3.5, color=style["color"], clip_on=False)
        axes.set_title(name)
        axes.set_xscale("log")
        axes.set_xlim(low, high)
        axes.set_ylim(0, 1)
        axes.xaxis.set_major_locator(FixedLocator(FROC_RATES))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(_fraction))
        axes.set_xlabel("false positives per image")
    grid[0].set_ylabel(f"sensitivity, clean and under {attack}")
    legend(figure, grid[0])
    return figure


def _fraction(rate: float, place: int) -> str:
    return number(rate) if rate >= 1 else f"1/{round(1 / rate)}"
