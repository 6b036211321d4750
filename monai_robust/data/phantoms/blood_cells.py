"""Blood cells under a microscope: what each absorbs of red, green and blue light."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

__all__ = ["CLASSES", "BloodCell", "draw_cells"]

CLASSES = ("Platelets", "RBC", "WBC")

_Array = NDArray[np.float32]

# Optical density in red, green and blue: eosin makes pink, methylene blue makes purple.
_HAEMOGLOBIN = np.array([0.06, 0.36, 0.26], dtype=np.float32)
_CYTOPLASM = np.array([0.28, 0.34, 0.10], dtype=np.float32)
_CHROMATIN = np.array([0.85, 1.25, 0.40], dtype=np.float32)
_GRANULES = np.array([0.60, 0.85, 0.25], dtype=np.float32)
_RADII = {"RBC": (8.0, 11.0), "WBC": (14.0, 19.0), "Platelets": (2.8, 4.4)}  # pixels of a picture 128 wide
_INSET = 0.2  # of its radius that a centre keeps from the edge: two fifths of a cell, at least, are in the picture


@dataclass(frozen=True)
class BloodCell:
    """One cell of a smear.

    Args:
        name: of its class.
        box: (xmin, ymin, xmax, ymax) of what is inside the picture, in whole pixels, continuous.
        density: (3, X, Y), what it adds to the optical density of red, green and blue.
    """

    name: str
    box: tuple[int, int, int, int]
    density: _Array


def draw_cells(size: tuple[int, int], rng: Generator) -> list[BloodCell]:
    """6 to 15 red cells, which may touch, 0 to 2 white ones and 0 to 3 platelets, on a field of ``size`` (X, Y)."""
    scale = min(size[0] / 128, size[1] / 96)
    counts = {
        "WBC": int(rng.choice(3, p=(0.3, 0.55, 0.15))),
        "RBC": int(rng.integers(6, 16)),
        "Platelets": int(rng.choice(4, p=(0.25, 0.3, 0.3, 0.15))),
    }
    cells: list[BloodCell] = []
    taken: list[tuple[float, float, float]] = []
    for name, count in counts.items():
        for _ in range(count):
            radius = scale * rng.uniform(*_RADII[name])
            centre = _free_place(size, radius, taken, 0.88 if name == "RBC" else 1.0, rng)
            if centre is not None:
                cells.append(_cell(name, centre, radius, size, rng))
                taken.append((*centre, radius))
    return cells


def _free_place(
    size: tuple[int, int], radius: float, taken: list[tuple[float, float, float]], apart: float, rng: Generator
) -> tuple[float, float] | None:
    """A centre where a cell overlaps no other by more than ``apart`` allows, or none after many attempts."""
    for _ in range(200):
        x, y = (float(rng.uniform(_INSET * radius, length - _INSET * radius)) for length in size)
        if all(np.hypot(x - u, y - v) >= apart * (radius + other) for u, v, other in taken):
            return x, y
    return None


def _cell(name: str, centre: tuple[float, float], radius: float, size: tuple[int, int], rng: Generator) -> BloodCell:
    x, y = np.meshgrid(*(np.arange(length, dtype=np.float32) + 0.5 for length in size), indexing="ij")
    distance = _outline(x - centre[0], y - centre[1], radius, rng)
    body = _soft(distance, radius)
    inside = np.argwhere(body > 0.5)
    stain: Callable[..., _Array] = {"RBC": _red_cell, "WBC": _white_cell, "Platelets": _platelet}[name]
    density = stain(distance, body, x - centre[0], y - centre[1], radius, rng)
    (xmin, ymin), (xmax, ymax) = inside.min(axis=0), inside.max(axis=0) + 1
    return BloodCell(name, (int(xmin), int(ymin), int(xmax), int(ymax)), density)


def _outline(x: _Array, y: _Array, radius: float, rng: Generator) -> _Array:
    """Distance from the centre as a share of the outline's, which is a circle bent by two harmonics."""
    angle = np.arctan2(y, x)
    bend = sum(rng.uniform(0, 0.05) * np.cos(order * angle + rng.uniform(0, 2 * np.pi)) for order in (2, 3))
    return np.asarray(np.hypot(x, y) / (radius * (1 + bend)), dtype=np.float32)


def _soft(distance: _Array, radius: float) -> _Array:
    """1 inside, 0 outside, with a ramp one pixel wide."""
    return np.asarray(np.clip((1 - distance) * radius + 0.5, 0, 1), dtype=np.float32)


def _red_cell(distance: _Array, body: _Array, x: _Array, y: _Array, radius: float, rng: Generator) -> _Array:
    pallor = np.float32(rng.uniform(0.35, 0.75)) * np.exp(-((distance / np.float32(rng.uniform(0.35, 0.5))) ** 2))
    return _HAEMOGLOBIN[:, None, None] * (body * (1 - pallor))


def _white_cell(distance: _Array, body: _Array, x: _Array, y: _Array, radius: float, rng: Generator) -> _Array:
    """A pale body with a nucleus of two to four dark lobes in a ring, as neutrophils have."""
    lobes = int(rng.integers(2, 5))
    first = rng.uniform(0, 2 * np.pi)
    nucleus = np.zeros_like(body)
    for angle in first + np.arange(lobes) * 2 * np.pi / (lobes + 0.7):
        lobe = radius * rng.uniform(0.40, 0.50)
        away = np.hypot(x - 0.38 * radius * np.cos(angle), y - 0.38 * radius * np.sin(angle)) / lobe
        nucleus = np.maximum(nucleus, _soft(np.asarray(away, dtype=np.float32), lobe))
    return _CYTOPLASM[:, None, None] * body + _CHROMATIN[:, None, None] * (nucleus * body)


def _platelet(distance: _Array, body: _Array, x: _Array, y: _Array, radius: float, rng: Generator) -> _Array:
    return _GRANULES[:, None, None] * (body * np.float32(rng.uniform(0.7, 1.2)))
