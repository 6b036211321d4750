"""Boxes that follow their image to the network's input, and end as one tensor of fixed size."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.apps.detection.transforms.box_ops import resize_boxes
from monai.data.box_utils import box_area, clip_boxes_to_image
from monai.transforms import MapTransform, Resize
from monai.utils import TraceKeys, TransformBackends
from torch import Tensor

from monai_robust.errors import BadInputError, BadSampleError
from monai_robust.scalars import is_whole
from monai_robust.transforms.arguments import checked_number

__all__ = ["BoxesToLabeld", "ResizeBoxd"]


class ResizeBoxd(MapTransform):
    """Resize an image to a fixed size, and its boxes with it.

    It stands where ``Resized`` would, and makes of a data list's boxes the tensor that MONAI's ``RandFlipBoxd``,
    ``RandRotateBox90d``, ``RandZoomBoxd`` and ``ClipBoxToImaged`` (``monai.apps.detection.transforms.dictionary``)
    need; MONAI has ``ResizeBox`` for boxes alone only. Transforms that move an image without its boxes, such as
    ``RandFlipd``, do not go with these.

    Args:
        spatial_size: pixels of the image along each axis; -1 keeps an axis as it is.
        image_key: the image, (C, X, Y[, Z]).
        box_key: its boxes in MONAI's standard mode, (N, 2D) or a list of N boxes, in pixels of the image.
        mode: of interpolation, as for ``monai.transforms.Resize``.
        allow_missing_keys: resize the image alone where there are no boxes, as in inference.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 (declared so by MONAI)

    def __init__(
        self,
        spatial_size: Sequence[int],
        image_key: str = "image",
        box_key: str = "boxes",
        mode: str = "area",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__((image_key, box_key), allow_missing_keys)
        self.image_key, self.box_key = image_key, box_key
        self.resize = Resize(spatial_size=tuple(spatial_size), mode=mode)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The dictionary with ``image`` and ``boxes`` resized.

        Raises:
            BadSampleError: for boxes that are not (N, 2D).
        """
        sample = dict(data)
        image = sample[self.image_key]
        before = tuple(image.shape[1:])
        resized = self.resize(image)
        sample[self.image_key] = resized
        if self.allow_missing_keys and self.box_key not in sample:
            return sample
        boxes = _boxes(sample[self.box_key], len(before))
        sample[self.box_key] = resize_boxes(boxes, before, tuple(resized.shape[1:]))
        return sample


class BoxesToLabeld(MapTransform):
    """Make of an image's boxes and classes the one ``label`` tensor that detection tasks take; the last step.

    ``label`` is (max_boxes, 2D + 1) float32: boxes in MONAI's standard mode and in pixels of the network's input, then
    the index of the class; rows beyond the image's boxes hold zeros and the class -1. So samples stack to batches.

    Boxes are clipped to the image. Those of which augmentation has left too little in the image are removed. The keys
    of boxes and classes are removed as well, because lists of different lengths do not stack.

    Args:
        max_boxes: rows of the label; 1 or more.
        box_key: (N, 2D) tensor or list of boxes.
        class_key: N indices.
        label_key: what the sample calls the result.
        image_key: the image, (C, X, Y[, Z]).
        min_share: share of a box's area (volume) that must be inside the image, from 0 to 1.

    Raises:
        BadInputError: for an argument that cannot work.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 (declared so by MONAI)

    def __init__(
        self,
        max_boxes: int,
        box_key: str = "boxes",
        class_key: str = "classes",
        label_key: str = "label",
        image_key: str = "image",
        min_share: float = 0.25,
    ) -> None:
        super().__init__((box_key, class_key))
        if not is_whole(max_boxes, 1):
            raise BadInputError(f"BoxesToLabeld: max_boxes is {max_boxes!r}; it can be a whole number from 1 on")
        self.max_boxes = max_boxes
        self.box_key, self.class_key, self.label_key, self.image_key = box_key, class_key, label_key, image_key
        self.min_share = checked_number(min_share, "BoxesToLabeld: min_share", 0, 1)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The dictionary with ``label`` in place of ``boxes`` and ``classes``.

        Raises:
            BadSampleError: for boxes and classes that do not fit each other, or more boxes than ``max_boxes``.
        """
        sample = dict(data)
        size = tuple(sample[self.image_key].shape[1:])
        boxes = _boxes(sample.pop(self.box_key), len(size))
        classes = torch.as_tensor(sample.pop(self.class_key), dtype=torch.float32).reshape(-1)
        for key in (self.box_key, self.class_key):
            sample.pop(f"{key}{TraceKeys.KEY_SUFFIX}", None)  # MONAI's trace of what it did to them
        if len(boxes) != len(classes):
            raise BadSampleError(f"there are {len(boxes)} {self.box_key} but {len(classes)} {self.class_key}")
        boxes, kept = _inside(boxes, size, self.min_share)
        if len(boxes) > self.max_boxes:
            raise BadSampleError(f"the image has {len(boxes)} boxes, but max_boxes is {self.max_boxes}; raise it")
        label = torch.zeros(self.max_boxes, 2 * len(size) + 1)
        label[:, -1] = -1
        label[: len(boxes)] = torch.cat([boxes, classes[kept, None]], dim=1)
        sample[self.label_key] = label
        return sample


def _boxes(boxes: Any, spatial_dims: int) -> Tensor:
    """(N, 2D) float32, also of an empty list."""
    values = torch.as_tensor(boxes, dtype=torch.float32).as_subclass(Tensor)
    if values.numel() == 0:
        return values.new_zeros(0, 2 * spatial_dims)
    if values.ndim != 2 or values.shape[1] != 2 * spatial_dims:
        raise BadSampleError(f"boxes have shape {tuple(values.shape)}; they need (N, {2 * spatial_dims})")
    return values


def _inside(boxes: Tensor, size: tuple[int, ...], min_share: float) -> tuple[Tensor, Tensor]:
    """Boxes clipped to the image, and which (N,) of all are left."""
    clipped = torch.as_tensor(clip_boxes_to_image(boxes, size, remove_empty=False)[0])
    areas = torch.as_tensor(box_area(clipped))
    kept = (areas > 0) & (areas >= min_share * torch.as_tensor(box_area(boxes)))
    return clipped[kept], kept
