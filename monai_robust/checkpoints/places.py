"""Where functions that make a training's handlers have checkpoints written, for whoever looks at a configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = ["SavedAt", "saved_at", "saves"]

_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class SavedAt:
    """Where a function has checkpoints written.

    Attributes:
        argument: of the function, which is the folder.
        file: name of the last one.
    """

    argument: str
    file: str


def saves(argument: str, file: str) -> Callable[[_Function], _Function]:
    """Mark a function among whose handlers is a saver of checkpoints; arguments as of :class:`SavedAt`.

    A configuration that calls such a function holds no ``CheckpointSaver`` that could be found by its class.
    """

    def marked(function: _Function) -> _Function:
        function.saved_at = SavedAt(argument, file)  # type: ignore[attr-defined]
        return function

    return marked


def saved_at(function: Any) -> SavedAt | None:
    """Where a marked function has checkpoints written; None for any other."""
    found = getattr(function, "saved_at", None)
    return found if isinstance(found, SavedAt) else None
