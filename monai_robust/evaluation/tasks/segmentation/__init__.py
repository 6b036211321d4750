"""What is written down of segmentation, and what a report says of it."""

from __future__ import annotations

from monai_robust.evaluation.tasks.segmentation.outcomes import SegmentationOutcomes
from monai_robust.evaluation.tasks.segmentation.report import SegmentationReport

__all__ = ["SegmentationOutcomes", "SegmentationReport"]
