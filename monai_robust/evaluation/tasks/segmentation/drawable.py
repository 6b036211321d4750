"""How the Dice indices of a data set follow from sums over its images, so that patients can be drawn anew."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from monai_robust.evaluation.statistics.bootstrap import Drawable, Floats, Sums, means

__all__ = ["dice_drawable"]


def dice_drawable(tp: Floats, fp: Floats, fn: Floats, volumes: Sequence[str]) -> list[Drawable]:
    """``adi``, ``foreground_dice``, ``tvdi`` and ``volume_dice`` with those of each class, named as in ``statistics``.

    Args:
        tp: (N, K) true-positive pixels of each image and foreground class.
        fp: false-positive pixels, in the same shape.
        fn: false-negative pixels, in the same shape.
        volumes: (N,) the volume of each image, whose Dice is put down to the first of its images.
    """
    dice = _dice(tp, fp, fn)
    _, first, member = np.unique(np.asarray(volumes, dtype=str), return_index=True, return_inverse=True)
    counts = [np.zeros((len(first), tp.shape[1])) for _ in range(3)]
    for whole, part in zip(counts, (tp, fp, fn), strict=True):
        np.add.at(whole, member.reshape(-1), part)
    of_volumes = np.full(tp.shape, np.nan)
    of_volumes[first] = _dice(*counts)
    columns = {
        **_named("adi", dice),
        **_named("foreground_dice", np.where(tp + fn > 0, dice, np.nan)),
        **_named("volume_dice", of_volumes),
    }
    return [means(columns), Sums(np.concatenate([2 * tp, 2 * tp + fp + fn], axis=1), _total_voxel)]


def _total_voxel(sums: Floats) -> dict[str, Floats]:
    half = sums.shape[-1] // 2
    return _named("tvdi", _ratio(sums[..., :half], sums[..., half:]))


def _dice(tp: Floats, fp: Floats, fn: Floats) -> Floats:
    return _ratio(2 * tp, 2 * tp + fp + fn)


def _ratio(top: Floats, bottom: Floats) -> Floats:
    """NaN where there is nothing below the line."""
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)


def _named(name: str, dice: Floats) -> dict[str, Floats]:
    """The mean over the classes that count, and each class, of (..., K)."""
    counted = ~np.isnan(dice)
    mean = _ratio(np.where(counted, dice, 0).sum(axis=-1), counted.sum(axis=-1).astype(np.float64))
    return {name: mean} | {f"{name}_{place}": dice[..., place - 1] for place in range(1, dice.shape[-1] + 1)}
