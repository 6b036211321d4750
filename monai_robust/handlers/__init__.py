"""Handlers for MONAI engines."""

from __future__ import annotations

from monai_robust.checkpoints import TrainingLoader, TrainingSaver
from monai_robust.handlers.best_weights import BestWeights
from monai_robust.handlers.clip_gradients import ClipGradients
from monai_robust.handlers.detections_json import DetectionsJSON
from monai_robust.handlers.epoch_seed import EpochSeed
from monai_robust.handlers.epoch_times import EpochTimes
from monai_robust.handlers.label_maps import ChoosePostprocessing, LabelMaps
from monai_robust.handlers.landmarks_csv import LandmarksCSV
from monai_robust.handlers.predictions import PredictionsCSV
from monai_robust.handlers.progress import ProgressBar
from monai_robust.handlers.task_metrics import MeanAveragePrecision, MeanRadialError
from monai_robust.margins import (
    AdaptiveMargins,
    EverySample,
    RecordedMargins,
    SampleRadii,
    Thresholds,
    WarmupRadius,
    fit_thresholds,
    read_thresholds,
)

__all__ = [
    "AdaptiveMargins",
    "BestWeights",
    "ChoosePostprocessing",
    "ClipGradients",
    "DetectionsJSON",
    "EpochSeed",
    "EpochTimes",
    "EverySample",
    "LabelMaps",
    "LandmarksCSV",
    "MeanAveragePrecision",
    "MeanRadialError",
    "PredictionsCSV",
    "ProgressBar",
    "RecordedMargins",
    "SampleRadii",
    "Thresholds",
    "TrainingLoader",
    "TrainingSaver",
    "WarmupRadius",
    "fit_thresholds",
    "read_thresholds",
]
