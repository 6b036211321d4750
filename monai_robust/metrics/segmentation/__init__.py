"""Metrics of segmented areas: overlap from counts of pixels, volumes, surfaces and lesions."""

from __future__ import annotations

from monai_robust.metrics.segmentation.dice_index import (
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
from monai_robust.metrics.segmentation.lesions import (
    LesionCounts,
    LesionSensitivity,
    lesion_counts,
)
from monai_robust.metrics.segmentation.surfaces import (
    SurfaceMeasures,
    surface_measures,
)
from monai_robust.metrics.segmentation.volumes import (
    RelativeVolumeDifference,
    intersection_over_union,
    relative_volume_difference,
)

__all__ = [
    "AverageDiceIndex",
    "DiceIndex",
    "ForegroundDiceIndex",
    "LesionCounts",
    "LesionSensitivity",
    "RelativeVolumeDifference",
    "SurfaceMeasures",
    "TotalVoxelDiceIndex",
    "average_dice_index",
    "foreground_dice_index",
    "intersection_over_union",
    "lesion_counts",
    "relative_volume_difference",
    "sample_dice",
    "surface_measures",
    "total_voxel_dice_index",
    "volume_dice",
]
