"""A network in a form whose input gradients cost less."""

from __future__ import annotations

import copy
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from monai_robust.networks.few_channels import CONVOLUTIONS, replaced, with_space_to_depth
from monai_robust.networks.structures import leaves, mapped

__all__ = ["FastForm", "fast_form", "forms_kept", "gradients_by", "gradients_of"]

# Tolerances: what the same sums in another order may differ by in single precision, and no other function would.
# A rounding of 6e-8 grows to about 1e-4 through a hundred layers; ten times that is still no other function's output.
_OUTPUTS = 1e-3
# Of the length of a gradient: units at the edge of their activation may fall to the other side, which changes its terms
# by as much as they are.
_GRADIENTS = 1e-2
# Of an image's range, added before both are compared: where an image is flat, a maximum has several places and so the
# gradient several values.
_NOISE = 1e-2
# What a network may raise on a copy, in another layout or on a few samples, and does not raise otherwise.
_MISFITS = (RuntimeError, TypeError, ValueError, AttributeError, LookupError, AssertionError)
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
    """

    def __init__(self, copied: nn.Module) -> None:
        super().__init__()
        self.folded = with_space_to_depth(copied).requires_grad_(False)
        for parameter in self.folded.parameters():
            if parameter.ndim in _LAYOUTS:
                parameter.data = parameter.data.contiguous(memory_format=_LAYOUTS[parameter.ndim])

    def forward(self, inputs: Tensor, *arguments: Any, **keywords: Any) -> Any:
        layout = _LAYOUTS.get(inputs.ndim, torch.contiguous_format)
        outputs = self.folded(inputs.contiguous(memory_format=layout), *arguments, **keywords)
        return mapped(_usual, outputs)


_Standing = Mapping[int, Callable[..., Any]]
_NONE: _Standing = MappingProxyType({})
_IN_PLACE: ContextVar[_Standing] = ContextVar("forms that stand in for networks", default=_NONE)
_KEPT: ContextVar[dict[int, tuple[Any, Any]] | None] = ContextVar("forms that were made", default=None)


@contextmanager
def gradients_by(form: Callable[..., Any], network: Callable[..., Any]) -> Iterator[None]:
    """Within, gradients of ``network`` are those of ``form``; who calls the network itself still calls the network."""
    token = _IN_PLACE.set({**_IN_PLACE.get(), id(network): form})
    try:
        yield
    finally:
        _IN_PLACE.reset(token)


def gradients_of(network: Callable[..., Any]) -> Callable[..., Any]:
    """What to take gradients of ``network`` of: its faster form within :func:`gradients_by`, else the network."""
    return _IN_PLACE.get().get(id(network), network)


@contextmanager
def forms_kept() -> Iterator[None]:
    """Within, :func:`fast_form` makes a network's form once; nothing may change the network meanwhile."""
    if _KEPT.get() is not None:
        yield
        return
    token = _KEPT.set({})
    try:
        yield
    finally:
        _KEPT.reset(token)


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
    kept = _KEPT.get()
    if kept is None:
        return _made(network, run, inputs)
    if id(network) not in kept:
        kept[id(network)] = network, _made(network, run, inputs)  # with the network, so that no other gets its id
    return kept[id(network)][1]


def _made(network: nn.Module, run: Run, inputs: Tensor) -> nn.Module:
    name = type(network).__name__
    try:
        fast = FastForm(_folded(copy.deepcopy(network), run, inputs))
        agree = _agree(network, fast, run, inputs)
    except _MISFITS as error:
        _LOG.warning("%s has no faster form and is attacked as it is: %s: %s", name, type(error).__name__, error)
        return network
    if not agree:
        _LOG.info("%s is attacked as it is: its faster form computes something else", name)
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
    """Whether both have the same outputs, and the same gradients of them, for ``inputs`` with a little noise."""
    draw = torch.Generator().manual_seed(0)
    spread = (inputs.max() - inputs.min()).item() * _NOISE
    noise = torch.randn(inputs.shape, generator=draw).to(inputs) * spread
    outputs: list[list[Any]] = []
    gradients: list[Tensor] = []
    with torch.enable_grad():
        for one in (network, fast):
            leaf = (inputs + noise).detach().requires_grad_(True)
            found = run(one, leaf)
            smooth = [part for part in leaves(found) if isinstance(part, Tensor) and part.requires_grad]
            draw.manual_seed(1)
            weights = [torch.randn(part.shape, generator=draw).to(part) for part in smooth]
            gradients += torch.autograd.grad(smooth, leaf, weights)
            outputs.append(leaves(found))
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
