"""Strided convolutions of images with few channels, such as radiographs, in a form whose gradients cost less."""

from __future__ import annotations

from itertools import chain
from math import ceil, prod
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["CONVOLUTIONS", "SpaceToDepth", "replaced", "with_space_to_depth"]

# Kernels of the processor are slow with fewer input channels than one of their blocks, and stems have one to four.
_CHANNELS, _BLOCK = 4, 16
_Convolution: TypeAlias = nn.Conv1d | nn.Conv2d | nn.Conv3d
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)  # what is derived from them may compute something else
_CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class SpaceToDepth(nn.Module):
    """A convolution with stride s of C channels, as one with stride 1 of C s^D channels.

    Pixels that a stride takes together become channels, and the kernel, filled up with zeros to a multiple of the
    stride, likewise: the same products are added in another order.

    Args:
        convolution: without dilation, groups or other padding than with zeros.
    """

    def __init__(self, convolution: _Convolution) -> None:
        super().__init__()
        self.stride, self.kernel = tuple(convolution.stride), tuple(convolution.kernel_size)
        self.padding = _padding(convolution)
        self.reach = tuple(ceil(size / step) for size, step in zip(self.kernel, self.stride, strict=True))
        with torch.no_grad():
            self.weight = nn.Parameter(self._weight(convolution.weight), requires_grad=False)
        self.bias = convolution.bias

    def _weight(self, weight: Tensor) -> Tensor:
        """(O, C s^D, *reach) of (O, C, *kernel)."""
        missing = [
            around * step - size for size, step, around in zip(self.kernel, self.stride, self.reach, strict=True)
        ]
        filled = F.pad(weight, [end for rest in reversed(missing) for end in (0, rest)])
        split = filled.reshape(*weight.shape[:2], *chain(*zip(self.reach, self.stride, strict=True)))
        dims = len(self.stride)
        order = [0, 1, *range(3, 3 + 2 * dims, 2), *range(2, 2 + 2 * dims, 2)]
        return split.permute(order).reshape(len(weight), -1, *self.reach)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, O, *ends) of (B, C, *spatial)."""
        ends, after = [], []
        for size, kernel, step, before, around in zip(
            inputs.shape[2:], self.kernel, self.stride, self.padding, self.reach, strict=True
        ):
            steps = (size + 2 * before - kernel) // step + around
            ends.append(steps)
            after.append(steps * step - size - before)  # negative where the last pixels are never reached
        around_image = [end for pair in zip(reversed(self.padding), reversed(after), strict=True) for end in pair]
        split = F.pad(inputs, around_image).reshape(*inputs.shape[:2], *chain(*zip(ends, self.stride, strict=True)))
        dims = len(ends)
        # channels last in memory
        order = [0, *range(2, 2 + 2 * dims, 2), 1, *range(3, 3 + 2 * dims, 2)]
        last = split.permute(order).reshape(len(inputs), *ends, -1)
        return _CONVOLVE[dims](last.movedim(-1, 1), self.weight, self.bias)


def with_space_to_depth(network: nn.Module) -> nn.Module:
    """The network, in which strided convolutions of few channels have been replaced; it is changed."""
    for module in list(network.modules()):
        if isinstance(module, _Convolution) and _pays(module):
            replaced(network, module, SpaceToDepth(module))
    return network


def replaced(network: nn.Module, module: nn.Module, other: nn.Module) -> None:
    """Put ``other`` wherever ``module`` is a part of the network."""
    for parent in list(network.modules()):
        for name, child in list(parent._modules.items()):
            if child is module:
                setattr(parent, name, other)


def _pays(convolution: _Convolution) -> bool:
    if type(convolution) not in CONVOLUTIONS or convolution._forward_hooks or convolution._forward_pre_hooks:
        return False
    taken_together = prod(convolution.stride)
    plain = convolution.groups == 1 and set(convolution.dilation) == {1} and convolution.padding_mode == "zeros"
    overlaps = all(size >= step for size, step in zip(convolution.kernel_size, convolution.stride, strict=True))
    few = convolution.in_channels <= _CHANNELS and convolution.in_channels * taken_together <= _BLOCK
    on_processor = convolution.weight.device.type == "cpu"
    return plain and overlaps and few and taken_together > 1 and on_processor


def _padding(convolution: _Convolution) -> tuple[int, ...]:
    if isinstance(convolution.padding, str):
        return (0,) * len(convolution.stride)  # "valid", since a stride knows no "same"
    return tuple(convolution.padding)
