"""Feature pyramids for detectors, without torchvision."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from monai.networks.blocks.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool
from monai.networks.nets.resnet import ResNetFeatures
from torch import Tensor, nn

from monai_robust.errors import BadInputError, require_choice
from monai_robust.scalars import checked_whole, is_whole

__all__ = ["BACKBONES", "ResNetPyramid"]

BACKBONES = ("resnet10", "resnet18", "resnet34")
CHANNELS = (64, 128, 256, 512)  # of the four stages of a ResNet with basic blocks


class ResNetPyramid(nn.Module):
    """The stages of a ResNet and a feature pyramid over some of them; 2-D or 3-D.

    Stage k has stride 2 * 2^k: 4, 8, 16, 32 pixels. Stages beyond the last one that is returned are not built. MONAI's
    own extractor does the same by way of torchvision, which is not needed here.

    Source: Lin et al. 2017 (feature pyramid networks).

    Args:
        backbone: "resnet10", "resnet18" or "resnet34", with random weights.
        spatial_dims: 2 or 3.
        in_channels: of the images.
        features: channels of every level of the pyramid.
        returned_layers: stages that become levels, ascending, from 1 to 4.
        extra_level: one more level with half the resolution of the last one, by subsampling.

    Attributes:
        out_channels: ``features``.
        strides: pixels from one position of a level to the next, for each level.

    Raises:
        BadInputError: for another backbone, or layers that are not ascending numbers from 1 to 4.
    """

    def __init__(
        self,
        backbone: str = "resnet18",
        *,
        spatial_dims: int = 2,
        in_channels: int = 3,
        features: int = 64,
        returned_layers: Sequence[int] = (1, 2, 3),
        extra_level: bool = False,
    ) -> None:
        super().__init__()
        require_choice("the detector's backbone", backbone, BACKBONES)
        require_choice("spatial_dims", spatial_dims, (2, 3))
        for name, value in (("in_channels", in_channels), ("features", features)):
            checked_whole(f"the detector's {name}", value, 1)
        layers = tuple(returned_layers) if isinstance(returned_layers, Iterable) else (returned_layers,)
        if not layers or not all(map(is_whole, layers)) or list(layers) != sorted(set(layers) & {1, 2, 3, 4}):
            raise BadInputError(f"returned_layers are {list(layers)}; they must be ascending numbers from 1 to 4")
        body = ResNetFeatures(backbone, pretrained=False, spatial_dims=spatial_dims, in_channels=in_channels)
        self.stem = nn.Sequential(body.conv1, body.bn1, body.act, body.maxpool)
        self.stages = nn.ModuleList([body.layer1, body.layer2, body.layer3, body.layer4][: layers[-1]])
        self.pyramid = FeaturePyramidNetwork(
            spatial_dims,
            [CHANNELS[layer - 1] for layer in layers],
            features,
            LastLevelMaxPool(spatial_dims) if extra_level else None,
        )
        self.returned_layers = layers
        self.out_channels = features
        strides = [2 * 2**layer for layer in layers]
        self.strides = (*strides, 2 * strides[-1]) if extra_level else tuple(strides)

    def forward(self, images: Tensor) -> list[Tensor]:
        """The levels (B, features, *size / stride), finest first, of images (B, C, *size)."""
        x = self.stem(images)
        levels: dict[str, Tensor] = {}
        for layer, stage in enumerate(self.stages, start=1):
            x = stage(x)
            if layer in self.returned_layers:
                levels[str(layer)] = x
        return list(self.pyramid(levels).values())
