"""Where the axes of a volume point to in the patient."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
from monai.data import MetaTensor
from monai.transforms import Orientation

from monai_robust.errors import BadInputError, BadSampleError

__all__ = ["DIRECTIONS", "axis_of", "check_orientation", "orientation_of", "turn_to"]

DIRECTIONS = (("L", "R"), ("P", "A"), ("I", "S"))
"""The two ends of each axis, in the order of RAS."""


def orientation_of(image: Any) -> str:
    """The directions that the axes of a volume point to, of L or R, P or A, and I or S each.

    An oblique axis counts as the one that it is nearest to. A volume without an affine is taken for RAS.

    Args:
        image: (C, x, y, z), its affine in RAS millimetres.

    Raises:
        BadSampleError: for an affine that has no three directions.
    """
    if not isinstance(image, MetaTensor):
        return "RAS"
    codes = nib.aff2axcodes(np.asarray(image.affine, dtype=np.float64))
    if len(codes) != 3 or None in codes:
        name = image.meta.get("filename_or_obj", "of a volume")
        raise BadSampleError(f"the affine of {name} has axes that point nowhere, so its orientation is unknown")
    return "".join(codes)


def check_orientation(orientation: str) -> None:
    """Refuse what is no orientation of three axes.

    Raises:
        BadInputError: with what would do.
    """
    if sorted(_pair(code) for code in orientation) != sorted(DIRECTIONS):
        raise BadInputError(
            f"orientation is {orientation!r}; it needs one letter for each axis, of L or R, P or A, and I or S, such "
            "as RAS"
        )


def axis_of(orientation: str, direction: str) -> int:
    """The axis of a volume that runs along a direction or against it: 2 for RAS and I, 0 for PIL and A."""
    return [_pair(code) for code in orientation].index(_pair(direction))


def turn_to(orientation: str) -> Orientation:
    """A transform that puts the axes of a volume, (C, x, y, z), into another order and direction; no resampling.

    Raises:
        BadInputError: for what is no orientation.
    """
    check_orientation(orientation)
    return Orientation(orientation, labels=DIRECTIONS)


def _pair(code: str) -> tuple[str, ...]:
    return next((pair for pair in DIRECTIONS if code in pair), ())
