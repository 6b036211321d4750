"""Pictures of cases, made while a measurement runs: the image, the difference to it, and what was found in it."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from monai_robust.attacks.common.masks import bounding_box
from monai_robust.evaluation.measure.pictures import Predictions
from monai_robust.evaluation.measure.task_outcomes import PictureMark, TaskOutcomes
from monai_robust.evaluation.tables.cases import TRUTH, CaseWriter, packed_input
from monai_robust.evaluation.tables.schema import CLEAN
from monai_robust.tasks.tensors import plain

__all__ = ["CaseKeeper"]

# Pixels of all pictures of a run, which as PNG files take up to a byte each.
_ALL = 48_000_000
_LONGEST_SIDE = 256
_LEAST, _MOST = 4096, 65_536  # of one picture
_SLICES = (4, 12)  # of a volume, at least and at most
_AROUND = 0.1  # of the slices that hold something, so many more on either side
_PERCENTILES = (0.5, 99.5)  # of a clean picture's intensities, shown as black and white
_MIDDLE, _FULL = 128, 127


@dataclass(frozen=True)
class _View:
    """Which part of a sample is drawn, and how.

    Attributes:
        box: of the image without its padding.
        size: rows and columns of a picture.
        slices: of the box, along its last axis; empty where the sample has two axes.
    """

    box: tuple[slice, ...]
    size: tuple[int, int]
    slices: tuple[int, ...]

    def geometry(self) -> dict[str, Any]:
        extent = [one.stop - one.start for one in self.box]
        depth = {"depth": extent[2], "slices": list(self.slices)} if self.slices else {}
        return {"rows": self.size[0], "columns": self.size[1], "original": extent[1::-1], **depth}


class CaseKeeper:
    """Draws the samples that are kept as cases, and hands them to their writer.

    Pictures stand upright with rows first, where medical readers order axes as (x, y). They are made smaller where
    that keeps a run within some 48 MB, as are the numbers of a volume's slices; of three channels they are in colour,
    of other numbers of channels they show the mean.

    Args:
        writer: knows which samples are kept.
        outcomes: what is written down of the task.
        classes: names of the classes.
        inputs: of so many cases, those with the first numbers, what the network was given is kept as well.
    """

    def __init__(self, writer: CaseWriter, outcomes: TaskOutcomes, classes: Sequence[str], inputs: int = 0) -> None:
        self.writer = writer
        self.outcomes = outcomes
        self.classes = list(classes)
        self.inputs = inputs
        pictures = len(writer.plan) * max(len(writer.numbers), 1)
        self.pixels = min(max(_ALL // pictures, _LEAST), _MOST)

    @torch.no_grad()
    def see(self, perturbation: str, severity: float, sample_ids: Sequence[str], predictions: Predictions) -> None:
        """Take what the network was shown of a batch, and what it made of that."""
        chosen = [index for index, sample in enumerate(sample_ids) if sample in self.writer.numbers]
        if not chosen or predictions.inputs.ndim not in (4, 5):
            return
        found = _Found.of(self.outcomes, predictions)
        for index in chosen:
            view = self._view(predictions, found, index)
            clean, low, high = _windowed(_drawn(predictions.inputs[index], view))
            row = {"geometry": json.dumps(view.geometry()), "low": low, "high": high, **self._said(predictions, index)}
            if perturbation == CLEAN:
                truth = {"mask": found.map_png(1, index, view), "marks": found.marks_json(1, index, view)}
                if any(truth.values()):
                    nothing = {"picture": b"", "label": "", "prediction": "", "confidence": None, "input": b""}
                    self.writer.add(sample_ids[index], TRUTH, 0.0, {**row, **nothing, **truth})
                row |= {"picture": _png(clean)}
            else:
                difference = _drawn(predictions.perturbed[index] - predictions.inputs[index], view)
                largest = float(np.abs(difference).max()) or 1.0
                levels = np.rint(difference / largest * _FULL) + _MIDDLE
                row |= {"picture": _png(levels.astype(np.uint8)), "low": -largest, "high": largest}
            kept = self.writer.numbers[sample_ids[index]] <= self.inputs
            given = plain(predictions.perturbed[index])[(slice(None), *view.box)]
            row |= {"input": packed_input(given.float().cpu().numpy()) if kept else b""}
            row |= {"mask": found.map_png(0, index, view), "marks": found.marks_json(0, index, view)}
            self.writer.add(sample_ids[index], perturbation, severity, row)

    def _said(self, predictions: Predictions, index: int) -> dict[str, Any]:
        caption = self.outcomes.caption(predictions.values, index, self.classes)
        confidence = caption.get("confidence")
        known = None if confidence is None or math.isnan(confidence) else float(confidence)
        return {"label": str(caption["label"]), "prediction": str(caption["prediction"]), "confidence": known}

    def _view(self, predictions: Predictions, found: _Found, index: int) -> _View:
        shape = predictions.inputs.shape[2:]
        whole = tuple(slice(0, size) for size in shape)
        box = whole if predictions.mask is None else bounding_box(plain(predictions.mask[index]))
        columns, rows, *depth = (one.stop - one.start for one in box)
        if not depth:
            return _View(box, _within(rows, columns, self.pixels), ())
        count = min(max(self.pixels // _LEAST, _SLICES[0]), _SLICES[1], depth[0])
        slices = _spread(depth[0], count, found.extent(index, box))
        return _View(box, _within(rows, columns, max(self.pixels // count, _LEAST // 4)), slices)


@dataclass(frozen=True)
class _Found:
    """What is found in a batch, and what is true of it, as label maps (B, *spatial) or as marks; None for neither."""

    maps: tuple[Tensor, Tensor] | None
    marks: tuple[Sequence[Sequence[PictureMark]], Sequence[Sequence[PictureMark]]] | None

    @classmethod
    def of(cls, outcomes: TaskOutcomes, predictions: Predictions) -> _Found:
        marks = outcomes.picture_marks(predictions.outputs, predictions.targets)
        maps = None if marks is not None else outcomes.picture_masks(predictions.outputs, predictions.targets)
        return cls(maps, marks)

    def extent(self, index: int, box: tuple[slice, ...]) -> tuple[int, int] | None:
        """First and last slice of the box along the last axis in which something is true."""
        depth = box[2].stop - box[2].start
        if self.maps is not None and self.maps[1].ndim == 4:
            held = (plain(self.maps[1])[index] > 0).flatten(0, 1).any(dim=0).nonzero().flatten()
            places = (held - box[2].start).tolist()
        else:
            ends = (
                [] if self.marks is None else [(one.low[2], (one.high or one.low)[2]) for one in self.marks[1][index]]
            )
            places = [math.floor(end) - box[2].start for pair in ends for end in pair]
        inside = [place for place in places if 0 <= place < depth]
        return (min(inside), max(inside)) if inside else None

    def map_png(self, which: int, index: int, view: _View) -> bytes:
        """A label map as a PNG file, its slices below each other, b"" where there is none."""
        if self.maps is None:
            return b""
        labels = plain(self.maps[which])[index].cpu()
        if labels.ndim != len(view.box):
            return b""
        labels = labels[view.box]
        flat = labels.T[None] if labels.ndim == 2 else labels[..., list(view.slices)].permute(2, 1, 0)
        small = F.interpolate(flat[:, None].float(), size=view.size, mode="nearest-exact")[:, 0]
        return _png(small.clamp(0, 255).to(torch.uint8).numpy().reshape(-1, view.size[1]))

    def marks_json(self, which: int, index: int, view: _View) -> str:
        """Marks in pixels of the picture, as JSON, "" where the task has none."""
        if self.marks is None:
            return ""
        columns, rows = (one.stop - one.start for one in view.box[:2])
        scale = (view.size[1] / columns, view.size[0] / rows, 1.0)
        offset = [one.start for one in view.box]

        def placed(point: Sequence[float]) -> list[float]:
            return [
                round((value - start) * factor, 2) for value, start, factor in zip(point, offset, scale, strict=False)
            ]

        listed = []
        for one in self.marks[which][index]:
            drawn: dict[str, Any] = {"at": placed(one.low), "class": one.index}
            if one.high is not None:
                drawn["to"] = placed(one.high)
            if one.score is not None:
                drawn["score"] = round(one.score, 3)
            listed.append(drawn)
        return json.dumps(listed, separators=(",", ":"))


def _within(rows: int, columns: int, pixels: int) -> tuple[int, int]:
    """Rows and columns of a picture of so many pixels at most, with sides in proportion."""
    factor = min(1.0, math.sqrt(pixels / (rows * columns)), _LONGEST_SIDE / max(rows, columns))
    return max(int(rows * factor), 1), max(int(columns * factor), 1)


def _spread(depth: int, count: int, held: tuple[int, int] | None) -> tuple[int, ...]:
    """So many slices, evenly spread over those that hold something and some around them, or over all."""
    first, last = (0, depth - 1) if held is None else held
    around = 0 if held is None else max(1, round(_AROUND * (last - first + 1)))
    first, last = max(first - around, 0), min(last + around, depth - 1)
    missing = count - (last - first + 1)
    if missing > 0:
        first = max(min(first - missing // 2, depth - count), 0)
        last = min(first + count, depth) - 1
    return tuple(int(place) for place in np.unique(np.linspace(first, last, count).round()))


def _drawn(image: Tensor, view: _View) -> NDArray[np.float64]:
    """An image (C, X, Y[, Z]) as (rows, columns) or (rows, columns, 3), slices below each other."""
    cut = plain(image).float().cpu()[(slice(None), *view.box)]
    cut = cut if len(cut) == 3 else cut.mean(dim=0, keepdim=True)
    slices = cut.mT[None] if cut.ndim == 3 else cut[..., list(view.slices)].permute(3, 0, 2, 1)
    small = slices if tuple(slices.shape[2:]) == view.size else F.interpolate(slices, size=view.size, mode="area")
    rows = small.permute(0, 2, 3, 1).reshape(-1, view.size[1], len(cut)).double().numpy()
    return rows if len(cut) == 3 else rows[..., 0]


def _windowed(picture: NDArray[np.float64]) -> tuple[NDArray[np.uint8], float, float]:
    """A picture in 256 levels, and the intensities of the first and last of them."""
    low, high = (float(one) for one in np.percentile(picture, _PERCENTILES))
    if not high > low:
        low, high = float(picture.min()), float(picture.max())
    high = high if high > low else low + 1.0
    return np.rint((picture - low) / (high - low) * 255).clip(0, 255).astype(np.uint8), low, high


def _png(levels: NDArray[np.uint8]) -> bytes:
    """A PNG file of grey levels or colours, without anything else in it."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(levels)).save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()
