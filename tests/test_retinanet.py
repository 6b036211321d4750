from __future__ import annotations

import sys

import pytest
import torch
from monai.apps.detection.networks.retinanet_network import RetinaNet

from monai_robust.errors import BadInputError
from monai_robust.networks import ResNetPyramid, retinanet


def test_a_retinanet_has_a_map_of_classes_and_one_of_boxes_for_each_level():
    network = retinanet(3, features=16, backbone="resnet10", anchors=2)
    assert isinstance(network, RetinaNet)
    assert network.size_divisible == (16, 16)
    for mode in (True, False):
        outputs = network.train(mode)(torch.rand(2, 3, 48, 32))
        assert [tuple(level.shape) for level in outputs["classification"]] == [
            (2, 6, 12, 8),
            (2, 6, 6, 4),
            (2, 6, 3, 2),
        ]
        assert [level.shape[1] for level in outputs["box_regression"]] == [8, 8, 8]


def test_a_volume_gets_a_pyramid_too():
    network = retinanet(2, spatial_dims=3, in_channels=1, backbone="resnet10", features=8, returned_layers=(1, 2))
    outputs = network(torch.rand(1, 1, 16, 24, 8))
    assert [tuple(level.shape[2:]) for level in outputs["classification"]] == [(4, 6, 2), (2, 3, 1)]
    assert outputs["box_regression"][0].shape[1] == 3 * 6


def test_levels_have_the_strides_that_the_pyramid_names():
    pyramid = ResNetPyramid("resnet10", features=8, returned_layers=(2, 4), extra_level=True)
    assert pyramid.strides == (8, 32, 64)
    levels = pyramid(torch.rand(1, 3, 64, 128))
    assert [tuple(level.shape[2:]) for level in levels] == [(64 // s, 128 // s) for s in pyramid.strides]


def test_stages_that_no_level_needs_are_not_built():
    shallow, deep = (
        sum(parameter.numel() for parameter in ResNetPyramid(features=8, returned_layers=layers).parameters())
        for layers in ((1, 2), (1, 2, 3))
    )
    assert shallow < deep / 3


def test_the_network_does_without_torchvision(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    network = retinanet(1, features=8, backbone="resnet10").eval()
    assert len(network(torch.rand(1, 3, 32, 32))["classification"]) == 3


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"backbone": "resnet50"}, "'resnet18'"),
        ({"features": 12}, "multiple of 8"),
        ({"returned_layers": (2, 1)}, "ascending"),
        ({"returned_layers": (0, 1)}, "from 1 to 4"),
        ({"anchors": 0}, "number of anchors is 0"),
        ({"spatial_dims": 4}, "spatial_dims is 4"),
    ],
)
def test_what_cannot_be_built_is_refused(wrong, named):
    with pytest.raises(BadInputError, match=named):
        retinanet(3, **wrong)
