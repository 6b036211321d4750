"""Landmarks found in every image an evaluator sees, in one CSV file, and pictures of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
from torch import Tensor

from monai_robust.data.files.csv_cells import csv_text
from monai_robust.errors import BadInputError
from monai_robust.handlers.per_image import PerImage, image_sizes, whole_batch
from monai_robust.handlers.pictures import draw_points
from monai_robust.tasks.tensors import plain

__all__ = ["LandmarksCSV"]


class _FindsPoints(Protocol):
    def points(self, outputs: Any) -> Tensor: ...


class LandmarksCSV(PerImage):
    """Write ``landmarks.csv`` with ``file, <name>_x, <name>_y, ...``, a row an image, when an evaluation has ended.

    Coordinates are in pixels of the image's file, where the centre of pixel i is at i (and ``<name>_z`` of a volume).

    The network must be given whole images, resized in any way and perhaps padded with an ``image_mask``; their sizes
    in the files come as ``original_size`` in the batch (:class:`~monai_robust.transforms.OriginalSized`) or with the
    images' metadata.

    Args:
        output_dir: gets ``landmarks.csv``, and ``pictures/<file>.png`` with numbered points.
        names: of the landmarks, in the order of the network's outputs.
        task: :class:`~monai_robust.tasks.Landmarks`, or whatever else has its ``points``.
        key: what the batch calls its samples.
        pictures: also draw the landmarks on the network's input; 2-D images only.
        skipped: samples that could not be used, with ``file`` and ``reason``; written to ``skipped.csv``.

    Raises:
        BadInputError: for a name that comes twice; when a batch comes, for another number of landmarks than names,
            images whose size in the file is unknown, and pictures of volumes.
    """

    things = "images with their landmarks"

    def __init__(
        self,
        output_dir: str | Path,
        names: Sequence[str],
        task: _FindsPoints,
        key: str = "sample_id",
        pictures: bool = True,
        skipped: Sequence[Mapping[str, str]] = (),
    ) -> None:
        super().__init__(Path(output_dir) / "landmarks.csv", key, skipped)
        self.names = list(names)
        self.task = task
        self.pictures = pictures
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise BadInputError(f"several landmarks are named {', '.join(twice)}; give each a name of its own")

    def collect(self, engine: Any) -> None:
        batch, output = whole_batch(engine)
        images = plain(output["image"])
        inputs, originals = image_sizes(images, batch)
        answered, outputs = self.answered(engine, output["pred"])
        if not len(answered):
            return
        points = plain(self.task.points(outputs)).double().cpu()
        if points.shape[1] != len(self.names):
            raise BadInputError(
                f"the network finds {points.shape[1]} landmarks, but {len(self.names)} have names; name each of them"
            )
        names = [batch[self.key][place] for place in answered.tolist()]
        for name, image, found, size, original in zip(
            names, images[answered], points, inputs[answered], originals[answered], strict=True
        ):
            places = ((found + 0.5) * (original / size) - 0.5).tolist()
            row: dict[str, Any] = {"file": str(name)}
            for landmark, place in zip(self.names, places, strict=True):
                row |= {f"{landmark}_{axis}": round(value, 3) for axis, value in zip("xyz", place, strict=False)}
            self.rows.append(row)
            if self.pictures:
                shown = image[(slice(None), *(slice(int(length)) for length in size))]
                draw_points(self.picture_path(str(name)), shown, found, self.names)

    def content(self) -> str:
        return csv_text(pd.DataFrame(self.rows))
