"""A radius for every training sample: margins that training learns, and schedules to compare them with."""

from __future__ import annotations

from monai_robust.margins.adaptive import AdaptiveMargins
from monai_robust.margins.every_sample import EverySample
from monai_robust.margins.radii import AttackTrace, SampleRadii
from monai_robust.margins.schedules import RecordedMargins, WarmupRadius
from monai_robust.margins.thresholds import Thresholds, fit_thresholds, read_thresholds

__all__ = [
    "AdaptiveMargins",
    "AttackTrace",
    "EverySample",
    "RecordedMargins",
    "SampleRadii",
    "Thresholds",
    "WarmupRadius",
    "fit_thresholds",
    "read_thresholds",
]
