"""What is written down of several labels of an image, and what a report says of them."""

from __future__ import annotations

from monai_robust.evaluation.tasks.multi_label.outcomes import MultiLabelOutcomes
from monai_robust.evaluation.tasks.multi_label.report import MultiLabelReport

__all__ = ["MultiLabelOutcomes", "MultiLabelReport"]
