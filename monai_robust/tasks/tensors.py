"""Tensors of a batch, wherever a pipeline keeps them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

__all__ = ["map_tensors", "plain"]


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
