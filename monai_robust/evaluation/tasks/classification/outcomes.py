"""What is written down of a classified image: its label, its prediction and the probability of each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.evaluation.measure.task_outcomes import TaskOutcomes
from monai_robust.tasks import Classification
from monai_robust.tasks.classification import class_indices
from monai_robust.tasks.tensors import plain

__all__ = ["ClassificationOutcomes", "check_class_names"]


class ClassificationOutcomes(TaskOutcomes):
    """Columns ``label``, ``prediction``, ``probability_0`` ... ``probability_{C-1}`` and ``score``, 1 where correct."""

    task: Classification

    def columns(self, classes: Sequence[str]) -> dict[str, type]:
        probabilities = {f"probability_{index}": float for index in range(len(classes))}
        return {"label": int, "prediction": int, **probabilities, "score": float}

    def check(self, outputs: Any, classes: Sequence[str]) -> None:
        check_class_names(self.task.logits(outputs).shape[1], classes)

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
        labels = _labels(items, classes)
        return {name: labels.count(index) for index, name in enumerate(classes)}

    def examples(self, items: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> list[int]:
        """The first sample of each of the first four classes."""
        labels = _labels(items, classes)
        return [labels.index(index) for index in range(min(4, len(classes))) if index in labels]


def check_class_names(outputs: int, classes: Sequence[str]) -> None:
    """Refuse another number of names than a network has outputs.

    Raises:
        BadInputError: with both numbers.
    """
    if len(classes) != outputs:
        raise BadInputError(
            f"the network has outputs for {outputs} classes, and {len(classes)} are named ({', '.join(classes)}); name "
            "every class, in the order of the outputs"
        )


def _labels(items: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> list[int]:
    return [_label(item, classes) for item in items]


def _label(item: Mapping[str, Any], classes: Sequence[str]) -> int:
    """The class of an item, by its index or one-hot."""
    label, whose = item["label"], f"the label of sample {str(item['sample_id'])!r}"
    if type(label) is not int:
        try:
            (label,) = class_indices(torch.as_tensor(plain(label))[None], max(len(classes), 1)).tolist()
        except (BadInputError, RuntimeError, TypeError, ValueError) as error:
            why = error if isinstance(error, BadInputError) else "it must be the index of a class"
            raise BadInputError(f"{whose} is {item['label']!r}: {why}") from error
    if not 0 <= label < len(classes):
        raise BadInputError(
            f"{whose} is {label}, and {len(classes)} classes are named; name every class, in the order of the outputs"
        )
    return label
