"""What is told of objects in images by boxes, whatever finds them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_robust.losses.detection_targets import DetectionTargets
from monai_robust.metrics.detection import match_detections
from monai_robust.tasks.base import Task

__all__ = ["BoxTask", "average_overlap"]

Image = dict[str, np.ndarray]
"""``boxes`` (P, 2D), ``labels`` (P,) and ``scores`` (P,) of what was detected in an image."""


class BoxTask(Task):
    """Objects in images, by boxes: which detections count, and how well they fit the boxes there are.

    The score is the average IoU of an image's detected objects: each detection's IoU with the box it is matched to, 0
    for a false positive; 0 where nothing was detected of the boxes there are, NaN where there are none either. Source:
    AMAT, section 3.7.

    Attributes:
        score_threshold: least score of a detection that counts for the outcomes.
    """

    name = "detection"
    output_kinds = ("boxes",)
    spatial_targets = True
    score_name = "average IoU of detected objects"
    agreement = "none"
    score_threshold: float

    @property
    @abstractmethod
    def dims(self) -> int:
        """D, 2 or 3."""

    @abstractmethod
    def true(self, targets: Any) -> DetectionTargets:
        """The boxes of a batch, of whatever form its targets are."""

    @abstractmethod
    def detect(self, outputs: Any, image_size: Sequence[int] | None = None) -> list[dict[str, Tensor]]:
        """What a network finds in each image: ``boxes`` (P, 2D), ``labels`` (P,) and ``scores`` (P,), best first."""

    @abstractmethod
    def image_size(self, outputs: Any, targets: Any) -> tuple[int, ...]:
        """Of the images that the network was shown, in pixels."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Numbers that decide which detections there are, as primitives; ``score_threshold`` among them."""

    def overlaps(self, outputs: Any, targets: Any) -> list[np.ndarray]:
        """Of each image the IoU of every detection that counts with the box it is matched to, 0 for a false one."""
        ready = self.true(targets)
        return [
            match_detections(one["boxes"], one["labels"], one["scores"], boxes.numpy(), labels.numpy())
            for one, boxes, labels in zip(self.counted(outputs, ready), ready.boxes, ready.labels, strict=True)
        ]

    def score(self, outputs: Any, targets: Any) -> Tensor:
        ready = self.true(targets)
        return average_overlap(self.overlaps(outputs, ready), [len(labels) for labels in ready.labels])

    def detections(self, outputs: Any, targets: Any) -> list[Image]:
        """What is found in each image, also below ``score_threshold``, in the precision of the table of detections, so
        that outcomes and table agree."""
        return [
            {
                "boxes": _rounded(one["boxes"], 3),
                "labels": one["labels"].cpu().numpy(),
                "scores": _rounded(one["scores"], 6),
            }
            for one in self.detect(outputs, self.true(targets).image_size)
        ]

    def counted(self, outputs: Any, targets: Any) -> list[Image]:
        """The detections at or above the score threshold."""
        images = self.detections(outputs, targets)
        return [{key: value[one["scores"] >= self.score_threshold] for key, value in one.items()} for one in images]

    def predicted_targets(self, outputs: Any, targets: Any) -> list[dict[str, Tensor]]:
        """MONAI's dictionaries, ``boxes`` (N, 2D) and ``labels`` (N,), of the detections that count."""
        return [
            {"boxes": torch.from_numpy(one["boxes"]).float(), "labels": torch.from_numpy(one["labels"])}
            for one in self.counted(outputs, targets)
        ]

    def true_boxes(self, targets: Any) -> list[Image]:
        """``boxes`` (N, 2D) and ``labels`` (N,) of each image, in the precision of the table of boxes."""
        ready = self.true(targets)
        return [
            {"boxes": _rounded(boxes, 3), "labels": labels.numpy()}
            for boxes, labels in zip(ready.boxes, ready.labels, strict=True)
        ]


def average_overlap(overlaps: Sequence[np.ndarray], boxes: Sequence[int]) -> Tensor:
    """The score of each image, (B,), from its :meth:`BoxTask.overlaps` and its number of true boxes.

    Returns:
        The mean overlap; without detections 0 where there are boxes, NaN where there are none either.
    """
    means = [
        float(own.mean()) if len(own) else 0.0 if count else float("nan")
        for own, count in zip(overlaps, boxes, strict=True)
    ]
    return torch.tensor(means, dtype=torch.float64)


def _rounded(values: Tensor, digits: int) -> np.ndarray:
    return values.detach().cpu().double().numpy().round(digits)
