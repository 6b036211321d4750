"""What is written down of landmarks, and what a report says of it."""

from __future__ import annotations

from monai_robust.evaluation.tasks.landmarks.outcomes import LandmarkOutcomes
from monai_robust.evaluation.tasks.landmarks.report import LandmarkReport

__all__ = ["LandmarkOutcomes", "LandmarkReport"]
