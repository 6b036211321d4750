"""What is written down of an image with several labels: each finding's label and probability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from monai_robust.evaluation.measure.task_outcomes import TaskOutcomes
from monai_robust.evaluation.tasks.classification.outcomes import check_class_names
from monai_robust.tasks import MultiLabel

__all__ = ["MultiLabelOutcomes"]


class MultiLabelOutcomes(TaskOutcomes):
    """Columns ``label_0`` ... of 0 and 1 (none where it is not known), ``probability_0`` ..., and ``score``, 1 where
    every known label is right (a finding is predicted where its probability is above a half)."""

    task: MultiLabel

    def columns(self, classes: Sequence[str]) -> dict[str, type]:
        labels = {f"label_{index}": int for index in range(len(classes))}
        return {**labels, **{f"probability_{index}": float for index in range(len(classes))}, "score": float}

    def check(self, outputs: Any, classes: Sequence[str]) -> None:
        check_class_names(self.task.logits(outputs).shape[1], classes)

    def values(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        probabilities = self.task.logits(outputs).double().sigmoid()
        labels = self.task.labels(outputs, targets).double()
        labels = labels.masked_fill(~self.task.known(outputs, targets), float("nan"))
        return {
            **{f"label_{index}": column for index, column in enumerate(labels.unbind(dim=1))},
            **{f"probability_{index}": column for index, column in enumerate(probabilities.unbind(dim=1))},
            "score": self.task.score(outputs, targets),
        }

    def caption(self, values: Mapping[str, Tensor], index: int, classes: Sequence[str]) -> dict[str, Any]:
        true = [name for place, name in enumerate(classes) if float(values[f"label_{place}"][index]) == 1]
        said = [name for place, name in enumerate(classes) if float(values[f"probability_{place}"][index]) > 0.5]
        return {"label": ", ".join(true) or "no finding", "prediction": ", ".join(said) or "no finding"}

    def class_counts(self, items: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> dict[str, int]:
        labels = _labels(items)
        return (
            {} if labels is None else {name: int((labels[:, place] == 1).sum()) for place, name in enumerate(classes)}
        )

    def examples(self, items: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> list[int]:
        """The first sample with each of the first four findings, then others, up to four."""
        labels = _labels(items)
        if labels is None:
            return super().examples(items, classes)
        cases = [np.flatnonzero(column == 1) for column in labels.T[:4]]
        chosen = list(dict.fromkeys(int(places[0]) for places in cases if len(places)))
        return sorted([*chosen, *(place for place in range(len(items)) if place not in chosen)][:4])


def _labels(items: Sequence[Mapping[str, Any]]) -> np.ndarray | None:
    """(N, C), where the items tell their labels."""
    given = [item.get("labels", item.get("label")) for item in items]
    if not given or any(np.ndim(one) != 1 for one in given):
        return None
    return np.stack([np.asarray(one, dtype=float) for one in given])
