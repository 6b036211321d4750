"""Detection by a detector of somebody else's, which gives its losses itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
from torch import Tensor

from monai_robust.data.padding import padded_batch
from monai_robust.errors import BadInputError, require_choice
from monai_robust.losses.detection_targets import DetectionTargets
from monai_robust.scalars import is_number
from monai_robust.tasks.base import Goal
from monai_robust.tasks.boxes import BoxTask
from monai_robust.tasks.detectors.network import asking
from monai_robust.tasks.detectors.targets import SIZE, ImageTarget, Keys, image_targets, keys_of, true_boxes

__all__ = ["DetectorTask"]


class DetectorTask(BoxTask):
    """Detection by a :class:`~monai_robust.tasks.detectors.DetectorNetwork`; 2-D or 3-D.

    The loss terms are the detector's own losses, whatever they are, of each image as if it were a batch of its own; an
    attack raises their sum. Targets are a list with a dictionary for each image, as the detector takes it, or
    (B, N, 2D + 1): boxes in MONAI's standard mode in pixels, and a class index, -1 in padding rows.

    The score is that of :class:`~monai_robust.tasks.boxes.BoxTask`.

    Args:
        keys: what the detector calls boxes and labels.
        dims: D; by default that of the first images that are run.
        score_threshold: least score of a detection that counts for the outcomes.
        settings: numbers that decide which detections there are, for the record.
    """

    def __init__(
        self,
        keys: Keys | tuple[str, str] = Keys("boxes", "labels"),  # noqa: B008
        *,
        dims: int | None = None,
        score_threshold: float = 0.3,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        if dims is not None:
            require_choice("dims", dims, (2, 3))
        if not is_number(score_threshold, 0, 1):
            raise BadInputError(f"score_threshold is {score_threshold!r}; it must be from 0 to 1")
        self._dims = dims
        self.keys = Keys(*keys)
        self.score_threshold = score_threshold
        self._settings = dict(settings or {})

    @classmethod
    def of(cls, detector: Any, keys: Keys | None = None, dims: int | None = None) -> DetectorTask:
        """The task of a detector; of MONAI's, it knows how detections are selected, as :meth:`Detection.of` does.

        Args:
            detector: the detector.
            keys: what it calls boxes and labels; MONAI's says it itself.
            dims: D; see above.
        """
        if not isinstance(detector, RetinaNetDetector):
            return cls(keys or Keys("boxes", "labels"), dims=dims)
        selector = detector.box_selector
        found = {
            "keep_threshold": selector.score_thresh,
            "nms_threshold": selector.nms_thresh,
            "max_detections": selector.detections_per_img,
        }
        own = Keys(detector.target_box_key, detector.target_label_key)
        threshold = max(0.3, float(selector.score_thresh))
        return cls(own, dims=detector.spatial_dims, score_threshold=threshold, settings=found)

    @property
    def dims(self) -> int:
        if self._dims is None:
            raise BadInputError(
                "the dimensions of the images are not known before the detector is run; give dims=2 or 3"
            )
        return self._dims

    @dims.setter
    def dims(self, dims: int) -> None:
        self._dims = dims

    def forward(self, network: Callable[..., Any], inputs: Any, targets: Any) -> Any:
        if isinstance(inputs, Sequence):
            inputs, _ = padded_batch(inputs)
        self._dims = inputs.ndim - 2 if self._dims is None else self._dims
        with asking(self._asked(inputs, targets)):
            return network(inputs)

    def prediction(self, outputs: Any, targets: Any) -> Any:
        return None if outputs is None else outputs.get("losses")

    def terms(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = outputs["losses"]
        return losses

    def defined(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        """Terms that are called after boxes have no value in an image without any."""
        has = torch.tensor([len(labels) > 0 for labels in self.true(targets).labels])
        return {name: has for name in (outputs or {}).get("losses", {}) if "box" in name}

    def true(self, targets: Any) -> DetectionTargets:
        return true_boxes(targets)

    def detect(self, outputs: Any, image_size: Sequence[int] | None = None) -> list[dict[str, Tensor]]:
        if "detections" not in outputs:
            raise BadInputError(
                "an attack that keeps the worst score asks for detections at each step, of which a detector that gives "
                "losses has none at that time; take one that keeps the highest loss"
            )
        found: list[dict[str, Tensor]] = outputs["detections"]
        return found

    def predicted_targets(self, outputs: Any, targets: Any) -> list[dict[str, Any]]:
        """What counts as found, as the detector takes it for its targets."""
        device = outputs["sizes"].device
        sizes = [one.get(SIZE) for one in targets] if isinstance(targets, Sequence) else [None] * len(targets)
        return [
            {
                self.keys.boxes: torch.from_numpy(one["boxes"]).float().to(device),
                self.keys.labels: torch.from_numpy(one["labels"]).to(device),
                **({} if size is None else {SIZE: size}),
            }
            for one, size in zip(self.counted(outputs, targets), sizes, strict=True)
        ]

    def image_size(self, outputs: Any, targets: Any) -> tuple[int, ...]:
        return tuple(outputs["sizes"].amax(dim=0).tolist())

    def settings(self) -> dict[str, Any]:
        return {"score_threshold": self.score_threshold, **self._settings}

    def aim(self, outputs: Any, targets: Any, goal: Goal) -> Any:
        """Targets without boxes ("vanishing"), or with boxes of one class (its index)."""
        if goal == "vanishing":
            return [self._changed(one, 0, None) for one in self._listed(targets)]
        if isinstance(goal, int):
            return [self._changed(one, None, goal) for one in self._listed(targets)]
        raise BadInputError(f"a detector that gives losses alone has no attack goal {goal!r}; use 'vanishing'")

    def _asked(self, inputs: Tensor, targets: Any) -> list[ImageTarget]:
        if targets is None:
            return [ImageTarget(tuple(inputs.shape[2:]), {})] * len(inputs)
        return image_targets(targets, inputs, self.keys)

    def _listed(self, targets: Any) -> list[dict[str, Any]]:
        if not isinstance(targets, Tensor):
            return [dict(one) for one in targets]
        known = true_boxes(targets)
        return [
            {self.keys.boxes: boxes.to(targets.device), self.keys.labels: labels.to(targets.device)}
            for boxes, labels in zip(known.boxes, known.labels, strict=True)
        ]

    def _changed(self, target: dict[str, Any], count: int | None, label: int | None) -> dict[str, Any]:
        keys = keys_of((name for name in target if name != SIZE), "the target of an image")
        boxes, labels = target[keys.boxes][:count], target[keys.labels][:count]
        return {**target, keys.boxes: boxes, keys.labels: labels if label is None else torch.full_like(labels, label)}
