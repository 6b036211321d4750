"""One batch through a bundle's own loader, network and loss; the network is left as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from monai.data.utils import dense_patch_slices
from monai.inferers import SliceInferer, SlidingWindowInferer
from monai.networks.blocks import Warp
from torch import Tensor

from monai_robust.attacks.common.guard import bare, untouched
from monai_robust.engines.common import Batch, autocast
from monai_robust.engines.detectors import DetectorEngine
from monai_robust.errors import BadInputError
from monai_robust.inferers import SavedBytes
from monai_robust.pipelines.building import single_process
from monai_robust.tasks import LossTask
from monai_robust.tasks.tensors import map_tensors, plain, select_rows

__all__ = ["OneBatch", "has_warp", "one_batch", "windows_of"]


@dataclass(frozen=True)
class OneBatch:
    """A batch and what a network makes of it.

    Attributes:
        data: as the loader gave it.
        prepared: inputs and targets.
        outputs: of the network for its first samples, in the mode in which the engine runs it.
        loss: the value of the loss, or None where there is no loss.
        refused: why the loss cannot be attacked, as it does not take what the network gives in evaluation mode; None
            where it does.
        bytes: that the graph of a forward pass keeps for a gradient of one sample, or of one window of it.
    """

    data: Any
    prepared: Batch
    outputs: Any
    loss: Any
    bytes: int
    refused: str | None = None


def one_batch(engine: Any, what: str, *, train: bool) -> OneBatch:
    """Run a network on one batch of an engine's data.

    Of the batch, one sample is run, and two in training, whose statistics ask for them; of an image that an inferer
    would take apart into windows, one window.

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
    if isinstance(engine, DetectorEngine):
        return _of_detector(engine, data, prepared, what, 2 if train else 1)
    part, infer = _part(engine, prepared, 2 if train else 1)
    with torch.random.fork_rng(devices=[]), untouched(bare(engine.network), "train" if train else "eval") as network:
        outputs, size = _forward(lambda: infer(part.inputs, network), part.inputs, engine)
        size //= len(part.inputs)
        if part.targets is None or not train:
            return OneBatch(data, prepared, outputs, None, size)
        with torch.no_grad(), autocast(engine):
            loss = engine.loss_function(outputs, part.targets)
    if not isinstance(loss, (Tensor, Mapping)):
        raise BadInputError(
            f"the loss of {what} is a {type(loss).__name__}; it must be a tensor, or a dictionary of them"
        )
    return OneBatch(data, prepared, outputs, loss, size, _refusal(engine, part, infer))


def _refusal(engine: Any, part: Batch, infer: Callable[..., Any]) -> str | None:
    """Why a loss does not take what a network in evaluation mode gives, where it is attacked; None where it does."""
    with torch.random.fork_rng(devices=[]), torch.no_grad(), untouched(bare(engine.network)) as network:
        try:
            with autocast(engine):
                LossTask(engine.loss_function).terms(infer(part.inputs, network), part.targets)
        except BadInputError as error:
            return str(error)
    return None


def _of_detector(engine: DetectorEngine, data: Any, prepared: Batch, what: str, images: int) -> OneBatch:
    """The losses of the first images, and what is detected in them; of an image of several windows, in the first."""
    rows = torch.arange(min(images, len(prepared.inputs)))
    inputs, targets = plain(prepared.inputs)[rows], select_rows(prepared.targets, rows)
    task = engine.task(targets)
    windows = windows_of(engine.network.inferer, tuple(inputs.shape[2:]))
    if windows is not None and windows[1] > 1 and targets is not None:
        inputs = inputs[(slice(0, 1), slice(None), *(slice(0, side) for side in windows[0]))]
        targets = task.aim(None, engine.sized(targets[:1], inputs), "vanishing")  # a box may lie elsewhere
    saved = SavedBytes(engine.network)
    with torch.random.fork_rng(devices=[]), untouched(engine.network) as network:
        leaf = inputs.clone().requires_grad_(True)
        with torch.enable_grad(), autocast(engine), saved:
            losses = task.forward(network, leaf, targets).get("losses")
        with torch.no_grad(), autocast(engine):
            found = task.forward(network, inputs, targets)["detections"]
    if losses is None and targets is not None:
        raise BadInputError(f"{what} has a detector that gives no losses, without which there is nothing to attack")
    return OneBatch(data, prepared, found, losses, saved.bytes // len(inputs))


def windows_of(inferer: Any, size: tuple[int, ...]) -> tuple[tuple[int, ...], int] | None:
    """Size and number of the windows that an inferer takes an image of ``size`` apart into; None without windows."""
    if not isinstance(inferer, SlidingWindowInferer):
        return None
    roi = inferer.roi_size if isinstance(inferer.roi_size, (list, tuple)) else (inferer.roi_size,) * len(size)
    if isinstance(inferer, SliceInferer) and len(roi) < len(size):
        roi = (*roi[: inferer.spatial_dim], 1, *roi[inferer.spatial_dim :])
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


def _part(engine: Any, batch: Batch, samples: int) -> tuple[Batch, Callable[..., Any]]:
    """The first samples of a batch and how they are run, without targets where it is a window of the first one."""
    rows = torch.arange(min(samples, len(batch.inputs)))
    windows = windows_of(engine.inferer, tuple(batch.inputs.shape[2:]))
    whole = windows is None or windows[1] == 1
    rows = rows if whole else rows[:1]
    args = tuple(select_rows(one, rows) for one in batch.args)
    kwargs = {name: select_rows(one, rows) for name, one in (batch.kwargs or {}).items()}
    if whole:
        targets = select_rows(batch.targets, rows)
        part = Batch(select_rows(batch.inputs, rows), targets, args, kwargs)
        return part, lambda x, network: engine.inferer(x, network, *args, **kwargs)
    assert windows is not None  # several of them
    place = tuple(slice(0, side) for side in windows[0])
    window = plain(batch.inputs)[(slice(0, 1), slice(None), *place)]
    if isinstance(engine.inferer, SliceInferer):  # which hands slices on as images of fewer axes
        return Batch(window, None, args, kwargs), engine.inferer
    return Batch(window, None, args, kwargs), lambda x, network: network(x, *args, **kwargs)


def _forward(run: Callable[[], Any], inputs: Tensor, engine: Any) -> tuple[Any, int]:
    """Outputs, and the bytes that their graph keeps for a gradient of the inputs."""
    asked, saved = inputs.requires_grad, SavedBytes(bare(engine.network))
    inputs.requires_grad_(True)
    try:
        with torch.enable_grad(), autocast(engine), saved:
            outputs = run()
    finally:
        inputs.requires_grad_(asked)
    return map_tensors(Tensor.detach, outputs), saved.bytes
