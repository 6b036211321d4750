"""What is written down of a segmented image: how many pixels of each class are found, invented and missed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from monai_robust.evaluation.measure.task_outcomes import TaskOutcomes
from monai_robust.tasks import Segmentation

__all__ = ["COUNTS", "SegmentationOutcomes"]

COUNTS = ("tp", "fp", "fn")


class SegmentationOutcomes(TaskOutcomes):
    """Columns ``tp_1, fp_1, fn_1, tp_2, ...``, pixels of each foreground class, and ``score``, their mean Dice."""

    task: Segmentation

    def columns(self, classes: Sequence[str]) -> dict[str, type]:
        counts = {f"{name}_{index}": int for index in range(1, len(classes) + 1) for name in COUNTS}
        return {**counts, "score": float}

    def values(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        counts = self.task.counts(outputs, targets)
        columns = {
            f"{name}_{index + 1}": count[:, index].long()
            for index in range(counts[0].shape[1])
            for name, count in zip(COUNTS, counts, strict=True)
        }
        return columns | {"score": self.task.score(outputs, targets)}

    def caption(self, values: Mapping[str, Tensor], index: int, classes: Sequence[str]) -> dict[str, Any]:
        sizes = [int(values[f"tp_{c}"][index] + values[f"fn_{c}"][index]) for c in range(1, len(classes) + 1)]
        label = ", ".join(f"{name} {size}" for name, size in zip(classes, sizes, strict=True)) + " pixels"
        return {"label": label, "prediction": f"Dice {float(values['score'][index]):.2f}"}

    def class_counts(self, items: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> dict[str, int]:
        """Samples that hold each foreground class, by the items' ``foreground``, the class indices a sample holds."""
        return {name: sum(index in item["foreground"] for item in items) for index, name in enumerate(classes, 1)}

    def examples(self, items: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> list[int]:
        """One sample of each of four patients, the middle one of those that hold the most classes."""
        chosen: list[int] = []
        patients = list(dict.fromkeys(str(item["patient_id"]) for item in items))
        for patient in patients[:: max(1, len(patients) // 4)][:4]:
            held = [i for i, item in enumerate(items) if str(item["patient_id"]) == patient and item["foreground"]]
            most = max((len(items[i]["foreground"]) for i in held), default=0)
            best = [i for i in held if len(items[i]["foreground"]) == most]
            chosen += best[len(best) // 2 : len(best) // 2 + 1]
        return chosen

    def picture_masks(self, outputs: Any, targets: Any) -> tuple[Tensor, Tensor]:
        return self.task.label_maps(outputs, targets)
