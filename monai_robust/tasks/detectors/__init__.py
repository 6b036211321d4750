"""Detectors of somebody else's that give their losses themselves, as tasks and networks that can be attacked."""

from __future__ import annotations

from monai_robust.tasks.detectors.network import DetectorNetwork, is_detector
from monai_robust.tasks.detectors.targets import ImageTarget, image_targets, true_boxes
from monai_robust.tasks.detectors.task import DetectorTask

__all__ = ["DetectorNetwork", "DetectorTask", "ImageTarget", "image_targets", "is_detector", "true_boxes"]
