"""What a RetinaNet is trained with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from monai.apps.detection.utils.anchor_utils import AnchorGenerator
from monai.apps.detection.utils.box_coder import BoxCoder
from monai.apps.detection.utils.hard_negative_sampler import HardNegativeSampler
from monai.losses.focal_loss import sigmoid_focal_loss
from torch import Tensor, nn

from monai_robust.errors import BadInputError, require_choice
from monai_robust.losses.anchor_matching import AnchorMatching, Levels, MatchedAnchors
from monai_robust.losses.detection_targets import DetectionTargets, detection_targets
from monai_robust.scalars import is_number

__all__ = ["DetectionLoss"]

CLASSIFICATION, BOX_REGRESSION = "classification", "box_regression"


class DetectionLoss(nn.Module):
    """Classification and box regression of a RetinaNet's anchors, for each image by itself.

    With A the anchors that stand for one of an image's boxes, and ``|A|`` their number, or 1 where there are none::

        classification:  sum over all anchors and classes of FL(logit) / |A|
        box_regression:  sum over A and the 2D coordinates of smooth L1(code - code of the box) / |A|

    where FL = -alpha_t * (1 - p_t)^gamma * log(p_t) is the focal loss, or cross-entropy. An image without boxes has all
    anchors in the background, and a ``box_regression`` of 0. Computed in single precision at least.

    Outputs are those of MONAI's ``RetinaNet``: ``{"classification": [(B, A * C, *size), ...], "box_regression":
    [(B, A * 2D, *size), ...]}`` with a tensor for each level, or the list of both. Targets are (B, N, 2D + 1), boxes in
    MONAI's standard mode (xmin, ymin, xmax, ymax or xmin, ymin, zmin, xmax, ymax, zmax) in pixels of the network's
    input and a class index, -1 in padding rows; MONAI's list of dictionaries; or what :meth:`prepare` returns.

    Source: Lin et al. 2017 (Focal loss for dense object detection), section 4; anchors are matched to boxes by
    Zhang et al. 2020 (ATSS) unless another matcher is given.

    Args:
        anchors: MONAI's ``AnchorGenerator`` or ``AnchorGeneratorWithAnchorShape``.
        matcher: see :class:`AnchorMatching`.
        box_coder: see :class:`AnchorMatching`.
        strides: see :class:`AnchorMatching`; a trainer needs them.
        classification: "focal" or "bce".
        alpha: weight of foreground against background in the focal loss, from 0 to 1; None for equal weights.
        gamma: of the focal loss, 0 or above.
        beta: where smooth L1 turns from square to linear.
        weights: factors of the terms by name; 1 where not named.
        sampler: MONAI's ``HardNegativeSampler`` or torchvision's ``BalancedPositiveNegativeSampler``; chooses the
            anchors that are classified when a network is trained (:meth:`forward`), never in :meth:`terms`.
        keys: of boxes and labels in MONAI's dictionaries.

    Raises:
        BadInputError: for arguments that cannot work.
    """

    agreement = "none"  # its outputs are no class distributions that views could agree in
    spatial_targets = True

    def __init__(
        self,
        anchors: AnchorGenerator,
        matcher: Callable[..., Any] | None = None,
        box_coder: BoxCoder | None = None,
        *,
        strides: Sequence[int | Sequence[int]] | None = None,
        classification: Literal["focal", "bce"] = "focal",
        alpha: float | None = 0.25,
        gamma: float = 2.0,
        beta: float = 1 / 9,
        weights: Mapping[str, float] | None = None,
        sampler: Callable[..., Any] | None = None,
        keys: tuple[str, str] = ("boxes", "labels"),
    ) -> None:
        super().__init__()
        require_choice("the classification loss", classification, ("focal", "bce"))
        if alpha is not None and not is_number(alpha, 0, 1):
            raise BadInputError(f"the focal loss has alpha {alpha}; it must be from 0 to 1, or None")
        for name, value in {"gamma": gamma, "beta": beta, **(weights or {})}.items():
            if not is_number(value, 0):
                raise BadInputError(f"the detection loss has {name} {value}; it must be 0 or above")
        for name in weights or {}:
            require_choice("a name among the loss weights", name, (CLASSIFICATION, BOX_REGRESSION))
        self.matching = AnchorMatching(anchors, matcher, box_coder, strides)
        self.classification = classification
        self.alpha, self.gamma, self.beta = alpha, gamma, beta
        self.weights = dict(weights or {})
        self.sampler = sampler
        self.keys = keys

    @property
    def dims(self) -> int:
        """D, 2 or 3."""
        return self.matching.dims

    def prepare(self, targets: Any, image_size: Sequence[int] | None = None) -> DetectionTargets:
        """Targets that keep what the first call of :meth:`terms` derives from them."""
        return detection_targets(targets, self.dims, image_size, self.keys)

    def terms(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        """``classification`` and ``box_regression``, each (B,), times its weight.

        Raises:
            BadInputError: for outputs, targets and anchors that do not fit each other.
        """
        logits, codes, matched = self.matched(outputs, targets)
        return self._terms(logits, codes, matched, None)

    def forward(self, outputs: Any, targets: Any) -> Tensor:
        """The mean over the batch of the sum of the terms, a scalar; see :meth:`terms`."""
        logits, codes, matched = self.matched(outputs, targets)
        chosen = None if self.sampler is None else self._sample(logits, matched)
        return torch.stack(tuple(self._terms(logits, codes, matched, chosen).values())).sum(dim=0).mean()

    def matched(self, outputs: Any, targets: Any) -> tuple[Tensor, Tensor, MatchedAnchors]:
        """Class logits (B, M, C) and box codes (B, M, 2D) of all M anchors, and what they should be."""
        logits, codes, levels = self.flat(outputs)
        ready = self.prepare(targets)
        if len(ready) != len(logits):
            raise BadInputError(f"the network's outputs are of {len(logits)} images, the boxes of {len(ready)}")
        return logits, codes, self.matching.match(ready, levels, logits.shape[2], logits.device)

    def flat(self, outputs: Any) -> tuple[Tensor, Tensor, Levels]:
        """Class logits (B, M, C) and box codes (B, M, 2D) of all levels together, and the sizes of the levels.

        Raises:
            BadInputError: for outputs that are no RetinaNet's, or of one with another number of anchors.
        """
        class_maps, code_maps = _maps(outputs)
        per_position, dims = self.matching.per_position, self.dims
        levels = tuple(tuple(level.shape[2:]) for level in class_maps)
        channels = {level.shape[1] for level in class_maps}
        fits = len(channels) == 1 and not channels.copy().pop() % per_position
        fits = fits and levels == tuple(tuple(level.shape[2:]) for level in code_maps)
        fits = fits and all(level.shape[1] == 2 * dims * per_position for level in code_maps)
        if not fits or any(len(level) != dims for level in levels):
            raise BadInputError(
                f"the network's maps have shapes {[tuple(one.shape) for one in (*class_maps, *code_maps)]}; with "
                f"{per_position} anchors at a position of {dims}-D images they must be (B, {per_position} * classes, "
                f"*size) and (B, {2 * dims * per_position}, *size) for each level"
            )
        return _flatten(class_maps, per_position), _flatten(code_maps, per_position), levels

    def _terms(
        self, logits: Tensor, codes: Tensor, matched: MatchedAnchors, chosen: Tensor | None
    ) -> dict[str, Tensor]:
        counts = matched.counts.clamp(min=1)
        classification = self._elementwise(logits, matched.classes)
        if chosen is not None:
            classification = classification * chosen[:, :, None]
        elif matched.ignored is not None:
            classification = classification.masked_fill(matched.ignored[:, :, None], 0)
        found = codes.gather(1, matched.foreground[:, :, None].expand(-1, -1, codes.shape[2]))
        distance = F.smooth_l1_loss(found, matched.codes.to(found.dtype), reduction="none", beta=self.beta)
        terms = {
            CLASSIFICATION: classification.sum(dim=(1, 2)) / counts,
            BOX_REGRESSION: (distance * matched.inside[:, :, None]).sum(dim=(1, 2)) / counts,
        }
        return {name: self.weights.get(name, 1.0) * value for name, value in terms.items()}

    def _elementwise(self, logits: Tensor, classes: Tensor) -> Tensor:
        if self.classification == "bce":
            return F.binary_cross_entropy_with_logits(logits, classes.to(logits.dtype), reduction="none")
        return sigmoid_focal_loss(logits, classes.to(logits.dtype), self.gamma, self.alpha)

    def _sample(self, logits: Tensor, matched: MatchedAnchors) -> Tensor:
        """(B, M): 1 for the anchors that the sampler chooses."""
        assert self.sampler is not None
        kinds = torch.zeros(logits.shape[:2], dtype=torch.long, device=logits.device)
        if matched.ignored is not None:
            kinds[matched.ignored] = -1
        kinds.scatter_add_(1, matched.foreground, matched.inside.long())
        labels = list(kinds)
        if isinstance(self.sampler, HardNegativeSampler):
            positive, negative = self.sampler(labels, logits.detach().amax(dim=2).flatten())
        else:
            positive, negative = self.sampler(labels)
        return (torch.stack(positive) + torch.stack(negative)).to(logits.dtype)


def _maps(outputs: Any) -> tuple[list[Tensor], list[Tensor]]:
    """The class maps and the code maps of a RetinaNet, a tensor for each level."""
    if isinstance(outputs, Mapping) and {CLASSIFICATION, BOX_REGRESSION} <= set(outputs):
        parts = [outputs[CLASSIFICATION], outputs[BOX_REGRESSION]]
        classes, codes = ([part] if isinstance(part, Tensor) else list(part) for part in parts)
    elif isinstance(outputs, (list, tuple)) and len(outputs) % 2 == 0:
        classes, codes = list(outputs[: len(outputs) // 2]), list(outputs[len(outputs) // 2 :])
    else:
        classes, codes = [], []
    if not classes or not all(isinstance(one, Tensor) for one in (*classes, *codes)):
        raise BadInputError(
            f"the network's outputs are a {type(outputs).__name__}; detection takes those of a RetinaNet, "
            f"'{CLASSIFICATION}' and '{BOX_REGRESSION}' with a tensor for each level"
        )
    return classes, codes


def _flatten(maps: Sequence[Tensor], per_position: int) -> Tensor:
    """(B, M, K) from maps (B, A * K, *size), in the order of MONAI's anchors: levels, positions, anchors of each."""
    flat = [
        one.as_subclass(Tensor).unflatten(1, (per_position, -1)).flatten(3).permute(0, 3, 1, 2).flatten(1, 2)
        for one in maps
    ]
    joined = torch.cat(flat, dim=1)
    return joined if joined.dtype == torch.float64 else joined.float()
