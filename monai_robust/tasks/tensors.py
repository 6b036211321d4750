"""Tensors of a batch, wherever a pipeline keeps them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_robust.errors import BadInputError

__all__ = [
    "as_tensors",
    "holds_nan",
    "is_by_sample",
    "label_tensor",
    "map_tensors",
    "outside_inference",
    "plain",
    "select_rows",
    "whole_numbers",
]


def plain(value: Any) -> Any:
    """A MetaTensor's tensor; metadata of a batch does not survive concatenation and chunking."""
    return value.as_tensor() if hasattr(value, "as_tensor") else value


def label_tensor(targets: Any, takes: str) -> Tensor:
    """Labels as a plain tensor.

    Args:
        targets: of a batch.
        takes: what would do, the end of the message's sentence.

    Raises:
        BadInputError: for what holds no numbers, such as no labels at all.
    """
    try:
        return torch.as_tensor(plain(targets))
    except (RuntimeError, TypeError, ValueError) as error:
        raise BadInputError(f"labels are a {type(targets).__name__}, and {takes}") from error


def whole_numbers(value: Tensor) -> Tensor:
    """Whether each element is a whole number, of its shape, bool; truth values are."""
    if value.is_floating_point():
        return value == value.round()
    return torch.ones_like(value, dtype=torch.bool)


def map_tensors(function: Callable[[Tensor], Any], value: Any) -> Any:
    """``function`` of every tensor in dicts, lists and tuples; what is no tensor stays as it is."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return _like_mapping(value, {key: map_tensors(function, item) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return _like(value, (map_tensors(function, item) for item in value))
    return value


def _like(value: Any, items: Iterable[Any]) -> Any:
    """A list or a tuple of the kind of ``value``, with the names of a named tuple."""
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)


def _like_mapping(value: Any, items: dict[Any, Any]) -> Any:
    """A mapping of the kind of ``value``, which may have its entries as attributes, too."""
    if type(value) is dict or not isinstance(value, MutableMapping):
        return items
    changed = copy.copy(value)
    for key, item in items.items():
        changed[key] = item
    return changed


def holds_nan(outputs: Any, size: int, infinite: bool = False) -> Tensor:
    """Which of ``size`` samples have NaN in a network's outputs, (size,) bool.

    Tensors are (size, ...), also those in dicts, lists and tuples; what belongs to no sample in particular counts for
    all of them. Infinite values are no NaN, as a network may rule a class out by minus infinity, unless ``infinite``
    counts them too.
    """
    if isinstance(outputs, Tensor):
        values = plain(outputs).detach()
        missing = ~values.isfinite() if infinite else values.isnan()
        if missing.ndim and len(missing) == size:
            return missing.flatten(1).any(dim=1) if missing.ndim > 1 else missing
        return missing.any().expand(size)
    if isinstance(outputs, (list, tuple)) and len(outputs) == size and all(isinstance(one, Mapping) for one in outputs):
        each = [
            _any([holds_nan(value, 1, infinite) for value in one.values()], 1) for one in outputs
        ]  # such as detections
        return torch.cat(each) if each else torch.zeros(size, dtype=torch.bool)
    parts: Any = (
        outputs.values() if isinstance(outputs, Mapping) else outputs if isinstance(outputs, (list, tuple)) else ()
    )
    return _any([holds_nan(part, size, infinite) for part in parts], size)


def _any(flags: list[Tensor], size: int) -> Tensor:
    """Where any of the flags (size,) is up."""
    device = flags[0].device if flags else None
    return torch.stack([flag.to(device) for flag in flags]).any(dim=0) if flags else torch.zeros(size, dtype=torch.bool)


def outside_inference(value: Any) -> Any:
    """Tensors that were made in inference mode may not enter a graph; their copies, made outside of it, may."""
    return map_tensors(lambda x: x.clone() if x.is_inference() else x, value)


def as_tensors(value: Any, device: torch.device) -> Any:
    """Numbers in arrays of numpy as tensors on ``device``, in dicts, lists and tuples; all else stays as it is."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return torch.as_tensor(value, device=device)
    if isinstance(value, Mapping):
        return _like_mapping(value, {key: as_tensors(item, device) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return _like(value, (as_tensors(item, device) for item in value))
    return value


def select_rows(value: Any, rows: Tensor | slice) -> Any:
    """The samples ``rows``, indices (R,) or a slice, of targets or of a network's outputs.

    Tensors and arrays are (B, ...), also those in dicts, lists and tuples, and tuples of such, as of logits and a list
    of hidden states; one number for the whole batch stays. A list of anything else, or of tensors that differ in
    length, has an entry for each sample.
    """
    if isinstance(value, Tensor):
        place = rows if isinstance(rows, slice) else rows.to(value.device)
        return plain(value)[place] if value.ndim else value
    if isinstance(value, np.ndarray):
        return value[rows if isinstance(rows, slice) else rows.cpu().numpy()] if value.ndim else value
    if isinstance(value, Mapping):
        return _like_mapping(value, {key: select_rows(item, rows) for key, item in value.items()})
    if isinstance(value, (list, tuple)) and is_by_sample(value):
        return value[rows] if isinstance(rows, slice) else type(value)(value[index] for index in rows.tolist())
    if isinstance(value, (list, tuple)):
        return _like(value, (select_rows(item, rows) for item in value))
    return value


def is_by_sample(values: Sequence[Any]) -> bool:
    """Whether a list has an entry for each sample, not tensors of a batch each, which alone have names."""
    if hasattr(values, "_fields"):
        return False
    tensors = [one for one in values if isinstance(one, (Tensor, np.ndarray))]
    if tensors:
        lengths = {len(one) if one.ndim else None for one in tensors}
        alike = len(tensors) == len(values) and len({one.ndim for one in tensors}) == 1
        return alike and (lengths == {None} or (len(lengths) > 1 and None not in lengths))
    return not any(isinstance(one, (list, tuple)) and _holds_tensors(one) for one in values)


def _holds_tensors(values: Sequence[Any]) -> bool:
    return any(
        isinstance(one, (Tensor, np.ndarray)) or (isinstance(one, (list, tuple)) and _holds_tensors(one))
        for one in values
    )
