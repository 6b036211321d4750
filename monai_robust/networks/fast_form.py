"""A network in a form whose input gradients cost less."""

from __future__ import annotations

import copy
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._pytree import tree_leaves, tree_map

from monai_robust.networks.few_channels import CONVOLUTIONS, replaced, with_space_to_depth

__all__ = ["FastForm", "exact", "fast_form"]

# What adding numbers in another order can explain in single precision: of an output, of the length of a gradient (where
# a unit at the edge of its activation may fall to the other side), and the noise that keeps pixels from being equal.
_OUTPUTS, _GRADIENTS, _NOISE = 1e-3, 1e-2, 1e-2
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}

_LOG = logging.getLogger(__name__)

Run = Callable[[Callable[..., Any], Tensor], Any]


class FastForm(nn.Module):
    """A copy of a network that computes the same function in fewer operations.

    Batch normalisation, an affine map in evaluation mode, is folded into the convolution before it; strided
    convolutions of few channels take pixels for channels (:class:`~monai_robust.networks.few_channels.SpaceToDepth`);
    weights and inputs lie with channels last.

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


def fast_form(network: Callable[..., Any], run: Run, inputs: Tensor) -> Callable[..., Any]:
    """A form of a network that takes less time; the network itself where no other one agrees with it.

    Args:
        network: any callable; only a ``torch.nn.Module`` in evaluation mode has other forms.
        run: ``(network, inputs) -> outputs``, as it will be run.
        inputs: a few samples (R, C, *spatial). On these both forms must have the same outputs, and the same gradients
            of them, but for rounding; a network that is random on purpose has not.
    """
    if not isinstance(network, nn.Module) or isinstance(network, FastForm):
        return network
    if any(module.training for module in network.modules()):
        return network
    try:
        fast = FastForm(_folded(copy.deepcopy(network), run, inputs), network)
        agree = _agree(network, fast, run, inputs)
    except Exception as error:  # what a network does may fail on a copy, in another layout or on a few samples
        _LOG.info("%s is attacked as it is: %s", type(network).__name__, error, exc_info=error)
        return network
    if not agree:
        _LOG.info("%s is attacked as it is: its faster form computes something else", type(network).__name__)
    return fast if agree else network


def _folded(copied: nn.Module, run: Run, inputs: Tensor) -> nn.Module:
    """The copy, with batch normalisations folded into convolutions whose output they were seen to take in one pass."""
    made: dict[int, tuple[nn.Module, Tensor]] = {}
    taken: dict[nn.Module, nn.Module] = {}
    calls: Counter[nn.Module] = Counter()

    def after(convolution: nn.Module, _: Any, output: Tensor) -> None:
        calls[convolution] += 1
        made[id(output)] = convolution, output  # kept, so that no other tensor gets its id

    def before(norm: nn.Module, given: tuple[Any, ...]) -> None:
        calls[norm] += 1
        if given and id(given[0]) in made:
            taken[norm] = made[id(given[0])][0]

    plain = [module for module in copied.modules() if not (module._forward_hooks or module._forward_pre_hooks)]
    watching = [one.register_forward_hook(after) for one in plain if type(one) in CONVOLUTIONS]
    watching += [one.register_forward_pre_hook(before) for one in plain if type(one) in _NORMS]
    try:
        with torch.no_grad():
            run(copied, inputs)
    finally:
        for handle in watching:
            handle.remove()
    for norm, convolution in taken.items():
        if calls[norm] == calls[convolution] == 1 and norm.running_mean is not None:
            replaced(copied, convolution, fuse_conv_bn_eval(convolution, norm))  # type: ignore[arg-type,type-var]
            replaced(copied, norm, nn.Identity())
    return copied


def _agree(network: nn.Module, fast: nn.Module, run: Run, inputs: Tensor) -> bool:
    """Whether both have the same outputs, and the same gradients of them, for ``inputs`` with a little noise: where an
    image is flat, a maximum has several places and so the gradient several values."""
    draw = torch.Generator().manual_seed(0)
    spread = (inputs.max() - inputs.min()).item() * _NOISE
    noise = torch.randn(inputs.shape, generator=draw).to(inputs) * spread
    outputs: list[list[Any]] = []
    gradients: list[Tensor] = []
    with torch.enable_grad():
        for one in (network, fast):
            leaf = (inputs + noise).detach().requires_grad_(True)
            found = run(one, leaf)
            smooth = [part for part in tree_leaves(found) if isinstance(part, Tensor) and part.requires_grad]
            draw.manual_seed(1)
            weights = [torch.randn(part.shape, generator=draw).to(part) for part in smooth]
            gradients += torch.autograd.grad(smooth, leaf, weights)
            outputs.append(tree_leaves(found))
    wanted, found = outputs
    if len(wanted) != len(found) or not all(map(_near, wanted, found)):
        return False
    return bool((gradients[1] - gradients[0]).norm() <= _GRADIENTS * gradients[0].norm())


def _near(wanted: Any, found: Any) -> bool:
    if not isinstance(wanted, Tensor) or not isinstance(found, Tensor):
        return wanted is found
    if wanted.shape != found.shape or not wanted.is_floating_point():
        return wanted.shape == found.shape and torch.equal(wanted, found)
    finite = wanted.isfinite()
    if not torch.equal(wanted.nan_to_num(0.0)[~finite], found.nan_to_num(0.0)[~finite]):
        return False
    wanted, found = wanted[finite].double(), found[finite].double()
    size = wanted.abs()
    usual = size[size > 0].median() if bool((size > 0).any()) else size.new_zeros(())  # logits may hold a huge -1e9
    return bool(((found - wanted).abs() <= _OUTPUTS * (size + usual)).all())


def _usual(output: Any) -> Any:
    """In the order of memory that a task may count on."""
    return output.contiguous() if isinstance(output, Tensor) else output
