"""One picture of each modality, generated and fictitious, to show on it what is done to images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from monai_robust.data.phantoms.blood_cells import draw_cells
from monai_robust.data.phantoms.hippocampus import Hippocampus, Pose, temporal_lobe
from monai_robust.data.phantoms.thorax import Anatomy, Opacity, Positioning, thorax
from monai_robust.errors import require_choice

__all__ = ["modality_phantom"]

Array = NDArray[Any]


def modality_phantom(modality: str, size: int = 160, seed: int = 0) -> torch.Tensor:
    """A phantom picture of a modality.

    Args:
        modality: ``radiograph``, ``ct``, ``mr``, ``ultrasound``, ``oct``, ``dermoscopy`` or ``microscopy``.
        size: pixels along a side.
        seed: of everything random.

    Returns:
        (1, size, size), of colour (3, size, size), in [0, 1], x to the right first and y downwards second.

    Raises:
        BadInputError: for another modality.
    """
    require_choice("modality", modality, list(_PICTURES))
    drawn = _PICTURES[modality](size, default_rng([seed, len(modality)]))
    channels = drawn if drawn.ndim == 3 else drawn[None]
    return torch.from_numpy(np.clip(channels, 0, 1).astype(np.float32).transpose(0, 2, 1).copy())


def _radiograph(size: int, rng: Generator) -> Array:
    x, y = Positioning(0.0, 0.0, 0.0, 1.0).coordinates(size)
    _, density = thorax(Anatomy.draw(rng), Opacity.draw("lobar", rng), 0.22, x, y)
    return np.asarray(0.03 + 0.9 * density + 0.01 * rng.standard_normal(density.shape))


def _mr(size: int, rng: Generator) -> Array:
    spacing = 50 / size
    shape = (size, size, 1)
    tissue, _ = temporal_lobe(Hippocampus.draw(rng), Pose.draw(rng), shape, (spacing, spacing, 1.0), rng)
    smooth = gaussian_filter(tissue[..., 0], size / 160)
    noisy = np.hypot(smooth + 0.012 * rng.standard_normal(smooth.shape), 0.012 * rng.standard_normal(smooth.shape))
    return np.asarray(noisy.T[::-1])


def _microscopy(size: int, rng: Generator) -> Array:
    density = sum((cell.density for cell in draw_cells((size, size), rng)), start=np.zeros((3, size, size)))
    light = np.array([0.92, 0.88, 0.87])[:, None, None] * np.exp(-density)
    return np.asarray(gaussian_filter(light, (0, 0.7, 0.7)) + 0.012 * rng.standard_normal(light.shape))


def _ct(size: int, rng: Generator) -> Array:
    """An abdomen in a soft-tissue window: liver, spleen, aorta, spine, bowel with gas, and a lesion in the liver."""
    x, y = _plane(size)
    found = np.zeros((size, size))
    body = _ellipse(x, y, 0, 0, 0.92, 0.72)
    found += 0.32 * body + 0.16 * _ellipse(x, y, 0, 0, 0.84, 0.64)
    found += 0.10 * _ellipse(x, y, -0.4, -0.08, 0.4, 0.42) + 0.08 * _ellipse(x, y, 0.56, 0.1, 0.2, 0.26)
    found -= 0.07 * _ellipse(x, y, -0.5, -0.12, 0.09, 0.08)
    found += 0.14 * _ellipse(x, y, 0.06, 0.2, 0.07, 0.07)
    found += 0.42 * _ellipse(x, y, 0, 0.42, 0.14, 0.12) + 0.3 * _ellipse(x, y, 0, 0.57, 0.04, 0.1)
    for side in (-1, 1):
        for angle in np.linspace(0.25, 1.1, 4):
            found += 0.4 * _ellipse(x, y, side * 0.87 * np.cos(angle), 0.67 * np.sin(angle) - 0.05, 0.035, 0.025)
        found += 0.12 * _ellipse(x, y, side * 0.38, 0.36, 0.12, 0.16)
    found -= 0.45 * (_ellipse(x, y, 0.22, -0.32, 0.12, 0.07) + _ellipse(x, y, 0.36, -0.2, 0.06, 0.05))
    return np.asarray(gaussian_filter(found, 0.8) + 0.012 * body * rng.standard_normal(found.shape))


def _ultrasound(size: int, rng: Generator) -> Array:
    """A sector with layers, a dark cyst with its border, and fine speckle."""
    x, y = _plane(size)
    depth, across = np.hypot(x, y + 1.25), np.arctan2(x, y + 1.25)
    sector = (np.abs(across) < 0.62) & (depth > 0.35) & (depth < 2.15)
    tissue = 0.42 + 0.06 * np.sin(14 * depth + 2 * x) + 0.1 * (depth < 0.7) + 0.06 * np.sin(5 * x + 7 * y)
    tissue += 0.3 * np.exp(-(((depth - 1.75) / 0.03) ** 2)) - 0.34 * _ellipse(x, y, 0.16, 0.12, 0.26, 0.2)
    tissue += 0.2 * np.exp(-(((np.hypot((x - 0.16) / 0.26, (y - 0.12) / 0.2) - 1) / 0.12) ** 2))
    waves = gaussian_filter(rng.standard_normal((2, size, size)), (0, 0.6, 1.0))
    grains = np.hypot(*waves) / np.hypot(*waves).mean()
    return np.asarray(np.clip(tissue * (0.75 + 0.25 * grains), 0.02, 1) * sector)


def _oct(size: int, rng: Generator) -> Array:
    """Layers of a retina with a pit, and a little fluid between them."""
    x, y = _plane(size)
    pit, bow = 0.16 * np.exp(-((x / 0.22) ** 2)), 0.08 * x**2
    found = np.full((size, size), 0.06)
    layers = (
        (-0.36, 0.55),
        (-0.26, 0.3),
        (-0.14, 0.45),
        (-0.02, 0.25),
        (0.12, 0.12),
        (0.24, 0.6),
        (0.31, 0.9),
        (0.38, 0.5),
    )
    for top, level in layers:
        begin = top + bow + pit * max(0.0, 1 - (top + 0.36) / 0.5)
        found = np.where(y > begin, level, found)
    found = np.where(y > 0.44 + bow, 0.45 * np.exp(-3 * (y - 0.44 - bow)), found)
    found *= 1 - 0.8 * _ellipse(x, y, 0.45, 0.05, 0.16, 0.06)
    waves = gaussian_filter(rng.standard_normal((2, size, size)), (0, 0.5, 0.7))
    grains = np.hypot(*waves) / np.hypot(*waves).mean()
    return np.asarray(gaussian_filter(found, 0.8) * (0.8 + 0.2 * grains))


def _dermoscopy(size: int, rng: Generator) -> Array:
    """A brown lesion of uneven outline on skin, with a network and dots."""
    x, y = _plane(size)
    angle = np.arctan2(y, x)
    outline = 0.5 + 0.07 * np.sin(3 * angle + 1) + 0.04 * np.sin(7 * angle)
    inside = 1 / (1 + np.exp((np.hypot(x, y) - outline) / 0.03))
    net = 0.12 * np.sin(24 * x + 3 * y) * np.sin(24 * y - 4 * x)
    shade = inside * (0.55 + 0.25 * np.sin(2.2 * x + 1) + net)
    for _ in range(14):
        where = rng.uniform(-0.35, 0.35, 2)
        shade += 0.35 * _ellipse(x, y, where[0], where[1], 0.025, 0.025)
    texture = 0.02 * gaussian_filter(rng.standard_normal((size, size)), 1.2) / 0.23
    skin, brown = np.array([0.88, 0.70, 0.62]), np.array([0.30, 0.17, 0.12])
    share = np.clip(shade, 0, 1)[None]
    return np.asarray((1 - share) * skin[:, None, None] + share * brown[:, None, None] + texture)


def _plane(size: int) -> tuple[Array, Array]:
    """x to the right and y downwards, (size, size) of rows and columns, from -1 to 1."""
    places = (np.arange(size) + 0.5) * 2 / size - 1
    x, y = np.meshgrid(places, places)
    return x, y


def _ellipse(x: Array, y: Array, right: float, down: float, wide: float, high: float) -> Array:
    """1 inside of an ellipse, with a soft edge."""
    away = (np.hypot((x - right) / wide, (y - down) / high) - 1) * min(wide, high)
    return np.asarray(1 / (1 + np.exp(np.clip(away / 0.012, -30, 30))))


_PICTURES: dict[str, Callable[[int, Generator], Array]] = {
    "radiograph": _radiograph,
    "ct": _ct,
    "mr": _mr,
    "ultrasound": _ultrasound,
    "oct": _oct,
    "dermoscopy": _dermoscopy,
    "microscopy": _microscopy,
}
