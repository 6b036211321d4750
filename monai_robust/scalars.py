"""What counts as a number where one is given: those of Python and of NumPy, and never a truth value."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any, TypeGuard

from monai_robust.errors import BadInputError

__all__ = ["checked_whole", "is_above_zero", "is_number", "is_whole"]


def is_number(value: Any, least: float = -math.inf, most: float = math.inf) -> TypeGuard[float]:
    """Whether it is a finite number from ``least`` to ``most`` that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        return math.isfinite(value) and least <= float(value) <= most
    except OverflowError:  # a whole number of more than 308 digits
        return False


def is_above_zero(value: Any, most: float = math.inf) -> TypeGuard[float]:
    """Whether it is a finite number above 0 and up to ``most``."""
    return is_number(value, 0, most) and value > 0


def is_whole(value: Any, least: float = -math.inf) -> TypeGuard[int]:
    """Whether it is a whole number of at least ``least``; 2.0 is none."""
    return isinstance(value, Integral) and is_number(value, least)


def checked_whole(name: str, value: Any, least: int, meaning: str = "") -> int:
    """``value`` as a whole number of at least ``least``; ``meaning`` ends the message.

    Raises:
        BadInputError: for anything else.
    """
    if not is_whole(value, least):
        raise BadInputError(f"{name} is {value!r}; it must be a whole number of at least {least}{meaning}")
    return int(value)
