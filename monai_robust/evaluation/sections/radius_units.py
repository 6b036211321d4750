"""In which units the radii of an attack are, and what they are in those of the file or of the network's input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monai_robust.data.intensity import UNITS
from monai_robust.evaluation.sections.parts import listed, number
from monai_robust.evaluation.tables.run_folder import Run
from monai_robust.scalars import is_above_zero

__all__ = ["axis_unit", "in_both_units", "of_the_file", "unit_of"]


def unit_of(attack: str) -> str:
    """The unit of the severities of an attack, as its name ends; "" for that of the network's input."""
    return next((one.label for one in UNITS.values() if attack.endswith(f"_{one.suffix}")), "")


def axis_unit(attack: str) -> str:
    """In which unit its radii are, for an axis."""
    unit = unit_of(attack)
    return "in units of the network's input" if not unit else f"in {unit}" + (" of the file" * (unit[0] != "%"))


def of_the_file(runs: Sequence[Run]) -> tuple[float, str] | None:
    """How many units of the file one of the network's input is, and what these are called; None where that is not
    known, not the same for every image, or another in another run."""
    found = {(units.get("file_units_per_input"), _called(run)) for run in runs for units in [_units(run)]}
    if len(found) != 1:
        return None
    factor, name = found.pop()
    return (float(factor), name) if is_above_zero(factor) else None


def in_both_units(runs: Sequence[Run], attack: str) -> str:
    """A sentence that says what the radii of an attack are in the other unit, "" where that is not known."""
    one = next(own for own in runs[0].perturbations if own.name == attack)
    unit = unit_of(attack)
    if unit:
        return _in_input_units(runs, attack, unit)
    known = of_the_file(runs)
    if known is not None:
        factor, name = known
        there = listed([number(factor * severity) for severity in one.severities])
        radii = f"In {name} of the file the radii are {there}{_whole(one.norm)}"
        return f"{radii}: 1 of the network's input is {number(factor)}."
    units = [_units(run) for run in runs]
    window = units[0].get("window")
    if any(own != units[0] for own in units) or not isinstance(window, list) or len(window) != 2:
        return ""
    shares = listed([f"{number(100 * severity / (window[1] - window[0]))} %" for severity in one.severities])
    ends = f"{number(window[0])} to {number(window[1])}"
    return f"Of the window that every image is scaled to by itself ({ends}), the radii are {shares}{_whole(one.norm)}."


def _whole(norm: str) -> str:
    """What an L2 radius is, which is easily read as the change of a pixel."""
    if norm != "l2":
        return ""
    evenly = "spread evenly over N pixels, each changes by that divided by the root of N"
    return f", as the length of the whole change ({evenly})"


def _in_input_units(runs: Sequence[Run], attack: str, unit: str) -> str:
    parts = []
    for severity in next(one for one in runs[0].perturbations if one.name == attack).severities:
        rows = [run.outcomes for run in runs if "radius" in run.outcomes]
        radii = [r.loc[(r["perturbation"] == attack) & (r["severity"] == severity), "radius"].dropna() for r in rows]
        own = [radius for found in radii for radius in found]
        if not own:
            return ""
        middle = sorted(own)[len(own) // 2]
        parts.append(
            f"{number(severity)} {unit} are {number(min(own))} to {number(max(own))} (median {number(middle)})"
        )
    return f"Every image is scaled by itself: in units of the network's input, {listed(parts)}."


def _units(run: Run) -> dict[str, Any]:
    return run.info.get("units") or {}


def _called(run: Run) -> str:
    """What units of the file are called: HU where somebody has asked for radii in HU."""
    given = (run.info.get("settings") or {}).get("radii_given") or []
    return "HU" if any(str(word).lower().endswith("hu") for word in given) else "grey levels"
