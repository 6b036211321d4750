"""How a network is run, for what MONAI's inferers lack."""

from __future__ import annotations

from monai_robust.inferers.recomputed import WithinMemory

__all__ = ["WithinMemory"]
