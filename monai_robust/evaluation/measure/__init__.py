"""Run a network over samples and perturbations, and tell what it answered."""

from __future__ import annotations

from monai_robust.evaluation.measure.corruption_sweeps import corruptions
from monai_robust.evaluation.measure.nearest import NearestSweep
from monai_robust.evaluation.measure.perturbations import AttackSweep, CleanSweep, CorruptionSweep

__all__ = ["AttackSweep", "CleanSweep", "CorruptionSweep", "NearestSweep", "corruptions"]
