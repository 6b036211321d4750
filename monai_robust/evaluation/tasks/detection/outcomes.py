"""What is written down of an image with objects: how many boxes and detections there are, and each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from monai_robust.evaluation.measure.task_outcomes import PictureMark, TaskOutcomes
from monai_robust.evaluation.tasks.detection.box_masks import box_mask
from monai_robust.evaluation.tasks.examples import fullest_of_each_quarter
from monai_robust.tasks.boxes import BoxTask, average_overlap

__all__ = ["DetectionOutcomes"]


class DetectionOutcomes(TaskOutcomes):
    """Columns ``boxes`` and ``detections``, numbers of true boxes and of detections that count, and ``score``.

    The table of details has a row for each detection, also of those below ``score_threshold``.
    """

    task: BoxTask
    detail_table = "detections"
    truth_table = "boxes"

    def columns(self, classes: Sequence[str]) -> dict[str, type]:
        return {"boxes": int, "detections": int, "score": float}

    def values(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        ready = self.task.true(targets)
        overlaps, boxes = self.task.overlaps(outputs, ready), [len(labels) for labels in ready.labels]
        return {
            "boxes": torch.tensor(boxes),
            "detections": torch.tensor([len(one) for one in overlaps]),
            "score": average_overlap(overlaps, boxes),
        }

    def detail_columns(self) -> dict[str, type]:
        return {"class": int, "score": float, **dict.fromkeys(self._corners(), float)}

    def truth_columns(self) -> dict[str, type]:
        return {"class": int, **dict.fromkeys(self._corners(), float)}

    def details(self, outputs: Any, targets: Any) -> list[list[dict[str, Any]]]:
        return [
            [
                {"class": label, "score": score, **dict(zip(self._corners(), box, strict=True))}
                for box, label, score in zip(*(one[key].tolist() for key in ("boxes", "labels", "scores")), strict=True)
            ]
            for one in self.task.detections(outputs, targets)
        ]

    def true_details(self, targets: Any) -> list[list[dict[str, Any]]]:
        return [
            [
                {"class": label, **dict(zip(self._corners(), box, strict=True))}
                for box, label in zip(one["boxes"].tolist(), one["labels"].tolist(), strict=True)
            ]
            for one in self.task.true_boxes(targets)
        ]

    def caption(self, values: Mapping[str, Tensor], index: int, classes: Sequence[str]) -> dict[str, Any]:
        boxes, found = (int(values[name][index]) for name in ("boxes", "detections"))
        overlap = f", average IoU {float(values['score'][index]):.2f}" if boxes or found else ""
        return {
            "label": f"{boxes} box{'' if boxes == 1 else 'es'}",
            "prediction": f"{found} detection{'' if found == 1 else 's'}{overlap}",
        }

    def class_counts(self, items: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> dict[str, int]:
        """Boxes of each class, by the items' ``classes``, the class index of each box."""
        labels = [int(label) for item in items for label in item.get("classes", ())]
        return {name: labels.count(index) for index, name in enumerate(classes)}

    def examples(self, items: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> list[int]:
        """Of each quarter of the data set the first sample with the most classes, and of these with the most boxes."""
        return fullest_of_each_quarter(items, "classes", _classes_and_boxes)

    def settings(self) -> dict[str, Any]:
        return self.task.settings()

    def picture_masks(self, outputs: Any, targets: Any) -> tuple[Tensor, Tensor] | None:
        """Filled boxes where objects are found and where they are, (B, X, Y), class index + 1; None for volumes."""
        if self.task.dims != 2:
            return None
        ready = self.task.true(targets)
        size = self.task.image_size(outputs, ready)
        truth = zip(ready.boxes, ready.labels, strict=True)
        return (
            torch.stack([box_mask(one["boxes"], one["labels"], size) for one in self.task.counted(outputs, ready)]),
            torch.stack([box_mask(boxes.numpy(), labels.numpy(), size) for boxes, labels in truth]),
        )

    def picture_marks(self, outputs: Any, targets: Any) -> tuple[list[list[PictureMark]], list[list[PictureMark]]]:
        """Boxes that are found, those that count alone, and boxes that are there."""
        ready = self.task.true(targets)
        return _marks(self.task.counted(outputs, ready)), _marks(self.task.true_boxes(ready))

    def _corners(self) -> list[str]:
        axes = "xyz"[: self.task.dims]
        return [*(f"{axis}min" for axis in axes), *(f"{axis}max" for axis in axes)]


def _classes_and_boxes(item: Mapping[str, Any]) -> tuple[int, int]:
    """How many classes an item of a data set holds, and how many boxes."""
    classes = item.get("classes", ())
    return len(set(classes)), len(classes)


def _marks(images: Sequence[Mapping[str, Any]]) -> list[list[PictureMark]]:
    """Boxes of each image, with their scores where they have any."""
    listed = []
    for one in images:
        scores = one["scores"].tolist() if "scores" in one else [None] * len(one["labels"])
        boxes = zip(one["boxes"].tolist(), one["labels"].tolist(), scores, strict=True)
        half = one["boxes"].shape[1] // 2
        listed.append([PictureMark(tuple(box[:half]), tuple(box[half:]), label, score) for box, label, score in boxes])
    return listed
