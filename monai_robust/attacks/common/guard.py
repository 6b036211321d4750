"""Leave a network exactly as it was found (modes, requires_grad, gradients, buffers), and inputs as they were given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal
from weakref import WeakSet

import torch
from monai.networks.layers.drop_path import DropPath
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from monai_robust.errors import BadInputError
from monai_robust.tasks.tensors import map_tensors

__all__ = ["bare", "inputs_copied", "same_in_both_modes", "untouched"]

Mode = Literal["eval", "train", "keep"]
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout, DropPath)
_TAUGHT: WeakSet[nn.Module] = WeakSet()  # networks that copy their inputs for the time being


def bare(network: Callable[..., Any]) -> Callable[..., Any]:
    """The module inside a data-parallel wrapper, whose forward pass would broadcast BatchNorm buffers."""
    wrappers = (nn.parallel.DistributedDataParallel, nn.DataParallel)
    return network.module if isinstance(network, wrappers) else network


def same_in_both_modes(network: nn.Module) -> bool:
    """Whether the first output of a network is the same in training and in evaluation mode, as far as MONAI's and
    torch's own layers tell: no batch statistics, no dropout."""
    return not any(
        isinstance(module, _BATCH_NORMS)
        or getattr(module, "track_running_stats", False)  # of instance norms, and of what others make alike
        or (isinstance(module, _DROPOUTS) and _probability(module) > 0)
        or (isinstance(module, nn.MultiheadAttention) and module.dropout > 0)
        for module in network.modules()
    )


def _probability(module: nn.Module) -> float:
    return float(getattr(module, "p", getattr(module, "drop_prob", 0.0)))


@contextmanager
def untouched(network: Callable[..., Any], mode: Mode = "eval") -> Iterator[Callable[..., Any]]:
    """Run ``network`` in ``mode`` without parameter gradients, and restore it on every way out, each part of it also
    where another cannot be restored.

    Within, the network is handed copies of its inputs, so that one that writes into them harms nobody. What was made in
    inference mode, which no gradient may pass, is replaced by copies for the time being. Parts of one fixed mode, such
    as exported graphs, keep it.

    Args:
        network: any callable; what is not a ``torch.nn.Module`` has no state to guard.
        mode: ``"eval"``, ``"train"`` (batch statistics are used, running statistics restored) or ``"keep"``.

    Yields:
        What is to be called: the network itself, if that can be taught to copy its inputs.

    Raises:
        BadInputError: for a scripted network that was made in inference mode, and one whose lazy parts have no values
            yet.
    """
    with ExitStack() as restored:
        if isinstance(network, nn.Module):
            _hold_tensors(network, restored)
            for module in network.modules():
                if (training := getattr(module, "training", None)) is not None:
                    restored.callback(setattr, module, "training", training)
                else:  # a frozen script has no mode until it is told one
                    restored.callback(vars(module).pop, "training", None)
            if mode != "keep":
                _switch(network, mode == "train")
            for parameter in network.parameters():
                restored.callback(parameter.requires_grad_, parameter.requires_grad)
                parameter.requires_grad_(False)
        yield restored.enter_context(inputs_copied(network))


@contextmanager
def inputs_copied(network: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Have a network write into copies of its inputs, if it writes into them at all.

    A copy costs little beside a pass; whether a network writes cannot be told from one call alone.

    Yields:
        What is to be called: the network itself, if that can be taught to copy its inputs.
    """
    if isinstance(network, _Copying):
        yield network
    elif not isinstance(network, nn.Module) or isinstance(network, torch.jit.ScriptModule):
        yield _Copying(network)  # scripted modules take no hooks
    elif network in _TAUGHT:
        yield network
    else:
        handle = network.register_forward_pre_hook(_copied, with_kwargs=True, prepend=True)
        _TAUGHT.add(network)
        try:
            yield network
        finally:
            _TAUGHT.discard(network)
            handle.remove()


class _Copying:
    """A callable that copies what it is given."""

    def __init__(self, network: Callable[..., Any]) -> None:
        self.network = network

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        arguments, keywords = _copied(None, arguments, keywords)
        return self.network(*arguments, **keywords)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)


def _copied(_: Any, arguments: Any, keywords: Any) -> tuple[Any, Any]:
    return map_tensors(Tensor.clone, arguments), map_tensors(Tensor.clone, keywords)


def _hold_tensors(network: nn.Module, restored: ExitStack) -> None:
    """Have buffers restored, and what was made in inference mode replaced by ordinary copies."""
    scripted = isinstance(network, torch.jit.ScriptModule)
    ordinary: dict[int, Tensor] = {}
    for module in [network] if scripted else network.modules():
        buffers, parameters = module.named_buffers(recurse=scripted), module.named_parameters(recurse=scripted)
        for name, value in [*buffers, *parameters]:
            if is_lazy(value):
                raise BadInputError(
                    f"{name!r} of a {type(module).__name__} of the network has no values yet; run the network once, "
                    "one forward pass of a batch, before it is attacked"
                )
            is_parameter = isinstance(value, nn.Parameter)
            if value.is_inference():
                if isinstance(module, torch.jit.ScriptModule):
                    raise BadInputError(
                        "the scripted network was made in inference mode, whose tensors no gradient may pass; load or "
                        "make it outside of torch.inference_mode()"
                    )
                restored.callback(setattr, module, name, value)
                copied = ordinary.setdefault(id(value), value.clone())
                setattr(module, name, nn.Parameter(copied, requires_grad=False) if is_parameter else copied)
            elif not is_parameter:
                restored.callback(_restore_buffer, module, name, value, value.detach().clone(), value._version)


def _restore_buffer(module: nn.Module, name: str, buffer: Tensor, saved: Tensor, version: int) -> None:
    """What was not written into stays untouched, since a graph may hold it."""
    if buffer.shape != saved.shape:
        buffer.data = saved
    elif buffer._version != version or not torch.equal(buffer, saved):
        with torch.no_grad():
            buffer.copy_(saved)
    if not isinstance(module, torch.jit.ScriptModule) and getattr(module, name, None) is not buffer:
        setattr(module, name, buffer)


def _switch(module: nn.Module, training: bool) -> None:
    """Set the mode of a module and of its parts, but for those that have one mode only and refuse another."""
    if all(getattr(one, "training", training) == training for one in module.modules()):
        return
    try:
        module.train(training)
    except NotImplementedError:  # torch.export: "Calling train() is not supported yet"
        if type(module).train is nn.Module.train and "train" not in vars(module):
            module.training = training
            for child in module.children():
                _switch(child, training)
