"""Objects detected in every image an evaluator sees, in one JSON file, and pictures of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.handlers.per_image import PerImage, image_sizes, whole_batch
from monai_robust.handlers.pictures import draw_boxes
from monai_robust.tasks.tensors import plain
from monai_robust.transforms.arguments import checked_number

__all__ = ["DetectionsJSON"]


class _Detects(Protocol):
    def detect(self, outputs: Any, image_size: Sequence[int]) -> Sequence[Mapping[str, Tensor]]: ...


class DetectionsJSON(PerImage):
    """Write ``detections.json``, a list with an entry for each image, when an evaluation has ended.

    An entry holds ``file``, ``width`` and ``height`` (and ``depth`` of a volume) of the image in its file, and
    ``detections``, most certain first, each with ``class``, ``score`` and ``box``: [xmin, ymin, xmax, ymax] in pixels
    of the file, where pixel i covers [i, i + 1) ([xmin, ymin, zmin, xmax, ymax, zmax] of a volume).

    The network must be given whole images, resized in any way and perhaps padded with an ``image_mask``; their sizes
    in the files come as ``original_size`` in the batch (:class:`~monai_robust.transforms.OriginalSized`) or with the
    images' metadata.

    Args:
        output_dir: gets ``detections.json``, and ``pictures/<file>.png``.
        classes: names of the classes.
        task: :class:`~monai_robust.tasks.Detection`, or whatever else has its ``detect``.
        key: what the batch calls its samples.
        score_threshold: the least score of a detection that is written and drawn, 0 to 1.
        pictures: also draw the detections on the network's input; 2-D images only.
        skipped: samples that could not be used, with ``file`` and ``reason``; written to ``skipped.csv``.

    Raises:
        BadInputError: for a threshold outside 0 to 1; when a batch comes, for a class without a name, images whose
            size in the file is unknown, and pictures of volumes.
    """

    things = "images with their detections"

    def __init__(
        self,
        output_dir: str | Path,
        classes: Sequence[str],
        task: _Detects,
        key: str = "sample_id",
        score_threshold: float = 0.3,
        pictures: bool = True,
        skipped: Sequence[Mapping[str, str]] = (),
    ) -> None:
        super().__init__(Path(output_dir) / "detections.json", key, skipped)
        self.classes = list(classes)
        self.task = task
        self.score_threshold = checked_number(score_threshold, "score_threshold", 0, 1)
        self.pictures = pictures

    def collect(self, engine: Any) -> None:
        batch, output = whole_batch(engine)
        images = plain(output["image"])
        inputs, originals = image_sizes(images, batch)
        places, outputs = self.answered(engine, output["pred"])
        if not len(places):
            return
        detected = self.task.detect(outputs, tuple(images.shape[2:]))
        names = [batch[self.key][place] for place in places.tolist()]
        for name, image, found, size, original in zip(
            names, images[places], detected, inputs[places], originals[places], strict=True
        ):
            boxes, labels, scores = self._kept(found, size)
            scale = (original / size).repeat(2)
            sides = dict(zip(("width", "height", "depth"), map(int, original.tolist()), strict=False))
            listed = [
                {"class": self.classes[label], "score": round(score, 4), "box": [round(value, 2) for value in box]}
                for label, score, box in zip(labels, scores, (boxes * scale).tolist(), strict=True)
            ]
            self.rows.append({"file": str(name), **sides, "detections": listed})
            if self.pictures:
                shown = image[(slice(None), *(slice(int(length)) for length in size))]
                draw_boxes(self.picture_path(str(name)), shown, boxes, labels, self.classes)

    def _kept(self, found: Mapping[str, Tensor], size: Tensor) -> tuple[Tensor, list[int], list[float]]:
        """Boxes, class indices and scores, most certain first, without what is uncertain or lies in padding."""
        boxes, labels, scores = (plain(found[key]).cpu() for key in ("boxes", "labels", "scores"))
        boxes = torch.minimum(boxes.double().clamp(min=0), size.repeat(2))
        low, high = boxes.chunk(2, dim=1)
        order = scores.argsort(descending=True, stable=True)
        order = order[((scores >= self.score_threshold) & (high > low).all(dim=1))[order]]
        highest = int(labels.max()) if len(labels) else -1
        if highest >= len(self.classes):
            raise BadInputError(
                f"class {highest} was detected, but only {len(self.classes)} classes have names "
                f"({', '.join(self.classes)}); name all classes of the network"
            )
        return boxes[order], labels[order].tolist(), scores[order].tolist()

    def content(self) -> str:
        return json.dumps(self.rows, indent=1, ensure_ascii=False) + "\n"
