"""Checks of what transforms are configured with."""

from __future__ import annotations

import math
from typing import Any

from monai_robust.errors import BadInputError
from monai_robust.scalars import is_number

__all__ = ["checked_number"]


def checked_number(value: Any, what: str, lowest: float, highest: float = math.inf) -> float:
    """The value as a float.

    Raises:
        BadInputError: if it is no finite number from ``lowest`` to ``highest``; it begins with ``what``.
    """
    if not is_number(value, lowest, highest):
        allowed = f"of at least {lowest:g}" if math.isinf(highest) else f"from {lowest:g} to {highest:g}"
        raise BadInputError(f"{what} must be a number {allowed}, got {value!r}.")
    return float(value)
