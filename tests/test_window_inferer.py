"""Windows only where an image is larger than one: the prediction is MONAI's own, with fewer calls of the network."""

from __future__ import annotations

import pytest
import torch
from conftest import TinyNet
from monai.inferers import SlidingWindowInferer

from monai_robust.inferers import WindowInferer

SLIDING = {"sw_batch_size": 2, "overlap": 0.5, "mode": "gaussian"}


@pytest.fixture
def network() -> TinyNet:
    return TinyNet(dense=True).eval()


@pytest.mark.parametrize("size", [(8, 12), (8, 13), (11, 12), (16, 24), (5, 7)])
def test_the_prediction_is_that_of_monais_sliding_windows(network: TinyNet, size: tuple[int, int]) -> None:
    images = torch.rand(3, 1, *size)
    with torch.no_grad():
        expected = SlidingWindowInferer(roi_size=(8, 12), **SLIDING)(images, network)  # type: ignore[arg-type]
        found = WindowInferer((8, 12), **SLIDING)(images, network)
    assert found.shape == (3, 3, *size)
    assert torch.allclose(found, expected, atol=1e-5)


def test_an_image_of_one_window_is_one_call_of_the_network_with_what_it_was_given(network: TinyNet) -> None:
    seen: list[tuple[torch.Size, float]] = []

    def noted(images: torch.Tensor, shift: float = 0.0) -> torch.Tensor:
        seen.append((images.shape, shift))
        return network(images) + shift

    infer, images = WindowInferer((8, 12), **SLIDING), torch.rand(5, 1, 8, 12)
    with torch.no_grad():
        assert torch.equal(infer(images, noted, shift=2.0), network(images) + 2.0)
    assert seen == [(images.shape, 2.0)]
    infer(torch.rand(1, 1, 12, 8), noted)  # as large, and two windows
    assert seen[1:] == [(torch.Size([2, 1, 8, 12]), 0.0)]


def test_gradients_go_through_windows_as_through_the_network(network: TinyNet) -> None:
    images = torch.rand(2, 1, 8, 12, requires_grad=True)
    (own,) = torch.autograd.grad(WindowInferer((8, 12), **SLIDING)(images, network).square().sum(), images)
    sliding = SlidingWindowInferer(roi_size=(8, 12), **SLIDING)  # type: ignore[arg-type]
    (expected,) = torch.autograd.grad(sliding(images, network).square().sum(), images)
    assert own.norm() > 0
    assert torch.allclose(own, expected, atol=1e-4)
