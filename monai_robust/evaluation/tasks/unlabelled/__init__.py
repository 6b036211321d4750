"""What a report says of any task where no sample has a label."""

from __future__ import annotations

from monai_robust.evaluation.tasks.unlabelled.report import UnlabelledReport

__all__ = ["UnlabelledReport"]
