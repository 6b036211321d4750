"""What a MONAI detector says about the loss of its network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
from monai.losses import FocalLoss
from torch import nn

from monai_robust.errors import BadInputError
from monai_robust.losses.detection import DetectionLoss

__all__ = ["loss_of"]


def loss_of(detector: RetinaNetDetector, strides: Sequence[int | Sequence[int]] | None = None) -> DetectionLoss:
    """A loss with a detector's anchors, matcher, box coder, sampler and kinds of losses.

    The detector's losses are means over a batch, this one sums for each image (see :class:`DetectionLoss`).

    Raises:
        BadInputError: for a detector with losses that :class:`DetectionLoss` does not have.
    """
    box_loss = detector.box_loss_func
    if not isinstance(box_loss, nn.SmoothL1Loss) or not detector.encode_gt or detector.decode_pred:
        raise BadInputError(
            f"the detector's box loss is {type(box_loss).__name__}; only a SmoothL1Loss of encoded boxes is "
            "understood: build Detection(DetectionLoss(...))"
        )
    return DetectionLoss(
        detector.anchor_generator,
        getattr(detector, "proposal_matcher", None),
        detector.box_coder,
        strides=_strides(detector) if strides is None else strides,
        beta=box_loss.beta,
        sampler=detector.fg_bg_sampler,
        keys=(detector.target_box_key, detector.target_label_key),
        **_classification(detector.cls_loss_func),
    )


def _classification(loss: nn.Module) -> dict[str, Any]:
    if isinstance(loss, FocalLoss) and not loss.use_softmax and loss.class_weight is None:
        if isinstance(loss.alpha, (float, int, type(None))):
            return {"classification": "focal", "alpha": loss.alpha, "gamma": loss.gamma}
    elif isinstance(loss, nn.BCEWithLogitsLoss) and loss.weight is None and loss.pos_weight is None:
        return {"classification": "bce"}
    raise BadInputError(
        f"the detector's classification loss is {type(loss).__name__}; only a FocalLoss of sigmoids with one alpha, "
        "and BCEWithLogitsLoss without weights are understood: build Detection(DetectionLoss(...))"
    )


def _strides(detector: RetinaNetDetector) -> list[tuple[int, ...]] | None:
    """Each level's stride twice the one before, the last one ``size_divisible``; None where that cannot be."""
    levels = len(detector.anchor_generator.cell_anchors)
    halvings = [2 ** (levels - 1 - level) for level in range(levels)]
    if any(side % halvings[0] for side in detector.size_divisible):
        return None
    return [tuple(side // halving for side in detector.size_divisible) for halving in halvings]
