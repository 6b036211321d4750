"""The figure of what is left to a network: its score over the share of the images that it keeps."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from monai_robust.evaluation.sections.drawing import WIDTH, legend, legend_label, run_colour, styled

__all__ = ["score_over_coverage"]

LINES = {"radius": "-", "confidence": "--"}


@styled
def score_over_coverage(curves: pd.DataFrame, *, label: str, scale: float) -> Figure:
    """The mean score of the images that are left, a line for each name and order, replicates averaged.

    Args:
        curves: ``name, order, coverage, score``.
        label: of the score, at the axis.
        scale: what scores are multiplied with.
    """
    figure = Figure(figsize=(WIDTH, 3.8), layout="constrained")
    axes = figure.add_subplot()
    for index, (name, rows) in enumerate(curves.groupby("name", sort=False)):
        for order, block in rows.groupby("order", sort=False):
            mean = block.groupby("coverage")["score"].mean() * scale
            axes.plot(
                mean.index,
                mean.to_numpy(),
                LINES[str(order)],
                color=run_colour(index),
                label=f"{legend_label(str(name))}, by {order}",
            )
    axes.set_xlabel("share of the images that is left to the network")
    axes.set_ylabel(label)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    legend(figure, axes)
    return figure
