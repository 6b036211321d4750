"""What is written down of detection, and what a report says of it."""

from __future__ import annotations

from monai_robust.evaluation.tasks.detection.outcomes import DetectionOutcomes
from monai_robust.evaluation.tasks.detection.report import DetectionReport

__all__ = ["DetectionOutcomes", "DetectionReport"]
