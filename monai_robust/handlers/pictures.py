"""Pictures of what was found in an image, upright and with a legend, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from torch import Tensor

from monai_robust.errors import BadInputError, writing

__all__ = ["draw_boxes", "draw_points"]

_SIDE = 7.0  # inches of the longer side
_DPI = 120
_POINT = "#E69F00"


def draw_boxes(path: str | Path, image: Tensor, boxes: Tensor, labels: Sequence[int], classes: Sequence[str]) -> None:
    """Write a picture with a box around each object, in the colour of its class.

    Args:
        path: the PNG file; missing folders are made.
        image: (C, X, Y), shown in colour where C is 3, otherwise its first channel in grey.
        boxes: (P, 4), xmin, ymin, xmax, ymax in pixels of ``image``; pixel i covers [i, i + 1).
        labels: P class indices.
        classes: names of the classes; the legend says how often each was found.

    Raises:
        BadInputError: for an image with more or fewer than two spatial axes.
    """
    figure, axes = _canvas(image, edge=0.0)
    colours = [matplotlib.colormaps["tab10"](index % 10) for index in range(len(classes))]
    for (xmin, ymin, xmax, ymax), label in zip(boxes.tolist(), labels, strict=True):
        corner, width, height = (xmin, ymin), xmax - xmin, ymax - ymin
        axes.add_patch(Rectangle(corner, width, height, fill=False, color=colours[label], lw=1.6, path_effects=_halo()))
    handles = [Line2D([], [], color=colour, lw=2.5) for colour in colours]
    texts = [f"{list(labels).count(index)} {name}" for index, name in enumerate(classes)]
    _save(figure, path, handles, texts, loc="outside lower center", ncols=4)


def draw_points(path: str | Path, image: Tensor, points: Tensor, names: Sequence[str]) -> None:
    """Write a picture with numbered points, and a legend that names them.

    Args:
        path: the PNG file; missing folders are made.
        image: (C, X, Y), shown in colour where C is 3, otherwise its first channel in grey.
        points: (L, 2), x and y in pixels of ``image``; the centre of pixel i is at i. NaN is not drawn.
        names: of the L points.

    Raises:
        BadInputError: for an image with more or fewer than two spatial axes.
    """
    figure, axes = _canvas(image, edge=-0.5, beside=2.6)
    found = [(number, x, y) for number, (x, y) in enumerate(points.tolist(), 1) if np.isfinite([x, y]).all()]
    for number, x, y in found:
        axes.plot(x, y, "o", color=_POINT, ms=3.5, mec="black", mew=0.6, zorder=4)  # above the numbers of others
        axes.annotate(
            str(number), (x, y), (3, 3), textcoords="offset points", color=_POINT, fontsize=8, path_effects=_halo(),
            annotation_clip=True,
        )  # fmt: skip
    handles = [Line2D([], [], linestyle="") for _ in names]
    texts = [f"{number} {name}" for number, name in enumerate(names, 1)]
    _save(figure, path, handles, texts, loc="outside right upper", handlelength=0, handletextpad=0)


def _canvas(image: Tensor, edge: float, beside: float = 0.0) -> tuple[Figure, Axes]:
    """A figure that shows the image, with ``beside`` inches to its right.

    The outer corner of the first pixel is at (edge, edge), and y points down.
    """
    if image.ndim != 3:
        raise BadInputError(
            f"pictures are drawn of images (C, X, Y), not of shape {tuple(image.shape)}; set pictures to false"
        )
    width, height = image.shape[1:]
    scale = _SIDE / max(width, height)
    inches = (max(width * scale, 2.0) + beside, max(height * scale, 2.0))
    figure = Figure(figsize=inches, dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    extent = (edge, edge + width, edge + height, edge)
    axes.imshow(_upright(image), cmap="gray", vmin=0, vmax=1, extent=extent)
    axes.set_autoscale_on(False)  # what lies outside must not shrink the image
    axes.set_axis_off()
    axes.set_anchor("N")
    return figure, axes


def _upright(image: Tensor) -> NDArray[np.float32]:
    """Rows and columns (Y, X[, 3]) with values from 0 to 1; a normalised image is stretched to them."""
    values = image.detach().float().cpu().numpy()
    rows: NDArray[np.float32] = values.transpose(2, 1, 0) if len(values) == 3 else values[0].T
    low, high = rows.min(), rows.max()
    return rows if low >= 0 and high <= 1 else (rows - low) / max(high - low, np.finfo(np.float32).tiny)


def _halo() -> list[withStroke]:
    """A dark rim, so that a bright line is seen on any grey."""
    return [withStroke(linewidth=2.8, foreground="black")]


def _save(figure: Figure, path: str | Path, handles: list[Line2D], texts: list[str], **legend: Any) -> None:
    for text in figure.legend(handles, texts, frameon=False, **legend).get_texts():
        text.set_parse_math(False)  # a dollar in a name is a dollar
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with writing(path):
        figure.savefig(path, bbox_inches="tight")
