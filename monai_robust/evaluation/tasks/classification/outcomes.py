"""What is written down of a classified image: its label, its prediction and the probability of each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from monai_robust.evaluation.measure.task_outcomes import TaskOutcomes
from monai_robust.tasks import Classification
from monai_robust.tasks.classification import class_indices

__all__ = ["ClassificationOutcomes"]


class ClassificationOutcomes(TaskOutcomes):
    """Columns ``label``, ``prediction``, ``probability_0`` ... ``probability_{C-1}`` and ``score``, 1 where correct."""

    task: Classification

    def columns(self, classes: Sequence[str]) -> dict[str, type]:
        probabilities = {f"probability_{index}": float for index in range(len(classes))}
        return {"label": int, "prediction": int, **probabilities, "score": float}

    def values(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        logits = self.task.logits(outputs)
        probabilities = logits.double().softmax(dim=1)
        return {
            "label": class_indices(targets, logits.shape[1]),
            "prediction": logits.argmax(dim=1),
            **{f"probability_{index}": column for index, column in enumerate(probabilities.unbind(dim=1))},
            "score": self.task.score(outputs, targets),
        }

    def caption(self, values: Mapping[str, Tensor], index: int, classes: Sequence[str]) -> dict[str, Any]:
        prediction = int(values["prediction"][index])
        return {
            "label": classes[int(values["label"][index])],
            "prediction": classes[prediction],
            "confidence": float(values[f"probability_{prediction}"][index]),
        }

    def class_counts(self, items: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> dict[str, int]:
        labels = [int(item["label"]) for item in items]
        return {name: labels.count(index) for index, name in enumerate(classes)}

    def examples(self, items: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> list[int]:
        """The first sample of each of the first four classes."""
        labels = [int(item["label"]) for item in items]
        return [labels.index(index) for index in range(min(4, len(classes))) if index in labels]
