"""What the text header of a NRRD file says of lengths, which ITK takes for 1 and for millimetres where it is unclear.

Source: https://teem.sourceforge.net/nrrd/format.html, sections 5.1 (space units) and 6 (fields of each axis).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from monai_robust.data.reading.files import unreadable
from monai_robust.data.reading.volumes.lengths import millimetres_of, warn_of_missing_spacing

__all__ = ["millimetres_of_nrrd", "warn_of_axes_without_length"]

_QUOTED = re.compile(r'"([^"]*)"')
_VECTOR = re.compile(r"\([^)]*\)|\S+")
_SPATIAL = ("domain", "space", "???", "none")  # kinds of axes that may be those of space


def millimetres_of_nrrd(path: Path, fields: Mapping[str, str]) -> float:
    """How many millimetres one step of its lengths is: by the units of its space, or else by those of its axes.

    Args:
        path: the file.
        fields: of its header, names in small letters.

    Raises:
        BadSampleError: its axes have different units.
    """
    units = _quoted(fields.get("space units", "")) or _units_of_axes(fields)
    named = sorted({unit.strip() for unit in units if unit.strip()})
    factors = {millimetres_of(path, unit) for unit in named}
    if len(factors) > 1:
        raise unreadable(path, f"its axes have different units, {' and '.join(named)}; it needs one")
    return factors.pop() if factors else 1.0


def warn_of_axes_without_length(path: Path, fields: Mapping[str, str]) -> None:
    """Warn of an axis in space whose length ITK takes for 1, since it is ``none``, NaN or nowhere."""
    lengths = _VECTOR.findall(fields.get("space directions", "")) or fields.get("spacings", "").split()
    are_spatial = _are_spatial(fields, len(lengths))
    unknown = [length.lower() == "none" or "nan" in length.lower() for length in lengths]
    if not lengths or any(spatial and missing for spatial, missing in zip(are_spatial, unknown, strict=True)):
        warn_of_missing_spacing(path)


def _units_of_axes(fields: Mapping[str, str]) -> list[str]:
    """Of the axes in space, three at most: a fourth is time."""
    units = _quoted(fields.get("units", ""))
    spatial = [unit for unit, counts in zip(units, _are_spatial(fields, len(units)), strict=True) if counts]
    return spatial[:3]


def _are_spatial(fields: Mapping[str, str], axes: int) -> list[bool]:
    """Whether each axis is one of the image, and not of its channels."""
    kinds = fields.get("kinds", "").lower().split()
    return [axis >= len(kinds) or kinds[axis] in _SPATIAL for axis in range(axes)]


def _quoted(text: str) -> list[str]:
    """The quoted words of a field, which the reader takes for Latin-1 where they may be UTF-8."""
    stored = text.encode("latin-1")
    try:
        return _QUOTED.findall(stored.decode("utf-8"))
    except UnicodeDecodeError:
        return _QUOTED.findall(text)
