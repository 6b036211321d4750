"""What is written down of a sample by a pipeline's own loss and metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from monai_robust.evaluation.measure.task_outcomes import TaskOutcomes
from monai_robust.tasks import KeyMetric

__all__ = ["KeyMetricOutcomes"]


class KeyMetricOutcomes(TaskOutcomes):
    """Columns ``loss``, which the attacks raise, and ``score``, the pipeline's own metric of the sample."""

    task: KeyMetric

    def columns(self, classes: Sequence[str]) -> dict[str, type]:
        return {"loss": float, "score": float}

    def values(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        return {"loss": self.task.losses(outputs, targets), "score": self.task.score(outputs, targets)}

    def caption(self, values: Mapping[str, Tensor], index: int, classes: Sequence[str]) -> dict[str, Any]:
        return {"label": "", "prediction": f"{self.task.score_name} {float(values['score'][index]):.3g}"}

    def class_counts(self, items: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> dict[str, int]:
        """None: what the outputs mean is not known."""
        return {}
