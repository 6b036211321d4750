"""Losses that MONAI lacks."""

from __future__ import annotations

from monai_robust.losses.class_distributions import independent_classes
from monai_robust.losses.deep_supervision import DeepSupervised, deep_supervision_weights
from monai_robust.losses.detection import DetectionLoss
from monai_robust.losses.detection_targets import DetectionTargets
from monai_robust.losses.jensen_shannon import JensenShannonLoss, jensen_shannon
from monai_robust.losses.known_labels import KnownLabelsLoss
from monai_robust.losses.kullback_leibler import kullback_leibler
from monai_robust.losses.landmarks import LandmarkLoss, LandmarkMaps, landmark_maps

__all__ = [
    "DeepSupervised",
    "DetectionLoss",
    "DetectionTargets",
    "JensenShannonLoss",
    "KnownLabelsLoss",
    "LandmarkLoss",
    "LandmarkMaps",
    "deep_supervision_weights",
    "independent_classes",
    "jensen_shannon",
    "kullback_leibler",
    "landmark_maps",
]
