"""From a run's tables to numbers: means, intervals, spreads."""

from __future__ import annotations

from monai_robust.evaluation.statistics.summary import summarise

__all__ = ["summarise"]
