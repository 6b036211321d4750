"""Tensors of a batch, wherever a pipeline keeps them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

__all__ = ["map_tensors", "plain", "select_rows"]


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


def select_rows(value: Any, rows: Tensor) -> Any:
    """The samples ``rows``, indices (R,), of targets: of tensors (B, ...), of lists with an entry for each sample."""
    if isinstance(value, Tensor):
        return plain(value)[rows.to(value.device)]
    if isinstance(value, Mapping):
        return {key: select_rows(item, rows) for key, item in value.items()}
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], Mapping):
        return type(value)(value[index] for index in rows.tolist())
    return map_tensors(lambda x: plain(x)[rows.to(x.device)], value)
