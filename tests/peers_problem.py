"""A small fixed problem, made by formulas, on which attacks of ours and of other libraries must agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

FIXTURE = Path(__file__).parent / "peers" / "adversarials.npz"
EPS = {"l2": 0.25, "linf": 0.03}  # so small that not even the longest step, twice the radius, meets the bounds
# name: norm, steps, what all steps together could travel in radii
STEPPED = {
    "fgsm": ("linf", 1, 1.0),
    "bim": ("linf", 10, 1.0),
    "pgd_linf": ("linf", 20, 2.5),
    "pgd_l2": ("l2", 20, 2.5),
}
APGD_STEPS, FIRST_CHECKPOINT = 100, 22


def _waves(*shape: int, phase: float) -> Tensor:
    """Numbers in [-1, 1] that look random and depend on no generator."""
    places = np.arange(1, 1 + np.prod(shape, dtype=int), dtype=np.float64)
    return torch.from_numpy(np.sin(places * places * 0.7 + places + phase).astype(np.float32).reshape(shape))


def fixed_network(classes: int = 3) -> nn.Module:
    """Two convolutions and a linear layer for 8 x 8 pixels, smooth, in evaluation mode."""
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.SiLU(), nn.Conv2d(4, 4, 3, stride=2, padding=1), nn.SiLU(), nn.Flatten()
    ).append(nn.Linear(64, classes))
    with torch.no_grad():
        for phase, parameter in enumerate(network.parameters()):
            parameter.copy_(_waves(*parameter.shape, phase=float(phase)))
    return network.eval()


def fixed_inputs(network: nn.Module, size: int = 4) -> tuple[Tensor, Tensor]:
    """Inputs (size, 1, 8, 8) well inside [0, 1], and the classes the network sees in them."""
    inputs = 0.5 + 0.15 * _waves(size, 1, 8, 8, phase=0.5)
    with torch.no_grad():
        return inputs, network(inputs).argmax(dim=1)


class Recorder(nn.Module):
    """A network that keeps the inputs at which its gradient was wanted."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.points = network, list[Tensor]()

    def forward(self, inputs: Tensor) -> Tensor:
        if inputs.requires_grad:
            self.points.append(inputs.detach().clone())
        return self.network(inputs)
