"""Corruptions of known strength, by modality, which an evaluation measures a network under."""

from __future__ import annotations

from monai_robust.transforms.corruptions.blur import (
    Defocus,
    GaussianBlur,
    MotionBlur,
    ZoomBlur,
)
from monai_robust.transforms.corruptions.colour import (
    SaturationDown,
    SaturationUp,
    StainShift,
)
from monai_robust.transforms.corruptions.corruption import (
    LEVELS,
    Corruption,
    CorruptionKind,
)
from monai_robust.transforms.corruptions.ct import (
    CtDoseNoise,
    CtKernelSharp,
    CtKernelSoft,
    CtRings,
    CtStreaks,
)
from monai_robust.transforms.corruptions.intensity import (
    BrightnessDown,
    BrightnessUp,
    GammaDown,
    GammaUp,
    HighContrast,
    LowContrast,
)
from monai_robust.transforms.corruptions.mr import (
    MrBiasField,
    MrGhosting,
    MrGibbs,
    MrLowResolution,
    MrMotion,
    MrRician,
    MrSpike,
)
from monai_robust.transforms.corruptions.noise import (
    GaussianCorruption,
    SaltAndPepperCorruption,
    ShotNoise,
    SpeckleCorruption,
)
from monai_robust.transforms.corruptions.objects import (
    Bubbles,
    DarkCorners,
    Hair,
    Letters,
    Pacemaker,
    StainDeposit,
)
from monai_robust.transforms.corruptions.resolution import (
    Jpeg,
    Jpeg2000,
    Pixelate,
)
from monai_robust.transforms.corruptions.spatial import (
    Elastic,
    Rotation,
    Shift,
    SpatialCorruption,
    ZoomIn,
)
from monai_robust.transforms.corruptions.table import (
    CORRUPTION_GROUPS,
    CORRUPTIONS,
    corruption,
    corruption_names,
    register_corruption,
    severity_table,
)
from monai_robust.transforms.corruptions.ultrasound import (
    CoherentSpeckle,
    UltrasoundAttenuation,
    UltrasoundGain,
    UltrasoundShadow,
)

__all__ = [
    "CORRUPTIONS",
    "CORRUPTION_GROUPS",
    "LEVELS",
    "BrightnessDown",
    "BrightnessUp",
    "Bubbles",
    "CoherentSpeckle",
    "Corruption",
    "CorruptionKind",
    "CtDoseNoise",
    "CtKernelSharp",
    "CtKernelSoft",
    "CtRings",
    "CtStreaks",
    "DarkCorners",
    "Defocus",
    "Elastic",
    "GammaDown",
    "GammaUp",
    "GaussianBlur",
    "GaussianCorruption",
    "Hair",
    "HighContrast",
    "Jpeg",
    "Jpeg2000",
    "Letters",
    "LowContrast",
    "MotionBlur",
    "MrBiasField",
    "MrGhosting",
    "MrGibbs",
    "MrLowResolution",
    "MrMotion",
    "MrRician",
    "MrSpike",
    "Pacemaker",
    "Pixelate",
    "Rotation",
    "SaltAndPepperCorruption",
    "SaturationDown",
    "SaturationUp",
    "Shift",
    "ShotNoise",
    "SpatialCorruption",
    "SpeckleCorruption",
    "StainDeposit",
    "StainShift",
    "UltrasoundAttenuation",
    "UltrasoundGain",
    "UltrasoundShadow",
    "ZoomBlur",
    "ZoomIn",
    "corruption",
    "corruption_names",
    "register_corruption",
    "severity_table",
]
