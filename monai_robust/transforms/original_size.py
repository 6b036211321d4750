"""The size of an image in its file, noted before a pipeline changes it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import TransformBackends

from monai_robust.errors import BadInputError, BadSampleError

__all__ = ["OriginalSized"]


class OriginalSized(MapTransform):
    """Note the spatial size of an image, so that what is found in it can be told in pixels of its file.

    It stands right after the transform that loads the image, channel first, (C, X, Y[, Z]).

    Args:
        keys: the image; several (such as image and label map) must have one size.
        size_key: what the sample then calls the size, a tensor (D,) of integers in the order of the image's axes.
        allow_missing_keys: skip keys that are not there.
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]  # noqa: RUF012 (declared so by MONAI)

    def __init__(
        self, keys: KeysCollection = "image", size_key: str = "original_size", allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.size_key = size_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The dictionary with the size.

        Raises:
            BadSampleError: if images of one sample differ in size.
            BadInputError: if there is no image yet, only its file name.
        """
        items = dict(data)
        sizes = {str(key): _size(str(key), items[key]) for key in self.key_iterator(items)}
        if len(set(sizes.values())) > 1:
            listed = ", ".join(f"{key} {size}" for key, size in sizes.items())
            raise BadSampleError(f"what should be of one size is not: {listed}; note the size of one of them only")
        if sizes:
            items[self.size_key] = torch.tensor(next(iter(sizes.values())))
        return items


def _size(key: str, image: Any) -> tuple[int, ...]:
    if not hasattr(image, "shape"):
        raise BadInputError(f"{key} is no image yet but {image!r}; put OriginalSized after the transform that loads it")
    return tuple(image.shape[1:])
