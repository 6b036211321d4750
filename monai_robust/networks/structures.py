"""The dictionaries, lists and tuples in which networks return their outputs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

__all__ = ["leaves", "mapped"]


def mapped(function: Callable[[Any], Any], outputs: Any) -> Any:
    """``function`` of everything in dictionaries, lists and tuples, which stay of their kind."""
    if isinstance(outputs, dict):
        changed = copy.copy(outputs)
        for key, value in outputs.items():
            changed[key] = mapped(function, value)
        return changed
    if isinstance(outputs, tuple) and hasattr(outputs, "_fields"):
        return type(outputs)(*(mapped(function, value) for value in outputs))
    if isinstance(outputs, (list, tuple)):
        return type(outputs)(mapped(function, value) for value in outputs)
    return function(outputs)


def leaves(outputs: Any) -> list[Any]:
    """Everything in dictionaries, lists and tuples."""
    if isinstance(outputs, dict):
        return [leaf for value in outputs.values() for leaf in leaves(value)]
    if isinstance(outputs, (list, tuple)):
        return [leaf for value in outputs for leaf in leaves(value)]
    return [outputs]
