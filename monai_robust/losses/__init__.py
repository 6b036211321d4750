"""Losses that MONAI lacks."""

from __future__ import annotations

from monai_robust.losses.deep_supervision import DeepSupervised, deep_supervision_weights
from monai_robust.losses.jensen_shannon import JensenShannonLoss, jensen_shannon

__all__ = ["DeepSupervised", "JensenShannonLoss", "deep_supervision_weights", "jensen_shannon"]
