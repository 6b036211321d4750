"""A U-Net for landmarks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from monai.networks.nets import BasicUNet

from monai_robust.errors import BadInputError

__all__ = ["landmark_unet"]


def landmark_unet(
    landmarks: int,
    *,
    spatial_dims: int = 2,
    in_channels: int = 1,
    features: Sequence[int] = (16, 16, 32, 64, 128, 16),
    prior: float = 0.02,
) -> BasicUNet:
    """MONAI's ``BasicUNet`` with a heatmap and offset maps for each landmark, (B, L * (1 + D), *spatial).

    Heatmaps begin at the probability ``prior`` everywhere, about the share of pixels near a landmark, as the class maps
    of RetinaNet do (Lin et al. 2017, section 4.1). From one half everywhere, hundreds of iterations go into learning
    that most pixels are near no landmark.

    Args:
        landmarks: L, their number.
        spatial_dims: D, 2 or 3.
        in_channels: of the images.
        features: channels of the five levels, and of the last block.
        prior: between 0 and 1.

    Raises:
        BadInputError: for a number of landmarks or a prior that cannot work.
    """
    if landmarks < 1 or not 0 < prior < 1:
        raise BadInputError(
            f"there are {landmarks} landmarks and the prior is {prior}; they must be at least 1, and between 0 and 1"
        )
    channels = landmarks * (1 + spatial_dims)
    network = BasicUNet(spatial_dims, in_channels, channels, features=tuple(features))
    bias = network.final_conv.bias
    assert bias is not None  # BasicUNet's last convolution always has one
    with torch.no_grad():
        bias[:landmarks] = math.log(prior / (1 - prior))
    return network
