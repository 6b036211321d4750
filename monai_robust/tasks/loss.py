"""Any supervised loss as a task: enough to attack, and to train robustly, a pipeline nobody described to us."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from monai_robust.errors import BadInputError, in_one_line
from monai_robust.losses import DeepSupervised
from monai_robust.tasks.agreement import agreement_of
from monai_robust.tasks.base import Goal, Task
from monai_robust.tasks.classification import Classification
from monai_robust.tasks.tensors import as_tensors, is_by_sample, map_tensors, plain, select_rows, whole_numbers

__all__ = ["LossTask", "batch_length", "sample_slice"]

_REFUSALS = (AssertionError, AttributeError, IndexError, RuntimeError, TypeError, ValueError)


def sample_slice(value: Any, index: int) -> Any:
    """Sample ``index`` of a batch, kept as a batch of one, of what :func:`select_rows` takes."""
    return select_rows(value, slice(index, index + 1))


def batch_length(outputs: Any) -> int:
    """Number of samples in the outputs of a network."""
    first = outputs
    while not isinstance(first, Tensor):
        if isinstance(first, (list, tuple)) and is_by_sample(first):
            return len(first)
        parts = list(
            first.values() if isinstance(first, Mapping) else first if isinstance(first, (list, tuple)) else ()
        )
        if not parts:
            raise BadInputError(
                f"the network's outputs hold a {type(first).__name__}, of which no samples are known; have it return "
                "tensors, or lists, tuples or dictionaries of them"
            )
        first = parts[0]
    return len(first)


class LossTask(Task):
    """Attack what a pipeline is trained with: its own ``loss_function``.

    Args:
        loss: ``(outputs, targets) -> scalar | (B,) | dict of either``. A loss without a per-sample form is evaluated
            sample by sample, as if each sample were a batch of its own: the loss is cheap, the network is not. A loss
            of the heads of deep supervision, stacked (B, heads, C, *spatial) or listed, as a network gives them while
            it trains, takes the single output (B, C, *spatial) of its evaluation as one head; views agree in the first
            of them that has the labels' size. A loss of indices of classes that refuses labels with a channel for each
            class, as another part of a pipeline may have them, takes them as indices, and the other way.
    """

    name = "loss"
    output_kinds = ("classes", "labels", "pixels")

    def __init__(self, loss: Callable[..., Any]) -> None:
        if not callable(loss) or isinstance(loss, type):
            what = (
                f"the class {loss.__name__}; make one: {loss.__name__}()"
                if isinstance(loss, type)
                else (f"{loss!r}; it must be a callable (outputs, targets) -> loss")
            )
            raise BadInputError(f"the loss is {what}")
        self.loss = loss
        self.agreement = agreement_of(loss)
        self.spatial_targets = getattr(loss, "spatial_targets", False)  # type: ignore[misc]
        self._as_heads: Callable[[Tensor], Any] | None = None

    def terms(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        outputs = map_tensors(plain, outputs)
        size = batch_length(outputs)
        if not size:
            raise BadInputError("there are no samples in the batch, of which a loss could be taken")
        targets = as_tensors(map_tensors(plain, targets), _device(outputs))
        if isinstance(targets, Tensor) and targets.ndim and len(targets) != size:
            raise BadInputError(f"there are {len(targets)} labels for {size} samples; give one for each")
        loss = _without_reduction(self.loss, outputs, targets)
        if loss is not None:
            with suppress(*_REFUSALS):  # what it refuses is told below
                return {"loss": loss(outputs, targets)}
        with _buffers_held(self.loss):
            return self._sample_by_sample(outputs, targets, size)

    def _sample_by_sample(self, outputs: Any, targets: Any, size: int) -> dict[str, Tensor]:
        samples = [_named(self._of(_own_outputs(outputs, i, size), sample_slice(targets, i))) for i in range(size)]
        return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}

    def _of(self, outputs: Any, targets: Any) -> Any:
        """The loss of outputs in the form of training or in that of evaluation."""
        single = isinstance(outputs, Tensor) and outputs.ndim > 2 and outputs.ndim == getattr(targets, "ndim", 0)
        if single and self._as_heads is not None:
            return self.loss(self._as_heads(outputs), targets)
        try:
            return self.loss(outputs, targets)
        except _REFUSALS as error:
            for form in (_stacked, _listed) if single else ():
                with suppress(*_REFUSALS):
                    value = self.loss(form(outputs), targets)
                    self._as_heads = form
                    return value
            for labels in _in_other_forms(targets, outputs):
                with suppress(*_REFUSALS):
                    return self.loss(outputs, labels)
            if isinstance(error, BadInputError) or "memory" in str(error):  # of which there is too little
                raise
            name = getattr(self.loss, "__name__", type(self.loss).__name__)
            raise BadInputError(  # in every form
                f"the loss {name} refuses what it gets where the network is attacked, by default in evaluation mode: "
                f"{_shown(outputs)} and as label {_shown(targets)} ({type(error).__name__}: "
                f"{in_one_line(error, 200)}); let it take them, or where outputs are others while training, attack so "
                "(--robust#attack#mode train)"
            ) from error

    def agreeing(self, outputs: Any, targets: Any) -> Any:
        if isinstance(self.loss, DeepSupervised):
            outputs = self.loss.first_head(outputs, targets)
        else:
            outputs = _first_head(outputs, targets)
        return super().agreeing(outputs, targets)

    def aim(self, outputs: Any, targets: Any, goal: Goal) -> Any:
        aimed = Classification().aim(outputs, targets, goal)
        targets = as_tensors(plain(targets), aimed.device)
        if targets.ndim == 1:
            return aimed
        if targets.shape[1] == 1:
            return aimed[:, None].to(targets.dtype)
        return torch.nn.functional.one_hot(aimed, targets.shape[1]).to(targets.dtype)


@contextmanager
def _buffers_held(loss: Callable[..., Any]) -> Iterator[None]:
    """Have a loss that keeps numbers of what it was given, such as a running mean, keep them in copies meanwhile."""
    modules = loss.modules() if isinstance(loss, nn.Module) else ()
    held = [(module, name, value) for module in modules for name, value in module.named_buffers(recurse=False)]
    try:
        for module, name, value in held:
            setattr(module, name, value.clone())
        yield
    finally:
        for module, name, value in held:
            setattr(module, name, value)


def _own_outputs(outputs: Any, index: int, size: int) -> Any:
    """The outputs of one of ``size`` samples; a tensor that is by something else, such as layers, stays whole."""
    if isinstance(outputs, tuple) and not is_by_sample(outputs):
        parts = (_own_outputs(one, index, size) for one in outputs)
        return type(outputs)(*parts) if hasattr(outputs, "_fields") else tuple(parts)
    if isinstance(outputs, Tensor) and len(outputs) != size:
        return outputs
    return sample_slice(outputs, index)


def _in_other_forms(targets: Any, outputs: Any) -> Iterator[Tensor]:
    """Labels with a channel for each class as indices of classes, with and without a channel, and the other way."""
    if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor) or outputs.ndim < 2:
        return
    classes, size = outputs.shape[1], outputs.shape[2:]
    if classes < 2 or not targets.ndim:
        return
    if targets.shape == outputs.shape:
        if bool(((targets == 0) | (targets == 1)).all()) and bool((targets.sum(dim=1) == 1).all()):
            yield targets.argmax(dim=1, keepdim=True)
            yield targets.argmax(dim=1)
        return
    whole = targets[:, 0] if targets.ndim == outputs.ndim and targets.shape[1] == 1 else targets
    if whole.shape != (len(outputs), *size) or not bool(whole_numbers(whole).all()):
        return
    if float(whole.min()) >= 0 and float(whole.max()) < classes:
        yield torch.nn.functional.one_hot(whole.long(), classes).movedim(-1, 1).to(outputs.dtype)


def _first_head(outputs: Any, targets: Any) -> Any:
    """Of the heads of deep supervision, listed or stacked (B, heads, C, *spatial), the first of the labels' size."""
    if not isinstance(targets, Tensor) or targets.ndim < 3:
        return outputs
    if isinstance(outputs, (list, tuple)) and outputs and not is_by_sample(outputs):
        fitting = [one for one in outputs if isinstance(one, Tensor) and one.shape[2:] == targets.shape[2:]]
        return fitting[0] if fitting else outputs
    stacked = (
        isinstance(outputs, Tensor)
        and outputs.ndim == targets.ndim + 1
        and outputs.shape[3:] == targets.shape[2:]
        and outputs.shape[2:] != targets.shape[1:]  # labels without a channel
    )
    return outputs[:, 0] if stacked else outputs


def _shown(outputs: Any) -> str:
    if isinstance(outputs, Tensor):
        return f"a tensor of shape {tuple(outputs.shape)}"
    if isinstance(outputs, Mapping):
        return f"a dictionary of {', '.join(map(str, outputs))}"
    if isinstance(outputs, (list, tuple)):
        return f"a {type(outputs).__name__} of {', '.join(map(_shown, outputs))}"
    return "None" if outputs is None else f"a {type(outputs).__name__}"


def _stacked(output: Tensor) -> Tensor:
    return output[:, None]


def _listed(output: Tensor) -> list[Tensor]:
    return [output]


def _device(outputs: Any) -> torch.device:
    found: list[torch.device] = []
    map_tensors(lambda x: found.append(x.device), outputs)
    return found[0]


def _without_reduction(loss: Callable[..., Any], outputs: Any, targets: Any) -> Callable[..., Any] | None:
    """Cross-entropy on (B, C) has an exact per-sample form, in which class weights cancel: one sample has one class."""
    exact = (
        type(loss) is nn.CrossEntropyLoss
        and isinstance(targets, Tensor)
        and (loss.weight is None or (loss.label_smoothing == 0 and not targets.is_floating_point()))
        and loss.reduction == "mean"
        and isinstance(outputs, Tensor)
        and outputs.ndim == 2
    )
    if not exact:
        return None
    unreduced = copy.copy(loss)
    unreduced.reduction = "none"  # type: ignore[attr-defined]
    unreduced.weight = None  # type: ignore[attr-defined]
    return unreduced


def _named(loss: Any) -> dict[str, Tensor]:
    found = {str(name): value for name, value in loss.items()} if isinstance(loss, Mapping) else {"loss": loss}
    for name, value in found.items():
        if not isinstance(value, Tensor):
            raise BadInputError(
                f"the loss returns a {type(value).__name__} as {name!r}; it must be a tensor, or a dictionary of them"
            )
    return {name: value.mean() for name, value in found.items()}
