"""Corruptions of a modality, as sweeps of a measurement."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from monai_robust.attacks.threat import BoundsSpec
from monai_robust.errors import BadInputError
from monai_robust.evaluation.measure.perturbations import LABELS_OF_IMAGES, CorruptionSweep
from monai_robust.transforms.corruptions import CORRUPTIONS, SpatialCorruption, corruption_names

__all__ = ["corruptions"]


def corruptions(
    chosen: str | Sequence[str],
    *,
    task: str | None = None,
    levels: Sequence[int] | None = None,
    bounds: BoundsSpec = (0.0, 1.0),
    channels: Sequence[int] | None = None,
) -> list[CorruptionSweep]:
    """A sweep over the levels of each corruption of a modality.

    Args:
        chosen: names of corruptions and of groups (``"mr"``, ``"ct"``, ...), as text with commas between or as a list.
        task: name of the task that is measured. Where its targets would have to move with what is in an image,
            corruptions that move it are left out of groups, with a warning that names them.
        levels: from 1 to 5; all by default.
        bounds: the intensities that stand for 0 and 1, see :class:`CorruptionSweep`.
        channels: those of the input that are image, by index; all by default.

    Raises:
        BadInputError: for a word that is neither, with those that are like it, and a corruption asked for by its name
            that the task cannot take.
    """
    names = corruption_names(chosen)
    moving = [name for name in names if issubclass(CORRUPTIONS[name], SpatialCorruption)]
    if task is not None and task not in LABELS_OF_IMAGES and moving:
        words = chosen.split(",") if isinstance(chosen, str) else chosen
        asked = [name for name in moving if name in [word.strip() for word in words]]
        why = f"what is in an image is moved by {', '.join(asked or moving)}, and the targets of {task} are not"
        if asked:
            raise BadInputError(f"corruptions: {why}; leave out {', '.join(asked)}")
        warnings.warn(f"{why}: left out", stacklevel=2)
        names = [name for name in names if name not in moving]
    return [CorruptionSweep(name, None, bounds, channels, levels=levels) for name in names]
