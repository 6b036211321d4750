"""The targets of detectors: a dictionary of boxes and labels for each image, under names of the detector's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.losses.detection_targets import DetectionTargets, detection_targets
from monai_robust.tasks.tensors import plain

__all__ = ["SIZE", "ImageTarget", "Keys", "image_targets", "keys_of", "sized", "true_boxes"]

SIZE = "monai_robust_image_size"
"""What the size of an image is called among its targets, where images of different sizes are one padded tensor."""


class Keys(NamedTuple):
    """What a detector calls the boxes and the labels of an image."""

    boxes: str
    labels: str


class ImageTarget(NamedTuple):
    """What a detector is given of an image.

    Attributes:
        size: of the image, without padding.
        target: its dictionary for the detector.
    """

    size: tuple[int, ...]
    target: dict[str, Any]


def keys_of(found: Iterable[str], what: str) -> Keys:
    """Which of the keys of a dictionary are those of boxes and of labels, by their names.

    Raises:
        BadInputError: where none is.
    """
    names = list(found)
    boxes = [name for name in names if "box" in name.lower() and "score" not in name.lower()]
    labels = [name for name in names if ("label" in name.lower() or "class" in name.lower()) and "score" not in name]
    if not boxes or not labels:
        raise BadInputError(
            f"{what} has {', '.join(map(repr, names)) or 'nothing'}, and no boxes or no labels by their names, such as "
            "'box' and 'label'"
        )
    return Keys(boxes[0], labels[0])


def sized(targets: Sequence[Mapping[str, Any]], images: Iterable[Tensor]) -> list[dict[str, Any]]:
    """Targets that tell the sizes of their images, (C, *size) each."""
    return [{**target, SIZE: tuple(image.shape[1:])} for target, image in zip(targets, images, strict=True)]


def image_targets(targets: Any, inputs: Tensor, keys: Keys) -> list[ImageTarget]:
    """What a detector is given of the images of a batch.

    Args:
        targets: a list with a dictionary for each image, as a detector takes it; or (B, N, 2D + 1), boxes and a class
            index, -1 in padding rows.
        inputs: the images, (B, C, *spatial).
        keys: names for the second form.

    Raises:
        BadInputError: for another form.
    """
    whole = tuple(inputs.shape[2:])
    if isinstance(targets, Tensor):
        known = detection_targets(targets, len(whole))
        return [
            ImageTarget(whole, {keys.boxes: boxes.to(inputs.device), keys.labels: labels.to(inputs.device)})
            for boxes, labels in zip(known.boxes, known.labels, strict=True)
        ]
    if not isinstance(targets, Sequence) or not all(isinstance(one, Mapping) for one in targets):
        raise BadInputError(
            f"the targets of a detector are a {type(targets).__name__}; it takes a list with a dictionary of boxes and "
            "labels for each image"
        )
    return [
        ImageTarget(one.get(SIZE, whole), {name: _own(value) for name, value in one.items() if name != SIZE})
        for one in targets
    ]


def true_boxes(targets: Any, dims: int | None = None) -> DetectionTargets:
    """The boxes of a batch in either of the forms of :func:`image_targets`.

    Args:
        targets: of the batch.
        dims: D; by default that of the boxes there are.

    Raises:
        BadInputError: for another form, and for boxes that are none.
    """
    if isinstance(targets, DetectionTargets):
        return targets
    if isinstance(targets, Tensor):
        return detection_targets(targets, (targets.shape[-1] - 1) // 2)
    if not targets:
        return DetectionTargets([], [])
    keys = keys_of((name for name in targets[0] if name != SIZE), "the target of an image")
    told = next((plain(one[keys.boxes]).shape[-1] // 2 for one in targets if len(one[keys.boxes])), 2)
    pairs = [{"boxes": one[keys.boxes], "labels": one[keys.labels]} for one in targets]
    return detection_targets(pairs, told if dims is None else dims)


def _own(value: Any) -> Any:
    """A tensor of its own, which a detector may make another of in place."""
    return plain(value).detach().clone() if isinstance(value, Tensor) else value
