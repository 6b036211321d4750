"""An attack on an image that the network sees window by window, in the memory of few windows."""

from __future__ import annotations

import weakref

import pytest
import torch
from monai.inferers import SimpleInferer, SlidingWindowInferer
from torch import nn

from monai_robust.attacks import PGD
from monai_robust.errors import BadInputError
from monai_robust.inferers import SavedBytes, WithinMemory
from monai_robust.tasks import Inferred, LossTask, Segmentation


class Volumes(nn.Module):
    """A small 3-D network that tells how often it ran, and how many of its activations are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv3d(1, 4, 3, padding=1)
        self.norm = nn.InstanceNorm3d(4)
        self.last = nn.Conv3d(4, 2, 3, padding=1)
        self.calls = 0
        self.most_alive = 0
        self._alive: list[weakref.ref] = []

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        hidden = torch.nn.functional.silu(self.norm(self.first(inputs)))
        if torch.is_grad_enabled():
            self._alive.append(weakref.ref(hidden))
            self.most_alive = max(self.most_alive, sum(one() is not None for one in self._alive))
        return self.last(hidden)


@pytest.fixture
def volume():
    torch.manual_seed(0)
    return torch.rand(1, 1, 20, 20, 20), (torch.rand(1, 1, 20, 20, 20) > 0.5).long()


INFERER = SlidingWindowInferer(roi_size=(12, 12, 12), sw_batch_size=1, overlap=0.5, mode="gaussian")
WINDOWS = 27


def attacked(network, task, volume, limit=None):
    inputs, labels = volume

    def inferer(x, net):
        return INFERER(x, net if limit is None else WithinMemory(net.network, limit=limit, sizes=net.sizes))

    return PGD(eps=1.0, steps=3)(network, inputs, labels, task=Inferred(task, inferer))


@pytest.mark.parametrize("task", [Segmentation(), LossTask(nn.CrossEntropyLoss())], ids=["segmentation", "loss"])
def test_recomputed_windows_give_the_attack_of_the_whole_graph(task, volume):
    inputs, labels = volume
    if isinstance(task, LossTask):
        volume = inputs, labels[:, 0]
    torch.manual_seed(1)
    network = Volumes()
    whole = attacked(network, task, volume)
    assert network.calls == 3 * WINDOWS  # with this little, all graphs fit
    assert network.most_alive >= WINDOWS
    assert (whole - inputs).norm() > 0.9  # the attack moved
    torch.manual_seed(1)
    network = Volumes()
    recomputed = attacked(network, task, volume, limit=0)
    assert network.calls == 3 * (2 * WINDOWS - 1)  # of each pass, the first window's graph is kept
    assert network.most_alive <= 2
    assert torch.allclose(whole, recomputed, atol=1e-5)
    assert all(one.grad is None and one.requires_grad for one in network.parameters())


def test_windows_are_kept_as_far_as_memory_goes(volume):
    torch.manual_seed(1)
    network = Volumes()
    inputs, _ = volume
    sizes: dict[torch.Size, int] = {}
    leaf = inputs.clone().requires_grad_(True)
    network.requires_grad_(False)
    INFERER(leaf, WithinMemory(network, sizes=sizes)).sum().backward()
    (each,) = sizes.values()
    assert network.calls == WINDOWS
    network.calls = 0
    INFERER(leaf, WithinMemory(network, limit=5 * each, sizes=sizes)).sum().backward()
    assert network.calls == WINDOWS + (WINDOWS - 5)


def test_a_network_that_is_called_once_and_one_in_training_keep_their_graph(volume):
    network = Volumes()
    leaf = volume[0].clone().requires_grad_(True)
    network.requires_grad_(False)
    SimpleInferer()(leaf, WithinMemory(network, limit=0)).sum().backward()
    assert network.calls == 1
    network.requires_grad_(True)  # its own gradients: BatchNorm must not see a window twice
    network.calls = 0
    INFERER(leaf, WithinMemory(network, limit=0)).sum().backward()
    assert network.calls == WINDOWS


def test_a_negative_limit_is_refused():
    with pytest.raises(BadInputError, match="limit is -1"):
        WithinMemory(Volumes(), limit=-1)


def test_bytes_of_a_graph_are_those_of_its_activations_and_not_of_its_weights():
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8))
    network.requires_grad_(False)
    inputs = torch.rand(2, 4, requires_grad=True)
    saved = SavedBytes(network)
    with saved:
        network(inputs)
    assert (
        saved.bytes == 2 * 8 * 4
    )  # what ReLU gave; the linear layers need their weights alone, which are there anyway
    saved = SavedBytes(network.forward)  # a callable whose weights are not known
    with saved:
        network(inputs)
    assert saved.bytes > 2 * 8 * 4
