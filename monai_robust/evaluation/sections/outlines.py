"""Outlines of classes in pictures of a gallery, and the legend that says which is which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from monai_robust.evaluation.tables.gallery import Gallery

__all__ = ["draw_outlines", "outline_legend"]

_LONGEST = 24  # name of a class
# must be seen on any grey
OUTLINES = ("#E69F00", "#56B4E9", "#CC79A7", "#009E73", "#F0E442", "#D55E00")


def draw_outlines(axes: Axes, labels: NDArray[np.uint8], style: Any) -> None:
    """The outline of every foreground class of a label map (H, W)."""
    for index in np.unique(labels[labels > 0]):
        area = np.pad(labels == index, 1).astype(float)  # padded, so that an outline closes at the picture's edge
        places = [np.arange(-1, length + 1) for length in labels.shape]
        colour = _colour(int(index))
        axes.contour(places[1], places[0], area, levels=[0.5], colors=[colour], linestyles=[style], linewidths=1.1)
    axes.set(xlim=(-0.5, labels.shape[1] - 0.5), ylim=(labels.shape[0] - 0.5, -0.5))


def outline_legend(gallery: Gallery, classes: Sequence[str]) -> list[Line2D]:
    """What dashes mean, and the colour of each class that is outlined."""
    styles: Any = {"predicted": "solid", "true": "dashed"}
    handles = [Line2D([], [], color="#5B6570", linestyle=style, label=label) for label, style in styles.items()]
    maps = [gallery.truth, *gallery.masks.values()]
    drawn = sorted({int(label) for one in maps if one is not None for label in np.unique(one) if label > 0})
    return handles + [Line2D([], [], color=_colour(label), label=_class_name(label, classes)) for label in drawn]


def _class_name(label: int, classes: Sequence[str]) -> str:
    name = classes[label - 1] if label <= len(classes) else f"class {label}"
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 4]} ..."


def _colour(label: int) -> str:
    return OUTLINES[(label - 1) % len(OUTLINES)]
