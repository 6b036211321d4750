"""RetinaNet on a small ResNet."""

from __future__ import annotations

from collections.abc import Sequence

from monai.apps.detection.networks.retinanet_network import RetinaNet

from monai_robust.errors import BadInputError
from monai_robust.networks.pyramid import ResNetPyramid
from monai_robust.scalars import is_whole

__all__ = ["retinanet"]

GROUPS = 8  # of the group normalisation in MONAI's heads


def retinanet(
    classes: int,
    *,
    spatial_dims: int = 2,
    in_channels: int = 3,
    backbone: str = "resnet18",
    features: int = 64,
    returned_layers: Sequence[int] = (1, 2, 3),
    anchors: int = 3,
    extra_level: bool = False,
) -> RetinaNet:
    """MONAI's ``RetinaNet`` on a :class:`~monai_robust.networks.ResNetPyramid`, with random weights.

    It takes images (B, C, *size), whose sides should be multiples of the largest stride (16 by default), and returns
    ``{"classification": [(B, anchors * classes, *size / stride), ...], "box_regression": [(B, anchors * 2D, ...)]}``
    with one tensor for each level, in training and in evaluation alike.

    Source: Lin et al. 2017 (Focal loss for dense object detection); MONAI's heads have group normalisation.

    Args:
        classes: number of classes, without background.
        spatial_dims: 2 or 3.
        in_channels: of the images.
        backbone: "resnet10", "resnet18" or "resnet34".
        features: channels of the pyramid and of the heads, a multiple of 8; the original has 256.
        returned_layers: stages of the ResNet that become levels, of strides 4, 8, 16, 32.
        anchors: number of anchors at each position.
        extra_level: one more level, of twice the last stride.

    Raises:
        BadInputError: for arguments that cannot work.
    """
    for name, value in (("classes", classes), ("anchors", anchors)):
        if not is_whole(value, 1):
            raise BadInputError(f"the detector's number of {name} is {value}; it must be 1 or more")
    if features < GROUPS or features % GROUPS:
        raise BadInputError(f"the detector's features are {features}; they must be a multiple of {GROUPS}")
    pyramid = ResNetPyramid(
        backbone,
        spatial_dims=spatial_dims,
        in_channels=in_channels,
        features=features,
        returned_layers=returned_layers,
        extra_level=extra_level,
    )
    return RetinaNet(
        spatial_dims=spatial_dims,
        num_classes=classes,
        num_anchors=anchors,
        feature_extractor=pyramid,
        size_divisible=pyramid.strides[-1],
    )
