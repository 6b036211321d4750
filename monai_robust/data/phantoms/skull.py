"""A synthetic lateral view of a head, and where its landmarks are."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

__all__ = ["LANDMARKS", "Head", "Stance", "lateral_head"]

Image = NDArray[np.floating[Any]]
Points = NDArray[np.float64]

LANDMARKS = ("sella", "nasion", "porion", "ANS", "menton", "gonion")

# Millimetres from the middle of the sella: x towards the face, y down. The face looks to the right.
_PLACES = {
    "sella": (0.0, 0.0),
    "nasion": (66.0, -6.0),
    "porion": (-26.0, 20.0),
    "ANS": (70.0, 42.0),
    "menton": (58.0, 104.0),
    "gonion": (-14.0, 68.0),
    "condyle": (-13.0, 21.0),
    "PNS": (20.0, 42.0),
    "upper_incisor": (74.0, 66.0),
    "lower_incisor": (70.0, 64.0),
    "pogonion": (66.0, 94.0),
    "orbit": (49.0, 14.0),
}
_ISOTROPIC_MM = 2.2  # standard deviation of each place between persons
_MIDDLE = (12.0, 22.0)  # of the head, about which it is turned and put into the middle of the film


@dataclass(frozen=True)
class Head:
    """One person's proportions.

    Args:
        places: (x, y) of each anatomical place in millimetres from the middle of the sella.
        skull: half axes of the skull in millimetres.
        bone: attenuation of compact bone; soft tissue has about 0.3.
        filling: teeth with metal, for which the incisors are brighter.
        nose: how far the nose stands out, in millimetres.
    """

    places: dict[str, Points]
    skull: tuple[float, float]
    bone: float
    filling: float
    nose: float

    @classmethod
    def draw(cls, rng: Generator) -> Head:
        """A person drawn at random."""
        breadth, height = rng.uniform(0.95, 1.06, 2)
        places = {
            name: np.array(place) * (breadth, height) + np.clip(rng.normal(0, _ISOTROPIC_MM, 2), -5, 5)
            for name, place in _PLACES.items()
        }
        half_axes = (float(rng.uniform(84, 92) * breadth), float(rng.uniform(66, 74) * height))
        bone, filling, nose = rng.uniform((0.34, 0.10, 10), (0.50, 0.40, 18))
        return cls(places, half_axes, float(bone), float(filling), float(nose))

    def landmarks(self) -> Points:
        """Places ``(L, 2)`` of :data:`LANDMARKS` in millimetres, in that order."""
        return np.stack([self.places[name] for name in LANDMARKS])


@dataclass(frozen=True)
class Stance:
    """How a head is held in the film: shift in millimetres and rotation in degrees."""

    shift: tuple[float, float]
    rotation: float

    @classmethod
    def draw(cls, rng: Generator) -> Stance:
        """A stance drawn at random."""
        shift_x, shift_y = np.clip(rng.normal(0, 4, 2), -8, 8)
        return cls((float(shift_x), float(shift_y)), float(np.clip(rng.normal(0, 4), -9, 9)))

    def to_pixels(self, points: Points, size: tuple[int, int], spacing: float) -> Points:
        """Points ``(N, 2)`` of the head in pixels of a film of this size; the centre of pixel i is at i."""
        turned = (points - _MIDDLE) @ self._matrix().T + self.shift
        return np.asarray(turned / spacing + (np.array(size) - 1) / 2)

    def of_pixels(self, size: tuple[int, int], spacing: float) -> tuple[Image, Image]:
        """Where the pixels lie in the head's own frame: x and y in millimetres, ``(rows, columns)`` each."""
        columns, rows = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
        grid = np.stack([columns, rows], axis=-1) - (np.array(size) - 1) / 2
        x, y = np.moveaxis((grid * spacing - self.shift) @ self._matrix() + _MIDDLE, -1, 0)
        return x.astype(np.float32), y.astype(np.float32)

    def _matrix(self) -> Points:
        angle = np.deg2rad(self.rotation)
        return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def lateral_head(head: Head, x: Image, y: Image) -> Image:
    """The attenuation of a head seen from the side.

    Args:
        head: the person.
        x: of each pixel in millimetres from the sella, ``(rows, columns)``.
        y: likewise, downwards.

    Returns:
        An image of that shape, 0 in air and about 1 in thick bone.
    """
    density = 0.28 * _soft_tissue(head, x, y)
    density += _braincase(head, x, y) + head.bone * (_base(head, x, y) + _face(head, x, y) + _jaw(head, x, y))
    density += _teeth(head, x, y) + 0.30 * _neck(x, y)
    ear = np.hypot(x - head.places["porion"][0], y - head.places["porion"][1] - 4.5)
    density += 0.35 * _inside(np.abs(ear - 4.5) - 1.2) - 0.30 * _inside(ear - 3.5)  # its rim touches the porion
    return np.clip(density, 0, None)


def _inside(distance: Image, softness: float = 0.7) -> Image:
    """1 where a signed distance in millimetres is negative, 0 where it is positive, with a soft edge."""
    return (0.5 - 0.5 * np.tanh(distance / np.float32(softness))).astype(np.float32)


def _stroke(x: Image, y: Image, points: list[Points], width: float) -> Image:
    """A line through the points, of this width in millimetres."""
    nearest = np.full_like(x, np.inf)
    for (x0, y0), (x1, y1) in pairwise(points):
        dx, dy = x1 - x0, y1 - y0
        share = np.clip(((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy), 0, 1)
        nearest = np.minimum(nearest, np.hypot(x - x0 - share * dx, y - y0 - share * dy))
    return _inside(nearest - np.float32(width / 2))


def _ellipse(x: Image, y: Image, centre: tuple[float, float], half_axes: tuple[float, float]) -> Image:
    """About the distance in millimetres from an ellipse's outline, negative inside."""
    radius = np.hypot((x - centre[0]) / half_axes[0], (y - centre[1]) / half_axes[1])
    return (radius - 1) * np.float32(min(half_axes))


def _soft_tissue(head: Head, x: Image, y: Image) -> Image:
    """Scalp, face with a nose, and neck."""
    scalp = _inside(_ellipse(x, y, _skull_centre(head), (head.skull[0] + 6, head.skull[1] + 7)), 1.5)
    profile = [head.places[name] for name in ("nasion", "ANS", "upper_incisor", "pogonion", "menton")]
    edge = np.interp(y, [point[1] for point in profile], [point[0] for point in profile]).astype(np.float32)
    tip = head.places["ANS"][1] - 6
    edge += 9 + np.float32(head.nose) * np.exp(-0.5 * ((y - tip) / np.float32(8)) ** 2)
    face = _inside(x - edge, 1.5) * _inside(y - head.places["menton"][1] - 8, 2) * _inside(-x - 30, 2) * _inside(-y, 2)
    neck = _inside(np.abs(x + 24) - 38, 2) * _inside(40 - y, 3)
    return np.maximum(np.maximum(scalp, face), neck)


def _skull_centre(head: Head) -> tuple[float, float]:
    """So that the outline of the forehead runs into the nasion."""
    nasion = head.places["nasion"]
    return float(nasion[0] - 0.93 * head.skull[0]), float(nasion[1] - 0.36 * head.skull[1])


def _braincase(head: Head, x: Image, y: Image) -> Image:
    outline = _ellipse(x, y, _skull_centre(head), head.skull)
    above = _inside(y - np.float32(0.28) * (40 - x).clip(0, None) - head.places["nasion"][1] - 4, 2)
    shell = _inside(np.abs(outline + 3) - 2.5)
    return above * (0.9 * head.bone * shell + 0.16 * _inside(outline))


def _base(head: Head, x: Image, y: Image) -> Image:
    """The floor of the skull from the nasion to the cup of the sella, and behind it down to the condyle."""
    sella, nasion, condyle = (head.places[name] for name in ("sella", "nasion", "condyle"))
    angles = np.linspace(-0.15 * np.pi, 1.15 * np.pi, 9)
    cup = [sella + 6.5 * np.array([np.cos(angle), np.sin(angle)]) for angle in angles]
    front = _stroke(x, y, [cup[0], nasion - (0, 3), nasion], 2.6)
    return np.maximum(np.maximum(front, _stroke(x, y, cup, 2.6)), 0.9 * _stroke(x, y, [cup[-1], condyle - (6, 6)], 4))


def _face(head: Head, x: Image, y: Image) -> Image:
    """Nasal bone, the ring of the orbit, and the upper jaw, which ends in front in a spine."""
    places = head.places
    nasal = _stroke(x, y, [places["nasion"], places["nasion"] + (9, 15)], 2.6)
    orbit = _ellipse(x, y, (places["orbit"][0], places["orbit"][1]), (13.0, 12.0))
    palate = _stroke(x, y, [places["PNS"], places["ANS"] - (9, 0)], 4.5)
    spine = _stroke(x, y, [places["ANS"] - (12, 0), places["ANS"] - (0.8, 0)], 2.0)
    alveolus = _stroke(x, y, [places["ANS"] - (8, -4), places["upper_incisor"] - (6, 12)], 8)
    return np.maximum.reduce([nasal, 0.6 * _inside(np.abs(orbit) - 1.2), palate, spine, 0.6 * alveolus])


def _jaw(head: Head, x: Image, y: Image) -> Image:
    """The lower jaw: ramus, body and chin, bright along the rim whose corners are gonion and menton."""
    places = head.places
    rim = [places[name] for name in ("condyle", "gonion", "menton", "pogonion")]
    front = places["lower_incisor"] + (-6, 10)
    outline = [*rim, front, places["gonion"] + (24, -14), places["condyle"] + (16, 4)]
    return np.maximum(_stroke(x, y, rim, 3.2), 0.55 * _polygon(x, y, outline))


def _polygon(x: Image, y: Image, corners: list[Points]) -> Image:
    """1 inside a polygon, found by counting the edges that a ray along x crosses."""
    crossings = np.zeros(x.shape, dtype=np.int64)
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        between = (y < y0) != (y < y1)
        crossings += between & (x < x0 + (y - y0) * (x1 - x0) / np.where(y1 == y0, 1, y1 - y0))
    return (crossings % 2).astype(np.float32)


def _teeth(head: Head, x: Image, y: Image) -> Image:
    upper, lower = head.places["upper_incisor"], head.places["lower_incisor"]
    incisors = [_stroke(x, y, [upper, upper - (8, 16)], 4), _stroke(x, y, [lower, lower - (6, -16)], 4)]
    middle = (upper + lower) / 2
    molars = _stroke(x, y, [middle - (14, -1), middle - (46, 2)], 14)
    return 0.30 * np.maximum(*incisors) + (0.12 + 0.3 * head.filling) * molars


def _neck(x: Image, y: Image) -> Image:
    """Vertebrae, one below the other, with gaps."""
    column = x + 38 + np.float32(0.12) * (y - 60)
    gaps = 0.5 + 0.5 * np.tanh(3 * (np.cos(y * np.float32(2 * np.pi / 17)) + 0.7))
    return (_inside(np.abs(column) - 8) * _inside(44 - y) * gaps).astype(np.float32)
