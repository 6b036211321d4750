"""Corruptions that move things, and what they do to masks, landmarks and boxes."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from monai_robust.transforms.corruptions.corruption import Corruption
from monai_robust.transforms.corruptions.draws import uniform_number
from monai_robust.transforms.corruptions.filters import pixel_grid, sampled, side_share
from monai_robust.transforms.corruptions.table import register_corruption

__all__ = ["Elastic", "Rotation", "Shift", "SpatialCorruption", "ZoomIn"]

SEARCH_STEPS = 30
KNOTS = 6  # of the elastic field, along each side


class SpatialCorruption(Corruption):
    """A corruption that moves what is in an image, by a field of places that pixels are taken from.

    With generators of one seed, the image and its mask, landmarks and boxes move alike. Volumes move within slices.
    """

    kind = "spatial"
    dimensions = (2, 3)
    groups = ("common",)

    @abstractmethod
    def _sources(self, places: Tensor, spatial: tuple[int, ...], generator: Generator) -> Tensor:
        """Where the pixels at places (2, ...) of an image of that size are taken from, (2, ...), in pixels."""

    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        return self._resampled(values, generator, "bilinear")

    def move_mask(self, mask: Tensor, generator: Generator | None = None) -> Tensor:
        """A label map (C, *spatial), moved as the image is; classes stay whole numbers."""
        self.check_shape(tuple(mask.shape))
        moved = self._resampled(mask.float(), self._source(generator), "nearest")
        return moved.to(mask.dtype)

    def move_points(self, points: Tensor, spatial: tuple[int, ...], generator: Generator | None = None) -> Tensor:
        """Where landmarks are after the image has moved.

        Args:
            points: (N, dimensions) in pixels, the centre of the first pixel being 0.
            spatial: the image's size.
            generator: as for the image.
        """
        state = self._source(generator).get_state()
        wanted = points[:, :2].T.double()
        found = wanted.clone()
        for _ in range(SEARCH_STEPS):  # the place whose pixel is taken from the point: a contraction
            replayed = Generator().set_state(state)
            found = found + wanted - self._sources(found.float(), spatial, replayed).double()
        return torch.cat([found.T.to(points), points[:, 2:]], dim=1)

    def move_boxes(self, boxes: Tensor, spatial: tuple[int, ...], generator: Generator | None = None) -> Tensor:
        """The smallest boxes around what boxes become.

        Args:
            boxes: (N, 4) as row, column of the first and of the last corner, in pixels.
            spatial: the image's size.
            generator: as for the image.
        """
        state = self._source(generator).get_state()
        shares = torch.linspace(0, 1, 5)
        low, high = boxes[:, None, :2], boxes[:, None, 2:]
        edge = torch.tensor([(float(a), float(b)) for a in shares for b in shares if {0, 1} & {int(a), int(b)}])
        points = (low + edge[None].to(boxes) * (high - low)).reshape(-1, 2)
        moved = self.move_points(points, spatial, Generator().set_state(state)).view(len(boxes), len(edge), 2)
        return torch.cat([moved.amin(dim=1), moved.amax(dim=1)], dim=1)

    def _source(self, generator: Generator | None) -> Generator:
        return Generator().manual_seed(self.seed) if generator is None else generator

    def _resampled(self, values: Tensor, generator: Generator, mode: str) -> Tensor:
        spatial = tuple(values.shape[1:3])
        sources = self._sources(pixel_grid(spatial), spatial, generator)
        if values.ndim == 3:
            return sampled(values, sources, mode)
        depth = values.shape[-1]
        planes = values.movedim(-1, 1).reshape(-1, *spatial)
        moved = sampled(planes, sources, mode)
        return moved.reshape(values.shape[0], depth, *spatial).movedim(1, -1)


@register_corruption
class Shift(SpatialCorruption):
    """Moved in a drawn direction; the border is continued."""

    name = "shift"
    label = "Shift"
    severity_label = "way, % of side"
    meaning = "the way, in percent of the image's shorter side"
    lowest = 0.0
    highest = 100.0
    severities = (2.0, 4.0, 7.0, 10.0, 15.0)
    source = "ours, errors of positioning"

    def _sources(self, places: Tensor, spatial: tuple[int, ...], generator: Generator) -> Tensor:
        angle, way = uniform_number(generator, 0, 2 * math.pi), side_share(self.severity, spatial)
        step = torch.tensor([way * math.sin(angle), way * math.cos(angle)], dtype=places.dtype)
        return places - step.view(2, *[1] * (places.ndim - 1))


@register_corruption
class Rotation(SpatialCorruption):
    """Turned about the middle, to a drawn side."""

    name = "rotation"
    label = "Rotation"
    severity_label = "degrees"
    meaning = "the angle, in degrees"
    lowest = 0.0
    highest = 45.0
    severities = (3.0, 6.0, 10.0, 15.0, 22.0)
    source = "ours, errors of positioning"

    def _sources(self, places: Tensor, spatial: tuple[int, ...], generator: Generator) -> Tensor:
        angle = math.radians(self.severity) * (1 if uniform_number(generator) < 0.5 else -1)
        centre = _centre(places, spatial)
        down, right = places - centre
        turned = [math.cos(angle) * down - math.sin(angle) * right, math.sin(angle) * down + math.cos(angle) * right]
        return torch.stack(turned) + centre


@register_corruption
class ZoomIn(SpatialCorruption):
    """Enlarged about the middle."""

    name = "zoom"
    label = "Zoom"
    severity_label = "factor"
    meaning = "the factor of enlargement"
    lowest = 1.0
    highest = 4.0
    severities = (1.05, 1.1, 1.2, 1.3, 1.45)
    source = "ours, differences of distance and cropping"
    random = False

    def _sources(self, places: Tensor, spatial: tuple[int, ...], generator: Generator) -> Tensor:
        centre = _centre(places, spatial)
        return centre + (places - centre) / self.severity


@register_corruption
class Elastic(SpatialCorruption):
    """Moved by a smooth field, cubic between drawn ways of 6 x 6 places (Simard et al. 2003)."""

    name = "elastic"
    label = "Elastic"
    severity_label = "way, % of side"
    meaning = "the largest way of a pixel, in percent of the image's shorter side"
    lowest = 0.0
    highest = 10.0
    severities = (1.0, 1.8, 2.8, 4.0, 5.5)
    source = "Hendrycks and Dietterich 2019, elastic transform; ways are ours"

    def _sources(self, places: Tensor, spatial: tuple[int, ...], generator: Generator) -> Tensor:
        knots = torch.randn(1, 2, KNOTS, KNOTS, generator=generator, device=generator.device)
        smooth = F.interpolate(knots, spatial[:2], mode="bicubic", align_corners=True)[0]
        way = smooth / smooth.norm(dim=0).max().clamp_min(1e-12) * side_share(self.severity, spatial)
        at = places if places.ndim == 3 else places[:, :, None]
        return (places + sampled(way, at.to(way)).view_as(places)).to(places)


def _centre(places: Tensor, spatial: tuple[int, ...]) -> Tensor:
    middle = (torch.tensor(spatial[:2], dtype=places.dtype) - 1) / 2
    return middle.view(2, *[1] * (places.ndim - 1))
