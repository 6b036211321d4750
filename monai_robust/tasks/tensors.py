"""Tensors of a batch, wherever a pipeline keeps them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

__all__ = ["map_tensors", "outside_inference", "plain", "select_rows"]


def plain(value: Any) -> Any:
    """A MetaTensor's tensor; metadata of a batch does not survive concatenation and chunking."""
    return value.as_tensor() if hasattr(value, "as_tensor") else value


def map_tensors(function: Callable[[Tensor], Any], value: Any) -> Any:
    """``function`` of every tensor in dicts, lists and tuples; what is no tensor stays as it is."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return {key: map_tensors(function, item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map_tensors(function, item) for item in value)
    return value


def outside_inference(value: Any) -> Any:
    """Tensors that were made in inference mode may not enter a graph; their copies, made outside of it, may."""
    return map_tensors(lambda x: x.clone() if x.is_inference() else x, value)


def select_rows(value: Any, rows: Tensor) -> Any:
    """The samples ``rows``, indices (R,), of targets.

    Tensors are (B, ...), also those in dicts and lists; a list of anything else, or of tensors that differ in length,
    has an entry for each sample.
    """
    if isinstance(value, Tensor):
        return plain(value)[rows.to(value.device)]
    if isinstance(value, Mapping):
        return {key: select_rows(item, rows) for key, item in value.items()}
    if isinstance(value, (list, tuple)) and value and _is_by_sample(value):
        return type(value)(value[index] for index in rows.tolist())
    if isinstance(value, (list, tuple)):
        return type(value)(select_rows(item, rows) for item in value)
    return value


def _is_by_sample(values: list[Any] | tuple[Any, ...]) -> bool:
    if not isinstance(values[0], (Tensor, list, tuple)):
        return True
    return all(isinstance(one, Tensor) and one.ndim for one in values) and len({len(one) for one in values}) > 1
