"""What a network is trained for: how it is run, per-sample loss terms, goals of attacks and scores."""

from __future__ import annotations

from monai_robust.tasks.base import Task
from monai_robust.tasks.base_task import base_task
from monai_robust.tasks.classification import Classification
from monai_robust.tasks.detection import Detection
from monai_robust.tasks.divergence import PredictionDivergence
from monai_robust.tasks.inferred import Inferred
from monai_robust.tasks.key_metric import KeyMetric
from monai_robust.tasks.landmarks import Landmarks
from monai_robust.tasks.loss import LossTask
from monai_robust.tasks.multi_label import MultiLabel
from monai_robust.tasks.segmentation import Segmentation
from monai_robust.tasks.watched import Watched

__all__ = [
    "Classification",
    "Detection",
    "Inferred",
    "KeyMetric",
    "Landmarks",
    "LossTask",
    "MultiLabel",
    "PredictionDivergence",
    "Segmentation",
    "Task",
    "Watched",
    "base_task",
]
