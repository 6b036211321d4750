"""Arguments of phantoms, checked where they enter."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from monai_robust.errors import BadInputError
from monai_robust.scalars import is_whole

__all__ = ["checked_sides"]


def checked_sides(size: Any, least: int) -> tuple[int, int]:
    """Width and height in pixels.

    Raises:
        BadInputError: for anything but two whole numbers of at least ``least``.
    """
    sides = tuple(size) if isinstance(size, Iterable) else (size,)
    if len(sides) != 2 or not all(is_whole(side, least) for side in sides):
        raise BadInputError(f"size is {size!r} pixels; it must be two whole numbers of at least {least}")
    return int(sides[0]), int(sides[1])
