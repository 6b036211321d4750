"""What a file's fields must be, declared as a data class, and a sentence for the first one that is something else."""

from __future__ import annotations

import dataclasses
import json
import math
import types
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import MISSING, dataclass
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints, is_typeddict
from unicodedata import category

from monai_robust.errors import BadInputError

__all__ = [
    "Count",
    "Line",
    "Name",
    "PlainText",
    "Positive",
    "Rule",
    "as_data",
    "checked",
    "fields_of",
    "from_object",
    "one_line",
    "shown",
]

_Schema = TypeVar("_Schema")

_EXPRESSION = ("$", "@", "%")
_LARGEST_WHOLE = 2**63


@dataclass(frozen=True)
class Rule:
    """What a value of a kind must fulfil besides.

    Args:
        words: what it must be, after "it must be".
        holds: whether a value is so.
    """

    words: str
    holds: Callable[[Any], bool]


_LONGEST = 200


def one_line(text: str) -> bool:
    """Whether a text has no line break and no other control character; odd spaces and hyphens are none."""
    return text.isprintable() or not any(category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in text)


def _in_one_line(text: str) -> bool:
    return len(text) <= _LONGEST and one_line(text)


Count = Annotated[int, Rule("a whole number from 1 on", lambda value: value >= 1)]
Positive = Annotated[float, Rule("a number above 0", lambda value: value > 0)]
Line = Annotated[str, Rule(f"a text in one line of at most {_LONGEST} characters", _in_one_line)]
Name = Annotated[
    str,
    Rule(f"a name in one line of 1 to {_LONGEST} characters", lambda text: _in_one_line(text) and text.strip() != ""),
]
PlainText = Annotated[
    str,
    Rule(
        f"a text that does not begin with {', '.join(_EXPRESSION[:-1])} or {_EXPRESSION[-1]}",
        lambda value: not value.startswith(_EXPRESSION),
    ),
]


def from_object(schema: type[_Schema], values: Mapping[str, Any], where: str, inside: str = "") -> _Schema:
    """An instance of a data class from a JSON object; names that the class does not have are left out.

    Kinds may be ``int``, ``float``, ``bool``, ``str``, ``Any``, ``None``, ``Literal``, unions of them, lists, tuples
    and mappings of them, data classes, typed dictionaries, and any of these ``Annotated`` with a :class:`Rule`. A whole
    number is a number, too; true and false are none.

    Args:
        schema: the data class.
        values: the object.
        where: what it stands in, which begins the sentence.
        inside: name of the field that holds it.

    Raises:
        BadInputError: for the first field that is missing or of another kind.
    """
    kinds: dict[str, Any] = _kinds(cast(Hashable, schema))
    found = {}
    for field in dataclasses.fields(schema):  # type: ignore[arg-type]
        name = f"{inside}.{field.name}" if inside else field.name
        if field.name in values:
            found[field.name] = checked(kinds[field.name], values[field.name], where, name)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise _missing(kinds[field.name], where, name)
    return schema(**found)


def fields_of(schema: Any, values: Mapping[str, Any], where: str, inside: str = "") -> dict[str, Any]:
    """The fields of a JSON object that a typed dictionary declares, checked, and all others as they are.

    Raises:
        BadInputError: for the first field that is required and missing, or of another kind.
    """
    kinds: dict[str, Any] = _kinds(schema)
    found = dict(values)
    for key, kind in kinds.items():
        name = f"{inside}.{key}" if inside else key
        if key in values:
            found[key] = checked(kind, values[key], where, name)
        elif key in schema.__required_keys__:
            raise _missing(kind, where, name)
    return found


def checked(kind: Any, value: Any, where: str, name: str) -> Any:
    """``value``, if it is of a kind; lists become what the kind says, such as tuples.

    Raises:
        BadInputError: ``WHERE: field 'name' is null; it must be a whole number``.
    """
    if not _fits(kind, value):
        raise _refusal(kind, value, where, name)
    if kind is Any:
        return value
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        found = checked(parts[0], value, where, name)
        if not all(rule.holds(found) for rule in parts[1:] if isinstance(rule, Rule)):
            raise _refusal(kind, value, where, name)
        return found
    if origin in (Union, types.UnionType):
        return checked(next(part for part in parts if _fits(part, value)), value, where, name)
    if kind is float:
        return float(value)
    if origin in (list, tuple, Sequence):
        of = parts[0] if parts else Any
        found = [checked(of, part, where, f"{name}[{place}]") for place, part in enumerate(value)]
        return found if origin is list else tuple(found)
    if origin in (dict, Mapping):
        return {key: checked(parts[1], part, where, f"{name}.{key}") for key, part in value.items()}
    if is_typeddict(kind):
        return fields_of(kind, value, where, name)
    return from_object(kind, value, where, name) if dataclasses.is_dataclass(kind) else value  # type: ignore[arg-type]


def as_data(value: Any, where: str, name: str) -> Any:
    """``value``, if nothing in it would be run, looked up or made where MONAI's configuration reads it.

    Texts that begin with ``$`` (Python), ``@`` (a reference) or ``%`` (a file to read) and objects with names that
    begin with ``_`` (``_target_`` makes what it names) are not data to a configuration.

    Raises:
        BadInputError: for the first of them.
    """
    if isinstance(value, str) and value.lstrip().startswith(_EXPRESSION):
        raise BadInputError(
            f"{where}: field {name!r} is {shown(value)}; a configuration would run or look up what begins with $, @ or "
            "%, so it is not used"
        )
    if isinstance(value, Mapping):
        for key, part in value.items():
            if str(key).startswith("_"):
                raise BadInputError(f"{where}: field {name!r} has a part {shown(key)}, which a configuration would run")
            as_data(key, where, f"{name}.{key}")
            as_data(part, where, f"{name}.{key}")
    elif isinstance(value, (list, tuple)):
        for place, part in enumerate(value):
            as_data(part, where, f"{name}[{place}]")
    return value


def shown(value: Any, longest: int = 60) -> str:
    """A value as JSON writes it, in one line and cut where it is long."""
    if isinstance(value, (dict, list)) and len(value) > longest:
        return f"an object of {len(value)} fields" if isinstance(value, dict) else f"a list of {len(value)} values"
    try:
        text = json.dumps(value, ensure_ascii=True, default=str)
    except (ValueError, RecursionError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


@cache
def _kinds(schema: Any) -> dict[str, Any]:
    return get_type_hints(schema, include_extras=True)


def _missing(kind: Any, where: str, name: str) -> BadInputError:
    return BadInputError(f"{where}: field {_cut(name)!r} is missing; it must be {_words(kind)}")


def _refusal(kind: Any, value: Any, where: str, name: str) -> BadInputError:
    return BadInputError(f"{where}: field {_cut(name)!r} is {shown(value)}; it must be {_words(kind)}")


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..."


def _fits(kind: Any, value: Any) -> bool:
    """Whether a value is of a kind, not looking at what is in it, nor at rules."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _fits(parts[0], value)
    if origin in (Union, types.UnionType):
        return any(_fits(part, value) for part in parts)
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in parts)
    if kind is Any:
        return True
    if kind in (None, type(None)):
        return value is None
    if kind is int:
        return type(value) is int and abs(value) < _LARGEST_WHOLE
    if kind is float:
        return type(value) in (int, float) and abs(value) < _LARGEST_WHOLE**16 and math.isfinite(value)
    if kind in (bool, str):
        return isinstance(value, kind)
    if (origin or kind) in (list, tuple, Sequence):
        return isinstance(value, (list, tuple))
    return isinstance(value, Mapping)


def _words(kind: Any) -> str:
    """What a value of a kind is, such as "a list of whole numbers or null"."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        rules = [rule.words for rule in parts[1:] if isinstance(rule, Rule)]
        return rules[-1] if rules else _words(parts[0])
    if origin is Literal:
        return "one of " + ", ".join(json.dumps(choice) for choice in parts)
    if origin in (Union, types.UnionType):
        return " or ".join(_words(part) for part in parts)
    words = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text", Any: "there"}
    if kind in (None, type(None)):
        return "null"
    if (origin or kind) in (list, tuple, Sequence):
        return f"a list, each value {_words(parts[0])}" if parts and parts[0] is not Any else "a list"
    return words.get(kind, "an object with names")
