"""Lengths of files in millimetres, which is what all that follows takes them for."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monai_robust.data.reading.files import warn_of

__all__ = ["in_millimetres", "millimetres_of", "warn_of_missing_spacing"]

_MILLIMETRES = {
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre", "millimetres"), 1.0),
    **dict.fromkeys(("cm", "centimeter", "centimeters", "centimetre", "centimetres"), 10.0),
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1e3),
    **dict.fromkeys(("um", "\u03bcm", "micron", "microns", "micrometer", "micrometers", "micrometre"), 1e-3),
    **dict.fromkeys(("nm", "nanometer", "nanometers", "nanometre", "nanometres"), 1e-6),
}
_NO_UNIT = ("", "?", "???", "unknown")


def millimetres_of(path: Path, unit: str) -> float:
    """How many millimetres one of a unit are; 1, with a warning, for what is no unit of length.

    Args:
        path: the file that is in this unit, for the warning.
        unit: as the file writes it; empty where it tells none.
    """
    name = unicodedata.normalize("NFKC", unit.strip()).lower()  # two signs are in use for micro
    if name in _NO_UNIT:
        return 1.0
    if name not in _MILLIMETRES:
        warn_of(
            f"image {path}",
            f"has lengths in {unit[:20]!r}, which is no unit known here: they are taken for millimetres",
        )
    return _MILLIMETRES.get(name, 1.0)


def in_millimetres(affine: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    """An affine whose lengths are in units of ``factor`` millimetres, in millimetres."""
    scaled = affine.copy()
    scaled[:-1] *= factor
    return scaled


def warn_of_missing_spacing(path: Path) -> None:
    """Say that the millimetres of an axis are a guess."""
    warn_of(f"image {path}", "tells no spacing of some axis: it is taken as 1 mm", stacklevel=4)
