"""Transforms that MONAI lacks, in its manner, and the corruptions that an evaluation measures under."""

from __future__ import annotations

from monai_robust.transforms.augmix import AugMix, AugMixd
from monai_robust.transforms.batch import apply_per_sample
from monai_robust.transforms.boxes import BoxesToLabeld, ResizeBoxd
from monai_robust.transforms.contrast_shift import ContrastShift, ContrastShiftd, RandContrastShift, RandContrastShiftd
from monai_robust.transforms.corruptions import (
    CORRUPTION_GROUPS,
    CORRUPTIONS,
    Corruption,
    GaussianCorruption,
    HighContrast,
    LowContrast,
    SaltAndPepperCorruption,
    SpeckleCorruption,
    corruption,
    corruption_names,
    register_corruption,
    severity_table,
)
from monai_robust.transforms.on_channels import OnChannels
from monai_robust.transforms.operations import OPERATION_SETS, AugMixOperation
from monai_robust.transforms.original_size import OriginalSized
from monai_robust.transforms.points import PointsToLabel, PointsToLabeld

__all__ = [
    "CORRUPTIONS",
    "CORRUPTION_GROUPS",
    "OPERATION_SETS",
    "AugMix",
    "AugMixOperation",
    "AugMixd",
    "BoxesToLabeld",
    "ContrastShift",
    "ContrastShiftd",
    "Corruption",
    "GaussianCorruption",
    "HighContrast",
    "LowContrast",
    "OnChannels",
    "OriginalSized",
    "PointsToLabel",
    "PointsToLabeld",
    "RandContrastShift",
    "RandContrastShiftd",
    "ResizeBoxd",
    "SaltAndPepperCorruption",
    "SpeckleCorruption",
    "apply_per_sample",
    "corruption",
    "corruption_names",
    "register_corruption",
    "severity_table",
]
