"""A synthetic chest, as the attenuation a frontal radiograph would see, with or without an opacity in its lungs."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

__all__ = ["FINDINGS", "Anatomy", "Opacity", "Positioning", "thorax"]

Image = NDArray[np.floating[Any]]

FINDINGS = ("normal", "lobar", "diffuse")

# Centre of each lobe: (side, x, y) within its lung field; side -1 is the patient's right, on the left of the film.
_LOBES = ((-1, 0.50, -0.36), (-1, 0.42, 0.06), (-1, 0.62, 0.34), (1, 0.52, -0.26), (1, 0.60, 0.30))


@dataclass(frozen=True)
class Anatomy:
    """One person's proportions; lengths in half widths of the film, attenuation in arbitrary units.

    Each is drawn uniformly from the two numbers of its field.
    """

    chest_width: float = field(metadata={"range": (0.70, 0.80)})
    apex: float = field(metadata={"range": (-0.84, -0.74)})
    base: float = field(metadata={"range": (0.48, 0.64)})
    heart_size: float = field(metadata={"range": (0.24, 0.33)})
    heart_tilt: float = field(metadata={"range": (0.25, 0.60)})
    mediastinum: float = field(metadata={"range": (0.10, 0.15)})
    rib_spacing: float = field(metadata={"range": (0.145, 0.185)})
    rib_phase: float = field(metadata={"range": (0.0, 1.0)})
    rib_density: float = field(metadata={"range": (0.05, 0.09)})
    rib_slope: float = field(metadata={"range": (0.30, 0.55)})
    clavicle_height: float = field(metadata={"range": (-0.72, -0.62)})
    lung_density: float = field(metadata={"range": (0.26, 0.36)})
    soft_tissue: float = field(metadata={"range": (0.62, 0.74)})
    vessels: float = field(metadata={"range": (0.05, 0.09)})
    texture_seed: int = 0

    @classmethod
    def draw(cls, rng: Generator) -> Anatomy:
        """A person drawn at random."""
        ranges = {part.name: part.metadata["range"] for part in fields(cls) if part.metadata}
        values = {name: float(rng.uniform(*limits)) for name, limits in ranges.items()}
        return cls(**values, texture_seed=int(rng.integers(2**31)))


@dataclass(frozen=True)
class Positioning:
    """How a person stood before the detector: shift in half widths of the film, rotation in degrees, magnification."""

    shift_x: float
    shift_y: float
    rotation: float
    magnification: float

    @classmethod
    def draw(cls, rng: Generator) -> Positioning:
        """A position drawn at random."""
        shift_x, shift_y = rng.normal(0, 0.025, 2)
        return cls(float(shift_x), float(shift_y), float(rng.normal(0, 1.5)), float(rng.uniform(0.96, 1.04)))

    def coordinates(self, size: int) -> tuple[Image, Image]:
        """Where each pixel lies in the person's own frame: x to the right, y down, both about -1 to 1."""
        ticks = (np.arange(size, dtype=np.float32) + 0.5) * 2 / size - 1
        x, y = np.meshgrid(ticks - self.shift_x, ticks - self.shift_y)
        angle = np.deg2rad(self.rotation)
        cosine, sine = np.float32(np.cos(angle) / self.magnification), np.float32(np.sin(angle) / self.magnification)
        return cosine * x + sine * y, cosine * y - sine * x


@dataclass(frozen=True)
class Opacity:
    """Where and how dense the lungs are more opaque than in health.

    ``lobar`` is one homogeneous blob with soft edges in one lobe of one lung. ``diffuse`` is a cloud of faint, large
    patches in both lungs, denser towards the chest wall and the diaphragm.

    Args:
        finding: one of :data:`FINDINGS`, or several with ``+`` between.
        blobs: ``(n, 6)``: side of the chest, x and y of the centre in units of the lung field, radii along x and y in
            half widths of the film, and density relative to the contrast.
    """

    finding: str
    blobs: NDArray[np.float64]

    @classmethod
    def draw(cls, finding: str, rng: Generator) -> Opacity:
        """An opacity drawn at random."""
        draws = {"lobar": _lobar_blobs, "diffuse": _diffuse_blobs}
        blobs = [draws[one](rng) for one in finding.split("+") if one in draws]
        return cls(finding, np.concatenate(blobs) if blobs else np.empty((0, 6)))


def _lobar_blobs(rng: Generator) -> NDArray[np.float64]:
    side, x, y = _LOBES[rng.integers(len(_LOBES))]
    x, y = x + rng.uniform(-0.06, 0.06), y + rng.uniform(-0.06, 0.06)
    return np.array([[side, x, y, rng.uniform(0.17, 0.22), rng.uniform(0.18, 0.24), 1.0]])


def _diffuse_blobs(rng: Generator) -> NDArray[np.float64]:
    blobs = []
    for side in (-1, 1):
        for _ in range(7):
            x, y = rng.uniform(0.55, 0.95), 0.85 - 1.05 * rng.beta(1.2, 2.0)
            blobs.append([side, x, y, *rng.uniform(0.08, 0.13, 2), rng.uniform(0.45, 0.75)])
    return np.array(blobs)


def thorax(anatomy: Anatomy, opacity: Opacity, contrast: float, x: Image, y: Image) -> tuple[Image, Image]:
    """The attenuation of a chest, without and with its opacity.

    Args:
        anatomy: the person.
        opacity: what there is in the lungs.
        contrast: attenuation that an opacity of density 1 adds; soft tissue has about 0.7.
        x: of each pixel, ``(H, W)``.
        y: of each pixel, ``(H, W)``.

    Returns:
        Two images ``(H, W)``; the same for a normal finding.
    """
    side = np.abs(x)
    lungs = _lung_fields(anatomy, x, y)
    body = _body(anatomy, side, y)
    density = body * (anatomy.soft_tissue + 0.10 * _rise(y, anatomy.base, 0.12))
    density -= lungs * (anatomy.soft_tissue - anatomy.lung_density)
    density += 0.10 * _mediastinum(anatomy, x, y) + 0.08 * _heart(anatomy, x, y)
    density += body * (_spine(x, y) + _ribs(anatomy, side, y) + _clavicles(anatomy, side, y))
    density += lungs * _vessels(anatomy, x, y) + 0.035 * body * _texture(anatomy.texture_seed, x, y)
    density -= 0.16 * _bump(x - 0.34, y - anatomy.base - 0.20, 0.16, 0.06)  # gas in the stomach
    return density, density + contrast * lungs * _cloud(opacity, anatomy, x, y)


def _rise(values: Image, edge: float | Image, width: float) -> Image:
    """A soft step from 0 to 1 at ``edge``."""
    return (0.5 + 0.5 * np.tanh((values - edge) / np.float32(width))).astype(np.float32)


def _bump(dx: Image, dy: Image, width: float, height: float) -> Image:
    return np.exp(-0.5 * ((dx / np.float32(width)) ** 2 + (dy / np.float32(height)) ** 2))


def _body(anatomy: Anatomy, side: Image, y: Image) -> Image:
    """Trunk and shoulders, thinner towards the outline, below a neck."""
    outline = anatomy.chest_width + 0.16 + 0.10 * _rise(-y, 0.35, 0.25)
    trunk = 1 - _rise(side, outline, 0.05)
    neck_line = -1.04 + 0.55 * np.clip(side - 0.20, 0, None)
    return trunk * _rise(y, neck_line, 0.06) * (1 - 0.25 * (side / np.float32(outline.max())) ** 4)


def _lung_fields(anatomy: Anatomy, x: Image, y: Image) -> Image:
    """Both lungs, 0 to 1, cut off by mediastinum, heart and diaphragm."""
    side = np.abs(x)
    depth = np.clip((y - anatomy.apex) / (anatomy.base - anatomy.apex), 0, 1.3)
    outer = anatomy.chest_width * (0.42 + 0.58 * np.sqrt(np.sin(np.pi / 2 * np.clip(depth * 1.35, 0, 1))))
    dome = anatomy.base - 0.10 * np.exp(-(((side - 0.36) / 0.24) ** 2)) + 0.22 * np.clip(side - 0.45, 0, None)
    dome = dome - 0.05 * (x < 0)  # the liver lifts the right dome
    field = (1 - _rise(side, outer, 0.02)) * (1 - _rise(y, dome, 0.015))
    field *= _rise(y + 1.1 * (side - 0.36) ** 2 * 1.4, anatomy.apex + 0.04, 0.035) * _rise(side, 0.10, 0.03)
    return field * (1 - _mediastinum(anatomy, x, y)) * (1 - _heart(anatomy, x, y))


def _mediastinum(anatomy: Anatomy, x: Image, y: Image) -> Image:
    width = anatomy.mediastinum * (1 + 0.30 * _rise(y, 0.1, 0.3))
    knob = 0.8 * _bump(x - anatomy.mediastinum, y + 0.36, 0.07, 0.09)
    return np.clip(1 - _rise(np.abs(x), width, 0.035) + knob, 0, 1)


def _heart(anatomy: Anatomy, x: Image, y: Image) -> Image:
    size = anatomy.heart_size
    dx, dy = x - 0.11, y - (anatomy.base - 0.62 * size - 0.06)
    u = dx - anatomy.heart_tilt * dy * 0.6
    v = dy + anatomy.heart_tilt * dx * 0.3
    return 1 - _rise(np.sqrt((u / (1.12 * size)) ** 2 + (v / (0.95 * size)) ** 2), 1.0, 0.10)


def _spine(x: Image, y: Image) -> Image:
    column = 1 - _rise(np.abs(x), 0.085, 0.02)
    return column * (0.10 + 0.02 * np.cos(y * np.float32(2 * np.pi / 0.15)))


def _ribs(anatomy: Anatomy, side: Image, y: Image) -> Image:
    """Posterior ribs, arching over the lungs, and fainter anterior ones that run down to the middle."""
    cage = _rise(y, anatomy.apex - 0.02, 0.05) * (1 - _rise(y, anatomy.base + 0.18, 0.10))
    cage *= 1 - _rise(side, anatomy.chest_width + 0.02, 0.03)
    cage *= _rise(side, 0.09, 0.04)
    arch = y - anatomy.rib_slope * (side - 0.34) ** 2 * np.where(side > 0.34, 1.5, -0.9).astype(np.float32)
    front = y + 0.75 * side**1.5
    turns = np.float32(2 * np.pi / anatomy.rib_spacing)
    phase = np.float32(2 * np.pi * anatomy.rib_phase)
    posterior = _rise(np.cos(arch * turns + phase), 0.25, 0.35)
    anterior = _rise(np.cos(front * turns * np.float32(0.92) + 1 + phase), 0.35, 0.40) * _rise(side, 0.30, 0.08)
    return cage * (anatomy.rib_density * posterior + 0.35 * anatomy.rib_density * anterior)


def _clavicles(anatomy: Anatomy, side: Image, y: Image) -> Image:
    line = anatomy.clavicle_height - 0.22 * (side - 0.1) + 0.03 * np.sin(side * np.float32(8.0))
    bone = np.exp(-(((y - line) / np.float32(0.030)) ** 2)) * _rise(side, 0.07, 0.02) * (1 - _rise(side, 0.72, 0.05))
    return 0.12 * bone


def _vessels(anatomy: Anatomy, x: Image, y: Image) -> Image:
    """The hila and the vessels that fan out from them, blurred."""
    dx, dy = np.abs(x) - 0.19, y + 0.06
    radius = np.sqrt(dx**2 + dy**2) + np.float32(1e-3)
    fan = 0.5 + 0.5 * np.cos(7 * np.arctan2(dy, dx) + 5 * np.sin(5 * radius + 2 * np.sign(x)) + 3 * y)
    away = _rise(radius, 0.14, 0.05) * np.exp(-radius / np.float32(0.35))
    return np.float32(anatomy.vessels) * (1.7 * _bump(dx, dy, 0.07, 0.12) + 1.2 * fan * away)


def _texture(seed: int, x: Image, y: Image) -> Image:
    """A smooth random field of about unit variance, the person's own."""
    rng = np.random.default_rng(seed)
    waves = 8
    angle, frequency = rng.uniform(0, 2 * np.pi, waves), rng.uniform(3, 16, waves)
    phase = rng.uniform(0, 2 * np.pi, waves)
    total = np.zeros_like(x)
    for a, f, p in zip(angle, frequency, phase, strict=True):
        total += np.cos(np.float32(f * np.cos(a)) * x + np.float32(f * np.sin(a)) * y + np.float32(p))
    return total * np.float32((2 / waves) ** 0.5)


def _cloud(opacity: Opacity, anatomy: Anatomy, x: Image, y: Image) -> Image:
    total = np.zeros_like(x)
    middle, half = (anatomy.apex + anatomy.base) / 2, (anatomy.base - anatomy.apex) / 2
    for side, u, v, width, height, density in opacity.blobs:
        dx, dy = x - np.float32(side * u * anatomy.chest_width), y - np.float32(middle + v * half)
        distance = np.sqrt((dx / np.float32(width)) ** 2 + (dy / np.float32(height)) ** 2)
        total = np.maximum(total, np.float32(density) * (1 - _rise(distance, 1.0, 0.30)))
    return total
