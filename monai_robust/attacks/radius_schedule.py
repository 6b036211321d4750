"""A search that begins in larger balls than the one that is asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence

from monai_robust.errors import BadInputError
from monai_robust.scalars import is_number

__all__ = ["RED_EPS", "RadiusSchedule", "checked_schedule", "phases"]

RadiusSchedule = Sequence[tuple[float, float]]
"""Pairs of a ball's radius, in radii asked for, and its share of the steps."""

RED_EPS: RadiusSchedule = ((2.0, 0.3), (1.5, 0.3), (1.0, 0.4))
"""Progressive radius reduction (Croce et al. 2024, section 3.5)."""


def checked_schedule(schedule: RadiusSchedule | None) -> tuple[tuple[float, float], ...] | None:
    """The schedule as pairs of floats.

    Raises:
        BadInputError: for radii that do not fall to 1, or shares that do not add up to 1.
    """
    if schedule is None:
        return None
    try:
        pairs = tuple((radius, share) for radius, share in schedule)
    except (TypeError, ValueError) as error:
        raise _refused(schedule) from error
    if not pairs or not all(is_number(number) for pair in pairs for number in pair):
        raise _refused(schedule)
    radii, shares = zip(*((float(radius), float(share)) for radius, share in pairs), strict=True)
    falling = list(radii) == sorted(set(radii), reverse=True) and radii[-1] == 1
    if not falling or not min(shares) > 0 or not math.isclose(sum(shares), 1, abs_tol=1e-6):
        raise _refused(schedule)
    return tuple(zip(radii, shares, strict=True))


def phases(schedule: RadiusSchedule | None, steps: int) -> list[tuple[float, int]]:
    """Radii and whole numbers of steps, ``steps`` in all; what rounding leaves over goes to the last ball."""
    made: list[tuple[float, int]] = []
    for radius, share in (schedule or ((1.0, 1.0),))[:-1]:
        made.append((radius, math.floor(round(share * steps, 6))))
    left = steps - sum(part for _, part in made)
    return [(radius, part) for radius, part in made if part] + [(1.0, left)]


def _refused(schedule: object) -> BadInputError:
    return BadInputError(
        f"the attack's radius_schedule is {schedule!r}; it must be pairs of a radius, falling to 1, and a share of the "
        f"steps, above 0 and 1 in all, such as {RED_EPS}"
    )
