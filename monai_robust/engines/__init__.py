"""The two callables that plug into any MONAI engine's ``iteration_update``: one to train, one to evaluate."""

from __future__ import annotations

from monai_robust.engines.around_detector import AroundDetector, DetectorUnderAttack
from monai_robust.engines.around_iteration import AroundIteration
from monai_robust.engines.kept_starts import KeptStarts
from monai_robust.engines.robust_trainer import RobustTrainer
from monai_robust.engines.robust_update import RobustUpdate
from monai_robust.engines.under_attack import UnderAttack

__all__ = [
    "AroundDetector",
    "AroundIteration",
    "DetectorUnderAttack",
    "KeptStarts",
    "RobustTrainer",
    "RobustUpdate",
    "UnderAttack",
]
