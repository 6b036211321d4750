"""How far the surfaces of segmented areas lie apart, by MONAI's edges and distances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from monai.metrics.utils import get_mask_edges, get_surface_distance
from numpy.typing import NDArray
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.scalars import is_number

__all__ = ["SurfaceMeasures", "surface_measures"]

_PERCENTILE = 0.95

_Mask = NDArray[np.bool_]


class SurfaceMeasures(NamedTuple):
    """Of each sample and foreground class, (B, K) float64.

    Attributes:
        hd95: Hausdorff distance at the 95th percentile; NaN unless truth and prediction both hold the class.
        nsd: normalised surface distance (surface Dice), 0 to 1: 0 where only one of them holds the class, NaN where
            neither does.
    """

    hd95: Tensor
    nsd: Tensor


def surface_measures(
    found: Tensor,
    truth: Tensor,
    classes: int,
    *,
    spacing: Sequence[Sequence[float]] | Tensor | None = None,
    tolerance: float = 1.0,
) -> SurfaceMeasures:
    """Hausdorff distance at the 95th percentile (HD95) and normalised surface distance (NSD) of label maps.

    The numbers of MONAI's ``compute_hausdorff_distance(percentile=95)`` and ``compute_surface_dice``, from its
    ``get_mask_edges`` and ``get_surface_distance``, with edges and distances worked out once for both. A surface is the
    pixels of an area that touch another class or the border. HD95 is the larger one of the two 95th percentiles of
    distances, of the found surface to the true one and back. NSD is the share of both surfaces that lies within
    ``tolerance`` of the other one (Nikolov et al. 2018, without their subvoxel areas).

    Args:
        found: (B, *spatial) class indices of the prediction, 2-D or 3-D.
        truth: (B, *spatial) class indices.
        classes: K, number of foreground classes, whose indices are 1 to K.
        spacing: (B, D) size of a pixel along each axis, such as mm; None for distances in pixels.
        tolerance: the largest distance that counts as none, in the unit of ``spacing``.

    Returns:
        The measures of each sample and class.

    Raises:
        BadInputError: for shapes that do not fit, a spacing that is not above 0, or a tolerance below 0.

    Example:
        >>> truth = torch.zeros(1, 8, 8, dtype=torch.long)
        >>> truth[0, 1:4, 1:4] = 1
        >>> surface_measures(truth.roll(2, 1), truth, 1, spacing=[[0.5, 0.5]], tolerance=0.5)[0].item()
        1.0
    """
    if found.shape != truth.shape or found.ndim < 2:
        raise BadInputError(
            f"surfaces: prediction and truth must both be (B, *spatial), got {tuple(found.shape)} and "
            f"{tuple(truth.shape)}"
        )
    if not is_number(tolerance, 0):
        raise BadInputError(f"surfaces: the tolerance is {tolerance!r}; it must be a distance of 0 or more")
    sizes = _spacings(spacing, len(found), found.ndim - 1)
    ours, theirs = found.detach().cpu().numpy(), truth.detach().cpu().numpy()
    measures = torch.full((2, len(ours), classes), torch.nan, dtype=torch.float64)
    for sample, size in enumerate(sizes):
        for index in range(1, classes + 1):
            pair = _cropped(ours[sample] == index, theirs[sample] == index)
            if pair is not None:
                measures[:, sample, index - 1] = torch.tensor(_measures(*pair, size, tolerance), dtype=torch.float64)
    return SurfaceMeasures(*measures)


def _measures(found: _Mask, truth: _Mask, size: Sequence[float], tolerance: float) -> tuple[float, float]:
    """HD95 and NSD of two areas, of which one at least is not empty."""
    if not found.any() or not truth.any():
        return float("nan"), 0.0
    ours, theirs = get_mask_edges(found, truth, crop=False)[:2]
    there, back = (
        np.asarray(get_surface_distance(one, other, spacing=list(size)), dtype=np.float64)
        for one, other in ((ours, theirs), (theirs, ours))
    )
    hd95 = max(float(np.quantile(one, _PERCENTILE)) for one in (there, back))
    within = int((there <= tolerance).sum() + (back <= tolerance).sum())
    return hd95, within / (len(there) + len(back))


def _cropped(found: _Mask, truth: _Mask) -> tuple[_Mask, _Mask] | None:
    """Both areas within the smallest box that holds them, which leaves their surfaces as they are; None if empty."""
    either = found | truth
    if not either.any():
        return None
    box = []
    for axis in range(either.ndim):
        places = np.flatnonzero(either.any(axis=tuple(other for other in range(either.ndim) if other != axis)))
        box.append(slice(int(places[0]), int(places[-1]) + 1))
    return found[tuple(box)], truth[tuple(box)]


def _spacings(spacing: Sequence[Sequence[float]] | Tensor | None, count: int, dims: int) -> list[list[float]]:
    if spacing is None:
        return [[1.0] * dims] * count
    sizes = torch.as_tensor(spacing, dtype=torch.float64)
    if sizes.shape != (count, dims) or not bool((sizes.isfinite() & (sizes > 0)).all()):
        raise BadInputError(
            f"surfaces: spacing must be {count} rows of {dims} numbers above 0, one for each axis, got "
            f"{sizes.tolist() if sizes.numel() <= 12 else tuple(sizes.shape)}"
        )
    rows: list[list[float]] = sizes.tolist()
    return rows
