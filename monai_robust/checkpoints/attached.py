"""Which objects handle an engine's events."""

from __future__ import annotations

from typing import Any

from ignite.engine import Engine
from monai.handlers import ValidationHandler

__all__ = ["handlers_of", "validators_of"]


class _Listener:
    """Equals no handler, and keeps each that it is compared with."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def __call__(self) -> None: ...

    def __eq__(self, other: object) -> bool:
        self.heard.append(other)
        return False


def handlers_of(engine: Engine, event: Any = None) -> list[Any]:
    """The objects whose methods handle an engine's events, and handlers that are no methods, each once.

    Ignite lists no handlers, but tells whether one is among them, by comparing.

    Args:
        engine: the engine.
        event: one event, whose handlers come in their order; by default all.
    """
    listener = _Listener()
    engine.has_event_handler(listener, event)
    return list({id(owner): owner for owner in (getattr(one, "__self__", one) for one in listener.heard)}.values())


def validators_of(engine: Engine) -> list[Engine]:
    """The evaluators that validate a trainer's network."""
    found = [one.validator for one in handlers_of(engine) if isinstance(one, ValidationHandler)]
    return [one for one in found if one is not None]
