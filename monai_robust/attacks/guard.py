"""Leave a network exactly as it was found: modes, requires_grad, gradients and buffers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from monai.networks.layers.drop_path import DropPath
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.dropout import _DropoutNd

__all__ = ["bare", "same_in_both_modes", "untouched"]

Mode = Literal["eval", "train", "keep"]


def bare(network: Callable[..., Any]) -> Callable[..., Any]:
    """The module inside a data-parallel wrapper, whose forward pass would broadcast BatchNorm buffers."""
    wrappers = (nn.parallel.DistributedDataParallel, nn.DataParallel)
    return network.module if isinstance(network, wrappers) else network


def same_in_both_modes(network: nn.Module) -> bool:
    """Whether the first output of a network is the same in training and in evaluation mode, as far as MONAI's and
    torch's own layers tell: no batch statistics, no dropout."""
    return not any(
        isinstance(module, _BatchNorm)
        or (isinstance(module, _NormBase) and module.track_running_stats)
        or (isinstance(module, (_DropoutNd, DropPath)) and _probability(module) > 0)
        or (isinstance(module, nn.MultiheadAttention) and module.dropout > 0)
        for module in network.modules()
    )


def _probability(module: nn.Module) -> float:
    return float(getattr(module, "p", getattr(module, "drop_prob", 0.0)))


@contextmanager
def untouched(network: Callable[..., Any], mode: Mode = "eval") -> Iterator[None]:
    """Run ``network`` in ``mode`` without parameter gradients, and restore it on every way out.

    Args:
        network: any callable; what is not a ``torch.nn.Module`` has no state to guard.
        mode: ``"eval"``, ``"train"`` (batch statistics are used, running statistics restored) or ``"keep"``.
    """
    if not isinstance(network, nn.Module):
        yield
        return
    modes = [(module, module.training) for module in network.modules()]
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    buffers: list[tuple[torch.Tensor, torch.Tensor]] = []
    try:
        if mode != "keep":
            network.train(mode == "train")
        if any(module.training for module in network.modules()):
            buffers = [(buffer, buffer.detach().clone()) for buffer in network.buffers()]
        for parameter in trainable:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
        for module, training in modes:
            module.training = training
        with torch.no_grad():
            for buffer, saved in buffers:
                buffer.copy_(saved)
