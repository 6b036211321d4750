"""The figure of smallest radii: how many images have given way at each of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from monai_robust.evaluation.sections.drawing import WIDTH, legend, legend_label, norm_axis, run_colour, styled
from monai_robust.evaluation.sections.perturbations import NORMS

__all__ = ["share_over_radius"]


@styled
def share_over_radius(radii: pd.DataFrame, high: float, norm: str, *, label: str, percent: float) -> Figure:
    """The share of images whose smallest radius is at most the one along x, a line for each name.

    This is the empirical distribution of the radii, the samples of replicates put together.

    Args:
        radii: ``name, radius``, infinite where nothing was found.
        high: the largest radius that was looked at.
        norm: of the radii.
        label: what became of those images, for the axis.
        percent: of the mean norm of the clean inputs which a radius of 1 is; NaN for no such scale.
    """
    figure = Figure(figsize=(WIDTH, 3.8), layout="constrained")
    axes = figure.add_subplot()
    for index, (name, rows) in enumerate(radii.groupby("name", sort=False)):
        found = np.sort(rows.loc[np.isfinite(rows["radius"]), "radius"].to_numpy())
        shares = np.arange(len(found) + 1) / len(rows)
        places = np.concatenate([[0.0], found, [max(high, found.max(initial=0.0))]])
        axes.step(
            places, np.append(shares, shares[-1]), where="post", color=run_colour(index), label=legend_label(str(name))
        )
    axes.set_xlabel(f"radius, {NORMS.get(norm, norm)} norm, in units of the network's input")
    axes.set_ylabel(label)
    axes.set_xlim(0, high)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    norm_axis(axes, percent)
    legend(figure, axes)
    return figure
