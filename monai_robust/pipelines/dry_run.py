"""One batch through a bundle's own loader, network and loss; the network is left as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from monai.data.utils import dense_patch_slices
from monai.inferers import SlidingWindowInferer
from monai.networks.blocks import Warp
from torch import Tensor

from monai_robust.attacks.common.guard import bare, untouched
from monai_robust.engines.common import Batch, autocast
from monai_robust.errors import BadInputError
from monai_robust.pipelines.building import single_process
from monai_robust.tasks.tensors import map_tensors, plain, select_rows

__all__ = ["OneBatch", "has_warp", "one_batch", "windows_of"]


@dataclass(frozen=True)
class OneBatch:
    """A batch and what a network makes of it.

    Attributes:
        data: as the loader gave it.
        prepared: inputs and targets.
        outputs: of the network, in the mode in which the engine runs it.
        loss: the value of the loss, or None where there is no loss.
        bytes: that the graph of one forward pass keeps for a gradient of its inputs; of one window where there are
            windows.
    """

    data: Any
    prepared: Batch
    outputs: Any
    loss: Any
    bytes: int


def one_batch(engine: Any, what: str, *, train: bool) -> OneBatch:
    """Run a network on one batch of an engine's data.

    Images that an inferer would take apart into windows are run for one window only.

    Args:
        engine: a supervised trainer or evaluator.
        what: names it in messages.
        train: run in training mode, and take the trainer's loss.

    Raises:
        BadInputError: for no data, and batches without an image or (in training) without a label.
    """
    data = _first(engine.data_loader, what)
    prepared = Batch.prepare(engine, data)
    if not isinstance(prepared.inputs, Tensor):
        raise BadInputError(f"{what} takes a {type(prepared.inputs).__name__} as input, and only images are attacked")
    if not prepared.inputs.is_floating_point():
        raise BadInputError(
            f"{what} takes images of type {prepared.inputs.dtype}, which have no gradient; make them floating point"
        )
    if train and prepared.targets is None:
        raise BadInputError(f"{what} has batches without a label, without which there is no loss to attack")
    inputs, infer = _one_window(engine, prepared)
    with torch.random.fork_rng(devices=[]), untouched(bare(engine.network), "train" if train else "eval") as network:
        outputs, size = _forward(lambda: infer(inputs, network), inputs, engine)
        if inputs is not prepared.inputs or not train:
            return OneBatch(data, prepared, outputs, None, size)
        with torch.no_grad(), autocast(engine):
            loss = engine.loss_function(outputs, prepared.targets)
    if not isinstance(loss, (Tensor, Mapping)):
        raise BadInputError(
            f"the loss of {what} is a {type(loss).__name__}; it must be a tensor, or a dictionary of them"
        )
    return OneBatch(data, prepared, outputs, loss, size)


def windows_of(inferer: Any, size: tuple[int, ...]) -> tuple[tuple[int, ...], int] | None:
    """Size and number of the windows that an inferer takes an image of ``size`` apart into; None without windows."""
    if not isinstance(inferer, SlidingWindowInferer):
        return None
    roi = inferer.roi_size if isinstance(inferer.roi_size, (list, tuple)) else (inferer.roi_size,) * len(size)
    roi = tuple(int(one) if one and one > 0 else length for one, length in zip(roi, size, strict=True))
    overlaps = inferer.overlap if isinstance(inferer.overlap, (list, tuple)) else (inferer.overlap,) * len(size)
    padded = tuple(max(one, length) for one, length in zip(roi, size, strict=True))
    steps = tuple(max(1, int(one * (1 - overlap))) for one, overlap in zip(roi, overlaps, strict=True))
    return roi, len(dense_patch_slices(padded, roi, steps))


def has_warp(network: Any) -> bool:
    """Whether a network moves an image onto another one."""
    return isinstance(network, torch.nn.Module) and any(isinstance(one, Warp) for one in network.modules())


def _first(loader: Any, what: str) -> Any:
    if isinstance(loader, Iterable):
        with single_process(loader):
            for batch in loader:
                return batch
    raise BadInputError(f"{what} has no data: its loader gives no batch")


def _one_window(engine: Any, batch: Batch) -> tuple[Tensor, Callable[..., Any]]:
    """Inputs of one window, and how they are run; the whole batch through the inferer where there are no windows."""
    inputs = batch.inputs
    windows = windows_of(engine.inferer, tuple(inputs.shape[2:]))
    arguments = (batch.args, dict(batch.kwargs or {}))
    if windows is None or windows[1] == 1:
        return inputs, lambda x, network: engine.inferer(x, network, *arguments[0], **arguments[1])
    place = tuple(slice(0, side) for side in windows[0])
    rows = torch.zeros(1, dtype=torch.long)
    arguments = (tuple(select_rows(one, rows) for one in batch.args), select_rows(arguments[1], rows))
    return plain(inputs)[(slice(0, 1), slice(None), *place)], lambda x, network: network(
        x, *arguments[0], **arguments[1]
    )


def _forward(run: Callable[[], Any], inputs: Tensor, engine: Any) -> tuple[Any, int]:
    """Outputs, and the bytes that their graph keeps for a gradient of the inputs."""
    kept: dict[int, int] = {}
    network = bare(engine.network)
    weights = network.parameters() if isinstance(network, torch.nn.Module) else ()
    stay = {one.untyped_storage().data_ptr() for one in weights}  # they are there without an attack, too

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    asked = inputs.requires_grad
    inputs.requires_grad_(True)
    try:
        with torch.enable_grad(), autocast(engine), torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
            outputs = run()
    finally:
        inputs.requires_grad_(asked)
    return map_tensors(Tensor.detach, outputs), sum(size for place, size in kept.items() if place not in stay)
