"""How a network is run, for what MONAI's inferers lack."""

from __future__ import annotations

from monai_robust.inferers.mirror import MirrorInferer
from monai_robust.inferers.windows import WindowInferer
from monai_robust.inferers.within_memory import SavedBytes, WithinMemory

__all__ = ["MirrorInferer", "SavedBytes", "WindowInferer", "WithinMemory"]
