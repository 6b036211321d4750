"""The classifiers of few layers whose robustness the model complexity study compares with that of ResNet-50."""

from __future__ import annotations

import torch.nn.functional as F
from monai.networks.blocks import Convolution
from torch import Tensor, nn

from monai_robust.errors import BadInputError, require_choice
from monai_robust.scalars import checked_whole, is_whole

__all__ = ["CBRLargeT", "SmallResNet"]


class CBRLargeT(nn.Module):
    """Images (B, C, H, W) -> logits (B, classes): five times convolution (7 x 7), batch norm, ReLU, max-pooling.

    Source: Rodriguez et al. 2022, "On the role of deep learning model complexity in adversarial robustness for medical
    images", Methods: 32 filters at first and twice as many at each convolution, pooling windows of 3 with stride 2.
    The paper does not say how the last feature map becomes a vector: here by its mean, after the CBR family of Raghu et
    al. 2019 (Transfusion).

    Args:
        classes: number of logits.
        in_channels: of the images.
        features: filters of the first convolution.
        spatial_dims: 2 or 3.
    """

    def __init__(self, classes: int = 2, in_channels: int = 1, *, features: int = 32, spatial_dims: int = 2) -> None:
        super().__init__()
        require_choice("CBRLargeT: spatial_dims", spatial_dims, (2, 3))
        for name, value in (("classes", classes), ("in_channels", in_channels), ("features", features)):
            checked_whole(f"CBRLargeT: {name}", value, 1)
        pool = nn.MaxPool2d if spatial_dims == 2 else nn.MaxPool3d
        layers: list[nn.Module] = []
        channels = in_channels
        for stage in range(5):
            width = features * 2**stage
            layers += [
                Convolution(spatial_dims, channels, width, kernel_size=7, act="RELU", norm="BATCH", adn_ordering="NA"),
                pool(3, stride=2, padding=1),
            ]
            channels = width
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).flatten(2).mean(dim=2))


class SmallResNet(nn.Module):
    """Images (B, C, H, W) -> logits (B, classes): a residual network of 6n + 2 layers, ResNet-8, -20, -32, ...

    Three stages of n residual blocks with 16, 32 and 64 filters; where the number of filters changes, the shortcut is a
    convolution of 1 x 1. Source: He et al. 2016, section 4.2, in the form that the model complexity study's framework
    (Keras) has them.

    Args:
        depth: 8, 14, 20, 26, 32, ...
        classes: number of logits.
        in_channels: of the images.
        features: filters of the first stage.

    Raises:
        BadInputError: for a depth that is none.
    """

    def __init__(self, depth: int = 20, classes: int = 2, in_channels: int = 1, *, features: int = 16) -> None:
        super().__init__()
        for name, value in (("classes", classes), ("in_channels", in_channels), ("features", features)):
            checked_whole(f"SmallResNet: {name}", value, 1)
        if not is_whole(depth, 8) or (depth - 2) % 6:
            raise BadInputError(f"there is no residual network of {depth} layers; the depth is 8, 14, 20, 26, 32, ...")
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, features, 3, padding=1, bias=False), nn.BatchNorm2d(features), nn.ReLU(inplace=True)
        )
        blocks: list[nn.Module] = []
        channels = features
        for stage in range(3):
            width = features * 2**stage
            for place in range((depth - 2) // 6):
                blocks.append(_Block(channels, width, stride=2 if stage and not place else 1))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean(dim=(2, 3)))


class _Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.shortcut = nn.Identity() if channels == width else nn.Conv2d(channels, width, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.path(x) + self.shortcut(x))
