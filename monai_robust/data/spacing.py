"""How large a pixel of an image is."""

from __future__ import annotations

from typing import Any

import torch
from monai.data import MetaTensor

__all__ = ["known_spacing"]


def known_spacing(image: Any) -> tuple[float, ...] | None:
    """The size of a pixel along each axis, in mm, by the image's affine.

    Args:
        image: (C, *spatial); anything but a ``MetaTensor`` tells nothing.

    Returns:
        A number for each axis; None where the image does not tell, to which MONAI gives the identity as affine.
    """
    if not isinstance(image, MetaTensor) or image.is_batch:
        return None
    affine = torch.as_tensor(image.affine, dtype=torch.float64)
    if torch.equal(affine, torch.eye(len(affine), dtype=torch.float64)):
        return None
    sizes = tuple(float(size) for size in image.pixdim)
    return sizes if len(sizes) == image.ndim - 1 and all(size > 0 for size in sizes) else None
