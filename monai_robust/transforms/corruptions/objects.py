"""Things that lie on a picture: devices and letters on radiographs, hairs, deposits and bubbles under a lens.

They are drawn by themselves, from nobody's pictures, and cover what is behind them: labels stay true, since masks,
boxes and landmarks tell what is there, not what is seen. Upright is what MONAI's readers make of a file: x to the right
is the first axis of space, y downwards the second.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Generator, Tensor

from monai_robust.transforms.corruptions.corruption import Corruption, whole
from monai_robust.transforms.corruptions.draws import choice, uniform_number
from monai_robust.transforms.corruptions.filters import disk, filtered, pixel_grid, side_share
from monai_robust.transforms.corruptions.table import register_corruption

__all__ = ["Bubbles", "DarkCorners", "Hair", "Letters", "Pacemaker", "StainDeposit"]

FINER = 3  # drawn so many times finer than the image, so that edges are smooth
MARKS = ("L", "R", "PORTABLE", "AP", "SUPINE", "ERECT", "14:05", "03:40")
HAIR, DEPOSIT = (0.13, 0.09, 0.08), (0.28, 0.12, 0.40)
POINTS = 24
WIDEST = 0.42  # of a mark, as a share of the image


class _Object(Corruption):
    kind = "occlusion"
    dimensions = (2,)

    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        return self._covered(values.transpose(1, 2), generator).transpose(1, 2)

    @abstractmethod
    def _covered(self, values: Tensor, generator: Generator) -> Tensor:
        """A picture (C, rows, columns) with the things on it."""


@register_corruption
class Pacemaker(_Object):
    """A generator below one of the shoulders and a lead to the middle of the chest, nearly white."""

    name = "pacemaker"
    label = "Pacemaker"
    severity_label = "width, % of side"
    meaning = "the width of the generator, in percent of the image's shorter side"
    lowest = 0.0
    highest = 60.0
    severities = (8.0, 12.0, 16.0, 21.0, 27.0)
    source = "ours, from a device as large as in life to one of a child's film"
    groups = ("radiograph",)

    def _covered(self, values: Tensor, generator: Generator) -> Tensor:
        height, width = values.shape[1:]
        size = side_share(self.severity, (height, width))
        side = -1 if uniform_number(generator) < 0.5 else 1
        row, column = (0.2 + 0.12 * uniform_number(generator)) * height, (0.5 + side * 0.27) * width
        tip = (0.6 + 0.12 * uniform_number(generator)) * height, (0.5 - side * 0.03) * width
        sag = 0.2 + 0.2 * uniform_number(generator)
        if self.severity == 0:
            return values
        picture, pen = _canvas(height, width)
        along = np.linspace(0, 1, POINTS)
        rows = row - size * 0.4 + (tip[0] - row + size * 0.4) * along**2 - sag * size * np.sin(math.pi * along)
        columns = column + (tip[1] - column) * np.sin(math.pi / 2 * along)
        lead = max(FINER, round(FINER * 0.07 * size))
        pen.line([(FINER * x, FINER * y) for x, y in zip(columns, rows, strict=True)], fill=235, width=lead)
        box = [column - size / 2, row - size * 0.4, column + size / 2, row + size * 0.4]
        pen.rounded_rectangle([FINER * edge for edge in box], radius=FINER * size * 0.25, fill=245)
        head = [column - size * 0.2, row - size * 0.52, column + size * 0.2, row - size * 0.3]
        pen.rounded_rectangle([FINER * edge for edge in head], radius=FINER * size * 0.06, fill=215)
        pen.ellipse([FINER * edge for edge in _inner(box, 0.3)], fill=205)
        return _painted(values, _shrunk(picture, height, width), 0.97)


@register_corruption
class Letters(_Object):
    """Three marks such as a side or the word PORTABLE, white, in corners of the film."""

    name = "letters"
    label = "Letters"
    severity_label = "height, % of side"
    meaning = "the height of the letters, in percent of the image's shorter side"
    lowest = 0.0
    highest = 60.0
    severities = (4.0, 6.0, 9.0, 13.0, 18.0)
    source = "ours, from marks as they are used to ones that reach into the lungs"
    groups = ("radiograph", "ultrasound")

    def _covered(self, values: Tensor, generator: Generator) -> Tensor:
        height, width = values.shape[1:]
        size = side_share(self.severity, (height, width))
        picture, pen = _canvas(height, width)
        corners = torch.randperm(4, generator=generator, device=generator.device).tolist()[:3]
        marks = [MARKS[place] for place in torch.randperm(len(MARKS), generator=generator, device=generator.device)]
        margins = [uniform_number(generator, 0.02, 0.08) for _ in corners]
        if FINER * size < 1:
            return values
        font = ImageFont.load_default(size=FINER * size)
        for corner, mark, margin in zip(corners, marks[: len(corners)], margins, strict=True):
            row = margin * height if corner // 2 == 0 else (1 - margin) * height - size
            length = pen.textlength(mark, font=font) / FINER
            if length > WIDEST * width:  # a word leaves room for that of the next corner
                font_of_it = ImageFont.load_default(size=FINER * size * WIDEST * width / length)
                length = WIDEST * width
            else:
                font_of_it = font
            column = margin * width if corner % 2 == 0 else (1 - margin) * width - length
            pen.text((FINER * column, FINER * row), mark, fill=255, font=font_of_it)
        return _painted(values, _shrunk(picture, height, width), 0.96)


@register_corruption
class Hair(_Object):
    """Dark hairs, each a curve across a part of the picture."""

    name = "hair"
    label = "Hair"
    severity_label = "hairs"
    meaning = "the number of hairs"
    lowest = 0.0
    highest = 500.0
    severities = (4.0, 9.0, 18.0, 32.0, 55.0)
    source = "ours, from a few hairs to a hairy back"
    groups = ("dermoscopy",)
    colour = True

    def _covered(self, values: Tensor, generator: Generator) -> Tensor:
        height, width = values.shape[1:]
        picture, pen = _canvas(height, width)
        along = np.linspace(0, 1, POINTS)
        for _ in range(whole(self.severity)):
            place = [uniform_number(generator, -0.1, 1.1) for _ in range(2)]
            angle, length = uniform_number(generator, 0, 2 * math.pi), uniform_number(generator, 0.3, 0.9)
            bend, thick = uniform_number(generator, -0.25, 0.25), uniform_number(generator, 0.35, 0.8)
            forward, aside = length * (along - 0.5), bend * length * (1 - (2 * along - 1) ** 2)
            rows = (place[0] + forward * math.sin(angle) + aside * math.cos(angle)) * height
            columns = (place[1] + forward * math.cos(angle) - aside * math.sin(angle)) * width
            wide = max(1, round(FINER * side_share(thick, (height, width))))
            pen.line([(FINER * x, FINER * y) for x, y in zip(columns, rows, strict=True)], fill=230, width=wide)
        cover = torch.from_numpy(_shrunk(picture, height, width)).to(values)
        return values + cover * (_colour(HAIR, values) - values)


@register_corruption
class StainDeposit(_Object):
    """Clumps of dye, violet and nearly opaque, of uneven outline."""

    name = "stain_deposit"
    label = "Stain deposit"
    severity_label = "deposits"
    meaning = "the number of deposits"
    lowest = 0.0
    highest = 1000.0
    severities = (5.0, 12.0, 25.0, 45.0, 80.0)
    source = "Di Salvo et al. 2024 (MedMNIST-C) names it; numbers are ours"
    groups = ("microscopy",)
    colour = True

    def _covered(self, values: Tensor, generator: Generator) -> Tensor:
        height, width = values.shape[1:]
        picture, pen = _canvas(height, width)
        around = np.linspace(0, 2 * math.pi, POINTS, endpoint=False)
        for _ in range(whole(self.severity)):
            row, column = uniform_number(generator) * height, uniform_number(generator) * width
            radius = side_share(uniform_number(generator, 0.5, 1.8), (height, width))
            wave, start = 2 + choice(generator, 4), uniform_number(generator, 0, 2 * math.pi)
            reach = radius * (1 + 0.3 * np.sin(wave * around + start))
            outline = np.stack([column + reach * np.cos(around), row + reach * np.sin(around)], axis=1)
            pen.polygon([(FINER * x, FINER * y) for x, y in outline], fill=235)
        cover = torch.from_numpy(_shrunk(picture, height, width)).to(values)
        return values + cover * (_colour(DEPOSIT, values) - values)


@register_corruption
class Bubbles(_Object):
    """Bubbles of air in the immersion: a dark rim with a bright edge inside, and what is behind out of focus."""

    name = "bubbles"
    label = "Bubbles"
    severity_label = "bubbles"
    meaning = "the number of bubbles"
    lowest = 0.0
    highest = 300.0
    severities = (2.0, 5.0, 10.0, 18.0, 30.0)
    source = "Di Salvo et al. 2024 (MedMNIST-C) names it; numbers are ours"
    groups = ("dermoscopy", "microscopy")
    colour = True

    def _covered(self, values: Tensor, generator: Generator) -> Tensor:
        height, width = values.shape[1:]
        rows, columns = pixel_grid((height, width)).to(values)
        found = values.clone()
        behind = filtered(values, disk(side_share(1.5, (height, width))).to(values.dtype)) * 0.9 + 0.1
        for _ in range(whole(self.severity)):
            row, column = uniform_number(generator) * height, uniform_number(generator) * width
            radius = max(2.0, side_share(uniform_number(generator, 2.0, 7.0), (height, width)))
            reach = 1.5 * radius + 4  # beyond it nothing changes
            near = tuple(slice(max(0, int(middle - reach)), int(middle + reach) + 1) for middle in (row, column))
            distance = torch.hypot(rows[near] - row, columns[near] - column)
            rim = max(0.8, 0.09 * radius)
            inside = (radius - distance + 0.5).clamp(0, 1)
            dark = torch.exp(-(((distance - radius) / rim) ** 2))
            bright = torch.exp(-(((distance - 0.8 * radius) / rim) ** 2))
            part = found[(slice(None), *near)]
            part = part + inside * (behind[(slice(None), *near)] - part)
            found[(slice(None), *near)] = part * (1 - 0.75 * dark) + 0.35 * bright * (1 - part)
        return found


@register_corruption
class DarkCorners(_Object):
    """The round field of a dermatoscope: black outside of a circle about the middle."""

    name = "dark_corners"
    label = "Dark corners"
    severity_label = "share of the diagonal"
    meaning = "the share of half the diagonal that is black"
    lowest = 0.0
    highest = 1.0
    severities = (0.12, 0.2, 0.28, 0.36, 0.45)
    source = "ours, from cut corners to a field smaller than the image"
    groups = ("dermoscopy",)
    random = False

    def _covered(self, values: Tensor, generator: Generator) -> Tensor:
        height, width = values.shape[1:]
        rows, columns = pixel_grid((height, width)).to(values)
        distance = torch.hypot(rows - (height - 1) / 2, columns - (width - 1) / 2)
        half = math.hypot(height - 1, width - 1) / 2
        if not self.severity or not half:  # a single pixel has no corners
            return values
        seen = ((1 - self.severity) * half - distance) / (0.02 * half)
        return values * torch.sigmoid(seen)


def _canvas(height: int, width: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    picture = Image.new("L", (FINER * width, FINER * height))
    return picture, ImageDraw.Draw(picture)


def _shrunk(picture: Image.Image, height: int, width: int) -> np.ndarray:
    """A fine drawing as a picture (H, W) from 0 to 1."""
    fine = np.asarray(picture, dtype=np.float32) / 255
    return fine.reshape(height, FINER, width, FINER).mean(axis=(1, 3))


def _painted(values: Tensor, drawing: np.ndarray, opacity: float) -> Tensor:
    """White things on a film: as bright as they are drawn, never darker than what is behind."""
    cover = torch.from_numpy(drawing).to(values)
    return torch.maximum(values, opacity * cover)


def _inner(box: list[float], share: float) -> list[float]:
    """A square in the middle of a box, of a share of its height."""
    middle = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    half = share * (box[3] - box[1]) / 2
    return [middle[0] - half, middle[1] - half, middle[0] + half, middle[1] + half]


def _colour(colour: tuple[float, float, float], values: Tensor) -> Tensor:
    return torch.tensor(colour, dtype=values.dtype).view(3, 1, 1)
