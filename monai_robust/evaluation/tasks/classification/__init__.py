"""What is written down of classification, and what a report says of it."""

from __future__ import annotations

from monai_robust.evaluation.tasks.classification.outcomes import ClassificationOutcomes
from monai_robust.evaluation.tasks.classification.report import ClassificationReport

__all__ = ["ClassificationOutcomes", "ClassificationReport"]
