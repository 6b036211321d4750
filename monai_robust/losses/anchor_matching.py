"""Which anchors of a detector stand for which true boxes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from monai.apps.detection.utils.anchor_utils import AnchorGenerator
from monai.apps.detection.utils.ATSS_matcher import ATSSMatcher, Matcher
from monai.apps.detection.utils.box_coder import BoxCoder
from monai.data.box_utils import box_iou
from torch import Tensor, nn

from monai_robust.errors import BadInputError
from monai_robust.losses.detection_targets import DetectionTargets

__all__ = ["AnchorMatching", "MatchedAnchors"]

Levels = tuple[tuple[int, ...], ...]
"""Spatial sizes of the levels of a pyramid, finest first."""

CACHED_IMAGES = 4096


@dataclass(frozen=True)
class MatchedAnchors:
    """What the anchors of B images should say: F of them about a box, and all M about classes.

    Attributes:
        foreground: (B, F), indices of the anchors that stand for a box; 0 where not ``inside``.
        inside: (B, F), whether an entry of ``foreground`` counts.
        boxes: (B, F), index of the box among those of its image.
        codes: (B, F, 2D), the box relative to the anchor, as the box coder says it.
        classes: (B, M, C), float, 1 at the class of the box that an anchor stands for.
        ignored: (B, M), anchors that are neither foreground nor background; None where there are none.
    """

    foreground: Tensor
    inside: Tensor
    boxes: Tensor
    codes: Tensor
    classes: Tensor
    ignored: Tensor | None

    @property
    def counts(self) -> Tensor:
        """(B,): number of foreground anchors of each image."""
        return self.inside.sum(dim=1)


class AnchorMatching(nn.Module):
    """Matches anchors to true boxes, image by image, and remembers the matches of the last images.

    Args:
        anchors: MONAI's ``AnchorGenerator`` or ``AnchorGeneratorWithAnchorShape``.
        matcher: MONAI's ``ATSSMatcher``, or a callable that makes matches (M,) of overlaps (N, M), such as
            torchvision's ``Matcher``: index of a box, -1 for background, -2 for an anchor to be ignored. By default
            ``ATSSMatcher(4, center_in_gt=False)``: no anchor has its centre in the smallest boxes.
        box_coder: MONAI's ``BoxCoder``; by default with weights 1.
        strides: pixels from one position to the next, for each level a number or one for each axis. They tell the
            images' size from the outputs' and are needed where only outputs and targets are at hand, as in a trainer.

    Raises:
        BadInputError: for levels with different numbers of anchors at a position, or strides for other levels.
    """

    def __init__(
        self,
        anchors: AnchorGenerator,
        matcher: Callable[..., Any] | None = None,
        box_coder: BoxCoder | None = None,
        strides: Sequence[int | Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(anchors, AnchorGenerator):
            raise BadInputError(f"a detector's anchors come from MONAI's AnchorGenerator, not {type(anchors).__name__}")
        numbers = anchors.num_anchors_per_location()
        if len(set(numbers)) > 1:
            raise BadInputError(f"the levels have {numbers} anchors at a position; a RetinaNet needs equal numbers")
        self.generator = anchors
        self.dims: int = anchors.spatial_dims
        self.per_position: int = numbers[0]
        self.levels = len(numbers)
        self.matcher = ATSSMatcher(4, center_in_gt=False) if matcher is None else matcher
        self.box_coder = BoxCoder((1.0,) * (2 * self.dims)) if box_coder is None else box_coder
        self.strides = None if strides is None else tuple(_per_axis(stride, self.dims) for stride in strides)
        if self.strides is not None and len(self.strides) != self.levels:
            raise BadInputError(f"the anchors have {self.levels} levels, but {len(self.strides)} have a stride")
        self._known: OrderedDict[Any, tuple[Tensor, ...]] = OrderedDict()

    def image_size(self, levels: Levels, given: Sequence[int] | None = None) -> tuple[int, ...]:
        """Size of the images whose pyramid has these levels.

        Raises:
            BadInputError: where it cannot be told, or does not fit the strides.
        """
        if len(levels) != self.levels:
            raise BadInputError(f"the network has {len(levels)} levels, but the anchors {self.levels}")
        if self.strides is None:
            if given is None:
                raise BadInputError(
                    "the size of the images is unknown: give the strides of the network's levels, such as (4, 8, 16)"
                )
            return tuple(given)
        sizes = {
            tuple(length * step for length, step in zip(level, stride, strict=True))
            for level, stride in zip(levels, self.strides, strict=True)
        }
        if given is not None:
            sizes.add(tuple(given))
        if len(sizes) > 1:
            raise BadInputError(
                f"levels of sizes {list(levels)} do not belong to strides {list(self.strides)}"
                f"{'' if given is None else f' and images of {tuple(given)}'}; the sides of images must be multiples "
                "of all strides, by resizing or padding"
            )
        return sizes.pop()

    def anchors(self, levels: Levels, image_size: Sequence[int], device: torch.device) -> Tensor:
        """All anchors (M, 2D), float32, in the order of the flattened outputs."""
        maps = [torch.empty((0, *level), device=device) for level in levels]
        (anchors,) = self.generator(torch.empty((1, 0, *image_size)), maps)
        found: Tensor = anchors
        return found

    def match(self, targets: DetectionTargets, levels: Levels, classes: int, device: torch.device) -> MatchedAnchors:
        """The matches of a batch; they are kept with ``targets``.

        Raises:
            BadInputError: for a class that the network does not know.
        """
        key = (id(self), levels, classes, device)
        if key not in targets.derived:
            targets.derived[key] = self._match(targets, levels, classes, device)
        found: MatchedAnchors = targets.derived[key]
        return found

    @torch.inference_mode(False)  # what is made in inference mode could not enter an attack's graph
    @torch.no_grad()
    def _match(self, targets: DetectionTargets, levels: Levels, classes: int, device: torch.device) -> MatchedAnchors:
        largest = max((int(labels.max()) for labels in targets.labels if len(labels)), default=0)
        if largest >= classes:
            raise BadInputError(f"a box has class {largest}, but the network knows classes 0 to {classes - 1}")
        size = self.image_size(levels, targets.image_size)
        anchors = self.anchors(levels, size, device)
        images = [self._image(boxes, anchors, levels, size) for boxes in targets.boxes]
        count = max([1, *(len(foreground) for foreground, *_ in images)])
        shape = (len(images), count)
        foreground, index = (torch.zeros(shape, dtype=torch.long, device=device) for _ in range(2))
        inside = torch.zeros(shape, dtype=torch.bool, device=device)
        codes = torch.zeros((*shape, 2 * self.dims), device=device)
        truth = torch.zeros((len(images), len(anchors), classes), device=device)
        skipped = torch.zeros((len(images), len(anchors)), dtype=torch.bool, device=device)
        for row, (own, boxes, code, ignored) in enumerate(images):
            foreground[row, : len(own)], index[row, : len(own)] = own, boxes
            inside[row, : len(own)], codes[row, : len(own)] = True, code
            truth[row, own, targets.labels[row].to(device)[boxes]] = 1
            skipped[row, ignored] = True
        any_skipped = any(len(ignored) for *_, ignored in images)
        return MatchedAnchors(foreground, inside, index, codes, truth, skipped if any_skipped else None)

    def _image(self, boxes: Tensor, anchors: Tensor, levels: Levels, size: tuple[int, ...]) -> tuple[Tensor, ...]:
        """Foreground anchors (F,), their boxes (F,), codes (F, 2D), and anchors to be ignored, of one image."""
        key = (boxes.numpy().tobytes(), levels, size, anchors.device)
        if key not in self._known:
            self._known[key] = self._matched(boxes.to(anchors.device), anchors, levels)
            if len(self._known) > CACHED_IMAGES:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]

    def _matched(self, boxes: Tensor, anchors: Tensor, levels: Levels) -> tuple[Tensor, ...]:
        if not len(boxes):
            none = torch.empty(0, dtype=torch.long, device=anchors.device)
            return none, none, anchors[:0], none
        if isinstance(self.matcher, Matcher):
            positions = [torch.Size(level).numel() for level in levels]
            _, matches = self.matcher(boxes, anchors, positions, self.per_position)
        else:
            matches = self.matcher(box_iou(boxes, anchors))
        foreground = (matches >= 0).nonzero()[:, 0]
        index = matches[foreground]
        codes = self.box_coder.encode_single(boxes[index], anchors[foreground])
        return foreground, index, codes, (matches == Matcher.BETWEEN_THRESHOLDS).nonzero()[:, 0]


def _per_axis(stride: int | Sequence[int], dims: int) -> tuple[int, ...]:
    steps = (stride,) * dims if isinstance(stride, int) else tuple(stride)
    if len(steps) != dims or min(steps) < 1:
        raise BadInputError(f"a stride is {stride}; it must be a positive number, or {dims} of them")
    return steps
