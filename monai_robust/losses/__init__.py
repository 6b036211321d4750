"""Losses that MONAI lacks."""

from __future__ import annotations

from monai_robust.losses.jensen_shannon import JensenShannonLoss, jensen_shannon

__all__ = ["JensenShannonLoss", "jensen_shannon"]
