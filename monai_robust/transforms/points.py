"""Landmarks that follow their image through a pipeline."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.data.utils import to_affine_nd
from monai.transforms import MapTransform, Transform
from monai.transforms.utils import apply_affine_to_points
from monai.utils import MetaKeys, TransformBackends
from torch import Tensor

from monai_robust.errors import BadInputError, BadSampleError

__all__ = ["PointsToLabel", "PointsToLabeld"]


class PointsToLabel(Transform):
    """Landmarks in pixels of an image's file become the label of what a pipeline has made of the image.

    Resizing, cropping, padding, flips, rotations and other affine transforms are followed by the affine that MONAI
    keeps with the image, also while they are pending; transforms that no matrix describes (elastic ones) are not.
    The centre of pixel i is at i, in the file and in the label. In a mirrored image (the transforms together change
    handedness) the landmarks of each pair in ``swaps`` take each other's place.

    Args:
        swaps: pairs of names, left and right, such as ``[("eye_left", "eye_right")]``.
        names: of the landmarks, in their order; needed for ``swaps``.

    Raises:
        BadInputError: ``swaps`` is not made of pairs of ``names``.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 (declared so by MONAI)

    def __init__(self, swaps: Sequence[Sequence[str]] = (), names: Sequence[str] = ()) -> None:
        self.order = _mirrored_order(names, swaps)

    def __call__(  # type: ignore[override]  # MONAI declares one argument, its own array transforms take more
        self, points: Any, image: Any, spacing: Sequence[float] | None = None
    ) -> Tensor:
        """The label of one image.

        Args:
            points: (L, D) in pixels of the file, in the order of the image's axes; NaN where a landmark is missing.
            image: (C, *spatial) with its affine, loaded by MONAI.
            spacing: (D,) mm per pixel of the file along each axis; by default what the file itself says.

        Returns:
            Float32 tensor (L, 2D): where the landmarks are in pixels of ``image``, NaN where missing or outside it,
            then mm per pixel along each of its axes.

        Raises:
            BadInputError: ``image`` has lost its affine, or there are not as many points as names.
            BadSampleError: points or spacing have not one number for each axis of the image.
        """
        if not isinstance(image, MetaTensor) or MetaKeys.ORIGINAL_AFFINE not in image.meta:
            raise BadInputError(
                "the image has no affine to follow; put PointsToLabel before EnsureTyped(track_meta=False)"
            )
        size = tuple(image.peek_pending_shape())
        dims = len(size)
        placed = torch.as_tensor(np.asarray(points, dtype=np.float64))
        if placed.ndim != 2 or placed.shape[1] != dims:
            raise BadSampleError(f"points have shape {tuple(placed.shape)}; an image of {dims} axes needs (L, {dims})")
        original = _matrix(image.meta[MetaKeys.ORIGINAL_AFFINE], dims)
        to_file = torch.linalg.inv(original) @ _matrix(image.peek_pending_affine(), dims)
        placed = apply_affine_to_points(placed[None], torch.linalg.inv(to_file))[0]
        inside = ((placed >= -0.5) & (placed <= torch.tensor(size) - 0.5)).all(dim=1, keepdim=True)
        placed = torch.where(inside, placed, torch.nan)
        if torch.linalg.det(to_file[:dims, :dims]) < 0:
            placed = self._renamed(placed)
        edge = torch.diag(_spacing(spacing, original, dims)) @ to_file[:dims, :dims]
        millimetres = torch.linalg.vector_norm(edge, dim=0).expand(len(placed), dims)
        return torch.cat([placed, millimetres], dim=1).float()

    def _renamed(self, points: Tensor) -> Tensor:
        if not self.order:
            return points
        if len(points) != len(self.order):
            raise BadInputError(f"there are {len(points)} points for the {len(self.order)} names of PointsToLabel")
        return points[self.order]


class PointsToLabeld(MapTransform):
    """Dictionary version of :class:`PointsToLabel`, to stand behind all spatial transforms of the image.

    The points and their spacing leave the dictionary: they are told in pixels of the file and hold no more.

    Args:
        keys: of the points.
        image_key: of the image, a MetaTensor.
        spacing_key: of mm per pixel of the file; where there is none, or None, the image file's own spacing counts.
        label_key: what the label is to be called.
        swaps: pairs of names, left and right.
        names: of the landmarks, in their order.
        allow_missing_keys: leave a sample without points as it is.
    """

    backend = PointsToLabel.backend

    def __init__(
        self,
        keys: KeysCollection = "points",
        image_key: str = "image",
        spacing_key: str = "spacing",
        label_key: str = "label",
        swaps: Sequence[Sequence[str]] = (),
        names: Sequence[str] = (),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if len(self.keys) != 1:
            raise BadInputError(f"keys is {keys!r}; PointsToLabeld takes the one key of the points")
        self.image_key, self.spacing_key, self.label_key = image_key, spacing_key, label_key
        self.converted = PointsToLabel(swaps, names)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The dictionary with the label instead of points and spacing."""
        items = dict(data)
        for key in self.key_iterator(items):
            points, spacing = items.pop(key), items.pop(self.spacing_key, None)
            items[self.label_key] = self.converted(points, items[self.image_key], spacing)
        return items


def _mirrored_order(names: Sequence[str], swaps: Sequence[Sequence[str]]) -> list[int]:
    """For each landmark of a mirrored image the index of the one whose place it takes."""
    order = list(range(len(names)))
    listed = list(names)
    for pair in swaps:
        if isinstance(pair, str) or len(pair) != 2 or not set(pair) <= set(names) or pair[0] == pair[1]:
            raise BadInputError(f"swaps has {pair!r}; it needs pairs of two of the landmarks {', '.join(names)}")
        first, second = (listed.index(name) for name in pair)
        if order[first] != first or order[second] != second:
            raise BadInputError(f"swaps has {pair!r}, but one of the two is in another pair already")
        order[first], order[second] = second, first
    return order


def _matrix(affine: Any, dims: int) -> Tensor:
    return torch.as_tensor(to_affine_nd(dims, torch.as_tensor(affine, dtype=torch.float64)))


def _spacing(given: Sequence[float] | None, original: Tensor, dims: int) -> Tensor:
    if given is None:
        return torch.linalg.vector_norm(original[:dims, :dims], dim=0)
    spacing = torch.as_tensor(np.asarray(given, dtype=np.float64)).flatten()
    if len(spacing) != dims or not bool((spacing > 0).all()):
        raise BadSampleError(f"spacing is {list(given)!r}; it needs a positive number of mm for each of {dims} axes")
    return spacing
