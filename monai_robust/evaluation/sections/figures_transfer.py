"""The figure of a transfer between networks."""

from __future__ import annotations

import textwrap

from matplotlib.figure import Figure

from monai_robust.evaluation.sections.drawing import WIDTH, styled
from monai_robust.evaluation.tables.transfer_file import Transfer

__all__ = ["transfer_figure"]

_WRAP = 14


@styled
def transfer_figure(found: Transfer) -> Figure:
    """Scores as a matrix: a row for clean inputs and for each network that inputs were made against, a column for each
    network that they were shown to; dark is bad.

    Args:
        found: between networks.
    """
    values = found.matrix()
    count = values.shape[1]
    figure = Figure(figsize=(min(WIDTH, 2.6 + 1.1 * count), 1.5 + 0.55 * (count + 1)), layout="constrained")
    axes = figure.add_subplot()
    low, high = (
        (0.0, 1.0) if found.higher_is_better else (0.0, float(max(values[values == values].max(initial=0), 1e-9)))
    )
    cmap = "cividis" if found.higher_is_better else "cividis_r"
    axes.imshow(values, cmap=cmap, vmin=low, vmax=high, aspect="auto")
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            shade = (value - low) / (high - low)
            light = (shade if found.higher_is_better else 1 - shade) > 0.5
            text = "–" if value != value else f"{value:.2f}"
            weight = "bold" if row == column + 1 else "normal"
            axes.text(column, row, text, ha="center", va="center", color="black" if light else "white", weight=weight)
    axes.axhline(0.5, color="white", linewidth=4)
    names = [textwrap.fill(name, _WRAP) for name in found.networks]
    axes.set_xticks(range(count), names)
    axes.set_yticks(range(count + 1), ["clean", *names])
    axes.set_xlabel("shown to")
    axes.set_ylabel("made against")
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    return figure
