"""Gradients with respect to images that a network sees window by window, in the memory of few windows."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from monai_robust.errors import BadInputError

__all__ = ["SavedBytes", "WithinMemory"]

_LOG = logging.getLogger(__name__)
_SHARE = 0.5  # of the memory that is free; the rest is for the attack's own tensors and for the windows' predictions
_GIB = 2**30


class WithinMemory:
    """A network whose calls for one image keep as many graphs as there is memory for, and compute the others again.

    A sliding-window inferer calls its network once for every few windows, and the gradient with respect to the whole
    image needs the activations of all those calls. Here the first call tells how much that is; calls whose activations
    no longer fit into ``limit`` keep their inputs alone, and are computed again on the way back
    (``torch.utils.checkpoint``), by which the gradient stays the same but for rounding. An inferer that calls its
    network once is not affected, nor is a pass that needs no gradient or one of parameters.

    Make one for each pass through the inferer.

    Args:
        network: any callable.
        limit: bytes of activations that may be kept; by default half of the memory that is free on the device.
        sizes: bytes of the activations of a call by the shape of its inputs, as far as known; what is found out is
            added, so that passes that share it find it out once.

    Raises:
        BadInputError: for a negative limit.
    """

    told = False

    def __init__(
        self, network: Callable[..., Any], limit: int | None = None, sizes: dict[torch.Size, int] | None = None
    ) -> None:
        if limit is not None and limit < 0:
            raise BadInputError(f"limit is {limit}; it must be a number of bytes that is not negative")
        self.network = network
        self.limit = limit
        self.sizes = {} if sizes is None else sizes
        self.kept = 0

    def __call__(self, inputs: Tensor, *arguments: Any, **keywords: Any) -> Any:
        if not self._has_input_gradient(inputs):
            return self.network(inputs, *arguments, **keywords)
        size = self.sizes.get(inputs.shape)
        if size is None:
            saved = SavedBytes(self.network)
            with saved:
                outputs = self.network(inputs, *arguments, **keywords)
            self.sizes[inputs.shape] = saved.bytes
            self.kept += saved.bytes
            return outputs
        if not self.kept or self.kept + size <= self._allowed(inputs.device):
            self.kept += size
            return self.network(inputs, *arguments, **keywords)
        self._tell(size)
        return checkpoint(self.network, inputs, *arguments, use_reentrant=False, **keywords)

    def _allowed(self, device: torch.device) -> int:
        if self.limit is None:  # asked for with the second call: with one there is nothing to choose
            self.limit = self.kept + int(_SHARE * _free(device))
        return self.limit

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)

    def _has_input_gradient(self, inputs: Any) -> bool:
        """Whether a gradient is wanted of the inputs and of nothing else, as in an attack."""
        if not torch.is_grad_enabled() or not isinstance(inputs, Tensor) or not inputs.requires_grad:
            return False
        parameters = getattr(self.network, "parameters", None)
        return parameters is None or not any(one.requires_grad for one in parameters())

    def _tell(self, size: int) -> None:
        if not WithinMemory.told:
            WithinMemory.told = True
            _LOG.info(
                "the activations of all windows do not fit into %.3g GiB (%.3g GiB each): those of the others are "
                "computed again for each gradient",
                (self.limit or 0) / _GIB,
                size / _GIB,
            )


class SavedBytes(torch.autograd.graph.saved_tensors_hooks):
    """A context that counts the bytes which the graphs made within hold on to.

    What is held twice counts once, and the network's parameters, which are there without a graph too, not at all.

    Args:
        network: any callable.

    Attributes:
        bytes: so many, so far.
    """

    def __init__(self, network: Callable[..., Any]) -> None:
        parameters = getattr(network, "parameters", None)
        self._seen = {one.untyped_storage().data_ptr() for one in ([] if parameters is None else parameters())}
        self.bytes = 0
        super().__init__(self._count, lambda held: held)

    def _count(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self.bytes += storage.nbytes()
        return tensor


def _free(device: torch.device) -> int:
    """Bytes of memory that are free on a device."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    return int(psutil.virtual_memory().available)
