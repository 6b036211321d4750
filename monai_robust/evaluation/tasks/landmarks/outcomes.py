"""What is written down of an image with landmarks: how far from the true one each of them is found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from monai_robust.evaluation.measure.task_outcomes import PictureMark, TaskOutcomes
from monai_robust.evaluation.tasks.examples import fullest_of_each_quarter
from monai_robust.losses.landmarks import landmark_maps
from monai_robust.tasks import Landmarks
from monai_robust.tasks.tensors import plain

__all__ = ["LandmarkOutcomes"]


class LandmarkOutcomes(TaskOutcomes):
    """Columns ``error_1``, ``error_2`` and so on, radial errors in millimetres, NaN where missing, and their mean.

    The mean is the column ``score``.
    """

    task: Landmarks

    def columns(self, classes: Sequence[str]) -> dict[str, type]:
        return {**{f"error_{index}": float for index in range(1, len(classes) + 1)}, "score": float}

    def values(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        errors = self.task.errors(outputs, targets)
        columns = {f"error_{index}": column for index, column in enumerate(errors.unbind(dim=1), 1)}
        return columns | {"score": errors.nanmean(dim=1)}

    def caption(self, values: Mapping[str, Tensor], index: int, classes: Sequence[str]) -> dict[str, Any]:
        errors = [float(values[f"error_{landmark}"][index]) for landmark in range(1, len(classes) + 1)]
        visible = sum(not math.isnan(error) for error in errors)
        error = f"MRE {float(values['score'][index]):.2f} mm" if visible else "no MRE"
        return {"label": f"{visible} landmark{'' if visible == 1 else 's'}", "prediction": error}

    def class_counts(self, items: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> dict[str, int]:
        """Samples that hold each landmark, by the items' ``points``, which are NaN where one is missing."""
        visible = [_visible(item) for item in items]
        return {name: sum(index in one for one in visible) for index, name in enumerate(classes)}

    def examples(self, items: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> list[int]:
        """Of each quarter of the data set the first sample with the most landmarks visible, if it has any."""
        return fullest_of_each_quarter(items, "points", lambda item: (len(_visible(item)),))

    def settings(self) -> dict[str, Any]:
        loss = self.task.loss
        return {"radius": loss.radius, "heatmap": loss.heatmap, "loss_weights": dict(loss.weights)}

    def picture_masks(self, outputs: Any, targets: Any) -> tuple[Tensor, Tensor] | None:
        """Small discs where landmarks are found and where they are, (B, X, Y); None for volumes."""
        outputs = plain(outputs)
        maps = self.task.loss.maps(outputs, targets)
        if len(maps.spatial) != 2:
            return None
        radius = max(1.0, min(maps.spatial) / 80)
        places = (self.task.points(outputs), maps.points)
        found, truth = (landmark_maps(points, maps.spatial, radius) for points in places)
        return found.label_map(), truth.label_map()

    def picture_marks(self, outputs: Any, targets: Any) -> tuple[list[list[PictureMark]], list[list[PictureMark]]]:
        """Where landmarks are found, and where those are that can be seen."""
        outputs = plain(outputs)
        truth = self.task.loss.maps(outputs, targets).points
        return _marks(self.task.points(outputs)), _marks(truth)


def _marks(points: Tensor) -> list[list[PictureMark]]:
    """Points (B, L, D) of each sample; a coordinate that is a pixel's index is drawn in the middle of that pixel."""
    return [
        [
            PictureMark(tuple(place + 0.5 for place in point), None, index)
            for index, point in enumerate(own)
            if point[0] == point[0]
        ]
        for own in points.double().tolist()
    ]


def _visible(item: Mapping[str, Any]) -> set[int]:
    """Indices of the landmarks that an item of a data set has."""
    return {index for index, point in enumerate(item.get("points", ())) if not any(map(math.isnan, point))}
