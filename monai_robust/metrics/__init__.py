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
from monai_robust.metrics.entropy import PredictiveEntropy, predictive_entropy
from monai_robust.metrics.landmarks import (
    DetectionRate,
    RadialError,
    mean_radial_error,
    successful_detection_rate,
)
from monai_robust.metrics.robust_auc import auc_robust
from monai_robust.metrics.segmentation import (
    AverageDiceIndex,
    DiceIndex,
    ForegroundDiceIndex,
    LesionCounts,
    LesionSensitivity,
    RelativeVolumeDifference,
    SurfaceMeasures,
    TotalVoxelDiceIndex,
    average_dice_index,
    foreground_dice_index,
    intersection_over_union,
    lesion_counts,
    relative_volume_difference,
    sample_dice,
    surface_measures,
    total_voxel_dice_index,
    volume_dice,
)

__all__ = [
    "AdversarialAccuracy",
    "AverageDiceIndex",
    "BrierScore",
    "DetectionRate",
    "DiceIndex",
    "ExpectedCalibrationError",
    "ForegroundDiceIndex",
    "ImageMatches",
    "LesionCounts",
    "LesionSensitivity",
    "PredictiveEntropy",
    "RMSCalibrationError",
    "RadialError",
    "RelativeVolumeDifference",
    "ReliabilityBins",
    "SurfaceMeasures",
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
    "intersection_over_union",
    "lesion_counts",
    "match_detections",
    "match_images",
    "mean_average_precision",
    "mean_radial_error",
    "predictive_entropy",
    "relative_volume_difference",
    "reliability_bins",
    "rms_calibration_error",
    "sample_dice",
    "successful_detection_rate",
    "surface_measures",
    "total_voxel_dice_index",
    "volume_dice",
]
