"""Image transforms on a batch inside a training step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from monai_robust.errors import BadInputError

__all__ = ["apply_per_sample", "made_image"]


def apply_per_sample(transform: Callable[[Any], Any], batch: Tensor) -> Tensor:
    """Apply a transform of single images to each sample of a batch; a random transform draws for each anew.

    Args:
        transform: takes and returns an image (C, *spatial).
        batch: (B, C, *spatial); metadata is left behind. No gradient flows through the transform.

    Returns:
        A plain tensor of the shape, dtype and device of the batch.

    Raises:
        BadInputError: if the transform returns no image, or changes the shape of one, so that the samples form no batch
            any more.
    """
    values = batch.detach().as_subclass(Tensor)
    result = torch.empty_like(values)
    for index, sample in enumerate(values):
        # a copy, because a transform may write into what it is given
        changed = made_image(transform, transform(sample.clone()))
        if changed.shape != sample.shape:
            raise BadInputError(
                f"{type(transform).__name__} made {tuple(changed.shape)} of an image of shape {tuple(sample.shape)}; "
                "a view of a batch must keep its shape."
            )
        result[index] = changed
    return result


def made_image(transform: Callable[[Any], Any], made: Any) -> Tensor:
    """What a transform of single images made of one, as a plain tensor.

    Raises:
        BadInputError: for what is no image, such as nothing or a dictionary.
    """
    try:
        return torch.as_tensor(made).as_subclass(Tensor)
    except (RuntimeError, TypeError, ValueError) as error:
        name = getattr(transform, "__name__", type(transform).__name__)
        what = "None" if made is None else f"a {type(made).__name__}"
        raise BadInputError(
            f"the transform {name} made {what} of an image; it must return the image (C, *spatial) as a tensor or an "
            "array"
        ) from error
