"""What runs around a network that MONAI lacks."""

from __future__ import annotations

from monai_robust.networks.mirror import MirrorInferer
from monai_robust.networks.postprocessing import (
    apply_postprocessing,
    choose_postprocessing,
    read_postprocessing,
    write_postprocessing,
)
from monai_robust.networks.windows import WindowInferer

__all__ = [
    "MirrorInferer",
    "WindowInferer",
    "apply_postprocessing",
    "choose_postprocessing",
    "read_postprocessing",
    "write_postprocessing",
]
