"""VGG16 with the head of the oncology stability study."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from monai_robust.data.files.weights import read_checkpoint
from monai_robust.errors import BadInputError
from monai_robust.scalars import checked_whole, is_number, is_whole

__all__ = ["VGG16"]

_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels and convolutions between the poolings


class VGG16(nn.Module):
    """Images (B, C, H, W) -> logits (B, classes): the 13 convolutions of VGG16, and layers of 4096 and 1024 units.

    Source: Joel et al., oncology stability, Table S2 (121,676,610 parameters at 224 pixels, three channels and two
    classes); the convolutions are those of Simonyan and Zisserman 2015. The paper prints no rate of dropout.

    Args:
        classes: number of logits.
        in_channels: of the images.
        image_size: height and width of the images, at least 32; the first layer of the head depends on it.
        dropout: its rate before each of the two first layers of the head.
        pretrained: a file with weights of VGG16 under the names that torchvision gives them. Those of the convolutions
            are taken, the head, which is another one, starts at random. With one channel the first convolution gets the
            sum over the three of the file, which answers to a grey image as it would to the same one repeated.

    Raises:
        BadInputError: for an image that is too small, or a file without those weights.
    """

    def __init__(
        self,
        classes: int = 2,
        in_channels: int = 3,
        image_size: int = 224,
        *,
        dropout: float = 0.5,
        pretrained: str | Path | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("classes", classes), ("in_channels", in_channels)):
            checked_whole(f"VGG16: {name}", value, 1)
        if not is_number(dropout, 0, 1):
            raise BadInputError(f"VGG16: dropout is {dropout!r}; it must be a share from 0 to 1")
        if not is_whole(image_size, 2 ** len(_STAGES)):
            raise BadInputError(f"VGG16 halves an image five times, so that {image_size} pixels are too few; use 32")
        side = image_size // 2 ** len(_STAGES)
        layers: list[nn.Module] = []
        channels = in_channels
        for width, convolutions in _STAGES:
            for _ in range(convolutions):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.image_size = image_size
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Flatten(),
            nn.Linear(channels * side * side, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(4096, 1024),
            nn.ReLU(inplace=True),
            nn.Linear(1024, classes),
        )
        if pretrained is not None:
            self._take(pretrained)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2:] != (self.image_size, self.image_size):
            raise BadInputError(
                f"the images are {tuple(x.shape[-2:])} pixels large; this VGG16 takes {self.image_size} x "
                f"{self.image_size}"
            )
        return self.classifier(self.features(x))

    def _take(self, path: str | Path) -> None:
        """Take the convolutions' weights from a file of torchvision's names."""
        found = read_checkpoint(path)
        own = self.features.state_dict(prefix="features.")
        missing = sorted(own.keys() - found.keys())
        if missing:
            raise BadInputError(
                f"{path} lacks {len(missing)} of the {len(own)} weights of the convolutions of VGG16, such as "
                f"{missing[0]}; give a file with the names of torchvision's VGG16"
            )
        taken = {name: found[name] for name in own}
        first = "features.0.weight"
        if own[first].shape[1] == 1 and taken[first].shape[1] == 3:
            taken[first] = taken[first].sum(dim=1, keepdim=True)
        odd = [name for name in own if taken[name].shape != own[name].shape]
        if odd:
            raise BadInputError(
                f"{path} holds {odd[0]} of shape {tuple(taken[odd[0]].shape)}; this VGG16 needs "
                f"{tuple(own[odd[0]].shape)}"
            )
        self.load_state_dict(taken, strict=False)
