"""Corruptions of a modality, as sweeps of a measurement."""

from __future__ import annotations

from collections.abc import Sequence

from monai_robust.attacks.threat import BoundsSpec
from monai_robust.evaluation.measure.perturbations import CorruptionSweep
from monai_robust.transforms.corruptions import corruption_names

__all__ = ["corruptions"]


def corruptions(
    chosen: str | Sequence[str],
    *,
    levels: Sequence[int] | None = None,
    bounds: BoundsSpec = (0.0, 1.0),
    channels: Sequence[int] | None = None,
) -> list[CorruptionSweep]:
    """A sweep over the levels of each corruption of a modality.

    Args:
        chosen: names of corruptions and of groups (``"mr"``, ``"ct"``, ...), as text with commas between or as a list.
        levels: from 1 to 5; all by default.
        bounds: the intensities that stand for 0 and 1, see :class:`CorruptionSweep`.
        channels: those of the input that are image, by index; all by default.

    Raises:
        BadInputError: for a word that is neither, with those that are like it.
    """
    return [CorruptionSweep(name, None, bounds, channels, levels=levels) for name in corruption_names(chosen)]
