"""The ids of a bundle's configuration: which there are, and what each takes."""

from __future__ import annotations

import ast
import difflib
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pydoc import ErrorDuringImport, locate
from types import MappingProxyType
from typing import Any

from monai.bundle import ConfigParser
from monai.bundle.config_item import ConfigComponent

from monai_robust.configuration.values import Kind, check_signs, check_value, read_word
from monai_robust.errors import BadInputError

__all__ = ["check_ids", "has_id", "read_configuration", "read_words"]

_PATH = re.compile(r"(\w+_)?(dir|file|path|root|folder)|checkpoint|resume|datalist|thresholds")
_NAME = re.compile(r"name|recipe|split|device")
_LIST = re.compile(r"(\w+_)?milestones|radii")
_NAMES = re.compile(r"groups|class_names|classes|names")
_NUMBER = re.compile(r"fold|limit|\w*seed|weight")
_REFERENCE = re.compile(r"@(\w+(?:(?:#|::)\w+)*)")
_NOTHING = object()


def read_configuration(files: Sequence[str | Path]) -> dict[str, Any]:
    """Configuration files merged in their order, as MONAI merges them, unresolved.

    Raises:
        BadInputError: when one cannot be read.
    """
    for file in files:
        if not Path(file).is_file():
            raise BadInputError(f"there is no configuration file {file}")
    try:
        content = ConfigParser.load_config_files([str(file) for file in files])
    except Exception as error:  # of YAML, of JSON, or of an id that no file before it has
        raise BadInputError(
            f"{', '.join(map(str, files))} cannot be read as MONAI bundle configuration: {error}"
        ) from error
    if not isinstance(content, dict):
        raise BadInputError(f"{', '.join(map(str, files))} is no MONAI bundle configuration: it has no ids at its top")
    return content


def check_ids(configuration: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Refuse an id that nothing reads: MONAI would take a misspelt one without a word.

    An id is known if the configuration holds it, if it is an argument of its component's class, or if it lies in a
    mapping that is read whole. A new one at the top is known if another value refers to it. Where values replace a
    component, or its class, ids within it are those of the new one.

    Args:
        configuration: from :func:`read_configuration`.
        values: what is going to be set, by id.

    Raises:
        BadInputError: with the id that was probably meant; for text that MONAI would change.
    """
    referred = set(_references(configuration)) | set(_references(dict(values)))
    for name, value in values.items():
        _find(_with_those_above(configuration, name, values), name, referred)
        check_signs(name, value)


def has_id(configuration: Mapping[str, Any], name: str) -> bool:
    """Whether something of a configuration reads an id."""
    try:
        _find(configuration, name, set(_references(configuration)))
    except BadInputError:
        return False
    return True


def read_words(configuration: Mapping[str, Any], words: Mapping[str, str]) -> dict[str, Any]:
    """The values of a command line's words, each by what its id takes.

    Args:
        configuration: from :func:`read_configuration`.
        words: as they were typed, by id.

    Raises:
        BadInputError: for an id that nothing reads, or a word that is nothing its id takes.
    """
    referred = set(_references(configuration)) | set(_references(dict(words)))
    values = {}
    for name, text in words.items():
        found = _find(_with_those_above(configuration, name, words), name, referred)
        part = _parts(name)[-1]
        values[name] = read_word(name, text, _kind(part, found), default=found.default)
        check_value(name, part, values[name])
    return values


def _with_those_above(configuration: Mapping[str, Any], name: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration with what is set above an id, or is set as the class of a component that holds it."""
    parts = _parts(name)
    for other, value in values.items():
        above = _parts(other)
        holder = above[:-1] if above[-1] == "_target_" else above
        if above != parts and len(holder) < len(parts) and parts[: len(holder)] == holder:
            configuration = _replaced(configuration, above, _literal(value))
    return configuration


def _replaced(node: Any, parts: Sequence[str], value: Any) -> Any:
    if not parts:
        return value
    if not isinstance(node, Mapping):
        return node
    return {**node, parts[0]: _replaced(node.get(parts[0], {}), parts[1:], value)}


def _literal(value: Any) -> Any:
    """What Fire makes of a word that is written as Python writes a value."""
    try:
        return ast.literal_eval(value) if isinstance(value, str) else value
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value


def _parts(name: str) -> list[str]:
    return name.lstrip("+").replace("::", "#").split("#")


def _references(node: Any) -> Iterator[str]:
    """Every id that is referred to as a whole."""
    if isinstance(node, Mapping):
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)
    elif isinstance(node, str) and node.startswith(("@", "$")):
        yield from (found.replace("::", "#") for found in _REFERENCE.findall(node))


@dataclass(frozen=True)
class _Found:
    """What stands at an id.

    Args:
        default: its value, references followed.
        argument: whether it is a component's, which says itself what it takes.
        switch: whether that is true or false.
        number: whether the component's class says that it is a whole or any number.
    """

    default: Any
    argument: bool = False
    switch: bool = False
    number: bool = False


def _find(configuration: Mapping[str, Any], name: str, referred: set[str]) -> _Found:
    """What the configuration has at an id; refused if nothing would read it."""
    node: Any = configuration
    argument = switch = number = False
    inside = False  # of a component or a mapping that is read whole, where keys are free
    parts = _parts(name)
    for depth, part in enumerate(parts):
        here = "#".join(parts[:depth])
        if isinstance(node, str) and node.startswith(("@", "$")):
            return _Found(None, argument=True)  # inside what only a run makes
        if isinstance(node, list):
            if not part.isdigit() or int(part) >= len(node):
                raise BadInputError(f"--{name} is no id of the bundle's configuration; {here} has {len(node)} entries")
            node = node[int(part)]
            continue
        if not isinstance(node, Mapping):
            raise BadInputError(f"--{name} is no id of the bundle's configuration; {here} is {node!r}, so set it whole")
        argument, inside = "_target_" in node, inside or here in referred
        arguments = _arguments(node)
        free = arguments is _ANY_ARGUMENT or (not argument and (inside or (depth == 0 and part in referred)))
        if part not in node and part not in arguments and not free:
            raise BadInputError(_unknown(configuration, name, here, [*map(str, node), *arguments]))
        annotation = arguments[part].annotation if part in arguments else bool
        switch, number = annotation in (bool, "bool"), annotation in (int, float, "int", "float")
        unset = arguments[part].default if part in arguments else None
        node, inside = node.get(part, unset), inside or argument
    return _Found(_followed(configuration, node), argument, switch, number)


def _followed(configuration: Mapping[str, Any], node: Any) -> Any:
    """What a chain of references ends at; an expression as it is."""
    seen: set[str] = set()
    while isinstance(node, str) and (found := _REFERENCE.fullmatch(node)) and node not in seen:
        seen.add(node)
        target: Any = configuration
        for part in _parts(found[1]):
            target = target.get(part, _NOTHING) if isinstance(target, Mapping) else _NOTHING
        if target is _NOTHING:
            break
        node = target
    return node


_ANY_ARGUMENT: Mapping[str, inspect.Parameter] = MappingProxyType({})  # of who takes any, or whom none can look into
_MONAIS = {
    name: inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation="bool")
    for name in ConfigComponent.non_arg_keys
}


def _arguments(node: Mapping[str, Any]) -> Mapping[str, inspect.Parameter]:
    """Arguments of a component; of a mapping that is no component, none."""
    if "_target_" not in node:
        return {}
    target = node["_target_"]
    if not isinstance(target, str) or "." not in target or target.startswith("$"):
        return _ANY_ARGUMENT
    try:
        parameters = inspect.signature(locate(target)).parameters  # type: ignore[arg-type]
    except (ErrorDuringImport, TypeError, ValueError):
        return _ANY_ARGUMENT
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values()):
        return _ANY_ARGUMENT
    return {
        name: one.replace(default=None) if one.default is inspect.Parameter.empty else one
        for name, one in {**parameters, **_MONAIS}.items()
    }


def _unknown(configuration: Mapping[str, Any], name: str, here: str, known: Sequence[str]) -> str:
    part = _parts(name)[len(_parts(here)) if here else 0]
    lead = f"--{name} is no id of the bundle's configuration"
    before = f"{here}#" if here else ""
    known = [one for one in dict.fromkeys(known) if one != "_meta_" and one not in ConfigComponent.non_arg_keys]
    deeper = [one for one in _nested(configuration) if _parts(one)[-1] == part]
    if deeper and not here:
        return f"{lead}; did you mean --{min(deeper, key=len)}?"
    rest = "".join(f"#{one}" for one in _parts(name)[len(_parts(here)) + 1 if here else 1 :])
    close = difflib.get_close_matches(part, known, n=1)
    within = {} if here else {_parts(one)[-1]: one for one in sorted(_nested(configuration), key=len, reverse=True)}
    closer = difflib.get_close_matches(part, [*within, *close], n=1)
    if closer and closer[0] not in close and not rest:
        return f"{lead}; did you mean --{within[closer[0]]}?"
    if close:
        meant = f"{before}{close[0]}{rest}"
        meant = meant if has_id(configuration, meant) else f"{before}{close[0]}"
        return f"{lead}; did you mean --{meant}?"
    return f"{lead}; {f'the ids of {here}' if here else 'its ids'} are {', '.join(known)}"


def _nested(node: Any, prefix: str = "") -> Iterable[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield f"{prefix}{key}"
            yield from _nested(value, f"{prefix}{key}#")


def _kind(part: str, found: _Found) -> Kind:
    """What an id takes: by its name where that says more than its default, else by its default."""
    default = found.default
    if isinstance(default, bool):
        return Kind.SWITCH if found.switch else Kind.ANY
    if _PATH.fullmatch(part) and not isinstance(default, (int, float, list, Mapping)):
        return Kind.PATH
    if _NAMES.fullmatch(part):
        return Kind.NAMES
    if _NAME.fullmatch(part):
        return Kind.NAME
    if found.argument:
        return Kind.NUMBER if found.number else Kind.ANY
    if isinstance(default, (int, float)) or (_NUMBER.fullmatch(part) and default is None):
        return Kind.NUMBER
    if isinstance(default, list) or (_LIST.fullmatch(part) and default is None):
        return Kind.LIST
    return Kind.WORD if isinstance(default, str) and not default.startswith(("$", "@", "%")) else Kind.ANY
