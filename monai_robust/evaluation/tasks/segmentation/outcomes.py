"""What is written down of a segmented image: its pixels, surfaces and lesions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.evaluation.measure.task_outcomes import TaskOutcomes
from monai_robust.metrics import lesion_counts, surface_measures
from monai_robust.tasks import Segmentation
from monai_robust.transforms.arguments import checked_number

__all__ = ["COUNTS", "LESIONS", "SURFACES", "SegmentationOutcomes"]

COUNTS = ("tp", "fp", "fn")
SURFACES = ("hd95", "nsd")
LESIONS = ("lesions", "lesions_found", "components", "false_components")


class SegmentationOutcomes(TaskOutcomes):
    """Columns ``tp_1, fp_1, fn_1, tp_2, ...``, pixels of each foreground class, ``hd95_1, nsd_1, hd95_2, ...``, how far
    its surfaces lie apart, ``lesions_1, lesions_found_1, components_1, false_components_1, ...`` where asked for,
    ``confidence``, the probability of what is said of a pixel, averaged over the predicted foreground (over all pixels
    where there is none), and ``score``, the mean Dice.

    Where a class is missing in truth or prediction there is no Hausdorff distance (an empty cell) and the normalised
    surface distance is 0; where it is missing in both, there is neither.

    Args:
        task: segmentation.
        surfaces: measure surfaces (:func:`~monai_robust.metrics.surface_measures`): about 2 ms for each class of a
            slice of 50 x 50 pixels, 50 ms for one of a volume of 160 x 160 x 96.
        tolerance: of the normalised surface distance, in mm where the spacing of the samples is known, else in pixels.
        lesions: count connected areas (:func:`~monai_robust.metrics.lesion_counts`).
        lesion_iou: the least intersection over union of a lesion that is found; 0 for one shared pixel.

    Raises:
        BadInputError: for a tolerance or an overlap that is none.
    """

    task: Segmentation

    def __init__(
        self,
        task: Segmentation,
        surfaces: bool = True,
        tolerance: float = 1.0,
        lesions: bool = False,
        lesion_iou: float = 0.0,
    ) -> None:
        super().__init__(task)
        for name, value in (("surfaces", surfaces), ("lesions", lesions)):
            if not isinstance(value, bool):
                raise BadInputError(f"measures: {name} is {value!r}; it must be true or false")
        self.surfaces = surfaces
        self.tolerance = checked_number(tolerance, "measures: tolerance", 0)
        self.lesions = lesions
        self.lesion_iou = checked_number(lesion_iou, "measures: lesion_iou", 0, 1)

    def columns(self, classes: Sequence[str]) -> dict[str, type]:
        kinds = {COUNTS: int} | ({SURFACES: float} if self.surfaces else {}) | ({LESIONS: int} if self.lesions else {})
        columns = {
            f"{name}_{index}": kind
            for names, kind in kinds.items()
            for index in range(1, len(classes) + 1)
            for name in names
        }
        return {**columns, "confidence": float, "score": float}

    def values(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        return self.values_in_space(outputs, targets, None)

    def values_in_space(self, outputs: Any, targets: Any, spacing: Tensor | None) -> dict[str, Tensor]:
        counts = self.task.counts(outputs, targets)
        columns = _of_classes(COUNTS, [count.long() for count in counts])
        if self.surfaces or self.lesions:
            found, truth = self.task.label_maps(outputs, targets)
            classes = counts[0].shape[1]
        if self.surfaces:
            columns |= _of_classes(
                SURFACES, surface_measures(found, truth, classes, spacing=spacing, tolerance=self.tolerance)
            )
        if self.lesions:
            columns |= _of_classes(LESIONS, lesion_counts(found, truth, classes, iou=self.lesion_iou))
        confidence = _confidence(self.task.logits(outputs, targets))
        return columns | {"confidence": confidence, "score": self.task.score(outputs, targets)}

    def settings(self) -> dict[str, Any]:
        surfaces = {"surface_tolerance": self.tolerance, "distance_unit": "pixels"} if self.surfaces else {}
        return surfaces | ({"lesion_iou": self.lesion_iou} if self.lesions else {})

    def caption(self, values: Mapping[str, Tensor], index: int, classes: Sequence[str]) -> dict[str, Any]:
        sizes = [int(values[f"tp_{c}"][index] + values[f"fn_{c}"][index]) for c in range(1, len(classes) + 1)]
        label = ", ".join(f"{name}: {size}" for name, size in zip(classes, sizes, strict=True)) + " pixels"
        return {"label": label, "prediction": f"Dice {float(values['score'][index]):.2f}"}

    def class_counts(self, items: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> dict[str, int]:
        """Samples that hold each foreground class, by the items' ``foreground``, the class indices a sample holds, or
        by their ``label``; classes of items that tell neither are not counted."""
        held = [_held(item) for item in items]
        if any(one is None for one in held):
            return {}
        return {name: sum(index in (one or ()) for one in held) for index, name in enumerate(classes, 1)}

    def examples(self, items: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> list[int]:
        """One sample of each of four patients, the middle one of those that hold the most classes."""
        chosen: list[int] = []
        patients = list(dict.fromkeys(str(item["patient_id"]) for item in items))
        for patient in patients[:: max(1, len(patients) // 4)][:4]:
            held = {i: _held(item) for i, item in enumerate(items) if str(item["patient_id"]) == patient}
            most = max((len(one or ()) for one in held.values()), default=0)
            best = [i for i, one in held.items() if one is None or len(one) == most > 0]
            chosen += best[len(best) // 2 : len(best) // 2 + 1]
        return chosen

    def picture_masks(self, outputs: Any, targets: Any) -> tuple[Tensor, Tensor]:
        return self.task.label_maps(outputs, targets)


def _held(item: Mapping[str, Any]) -> Collection[int] | None:
    """Indices of the classes that an item of a data set holds; None where it does not tell."""
    if "foreground" in item:
        return [int(index) for index in item["foreground"]]
    if not isinstance(item.get("label"), Tensor):
        return None
    label = item["label"]
    classes = label.unique().tolist() if len(label) == 1 else [i for i, one in enumerate(label) if bool(one.any())]
    return [int(index) for index in classes if index > 0]


def _confidence(logits: Tensor) -> Tensor:
    """(B,) the mean over the pixels of the predicted foreground, or else over all, of their largest probability."""
    largest, said = (one.flatten(1) for one in logits.double().softmax(dim=1).max(dim=1))
    counted = said > 0
    counted = counted | ~counted.any(dim=1, keepdim=True)
    return (largest * counted).sum(dim=1) / counted.sum(dim=1)


def _of_classes(names: Sequence[str], values: Sequence[Tensor]) -> dict[str, Tensor]:
    """Columns of each class in turn, from (B, K) of each name."""
    return {
        f"{name}_{index + 1}": own[:, index]
        for index in range(values[0].shape[1])
        for name, own in zip(names, values, strict=True)
    }
