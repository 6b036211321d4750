"""What all figures have in common: their style, their colours, their legend and their scale in percent of an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import Any, ParamSpec

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

__all__ = ["MARKERS", "STYLE", "WIDTH", "legend", "legend_label", "legend_of", "norm_axis", "run_colour", "styled"]

Parameters = ParamSpec("Parameters")

# Okabe and Ito's palette, told apart by every common kind of colour vision; yellow is left out, too faint on white
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00", "#7F7F7F")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.parse_math": False,  # names of runs and classes are shown as they are, also with a $
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E3E6EA",
    "axes.edgecolor": "#5B6570",
    "axes.titlesize": 10.5,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.5,
}
WIDTH = 7.4


def styled(draw: Callable[Parameters, Figure]) -> Callable[Parameters, Figure]:
    """Draw in our style, without touching the user's."""

    @wraps(draw)
    def in_style(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Figure:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return in_style


def run_colour(index: int) -> str:
    """The colour of a run name, by its place among the names."""
    return COLOURS[index % len(COLOURS)]


def legend_label(name: str) -> str:
    """A name as a label that every legend shows: matplotlib leaves out those that begin with an underscore."""
    return f"\u200a{name}" if name.startswith("_") else name  # a hair space


def legend(figure: Figure, axes: Axes) -> None:
    """One legend below all panels, of the labels of one."""
    legend_of(figure, axes.get_legend_handles_labels()[0])


def legend_of(figure: Figure, handles: Sequence[Any], across: int = 4) -> None:
    """One legend below all panels, which reads row by row, so many entries in each."""
    columns = max(min(len(handles), across), 1)
    ordered = [handles[place] for column in range(columns) for place in range(column, len(handles), columns)]
    figure.legend(handles=ordered, loc="outside lower center", ncols=columns)


def norm_axis(axes: Axes, percent: float) -> None:
    """A second scale for radii in percent of the mean norm of the clean inputs.

    Args:
        axes: with radii along x.
        percent: of that norm which a radius of 1 is; NaN for no such scale.
    """
    if not percent > 0:
        return
    above = axes.secondary_xaxis("top", functions=(partial(np.multiply, percent), partial(np.multiply, 1 / percent)))
    above.set_xlabel("in percent of the mean norm of the clean images")
    above.spines["top"].set_visible(True)
    above.xaxis.set_major_formatter(PercentFormatter(100, symbol=" %"))
