"""Which layer of a network tells of features, and which of places: found by hooks while it runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from monai_robust.errors import BadInputError

__all__ = ["Layers", "features_of", "find_layers"]


@dataclass
class Layers:
    """Layers of a network by the names of its modules.

    Attributes:
        features: the last linear layer, whose input are the penultimate features; None where there is none.
        spatial: the last layer whose output still has places, for Grad-CAM; None where there is none.
    """

    features: str | None = None
    spatial: str | None = None
    runs: Counter[str] = field(default_factory=Counter)


@torch.no_grad()
def find_layers(network: nn.Module, inputs: Tensor) -> Layers:
    """The layers of a network, in the order in which one pass ends them.

    Args:
        network: ``inputs -> logits``.
        inputs: (B, C, *spatial).
    """
    found, spatial, handles = Layers(), [], []

    def hook(name: str) -> Any:
        def see(module: nn.Module, given: Any, output: Any) -> None:
            found.runs[name] += 1
            if isinstance(module, nn.Linear):
                found.features = name
            if isinstance(output, Tensor) and output.ndim == inputs.ndim and output.shape[2:].numel() > 1:
                spatial.append(name)

        return see

    for name, module in network.named_modules():
        if name:
            handles.append(module.register_forward_hook(hook(name)))
    try:
        network(inputs)
    finally:
        for handle in handles:
            handle.remove()
    found.spatial = next((name for name in reversed(spatial) if found.runs[name] == 1), None)
    return found


@torch.no_grad()
def features_of(network: nn.Module, inputs: Tensor, layer: str) -> Tensor:
    """The input of a layer, (B, F), what has places averaged over them.

    Args:
        network: ``inputs -> logits``.
        inputs: (B, C, *spatial).
        layer: the name of a module.

    Raises:
        BadInputError: for a layer that there is not, or one that is given no tensor with a row for each sample.
    """
    with _input_of(network, layer) as seen:
        network(inputs)
    if len(seen) != 1 or not isinstance(seen[0], Tensor) or len(seen[0]) != len(inputs) or seen[0].ndim < 2:
        raise BadInputError(
            f"the layer {layer!r} is given no features of each sample once; name another layer of the network"
        )
    values = seen[0].float()
    return values if values.ndim == 2 else values.flatten(2).mean(dim=2)


@contextmanager
def _input_of(network: nn.Module, layer: str) -> Iterator[list[Any]]:
    modules = dict(network.named_modules())
    if layer not in modules:
        known = ", ".join([name for name in modules if name][-5:])
        raise BadInputError(f"the network has no layer {layer!r}; its last ones are {known}")
    seen: list[Any] = []
    handle = modules[layer].register_forward_pre_hook(lambda module, given: seen.append(given[0] if given else None))
    try:
        yield seen
    finally:
        handle.remove()
