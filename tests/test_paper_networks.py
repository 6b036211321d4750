"""The classifiers of the papers, by their numbers of weights."""

from __future__ import annotations

import itertools

import pytest
import torch
from monai.networks.nets import resnet50
from torch import nn

from monai_robust.errors import BadInputError
from monai_robust.networks import VGG16, CBRLargeT, SmallResNet

# Table S2 of the oncology stability study, layer by layer
VGG_LAYERS = [
    *(1792, 36928, 73856, 147584, 295168, 590080, 590080, 1180160),
    *(2359808, 2359808, 2359808, 2359808, 2359808, 102764544, 4195328, 2050),
]
# torchvision's names of the convolutions of VGG16, and their shapes
TORCHVISION = {
    **{0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128), 12: (256, 256), 14: (256, 256)},
    **{17: (512, 256), 19: (512, 512), 21: (512, 512), 24: (512, 512), 26: (512, 512), 28: (512, 512)},
}


def weights(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_vgg16_has_the_printed_numbers_of_weights_layer_by_layer():
    with torch.device("meta"):
        network = VGG16()
    layers = [one for one in network.modules() if isinstance(one, (nn.Conv2d, nn.Linear))]
    assert [weights(one) for one in layers] == VGG_LAYERS
    assert weights(network) == 121_676_610


def torchvision_weights() -> dict[str, torch.Tensor]:
    found = {}
    for place, (width, channels) in TORCHVISION.items():
        found[f"features.{place}.weight"] = torch.randn(width, channels, 3, 3)
        found[f"features.{place}.bias"] = torch.randn(width)
    return found | {"classifier.0.weight": torch.zeros(1), "classifier.0.bias": torch.zeros(1)}


@pytest.mark.parametrize("channels", [3, 1])
def test_vgg16_takes_torchvisions_convolutions(tmp_path, channels):
    given = torchvision_weights()
    torch.save(given, tmp_path / "vgg16.pth")
    network = VGG16(2, channels, 32, pretrained=tmp_path / "vgg16.pth").eval()
    own = network.state_dict()
    assert {name for name in own if name.startswith("features")} == {name for name in given if "features" in name}
    for name in given:
        if name.startswith("features") and not (channels == 1 and name == "features.0.weight"):
            assert torch.equal(own[name], given[name])
    if channels == 1:
        grey = torch.rand(1, 1, 8, 8)
        expected = nn.functional.conv2d(grey.expand(-1, 3, -1, -1), given["features.0.weight"])
        assert torch.allclose(nn.functional.conv2d(grey, own["features.0.weight"]), expected, atol=1e-5)


def test_weights_of_another_network_and_images_that_do_not_fit_are_refused(tmp_path):
    given = torchvision_weights()
    del given["features.28.bias"]
    torch.save(given, tmp_path / "odd.pth")
    with pytest.raises(BadInputError, match=r"lacks 1 of the 26 weights .* features\.28\.bias"):
        VGG16(2, 3, 32, pretrained=tmp_path / "odd.pth")
    with pytest.raises(BadInputError, match="too few"):
        VGG16(image_size=16)
    network = VGG16(2, 1, 32)
    with pytest.raises(BadInputError, match="32 x 32"):
        network(torch.rand(1, 1, 64, 64))
    assert network(torch.rand(2, 1, 32, 32)).shape == (2, 2)


def test_cbr_large_t_by_hand():
    widths = [1, 32, 64, 128, 256, 512]
    convolutions = sum(49 * before * after + after for before, after in itertools.pairwise(widths))
    norms = sum(2 * width for width in widths[1:])
    network = CBRLargeT(classes=4)
    assert weights(network) == convolutions + norms + 512 * 4 + 4
    assert network.eval()(torch.rand(2, 1, 64, 64)).shape == (2, 4)


@pytest.mark.parametrize("depth", [8, 20, 32])
def test_small_residual_networks_by_hand(depth):
    n = (depth - 2) // 6
    count, before = 9 * 3 * 16 + 32, 16
    for width in (16, 32, 64):
        for _ in range(n):
            count += 9 * before * width + 9 * width * width + 4 * width + (before * width if before != width else 0)
            before = width
    network = SmallResNet(depth, classes=10, in_channels=3)
    assert weights(network) == count + 64 * 10 + 10
    layers = [one for one in network.modules() if isinstance(one, (nn.Conv2d, nn.Linear)) and one.weight.shape[-1] != 1]
    assert len(layers) == depth
    assert network.eval()(torch.rand(2, 3, 32, 32)).shape == (2, 10)


def test_the_order_of_complexity_is_that_of_the_paper():
    with torch.device("meta"):
        sizes = [weights(SmallResNet(depth, 3)) for depth in (8, 20, 32)]
        sizes.append(weights(resnet50(spatial_dims=2, n_input_channels=1, num_classes=3)))
    assert sizes == sorted(sizes)
    with pytest.raises(BadInputError, match="of 10 layers"):
        SmallResNet(10)


def test_resnet50_is_hes_but_for_biases_of_its_shortcuts():
    """25,557,032 weights with three channels and 1000 classes; shortcuts have biases in MONAI."""
    with torch.device("meta"):
        network = resnet50(spatial_dims=2, n_input_channels=1, num_classes=2, conv1_t_stride=2)
    classifier, first = 2048 * (1000 - 2) + (1000 - 2), 7 * 7 * 64 * (3 - 1)
    assert weights(network) == 25_557_032 - classifier - first + (256 + 512 + 1024 + 2048)
