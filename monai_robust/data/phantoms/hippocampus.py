"""A synthetic hippocampus with its surroundings, as T1-weighted MR sees them, and its label map."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

__all__ = ["ANTERIOR", "POSTERIOR", "Hippocampus", "Pose", "temporal_lobe"]

Volume = NDArray[np.floating[Any]]

ANTERIOR, POSTERIOR = 1, 2
_POINTS_OF_CENTRE_LINE = 40
_CSF, _GREY, _WHITE = 0.2, 0.5, 0.85  # T1-weighted, of a scale on which fat would be 1


@dataclass(frozen=True)
class Hippocampus:
    """Proportions of one hippocampus in millimetres, each drawn uniformly from the two numbers of its field.

    A tube along a bent line from the head (anterior) to the tail. The head is thick and has an uncus, a knob on its
    medial side; at ``border``, the share of the line that belongs to the head, the tube narrows to body and tail.
    """

    length: float = field(metadata={"range": (25.0, 30.0)})
    bend: float = field(metadata={"range": (7.0, 15.0)})
    rise: float = field(metadata={"range": (10.0, 15.0)})
    border: float = field(metadata={"range": (0.28, 0.38)})
    head_radius: float = field(metadata={"range": (5.2, 6.6)})
    body_radius: float = field(metadata={"range": (3.8, 4.7)})
    tail_radius: float = field(metadata={"range": (2.2, 3.0)})
    flatness: float = field(metadata={"range": (0.75, 0.92)})
    uncus_radius: float = field(metadata={"range": (2.6, 3.6)})
    horn_width: float = field(metadata={"range": (0.8, 2.2)})
    amygdala_radius: float = field(metadata={"range": (4.5, 6.5)})

    @classmethod
    def draw(cls, rng: Generator) -> Hippocampus:
        """Proportions drawn at random."""
        return cls(**{part.name: float(rng.uniform(*part.metadata["range"])) for part in fields(cls)})

    def other_side(self, rng: Generator) -> Hippocampus:
        """That of the same person's other hemisphere: the same within some 3 percent."""
        return replace(self, **{part.name: getattr(self, part.name) * rng.normal(1, 0.03) for part in fields(self)})

    def centre_line(self) -> tuple[Volume, Volume, Volume]:
        """Shares ``(P,)`` of the line from head to tail, points ``(P, 3)`` in mm and radii ``(P,)`` in mm."""
        share = np.linspace(0, 1, _POINTS_OF_CENTRE_LINE)
        x = -self.bend * np.clip(share - 0.3, 0, None) ** 2
        points = np.stack([x - x.mean(), self.length * (0.5 - share), self.rise * (share**1.5 - 0.5)], axis=1)
        along_body = np.clip((share - self.border) / (1 - self.border), 0, 1)
        body = self.body_radius + (self.tail_radius - self.body_radius) * along_body**2
        narrowing = 1 / (1 + np.exp((share - self.border) / 0.02))
        return share, points, body + (self.head_radius - body) * narrowing


@dataclass(frozen=True)
class Pose:
    """How a hippocampus lies in the volume: rotation matrix (3, 3) and shift (3,) in millimetres."""

    rotation: Volume
    shift: Volume

    @classmethod
    def draw(cls, rng: Generator) -> Pose:
        """A pose within about ten degrees and two millimetres of the usual one."""
        rotation = np.eye(3)
        for axis, angle in enumerate(np.deg2rad(np.clip(rng.normal(0, 5, 3), -10, 10))):
            first, second = (axis + 1) % 3, (axis + 2) % 3
            turn = np.eye(3)
            turn[first, first] = turn[second, second] = np.cos(angle)
            turn[second, first], turn[first, second] = np.sin(angle), -np.sin(angle)
            rotation = turn @ rotation
        return cls(rotation, np.clip(rng.normal(0, 1.2, 3), -2.2, 2.2))


@dataclass(frozen=True)
class _Tube:
    """The hippocampus voxel by voxel, (x, y, z) each."""

    distance: Volume  # mm from its surface, negative inside
    share: Volume  # of the centre line, at the nearest point
    offset: Volume  # (3, x, y, z) mm from that point


def temporal_lobe(
    anatomy: Hippocampus, pose: Pose, shape: tuple[int, int, int], spacing: tuple[float, float, float], rng: Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Tissue of a right temporal lobe around a hippocampus, and the hippocampus's label map.

    Axes are x to the right (lateral), y to the front, z upwards. Grey matter is grey matter: the hippocampus, the
    amygdala before it, the cortex below it and the islands of grey all around have one intensity, also head and body.
    White matter around it is brighter, the temporal horn beside it dark; where it meets the amygdala, and here and
    there the cortex, its border can be told only from the shape of the rest.

    Args:
        anatomy: of the hippocampus.
        pose: how it lies.
        shape: voxels (x, y, z).
        spacing: of the voxels in mm.
        rng: of the surroundings and of the surface's roughness.

    Returns:
        Tissue (x, y, z), from about 0.2 (fluid) to 0.85 (white matter), sharp and without noise; and labels (x, y, z),
        0, ``ANTERIOR`` or ``POSTERIOR``.
    """
    position = _positions(shape, spacing, pose)
    tube = _tube(anatomy, position, _smooth_field(shape, spacing, 2.5, rng))
    labels = np.where(tube.distance < 0, np.where(tube.share < anatomy.border, ANTERIOR, POSTERIOR), 0)
    tissue = _surroundings(anatomy, position, tube, spacing, rng)
    inside = 1 / (1 + np.exp(np.clip(tube.distance / 0.25, -30, 30)))  # a voxel on the surface holds half of each
    return (tissue + (_GREY - tissue) * inside).astype(np.float32), labels.astype(np.uint8)


def _positions(shape: tuple[int, int, int], spacing: tuple[float, float, float], pose: Pose) -> Volume:
    """(3, x, y, z) millimetres in the anatomy's own frame."""
    ticks = [(np.arange(size) - (size - 1) / 2) * edge for size, edge in zip(shape, spacing, strict=True)]
    grid = np.stack(np.meshgrid(*ticks, indexing="ij")) - pose.shift[:, None, None, None]
    return np.asarray(np.einsum("ji,jxyz->ixyz", pose.rotation, grid), dtype=np.float32)


def _tube(anatomy: Hippocampus, position: Volume, roughness: Volume) -> _Tube:
    shares, points, radii = anatomy.centre_line()
    squash = np.array([1, 1, 1 / anatomy.flatness])[:, None, None, None]
    nearest = np.full(position.shape[1:], np.inf, dtype=np.float32)
    share = np.zeros_like(nearest)
    offset = np.zeros_like(position)
    for at, point, radius in zip(shares, points, radii, strict=True):
        away = position - point.astype(np.float32)[:, None, None, None]
        distance = np.sqrt(((away * squash) ** 2).sum(axis=0)) - radius
        closer = distance < nearest
        nearest, share = np.where(closer, distance, nearest), np.where(closer, at, share)
        offset = np.where(closer, away, offset)
    uncus = _point_on(anatomy, 0.6 * anatomy.border) + np.array([-anatomy.head_radius * 0.85, 0.0, 1.5])
    knob = _ball(position, uncus, anatomy.uncus_radius)
    return _Tube(np.minimum(nearest, knob) + 0.5 * roughness, np.where(knob < nearest, 0.0, share), offset)


def _surroundings(
    anatomy: Hippocampus, position: Volume, tube: _Tube, spacing: tuple[float, float, float], rng: Generator
) -> Volume:
    islands = _smooth_field(tube.share.shape, spacing, 3.0, rng)
    tissue = np.where(islands > 0.5, _GREY, _WHITE)
    tissue = np.where(islands > 1.7, _CSF, tissue)
    x, _, z = tube.offset
    cortex = (tube.distance > 0.9 * (islands < 1)) & (tube.distance < 4.5) & (z < -1.5) & (x < 1.5 + islands)
    tissue = np.where(cortex, _GREY, tissue)
    above = anatomy.head_radius * anatomy.flatness + anatomy.amygdala_radius * 0.8
    before = np.array([rng.uniform(-2, 2), anatomy.head_radius * 0.5, above])
    amygdala = _point_on(anatomy, 0.0) + before
    tissue = np.where(_ball(position, amygdala, anatomy.amygdala_radius) < 0.6 * islands, _GREY, tissue)
    horn = (tube.distance < anatomy.horn_width) & (x > 0.5) & (z > -1.5 - islands)
    return np.where(horn, _CSF, tissue)


def _point_on(anatomy: Hippocampus, at: float) -> Volume:
    share, points, _ = anatomy.centre_line()
    return np.array([np.interp(at, share, points[:, axis]) for axis in range(3)])


def _ball(position: Volume, centre: Volume, radius: float) -> Volume:
    return np.sqrt(((position - centre.astype(np.float32)[:, None, None, None]) ** 2).sum(axis=0)) - radius


def _smooth_field(
    shape: tuple[int, ...], spacing: tuple[float, float, float], width: float, rng: Generator
) -> NDArray[np.float32]:
    """Gaussian noise of standard deviation 1, correlated over about ``width`` mm."""
    noise = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), [width / edge for edge in spacing])
    return np.asarray(noise / noise.std(), dtype=np.float32)
