"""A picture of every corruption of a modality at its five levels."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Generator, Tensor

from monai_robust.evaluation.sections.drawing import styled
from monai_robust.transforms.corruptions import CORRUPTIONS, LEVELS, corruption

__all__ = ["contact_sheet"]

SIDE = 1.22  # of a picture, in inches


@styled
def contact_sheet(image: Tensor, names: list[str], seed: int = 0) -> Figure:
    """A row for each corruption: the image, and its five levels with their severities.

    Args:
        image: (C, x, y), one channel or three, in [0, 1].
        names: of corruptions.
        seed: of what they draw, the same at each level, so that one sees it grow.
    """
    columns = 1 + len(LEVELS)
    figure = Figure(figsize=(SIDE * columns, 1.2 * SIDE * len(names) + 0.2), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.01, hspace=0.01)  # type: ignore[union-attr,call-arg]
    grid = figure.subplots(len(names), columns, squeeze=False)
    for row, name in zip(grid, names, strict=True):
        kind = CORRUPTIONS[name]
        pictures = [image, *(corruption(name, level=level)(image, Generator().manual_seed(seed)) for level in LEVELS)]
        titles = [kind.label, *(f"{level}: {kind.severity_of(level):g}" for level in LEVELS)]
        for axes, picture, title in zip(row, pictures, titles, strict=True):
            axes.imshow(_upright(picture), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axes.set_title(title, fontsize=8, fontweight="bold" if title == kind.label else "normal", pad=2)
            axes.set(xticks=[], yticks=[])
            axes.grid(visible=False)
            axes.spines[:].set_visible(False)
    return figure


def _upright(image: Tensor) -> NDArray[np.float32]:
    """Rows first, and colours last."""
    values = image.float().numpy()
    return np.asarray(values[0].T if len(values) == 1 else values.transpose(2, 1, 0))
