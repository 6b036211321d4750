"""Metrics that MONAI lacks: a pure function for each, and a class for MONAI's engines."""

from __future__ import annotations

from monai_robust.metrics.accuracy import AdversarialAccuracy, adversarial_accuracy
from monai_robust.metrics.brier import BrierScore, brier_per_sample, brier_score
from monai_robust.metrics.calibration import (
    ExpectedCalibrationError,
    ReliabilityBins,
    RMSCalibrationError,
    expected_calibration_error,
    reliability_bins,
    rms_calibration_error,
)
from monai_robust.metrics.detection import (
    ImageMatches,
    average_iou,
    average_precisions,
    match_detections,
    match_images,
    mean_average_precision,
)
from monai_robust.metrics.dice_index import (
    AverageDiceIndex,
    DiceIndex,
    ForegroundDiceIndex,
    TotalVoxelDiceIndex,
    average_dice_index,
    foreground_dice_index,
    sample_dice,
    total_voxel_dice_index,
    volume_dice,
)
from monai_robust.metrics.entropy import PredictiveEntropy, predictive_entropy
from monai_robust.metrics.landmarks import (
    DetectionRate,
    RadialError,
    mean_radial_error,
    successful_detection_rate,
)
from monai_robust.metrics.robust_auc import auc_robust

__all__ = [
    "AdversarialAccuracy",
    "AverageDiceIndex",
    "BrierScore",
    "DetectionRate",
    "DiceIndex",
    "ExpectedCalibrationError",
    "ForegroundDiceIndex",
    "ImageMatches",
    "PredictiveEntropy",
    "RMSCalibrationError",
    "RadialError",
    "ReliabilityBins",
    "TotalVoxelDiceIndex",
    "adversarial_accuracy",
    "auc_robust",
    "average_dice_index",
    "average_iou",
    "average_precisions",
    "brier_per_sample",
    "brier_score",
    "expected_calibration_error",
    "foreground_dice_index",
    "match_detections",
    "match_images",
    "mean_average_precision",
    "mean_radial_error",
    "predictive_entropy",
    "reliability_bins",
    "rms_calibration_error",
    "sample_dice",
    "successful_detection_rate",
    "total_voxel_dice_index",
    "volume_dice",
]
