"""Objects in an image, by boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
from monai.apps.detection.utils.box_selector import BoxSelector
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.losses.detection import DetectionLoss
from monai_robust.losses.detection_targets import DetectionTargets
from monai_robust.scalars import is_above_zero, is_number, is_whole
from monai_robust.tasks.base import Goal
from monai_robust.tasks.boxes import BoxTask
from monai_robust.tasks.detection_goals import aimed_boxes
from monai_robust.tasks.detector_settings import loss_of

__all__ = ["Detection"]


class Detection(BoxTask):
    """Object detection by a RetinaNet; 2-D or 3-D.

    Outputs are those of MONAI's ``RetinaNet``, in training and in evaluation alike; the network of an attack is the
    RetinaNet itself, never MONAI's detector around it. Targets are (B, N, 2D + 1): boxes in MONAI's standard mode in
    pixels of the network's input, and a class index, -1 in padding rows; or MONAI's list of dictionaries.

    The loss terms are ``classification`` and ``box_regression`` of :class:`~monai_robust.losses.DetectionLoss`. An
    image none of whose anchors stands for a box has no ``box_regression``, which is then 0.

    The score is that of :class:`~monai_robust.tasks.boxes.BoxTask`.

    Args:
        loss: knows the anchors; the one that the network is trained with.
        score_threshold: least score of a detection that counts for the outcomes.
        keep_threshold: detections must have more than this score to get into the table of detections.
        nms_threshold: of two detections of a class that overlap by more than this IoU the less certain one is dropped.
        max_detections: at most so many of an image.

    Raises:
        BadInputError: for thresholds that cannot work.
    """

    def __init__(
        self,
        loss: DetectionLoss,
        *,
        score_threshold: float = 0.3,
        keep_threshold: float = 0.05,
        nms_threshold: float = 0.5,
        max_detections: int = 100,
    ) -> None:
        if not isinstance(loss, DetectionLoss):
            raise BadInputError(f"the loss of detection is a {type(loss).__name__}; it must be a DetectionLoss")
        if not is_number(keep_threshold, 0, 1) or not is_number(score_threshold, keep_threshold, 1):
            raise BadInputError(
                f"keep_threshold is {keep_threshold} and score_threshold {score_threshold}; both must be from 0 to 1, "
                "and the first one not above the second"
            )
        if not is_above_zero(nms_threshold, 1) or not is_whole(max_detections, 1):
            raise BadInputError(
                f"nms_threshold is {nms_threshold} and max_detections {max_detections}; they must be above 0, and an "
                "overlap is at most 1"
            )
        self.loss = loss
        self._last: tuple[Any, tuple[int, ...] | None, list[dict[str, Tensor]]] | None = None
        self.score_threshold = score_threshold
        self.selector = BoxSelector(
            score_thresh=keep_threshold, nms_thresh=nms_threshold, detections_per_img=max_detections
        )

    @classmethod
    def of(
        cls,
        detector: RetinaNetDetector,
        *,
        strides: Sequence[int | Sequence[int]] | None = None,
        score_threshold: float | None = None,
    ) -> Detection:
        """The task of a MONAI detector, whose anchors, matcher, box coder, losses and box selector it takes.

        An attack then takes the detector's network: ``attack(detector.network, images, targets, task=task)``.

        Args:
            detector: its classification loss is MONAI's ``FocalLoss`` or ``BCEWithLogitsLoss``, its box loss
                ``SmoothL1Loss`` of codes; without a matcher it gets the one of :class:`DetectionLoss`.
            strides: of the network's levels; by default each is twice the one before, up to the network's
                ``size_divisible``.
            score_threshold: see above; 0.3 by default, or the detector's own if that is higher.

        Raises:
            BadInputError: for a detector with other losses.
        """
        selector = detector.box_selector
        task = cls(
            loss_of(detector, strides),
            score_threshold=max(0.3, selector.score_thresh) if score_threshold is None else score_threshold,
            keep_threshold=selector.score_thresh,
            nms_threshold=selector.nms_thresh,
            max_detections=selector.detections_per_img,
        )
        task.selector = selector
        return task

    @property
    def dims(self) -> int:
        return self.loss.dims

    def true(self, targets: Any) -> DetectionTargets:
        return self.loss.prepare(targets)

    def settings(self) -> dict[str, Any]:
        return {
            "score_threshold": self.score_threshold,
            "keep_threshold": self.selector.score_thresh,
            "nms_threshold": self.selector.nms_thresh,
            "max_detections": self.selector.detections_per_img,
        }

    def prepared(self, inputs: Tensor, targets: Any) -> DetectionTargets:
        return self.loss.prepare(targets, inputs.shape[2:])

    def terms(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        return self.loss.terms(outputs, targets)

    def defined(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        *_, matched = self.loss.matched(outputs, targets)
        return {"box_regression": matched.counts > 0}

    @torch.no_grad()
    def detect(self, outputs: Any, image_size: Sequence[int] | None = None) -> list[dict[str, Tensor]]:
        """What a network finds in each image: ``boxes`` (P, 2D), ``labels`` (P,) and ``scores`` (P,), best first.

        Boxes are in pixels of the network's input, clipped to it; those of less than a pixel are left out.

        Args:
            outputs: of a RetinaNet.
            image_size: of the network's input; not needed where the loss knows the strides.

        Raises:
            BadInputError: for outputs that do not fit, or that are not finite.
        """
        asked = None if image_size is None else tuple(image_size)
        if self._last is not None and self._last[0] is outputs and self._last[1] == asked:
            return self._last[2]  # outcomes, details and pictures ask for the same batch in turn
        logits, codes, levels = self.loss.flat(outputs)
        if not bool(logits.isfinite().all()) or not bool(codes.isfinite().all()):
            raise BadInputError("the network's outputs are not finite, so that nothing can be detected in them")
        matching = self.loss.matching
        size = matching.image_size(levels, image_size)
        anchors = matching.anchors(levels, size, logits.device).to(logits.dtype)
        boxes = matching.box_coder.decode_single(codes.flatten(0, 1), anchors.repeat(len(codes), 1)).view_as(codes)
        counts = [torch.Size(level).numel() * matching.per_position for level in levels]
        found = []
        for own_boxes, own_logits in zip(boxes, logits, strict=True):
            kept, scores, labels = self.selector.select_boxes_per_image(
                list(own_boxes.split(counts)), list(own_logits.split(counts)), list(size)
            )
            found.append({"boxes": kept, "labels": labels, "scores": scores})
        self._last = (outputs, asked, found)
        return found

    def image_size(self, outputs: Any, targets: Any) -> tuple[int, ...]:
        """Of the images that the network was shown, in pixels."""
        *_, levels = self.loss.flat(outputs)
        return self.loss.matching.image_size(levels, self.loss.prepare(targets).image_size)

    def aim(self, outputs: Any, targets: Any, goal: Goal) -> Tensor:
        """Boxes (B, N, 2D + 1) to steer to.

        "vanishing" asks for no boxes at all; a class index for boxes of that class; "mislabelling" for the wrong class
        that the network finds most likely where the box is, by the mean logit of the anchors that stand for it (the
        next class where none does), "least_likely" for the one it finds least likely.
        """
        return aimed_boxes(self.loss, outputs, targets, goal)

    def offers(self, goal: Goal, outputs: Any) -> bool:
        """Whether there is another class to steer to, where the goal needs one."""
        return goal not in ("mislabelling", "least_likely") or self.loss.flat(outputs)[0].shape[2] > 1
