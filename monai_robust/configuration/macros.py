"""What a configuration takes over from elsewhere as a copy: MONAI's macros, such as ``"%train#dataset"``."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from monai.bundle import ConfigParser, ReferenceResolver

from monai_robust.configuration.components import node_of

__all__ = ["expanded", "macros_towards"]


def expanded(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with what its macros stand for; all else, references among it, stays as it is written.

    As in MONAI, a macro in what another one stands for is left alone.

    Raises:
        FileNotFoundError, KeyError, ValueError: for a macro of nothing, as MONAI.
    """
    made: dict[str, Any] = _expanded(dict(config), config, "")
    return made


def macros_towards(config: Mapping[str, Any], identifier: str) -> str | None:
    """The id, on the way to another one, under which a configuration has a macro and no place of its own; else None."""
    parts = identifier.split("#")
    for depth in range(1, len(parts) + 1):
        place = "#".join(parts[:depth])
        if _is_macro(node_of(config, place)):
            return place
    return None


def _expanded(node: Any, config: Mapping[str, Any], place: str) -> Any:
    if isinstance(node, (Mapping, list)):
        made = {key: _expanded(one, config, _joined(place, key)) for key, one in _children(node)}
        return made if isinstance(node, Mapping) else list(made.values())
    if not _is_macro(node):
        return node
    absolute = ConfigParser.resolve_relative_ids(ReferenceResolver.normalize_id(place), node)
    path, identifier = ConfigParser.split_path_id(absolute[1:])
    return copy.deepcopy(ConfigParser(ConfigParser.load_config_file(path) if path else config)[identifier])


def _children(node: Any) -> Iterator[tuple[Any, Any]]:
    yield from node.items() if isinstance(node, Mapping) else enumerate(node)


def _joined(place: str, key: Any) -> str:
    return f"{place}#{key}" if place else str(key)


def _is_macro(node: Any) -> bool:
    return isinstance(node, str) and node.startswith("%")
