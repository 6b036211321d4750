"""A figure of corruption errors."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from monai_robust.evaluation.sections.drawing import WIDTH, legend, legend_label, run_colour, styled
from monai_robust.evaluation.sections.perturbations import perturbation_label

__all__ = ["corruption_bars"]

BAR = 0.16  # inches of a bar
MOST_BARS = 5  # in a group, before bars become thinner


@styled
def corruption_bars(errors: pd.DataFrame, names: list[str], baseline: str) -> Figure:
    """Corruption errors in percent of the baseline's: a group of bars for each corruption, a bar for each name.

    The longest stand above. A line at 100 % is the baseline.

    Args:
        errors: ``name, perturbation, corruption_error, corruption_error_std``, of corruptions that have one.
        names: of all runs, in their order, which gives them their colours.
        baseline: the name that is compared with, which has no bars.
    """
    shown = [name for name in names if name != baseline]
    worst = errors[errors["name"] != baseline].groupby("perturbation")["corruption_error"].mean()
    order = list(worst.sort_values().index)
    bar = BAR * min(1, MOST_BARS / len(shown))
    group = bar * len(shown) + 0.12
    figure = Figure(figsize=(WIDTH, group * len(order) + 0.9), layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(len(order)) * group
    for index, name in enumerate(shown):
        rows = errors[errors["name"] == name].set_index("perturbation").reindex(order)
        lengths, spread = 100 * rows["corruption_error"].to_numpy(), 100 * rows["corruption_error_std"].to_numpy()
        middle = places + ((len(shown) - 1) / 2 - index) * bar
        colour = run_colour(names.index(name))
        axes.barh(middle, lengths, 0.9 * bar, color=colour, label=legend_label(name))
        if not np.isnan(spread).all():
            axes.errorbar(lengths, middle, xerr=spread, fmt="none", ecolor="#222222", elinewidth=1, capsize=2)
    axes.axvline(100, color=run_colour(names.index(baseline)), linewidth=1.4, linestyle=(0, (4, 3)))
    axes.annotate(
        legend_label(baseline), (100, places[-1] + group / 2), (3, 2), textcoords="offset points", fontsize=9,
        color=run_colour(names.index(baseline)), annotation_clip=False,
    )  # fmt: skip
    axes.set_yticks(places, [perturbation_label(one) for one in order])
    axes.set_ylim(-group / 2 - 0.02, places[-1] + group / 2 + 0.02)
    axes.set_xlim(left=0)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"corruption error in percent of that of {baseline} (less is better)")
    legend(figure, axes)
    return figure
