"""True boxes of a batch, in whatever form a pipeline has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from monai_robust.errors import BadInputError

__all__ = ["DetectionTargets", "detection_targets", "padded_boxes"]


@dataclass(frozen=True)
class DetectionTargets:
    """The boxes of B images, on the CPU, and what a loss has derived from them.

    Attributes:
        boxes: for each image (N, 2D), float32, in MONAI's standard mode, in pixels of the network's input.
        labels: for each image (N,), class indices.
        image_size: of the network's input, or None where only its outputs will tell.
        derived: what a loss keeps here between its calls.
    """

    boxes: list[Tensor]
    labels: list[Tensor]
    image_size: tuple[int, ...] | None = None
    derived: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.boxes)


def detection_targets(
    targets: Any, dims: int, image_size: Sequence[int] | None = None, keys: tuple[str, str] = ("boxes", "labels")
) -> DetectionTargets:
    """Boxes and classes of a batch.

    Args:
        targets: (B, N, 2D + 1), boxes in MONAI's standard mode and a class index, -1 in padding rows; or MONAI's list
            with a dictionary for each image, of boxes (N, 2D) and labels (N,); or the result of this function.
        dims: D, 2 or 3.
        image_size: of the network's input, where it is known.
        keys: of boxes and labels in the dictionaries; ``box`` and ``label`` will do, too.

    Raises:
        BadInputError: for another form, a box without extent or that is not finite, or a class that is no index.
    """
    size = None if image_size is None else tuple(image_size)
    if isinstance(targets, DetectionTargets):
        known = size is None or size == targets.image_size
        return targets if known else DetectionTargets(targets.boxes, targets.labels, size)
    if isinstance(targets, Tensor):
        pairs = _rows(targets, dims)
    elif isinstance(targets, Sequence) and all(isinstance(one, Mapping) for one in targets):
        pairs = [_entries(one, dims, keys) for one in targets]
    else:
        raise BadInputError(
            f"the boxes of a batch are a {type(targets).__name__}; detection takes a tensor (B, N, {2 * dims + 1}) or "
            "a list with a dictionary of boxes and labels for each image"
        )
    for index, (boxes, labels) in enumerate(pairs):
        _check(boxes, labels, dims, index)
    return DetectionTargets([boxes for boxes, _ in pairs], [labels.long() for _, labels in pairs], size)


def padded_boxes(boxes: Sequence[Tensor], labels: Sequence[Tensor], dims: int) -> Tensor:
    """(B, N, 2D + 1), float32, from the boxes (N, 2D) and labels (N,) of each image; at least one row."""
    rows = max([1, *map(len, boxes)])
    padded = torch.zeros(len(boxes), rows, 2 * dims + 1)
    padded[:, :, -1] = -1
    for index, (own, classes) in enumerate(zip(boxes, labels, strict=True)):
        padded[index, : len(own), :-1] = own
        padded[index, : len(own), -1] = classes.to(padded.dtype)
    return padded


def _rows(targets: Tensor, dims: int) -> list[tuple[Tensor, Tensor]]:
    if targets.ndim != 3 or targets.shape[2] != 2 * dims + 1:
        raise BadInputError(
            f"the boxes of a batch have shape {tuple(targets.shape)}; they must be (B, N, {2 * dims + 1}): "
            f"{2 * dims} coordinates and a class"
        )
    rows = targets.detach().as_subclass(Tensor).float().cpu()
    real = [own[own[:, -1] != -1] for own in rows]
    return [(own[:, :-1].contiguous(), own[:, -1]) for own in real]


def _entries(target: Mapping[str, Any], dims: int, keys: tuple[str, str]) -> tuple[Tensor, Tensor]:
    values = []
    for name in keys:
        key = name if name in target else name.removesuffix("es" if name == "boxes" else "s")
        if key not in target:
            raise BadInputError(f"the targets of an image have {', '.join(map(repr, target))}, but no {name!r}")
        values.append(torch.as_tensor(target[key]).detach().as_subclass(Tensor).float().cpu())
    boxes, labels = values
    return (boxes if boxes.numel() else boxes.reshape(0, 2 * dims)), labels.reshape(-1)


def _check(boxes: Tensor, labels: Tensor, dims: int, image: int) -> None:
    if boxes.shape != (len(labels), 2 * dims):
        raise BadInputError(
            f"sample {image} of the batch has boxes of shape {tuple(boxes.shape)} and {len(labels)} labels; "
            f"detection takes (N, {2 * dims}) and N labels"
        )
    # a comparison with NaN is false, a difference of infinities is NaN
    good = ((boxes[:, dims:] - boxes[:, :dims] > 0) & boxes[:, dims:].isfinite()).all(dim=1)
    if not bool(good.all()):
        raise BadInputError(
            f"sample {image} of the batch has the box {boxes[~good][0].tolist()}; minima come first, and must be "
            "finite and below the maxima"
        )
    whole = (labels >= 0) & (labels == labels.round())
    if not bool(whole.all()):
        raise BadInputError(
            f"sample {image} of the batch has a box of class {float(labels[~whole][0]):g}; classes count from 0, and "
            "-1 marks padding"
        )
