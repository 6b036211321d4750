"""Figures of what a network looks at: saliency, features in a plane, and masks that move."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier

from monai_robust.evaluation.sections.drawing import COLOURS, MARKERS, WIDTH, legend_of, styled
from monai_robust.evaluation.tables.explanation_file import METHODS, Embedding, Explained

__all__ = ["NEIGHBOURS", "embedding_figure", "masks_figure", "saliency_figure"]

NEIGHBOURS = 5
_TOP = 99.0  # percentile of a map that is drawn brightest: a few pixels outshine the others


@styled
def saliency_figure(found: Explained, places: Sequence[int], classes: Sequence[str], exclusive: bool = True) -> Figure:
    """Two rows for each sample, clean and under attack: the image, and what its prediction depends on by each method.

    The manner of Rodriguez et al. 2022, Fig. 3. Each map is drawn up to its own 99th percentile.

    Args:
        found: with saliency maps.
        places: of the samples to show.
        classes: names.
        exclusive: whether an image has one class, so that another one is wrong.
    """
    methods = list(found.maps)
    columns, (height, width) = 1 + len(methods), found.images.shape[2:]
    side = min(WIDTH / columns, 1.75 * width / height)  # inches, so that no row is higher than it is wide at most
    size = (side * columns, 2 * len(places) * (side * height / width + 0.08) + 0.45)
    figure = Figure(figsize=size, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.015, h_pad=0.03, wspace=0, hspace=0, rect=(0, 0, 1, 0.993))  # type: ignore[union-attr,call-arg]
    grid = figure.subplots(2 * len(places), columns, squeeze=False)
    for row, (place, state) in enumerate((place, state) for place in places for state in (0, 1)):
        window = float(found.images[place, 0].min()), float(found.images[place, 0].max())
        _plain(grid[row, 0], found.images[place, state], "gray", *window)
        said = classes[found.predictions[place, state]]
        wrong = ", wrong" if exclusive and found.predictions[place, state] != found.labels[place] else ""
        told = f"{'attacked' if state else 'clean'}: {said[:18]}{wrong}"
        grid[row, 0].text(
            0.02, 0.97, told, color="white", fontsize=9, va="top", transform=grid[row, 0].transAxes, bbox=_BEHIND
        )
        for at, method in enumerate(methods, 1):
            values = found.maps[method][place, state]
            _plain(grid[row, at], values, "inferno", 0.0, max(float(np.percentile(values, _TOP)), 1e-12))
    for at, method in enumerate(methods, 1):
        grid[0, at].set_title(METHODS[method])
    grid[0, 0].set_title("Image")
    return figure


@styled
def embedding_figure(found: Embedding, classes: Sequence[str]) -> Figure:
    """Features in a plane: a panel for each kind of samples, coloured by their class, over regions of the prediction
    that the nearest neighbours of a place have.

    The manner of Rodriguez et al. 2022, Fig. 5. Regions are those of a classifier by the five nearest of all points,
    fitted to what the network predicts for them.

    Args:
        found: an embedding.
        classes: names.
    """
    kinds = [kind for kind in range(3) if (found.kinds == kind).any()]
    figure = Figure(figsize=(WIDTH, WIDTH / len(kinds) + 0.75), layout="constrained")
    panels = figure.subplots(1, len(kinds), squeeze=False, sharex=True, sharey=True)[0]
    low, high = found.places.min(axis=0), found.places.max(axis=0)
    low, high = low - 0.06 * (high - low), high + 0.06 * (high - low)
    across, up = np.meshgrid(np.linspace(low[0], high[0], 160), np.linspace(low[1], high[1], 160))
    near = KNeighborsClassifier(min(NEIGHBOURS, len(found.places)))
    near.fit(found.places, found.predictions)
    regions = near.predict(np.stack([across.ravel(), up.ravel()], axis=1)).reshape(across.shape)
    colours = [COLOURS[index % len(COLOURS)] for index in range(len(classes))]
    titles = ("training", "test", "test, attacked")
    for axes, kind in zip(panels, kinds, strict=True):
        extent = (low[0], high[0], low[1], high[1])
        axes.imshow(
            regions,
            origin="lower",
            extent=extent,
            aspect="auto",
            cmap=ListedColormap(colours),
            vmin=-0.5,
            vmax=len(classes) - 0.5,
            alpha=0.22,
            interpolation="nearest",
        )
        own = found.kinds == kind
        axes.scatter(*found.places[own & (found.labels < 0)].T, color="0.5", marker="x", s=16)
        for index in range(len(classes)):
            chosen = own & (found.labels == index)
            style = {"marker": MARKERS[index % len(MARKERS)], "s": 16, "linewidths": 0.5, "edgecolors": "white"}
            axes.scatter(*found.places[chosen].T, color=colours[index], **style)
        axes.set_title(f"{titles[kind]}: {int(own.sum())}")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(visible=False)
    handles = [
        Line2D([], [], color=colours[index], marker=MARKERS[index % len(MARKERS)], linestyle="", label=name[:24])
        for index, name in enumerate(classes)
    ]
    if (found.labels < 0).any():
        handles.append(Line2D([], [], color="0.5", marker="x", linestyle="", label="none of them"))
    legend_of(figure, handles)
    return figure


@styled
def masks_figure(found: Explained, places: Sequence[int]) -> Figure:
    """A row for each sample: the clean image with the outlines of truth and prediction, the attacked one likewise, and
    what the attack added to the prediction and took from it.

    Args:
        found: with masks.
        places: of the samples to show.
    """
    assert found.masks is not None
    figure = Figure(figsize=(WIDTH, WIDTH / 3 * len(places) * 0.98 + 0.6), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02)  # type: ignore[union-attr,call-arg]
    grid = figure.subplots(len(places), 3, squeeze=False)
    for row, place in enumerate(places):
        truth, clean, attacked = found.masks[place]
        window = float(found.images[place, 0].min()), float(found.images[place, 0].max())
        for column, (state, mask) in enumerate(((0, clean), (1, attacked))):
            axes = grid[row, column]
            _plain(axes, found.images[place, state], "gray", *window)
            _outline(axes, truth > 0, _TRUTH, ":")
            _outline(axes, mask > 0, _FOUND, "-")
        _plain(grid[row, 2], found.images[place, 0], "gray", *window)
        changes = np.zeros((*clean.shape, 4))
        changes[(attacked > 0) & (clean == 0)] = _ADDED
        changes[(attacked == 0) & (clean > 0)] = _TAKEN
        changes[(attacked > 0) & (clean > 0) & (attacked != clean)] = _OTHER
        grid[row, 2].imshow(changes, interpolation="nearest")
    for column, title in enumerate(("clean", "attacked", "what moved")):
        grid[0, column].set_title(title)
    handles = [
        Line2D([], [], color=_TRUTH, linestyle=":", label="truth"),
        Line2D([], [], color=_FOUND, label="prediction"),
        *(
            Line2D([], [], color=colour, marker="s", linestyle="", label=label)
            for colour, label in ((_ADDED, "added"), (_TAKEN, "taken away"), (_OTHER, "another class"))
        ),
    ]
    legend_of(figure, handles, 5)
    return figure


_BEHIND = {"facecolor": "black", "alpha": 0.6, "edgecolor": "none", "pad": 1.5}
_TRUTH, _FOUND = "#F0E442", "#56B4E9"
_ADDED, _TAKEN, _OTHER = (0.90, 0.62, 0.0, 0.85), (0.0, 0.62, 0.95, 0.85), (0.80, 0.47, 0.65, 0.85)


def _plain(axes: Axes, image: NDArray[np.float32], cmap: str, low: float, high: float) -> None:
    axes.imshow(image, cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _outline(axes: Axes, mask: NDArray[np.bool_], colour: str, style: str) -> None:
    if mask.any() and not mask.all():
        axes.contour(mask, levels=[0.5], colors=[colour], linestyles=[style], linewidths=1.1)
