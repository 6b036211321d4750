"""Leave a network exactly as it was found: modes, requires_grad, gradients and buffers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import nn

__all__ = ["bare", "untouched"]

Mode = Literal["eval", "train", "keep"]


def bare(network: Callable[..., Any]) -> Callable[..., Any]:
    """The module inside a data-parallel wrapper, whose forward pass would broadcast BatchNorm buffers."""
    wrappers = (nn.parallel.DistributedDataParallel, nn.DataParallel)
    return network.module if isinstance(network, wrappers) else network


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
