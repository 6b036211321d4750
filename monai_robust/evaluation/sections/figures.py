"""Figures, each drawn from tables alone: frames of :mod:`monai_robust.evaluation.statistics`, outcomes, a gallery."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray
from scipy.stats import gaussian_kde, norm

from monai_robust.errors import BadInputError
from monai_robust.evaluation.sections.drawing import (
    MARKERS,
    WIDTH,
    legend,
    legend_label,
    legend_of,
    norm_axis,
    run_colour,
    styled,
)
from monai_robust.evaluation.sections.outlines import draw_outlines, outline_legend
from monai_robust.evaluation.sections.parts import listed, number
from monai_robust.evaluation.sections.perturbations import (
    NORMS,
    corruptions_of_kind,
    perturbation_label,
    severity_label,
)
from monai_robust.evaluation.sections.radius_units import axis_unit, unit_of
from monai_robust.evaluation.tables.gallery import Caption, Gallery, spread
from monai_robust.evaluation.tables.schema import CLEAN

__all__ = [
    "contrast_density",
    "gallery_figure",
    "grouped_bars",
    "margins_over_epochs",
    "reliability_diagram",
    "score_over_severity",
    "score_versus_radius",
]

# perturbations get other colours than runs, so that neither is taken for the other
SHIFT_COLOURS = ("#44546A", "#E69F00", "#8FC5E8", "#B7A5CF")
ROUND = np.array([1, 2, 3, 5])
CAPTION_WIDTH = 24
CAPTION_LINES = 6


@styled
def score_versus_radius(
    replicated: pd.DataFrame,
    attack: str,
    *,
    score: str = "accuracy",
    percent: bool = True,
    bounded: bool = True,
    file_units: tuple[float, str] | None = None,
) -> Figure:
    """Score over the radius of an attack, a line for each name, radius 0 being the clean inputs.

    The manner of Martinez-Martinez et al. 2025 (RTDA), Fig. 2a: the shade is one standard deviation over replicates.

    Args:
        replicated: :func:`~monai_robust.evaluation.statistics.summary.over_replicates` of the summary by severity.
        attack: the perturbation's name.
        score: what the score is called.
        percent: write it in percent.
        bounded: whether it lies in [0, 1], which the axis then shows, or is an error without an upper end.
        file_units: how many units of the file one of the network's input is, and what they are called; they then stand
            below those.
    """
    whole = replicated[replicated["group"] == ""]
    block = _rows(whole, attack)
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for index, (name, rows) in enumerate(block.groupby("name", sort=False)):
        clean = whole[(whole["name"] == name) & (whole["perturbation"] == CLEAN)]
        _line(axes, pd.concat([clean, rows]).sort_values("severity"), str(name), index)
    norm = block["norm"].iloc[0]
    below = ""
    if file_units is not None and not unit_of(attack):
        factor, name = file_units
        axes.xaxis.set_major_formatter(lambda radius, _: f"{radius:g}\n{number(factor * radius)}")
        below = f"\n(below: in {name} of the file)"
    axes.set_xlabel(f"radius of the attack, {NORMS.get(norm, norm)} norm, {axis_unit(attack)}{below}")
    axes.set_ylabel(f"{score} under {perturbation_label(attack)}")
    axes.set_xlim(left=0)
    _score_range(axes, percent, bounded)
    norm_axis(axes, float((block["radius_percent"] / block["severity"]).mean()))
    legend(figure, axes)
    return figure


@styled
def score_over_severity(
    replicated: pd.DataFrame,
    perturbations: Sequence[str],
    *,
    score: str = "accuracy",
    percent: bool = True,
    bounded: bool = True,
) -> Figure:
    """Score over the severity of corruptions, a panel for each; a dashed line is the clean score.

    Args:
        replicated: :func:`~monai_robust.evaluation.statistics.summary.over_replicates` of the summary by severity.
        perturbations: names of corruptions.
        score: what the score is called.
        percent: write it in percent.
        bounded: whether it lies in [0, 1], which the axis then shows, or is an error without an upper end.
    """
    whole = replicated[replicated["group"] == ""]
    columns = min(len(perturbations), 3)
    figure, panels = _panels(len(perturbations), columns, 2.9)
    for axes, name in zip(panels, perturbations, strict=True):
        for index, (run, rows) in enumerate(_rows(whole, name).groupby("name", sort=False)):
            _line(axes, rows.sort_values("severity"), str(run), index)
            clean = whole[(whole["name"] == run) & (whole["perturbation"] == CLEAN)]["score"].iloc[0]
            axes.axhline(clean, color=run_colour(index), linestyle=(0, (4, 3)), linewidth=0.9)
        axes.set_title(perturbation_label(name))
        axes.set_xlabel(severity_label(name, "severity"))
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        _score_range(axes, percent, bounded)
    for axes in panels[::columns]:
        axes.set_ylabel(score)
    legend(figure, panels[0])
    return figure


@styled
def grouped_bars(averaged: pd.DataFrame, metric: str, perturbations: Sequence[str], *, label: str) -> Figure:
    """Bars of a metric for clean and shifted inputs, a group for each name.

    The manner of Martinez-Martinez et al. 2025 (RTDA), Fig. 2b: error bars are one standard deviation over replicates.

    Args:
        averaged: :func:`~monai_robust.evaluation.statistics.summary.over_replicates` of the means over severities.
        metric: its column.
        perturbations: one bar of each group.
        label: the metric with its unit, for the axis.
    """
    whole = averaged[averaged["group"] == ""]
    names = list(dict.fromkeys(whole["name"]))
    width = 0.8 / len(perturbations)
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for index, perturbation in enumerate(perturbations):
        rows = _rows(whole, perturbation).set_index("name").loc[names]
        places = np.arange(len(names)) + (index - (len(perturbations) - 1) / 2) * width
        heights, spread = rows[metric].to_numpy(), rows[f"{metric}_std"].to_numpy()
        colour = SHIFT_COLOURS[index % len(SHIFT_COLOURS)]
        axes.bar(places, heights, 0.92 * width, color=colour, label=legend_label(perturbation_label(perturbation)))
        if not np.isnan(spread).all():
            axes.errorbar(places, heights, spread, fmt="none", ecolor="#222222", elinewidth=1, capsize=3)
        for place, height, above in zip(places, heights, heights + np.nan_to_num(spread), strict=True):
            axes.annotate(f"{height:.2f}", (place, above), (0, 3), textcoords="offset points", ha="center", size=8.5)
    axes.margins(y=0.1)
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.55, max(len(names), 2) - 0.45)
    axes.grid(axis="x", visible=False)
    axes.set_ylabel(label)
    legend(figure, axes)
    return figure


@styled
def reliability_diagram(bins: pd.DataFrame) -> Figure:
    """How often predictions came true against how confident they were, a panel for each name, a line for each run.

    Args:
        bins: ``name, run, confidence`` (mean of the bin), ``accuracy, samples`` (their number); empty bins left out.
    """
    names = list(dict.fromkeys(bins["name"]))
    figure, panels = _panels(len(names), min(len(names), 3), 2.7, share=True)
    for index, (axes, name) in enumerate(zip(panels, names, strict=True)):
        axes.plot([0, 1], [0, 1], color="#7F7F7F", linestyle=(0, (4, 3)), linewidth=1, label="_perfect")
        own = bins[bins["name"] == name]
        look: dict[str, Any] = {"color": run_colour(index), "alpha": 1.0 if own["run"].nunique() == 1 else 0.6}
        for place, (_, rows) in enumerate(own.sort_values("confidence").groupby("run")):
            width, label = (1.8 if look["alpha"] == 1 else 0.9), legend_label(str(name)) if place == 0 else "_again"
            axes.plot(rows["confidence"], rows["accuracy"], linewidth=width, label=label, **look)
            area = 12 + 150 * rows["samples"] / rows["samples"].sum()
            axes.scatter(rows["confidence"], rows["accuracy"], s=area, zorder=3, **look)
        axes.set(title=name, xlim=(0, 1.02), ylim=(-0.02, 1.04), aspect="equal", xlabel="confidence [%]")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))
            axis.set_ticks([0, 0.5, 1])
    panels[0].set_ylabel("came true [%]")
    return figure


@styled
def contrast_density(outcomes: pd.DataFrame) -> Figure:
    """Density of the contrast of the inputs in every domain: clean and shifted in contrast, a colour for each shift and
    a line for each of its severities.

    The manner of Martinez-Martinez et al. 2025 (RTDA), Fig. 1. Contrast is the standard deviation of an input's
    intensities; the densities are Gaussian kernel estimates with Silverman's bandwidth.

    Args:
        outcomes: an outcomes table.
    """
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    axes = figure.add_subplot()
    shifts = corruptions_of_kind(outcomes["perturbation"].unique(), "contrast")
    chosen = outcomes[outcomes["perturbation"].isin([CLEAN, *shifts])]
    for index, (name, block) in enumerate(chosen.groupby("perturbation", sort=False)):
        severities = list(dict.fromkeys(block["severity"]))
        factors = " to ".join(f"{one:g}" for one in dict.fromkeys((severities[0], severities[-1])))
        label = perturbation_label(str(name)) + ("" if name == CLEAN else f" × {factors}")
        colour = SHIFT_COLOURS[index % len(SHIFT_COLOURS)]
        for severity, rows in block.groupby("severity", sort=False):
            places, density = _density(rows["contrast"].dropna().to_numpy())
            again = severity != severities[0]
            axes.plot(places, density, color=colour, label="_again" if again else legend_label(label))
            axes.fill_between(places, density, color=colour, alpha=0.2, linewidth=0)
    axes.set_xlabel("contrast of an image (standard deviation of its intensities, units of the network's input)")
    axes.set_ylabel("density")
    axes.set_ylim(bottom=0)
    axes.set_yticks([])
    legend(figure, axes)
    return figure


@styled
def margins_over_epochs(margins: pd.DataFrame) -> Figure:
    """Margins of adaptive training over its epochs: the median of each run, and a band from the 10th to the 90th
    percentile; runs of one name share a colour.

    Args:
        margins: ``run, name, epoch, p10, p50, p90``, margins in intensity units of the network's input.
    """
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axes = figure.add_subplot()
    names = list(dict.fromkeys(margins["name"]))
    for (name, run), rows in margins.groupby(["name", "run"], sort=False):
        rows = rows.sort_values("epoch")
        colour = run_colour(names.index(name))
        label = legend_label(str(name)) if run == margins.loc[margins["name"] == name, "run"].iloc[0] else None
        axes.plot(rows["epoch"], rows["p50"], color=colour, label=label, marker="o", markersize=3)
        axes.fill_between(rows["epoch"], rows["p10"], rows["p90"], color=colour, alpha=0.18, linewidth=0)
    axes.set_xlabel("epoch")
    axes.set_ylabel("margin, in units of the network's input")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(figure, axes)
    return figure


@styled
def gallery_figure(
    gallery: Gallery, attack: str | None = None, nearest: Collection[str] = (), classes: Sequence[str] = ()
) -> Figure:
    """Samples clean, under attack and corrupted, a row each; the perturbation is amplified by the factor it names.

    Of many samples :data:`~monai_robust.evaluation.tables.gallery.MOST` are drawn, evenly spread over the gallery.

    All pictures of a row share the grey window of its clean picture. The perturbation is drawn around mid-grey, which
    is no change. Where there are label maps, the outlines of the classes are drawn, true ones dashed, and the legend
    says which colour is which class.

    Args:
        gallery: pictures and captions.
        attack: the key of the attack that is shown with its perturbation, such as ``pgd_l2@2.0``, if any.
        nearest: names of the perturbations whose severity is the largest radius that was looked at.
        classes: names of the foreground classes of label maps, in their order.

    Raises:
        BadInputError: if the gallery has no such key.
    """
    if attack is not None and attack not in gallery.pictures:
        raise BadInputError(f"the gallery has no pictures {attack!r}; it has {', '.join(gallery.pictures)}")
    gallery = spread(gallery)
    others = [key for key in gallery.pictures if key not in (CLEAN, attack)]
    columns = [CLEAN, *(["perturbation", attack] if attack else []), *others[:2]]
    clean = gallery.pictures[CLEAN]
    figure = Figure(figsize=(1.9 * len(columns), 2.25 * len(clean)), layout="constrained")
    for row, image in enumerate(clean):
        for place, key in enumerate(columns):
            axes = figure.add_subplot(len(clean), len(columns), row * len(columns) + place + 1)
            _show(axes, image, gallery, str(key), attack, row)
            if row == 0:
                axes.set_title(_picture_title(str(key), nearest), fontsize=9.5)
            if gallery.truth is not None and key in gallery.masks:
                draw_outlines(axes, gallery.masks[key][row], "solid")
                draw_outlines(axes, gallery.truth[row], (0, (2, 1.5)))
    if gallery.truth is not None:
        legend_of(figure, outline_legend(gallery, classes), len(columns))
    return figure


def _show(axes: Axes, clean: NDArray[np.float32], gallery: Gallery, key: str, attack: str | None, row: int) -> None:
    low, high = float(clean.min()), float(clean.max())
    if key == "perturbation" and attack:
        change = gallery.pictures[attack][row].astype(np.float64) - clean
        factor = amplification(change, high - low)
        picture = (low + high) / 2 + factor * change
        caption = f"the change,\namplified × {factor:g}" if change.any() else "no change"
    else:
        picture, one = gallery.pictures[key][row], gallery.captions[key][row]
        caption = _caption(one) if gallery.truth is None else _mask_caption(one, key)
    axes.imshow(picture, cmap="gray", vmin=low, vmax=high if high > low else low + 1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(caption, fontsize=8.5)


def amplification(change: NDArray[np.float64], window: float) -> float:
    """A round factor that spreads a perturbation over about a third of the grey window to either side of its middle."""
    size = float(np.quantile(np.abs(change), 0.995))
    if size == 0 or window <= 0:
        return 1.0
    wanted = max(window / 3 / size, 1.0)
    power = 10.0 ** math.floor(math.log10(wanted))
    return float(ROUND[wanted / power * (1 + 1e-9) >= ROUND].max() * power)


def _picture_title(key: str, nearest: Collection[str]) -> str:
    if key == "perturbation":
        return "Perturbation"
    name, _, severity = key.partition("@")
    if not severity:
        return perturbation_label(name)
    what = "within radius" if name in nearest else severity_label(name, "radius")
    return f"{perturbation_label(name)}\n{what} {number(float(severity))}"


def _short(text: str) -> str:
    return textwrap.shorten(text, 2 * CAPTION_WIDTH, placeholder=" ...") if len(text) > 2 * CAPTION_WIDTH else text


def _caption(caption: Caption) -> str:
    if not caption.label:  # of a task that has no labels of its own
        return _short(caption.prediction)
    verdict = "" if caption.prediction == caption.label else " (wrong)"
    sure = "" if caption.confidence is None else f", {100 * caption.confidence:.0f} %"
    return f"is {_short(caption.label)}\nsaid {_short(caption.prediction)}{sure}{verdict}"


def _mask_caption(caption: Caption, key: str) -> str:
    truth = textwrap.wrap(f"true {caption.label}", CAPTION_WIDTH, max_lines=CAPTION_LINES) if key == CLEAN else []
    return "\n".join([*truth, *textwrap.wrap(_short(caption.prediction), CAPTION_WIDTH)])


def _rows(summary: pd.DataFrame, perturbation: str) -> pd.DataFrame:
    found = summary[summary["perturbation"] == perturbation]
    if found.empty:
        known = listed([str(name) for name in dict.fromkeys(summary["perturbation"])])
        raise BadInputError(f"the tables hold no perturbation {perturbation!r}; they hold {known}")
    return found


def _line(axes: Axes, rows: pd.DataFrame, name: str, index: int) -> None:
    severity, score = rows["severity"].to_numpy(), rows["score"].to_numpy()
    spread = rows["score_std"].to_numpy()
    axes.plot(
        severity,
        score,
        color=run_colour(index),
        marker=MARKERS[index % len(MARKERS)],
        label=legend_label(name),
        clip_on=False,
    )
    if not np.isnan(spread).all():
        low, high = np.clip([score - spread, score + spread], 0, None)
        axes.fill_between(severity, low, high, color=run_colour(index), alpha=0.18, linewidth=0)


def _score_range(axes: Axes, percent: bool, bounded: bool) -> None:
    lines = [line for one in axes.get_shared_y_axes().get_siblings(axes) for line in one.get_lines()]
    shown = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in lines])
    low = float(np.nanmin(shown, initial=0.0))
    if bounded and low >= 0 and np.nanmax(shown, initial=0.0) <= 1:
        axes.set_ylim(0, 1, auto=None)  # panels share the axis, and the next may go beyond this one
    else:  # an error, or a score that has no upper end, such as a signal-to-noise ratio
        axes.set_ylim(bottom=0 if low >= 0 else None, auto=None)
    if percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))


def _panels(count: int, columns: int, height: float, share: bool = False) -> tuple[Figure, list[Axes]]:
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(max(WIDTH * columns / 3, 3.4), height * rows), layout="constrained")
    figure.get_layout_engine().set(wspace=0.06)  # type: ignore[union-attr,call-arg]
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True, sharex=share).ravel()
    for spare in grid[count:]:
        spare.set_axis_off()
    return figure, list(grid[:count])


def _density(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A Gaussian kernel density estimate with the bandwidth of Silverman's rule of thumb, at 256 places."""
    spread = float(values.std(ddof=1)) if np.ptp(values) else 0.0
    quartiles = float(np.subtract(*np.quantile(values, [0.75, 0.25]))) / 1.34
    scale = min((part for part in (spread, quartiles) if part > 0), default=0.01)
    bandwidth = 0.9 * scale * len(values) ** -0.2
    places = np.linspace(values.min() - 3 * bandwidth, values.max() + 3 * bandwidth, 256)
    if spread == 0:  # scipy estimates none of equal values
        return places, norm.pdf(places, values[0], bandwidth)
    return places, gaussian_kde(values, bandwidth / spread)(places)
