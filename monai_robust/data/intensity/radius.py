"""Radii with a unit: HU and grey levels of a file, percent of the window that a pipeline clips to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from monai_robust.data.intensity.scaling import Scaling
from monai_robust.errors import BadInputError

__all__ = ["UNITS", "Unit", "checked_radius", "in_one_unit", "radii_by_unit", "radius_in_input_units"]

_RADIUS = re.compile(r"([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*([A-Za-z]+|%)?")


@dataclass(frozen=True)
class Unit:
    """A unit of radii.

    Attributes:
        label: what reports call it.
        suffix: of the names of perturbations.
    """

    label: str
    suffix: str


UNITS: Mapping[str, Unit] = {
    "hu": Unit("HU", "hu"),
    "grey": Unit("grey levels", "grey"),
    "%": Unit("% of the window", "percent"),
}
"""Units of radii beside those of a network's input, by what :func:`checked_radius` calls them."""


def checked_radius(word: str | float) -> tuple[float, str]:
    """The number of a radius, and its unit in small letters; "" where it has none.

    Raises:
        BadInputError: for a word that is no radius, or has another unit.
    """
    found = _RADIUS.fullmatch(str(word).strip())
    if found is None or float(found[1]) <= 0:
        raise BadInputError(
            f"a radius is {word!r}; it must be a number above 0, or one with a unit, such as 20HU, 3grey or 5%"
        )
    unit = (found[2] or "").lower().replace("gray", "grey")
    if unit not in ("", *UNITS):
        raise BadInputError(f"the radius {word} has the unit {found[2]!r}; there are HU, grey and %")
    return float(found[1]), unit


def radius_in_input_units(word: str | float, scaling: Scaling) -> float:
    """A radius in intensity units of the network's input, where it is the same for every image.

    Args:
        word: a number, which is in those units already; one with ``HU`` or ``grey``, in units of the file; or with
            ``%``, of the window to which the pipeline clips. An L2 radius is the norm of the change in that unit.
        scaling: of the pipeline.

    Raises:
        BadInputError: for a word that is no radius, and a unit that the pipeline does not tell.
    """
    number, unit = checked_radius(word)
    if not unit:
        return number
    if unit == "%":
        if scaling.bounds is None:
            raise BadInputError(f"the radius {word} is of a window, and the pipeline clips to none; give a number")
        return number / 100 * (scaling.bounds[1] - scaling.bounds[0])
    if scaling.factor is None:
        raise BadInputError(
            f"the radius {word} is in units of the file, which are not the same for every image: {scaling.why}; give "
            "a number, in units of the network's input"
        )
    return number * abs(scaling.factor)


def in_one_unit(radii: Sequence[float | str]) -> tuple[list[Any], str]:
    """Radii as numbers, and the unit of all of them, "" for that of the network's input; what is no radius stays.

    Raises:
        BadInputError: for other units, or several.
    """
    pairs = [checked_radius(one) if isinstance(one, str) and _RADIUS.fullmatch(one) else (one, "") for one in radii]
    units = {unit for _, unit in pairs}
    if len(units) > 1:
        raise BadInputError(f"the radii {', '.join(map(str, radii))} are of several units; give each unit a list")
    return [number for number, _ in pairs], next(iter(units), "")


def radii_by_unit(radii: Sequence[float | str], scaling: Scaling) -> dict[str, list[float]]:
    """Radii in units of the network's input, under "", and those that each image has of its own, in their own unit.

    Raises:
        BadInputError: for a word that is no radius, and a unit that the pipeline does not tell.
    """
    found: dict[str, list[float]] = {}
    for word in radii:
        number, unit = checked_radius(word)
        alone = scaling.per_image and unit and not (unit == "%" and scaling.bounds is not None)
        found.setdefault(unit if alone else "", []).append(number if alone else radius_in_input_units(word, scaling))
    return found
