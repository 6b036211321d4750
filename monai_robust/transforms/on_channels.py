"""A transform of the channels that are image, where an input has others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import Randomizable, Transform
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.transforms.batch import made_image
from monai_robust.transforms.intensity_range import like

__all__ = ["OnChannels"]


class OnChannels(Randomizable, Transform):
    """Apply a transform of single images to some channels of an image, and leave the others as they are.

    Inputs may hold channels that are no image, such as the clicks of a person or another image's label map.

    Args:
        transform: takes and returns an image (C, *spatial).
        channels: indices of the channels that it is given.

    Raises:
        BadInputError: without channels, for channels that an image does not have, or a transform that changes shapes.
    """

    def __init__(self, transform: Callable[[Any], Any], channels: Sequence[int]) -> None:
        self.transform = transform
        self.channels = list(channels)
        if not self.channels:
            raise BadInputError("channels is empty; list those that are image, such as [0]")

    @property
    def operations(self) -> Any:
        """The transform's operations, if it has any, by which it is known whether it moves what is in the image."""
        return getattr(self.transform, "operations", ())

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> OnChannels:
        """Seed the transform, where it draws."""
        if isinstance(self.transform, Randomizable):
            self.transform.set_random_state(seed, state)
        return self

    def __call__(self, image: Tensor) -> Tensor:
        """
        Args:
            image: (C, *spatial).

        Returns:
            Of the same shape, type and metadata.
        """
        values = torch.as_tensor(image).as_subclass(Tensor).clone()
        if max(self.channels) >= len(values) or min(self.channels) < 0:
            raise BadInputError(f"channels are {self.channels}, but the image has the channels 0 to {len(values) - 1}")
        changed = made_image(self.transform, self.transform(values[self.channels]))
        if changed.shape != values[self.channels].shape:
            raise BadInputError(
                f"{type(self.transform).__name__} made {tuple(changed.shape)} of {len(self.channels)} channels of an "
                f"image of shape {tuple(values.shape)}; the other channels cannot follow"
            )
        values[self.channels] = changed.to(values.dtype)
        return like(values, image)
