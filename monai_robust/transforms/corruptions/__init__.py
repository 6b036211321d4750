"""Corruptions of known strength, by modality, which an evaluation measures a network under."""

from __future__ import annotations

from monai_robust.transforms.corruptions.corruption import LEVELS, Corruption, CorruptionKind
from monai_robust.transforms.corruptions.intensity import (
    BrightnessDown,
    BrightnessUp,
    GammaDown,
    GammaUp,
    HighContrast,
    LowContrast,
)
from monai_robust.transforms.corruptions.noise import (
    GaussianCorruption,
    SaltAndPepperCorruption,
    ShotNoise,
    SpeckleCorruption,
)
from monai_robust.transforms.corruptions.table import (
    CORRUPTION_GROUPS,
    CORRUPTIONS,
    corruption,
    corruption_names,
    register_corruption,
    severity_table,
)

__all__ = [
    "CORRUPTIONS",
    "CORRUPTION_GROUPS",
    "LEVELS",
    "BrightnessDown",
    "BrightnessUp",
    "Corruption",
    "CorruptionKind",
    "GammaDown",
    "GammaUp",
    "GaussianCorruption",
    "HighContrast",
    "LowContrast",
    "SaltAndPepperCorruption",
    "ShotNoise",
    "SpeckleCorruption",
    "corruption",
    "corruption_names",
    "register_corruption",
    "severity_table",
]
