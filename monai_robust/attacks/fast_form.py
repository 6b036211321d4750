"""A network in a form whose input gradients cost less."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse
from torch.utils._pytree import tree_leaves, tree_map

from monai_robust.attacks.few_channels import with_space_to_depth

__all__ = ["FastForm", "exact", "fast_form"]

# Of the largest output: what adding numbers in another order can explain in single precision.
_AGREEMENT = 1e-3
_LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}


class FastForm(nn.Module):
    """A copy of a network that computes the same function in fewer operations.

    Batch normalisation, an affine map in evaluation mode, is folded into the convolution before it where the network
    can be traced; strided convolutions of few channels take pixels for channels
    (:class:`~monai_robust.attacks.few_channels.SpaceToDepth`); weights and inputs lie with channels last.

    Args:
        copied: a copy of a network in evaluation mode, folded where that was possible; it is changed.
        network: what was copied, by which successes are confirmed.
    """

    def __init__(self, copied: nn.Module, network: nn.Module) -> None:
        super().__init__()
        self.own = with_space_to_depth(copied).requires_grad_(False)
        self._copied_from = (network,)  # no module of this one
        for parameter in self.own.parameters():
            if parameter.ndim in _LAYOUTS:
                parameter.data = parameter.data.contiguous(memory_format=_LAYOUTS[parameter.ndim])

    def forward(self, inputs: Tensor, *arguments: Any, **keywords: Any) -> Any:
        layout = _LAYOUTS.get(inputs.ndim, torch.contiguous_format)
        outputs = self.own(inputs.contiguous(memory_format=layout), *arguments, **keywords)
        return tree_map(_usual, outputs)


def exact(network: Callable[..., Any]) -> Callable[..., Any]:
    """The network that a fast form was made of; any other network itself."""
    return network._copied_from[0] if isinstance(network, FastForm) else network


def fast_form(network: Callable[..., Any], run: Callable[[Callable[..., Any]], Any]) -> Callable[..., Any]:
    """A form of a network that takes less time; the network itself where no other one agrees with it.

    Args:
        network: any callable; only a ``torch.nn.Module`` in evaluation mode has other forms.
        run: outputs of a network, run as it will be, on a few samples. On these both forms must have the same outputs,
            but for rounding; a network that is random on purpose has not.
    """
    if not isinstance(network, nn.Module) or isinstance(network, FastForm):
        return network
    if any(module.training for module in network.modules()):
        return network
    with torch.no_grad():
        wanted = run(network)
        for copied in (fuse, copy.deepcopy):
            try:
                fast = FastForm(copied(network), network)
                if _agree(wanted, run(fast)):
                    return fast
            except Exception:  # what a network does may fail on a tracer or in another layout; it serves itself
                continue
    return network


def _agree(wanted: Any, found: Any) -> bool:
    ours, theirs = tree_leaves(wanted), tree_leaves(found)
    return len(ours) == len(theirs) and all(map(_near, ours, theirs))


def _near(wanted: Any, found: Any) -> bool:
    if not isinstance(wanted, Tensor) or not isinstance(found, Tensor):
        return wanted is found
    if wanted.shape != found.shape or not wanted.is_floating_point():
        return wanted.shape == found.shape and torch.equal(wanted, found)
    slack = _AGREEMENT * float(wanted.abs().max()) if wanted.numel() else 0.0
    return torch.allclose(wanted, found, rtol=0.0, atol=slack)


def _usual(output: Any) -> Any:
    """In the order of memory that a task may count on."""
    return output.contiguous() if isinstance(output, Tensor) else output
