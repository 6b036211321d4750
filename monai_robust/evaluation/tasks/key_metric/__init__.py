"""What is written down of a pipeline of which only its loss and its metric are known, and what a report says of it."""

from __future__ import annotations

from monai_robust.evaluation.tasks.key_metric.outcomes import KeyMetricOutcomes
from monai_robust.evaluation.tasks.key_metric.report import KeyMetricReport

__all__ = ["KeyMetricOutcomes", "KeyMetricReport"]
