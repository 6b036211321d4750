"""Words of a command line as values: by what an id expects, not by what the word looks like."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import torch
import yaml

from monai_robust.errors import BadInputError
from monai_robust.paths import with_home

__all__ = ["Kind", "check_signs", "check_value", "read_word"]


class Kind(Enum):
    """What an id of a configuration takes."""

    SWITCH = "a switch"
    PATH = "a file or folder"
    NAME = "a name"
    WORD = "a word, or the number of a choice"
    NUMBER = "a number"
    LIST = "a list"
    NAMES = "a list of names"
    ANY = "any value"


_ON, _OFF = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_NULL = ("null", "none", "~")
_NO_WORD = re.compile(r"-?(0|[1-9][0-9]*)|null|None|~|[\[{].*")
_WHOLE_FROM = dict.fromkeys(("num_workers", "seed", "split_seed"), 0) | dict.fromkeys(
    ("epochs", "max_epochs", "batches_per_epoch", "batch_size", "val_interval", "image_size", "features"), 1
)
_MANY_OR_NONE = ("image_size", "features", "batch_size")  # one for each axis or level, or what a plan says
_NONE = ("seed",)  # where nothing is to be drawn alike
_ABOVE_ZERO = ("learning_rate",)
_PYTHON_OR_MONAI = ("$", "@", "%")


class _Loader(yaml.SafeLoader):
    """YAML in which ``1e-3`` is a number, ``None`` null, and ``no``, ``001``, ``1_000`` and ``2024-01-01`` are text."""


class _TextLoader(yaml.BaseLoader):
    """YAML in which every scalar is text."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|None", "~nN"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan", "-+.0123456789"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^({_pattern})$"), list(_first))


def read_word(name: str, text: str, kind: Kind, *, default: Any = None) -> Any:
    """The value that a word of a command line stands for.

    MONAI's references, expressions and macros (``@``, ``$``, ``%``) stay as they are.

    Args:
        name: the id, for messages.
        text: the word as it was typed.
        kind: what the id takes.
        default: its value in the configuration; where that is null, so may the word be.

    Raises:
        BadInputError: for a word that is nothing of the kind.
    """
    if text.startswith(_PYTHON_OR_MONAI):
        return text
    if kind in (Kind.PATH, Kind.NAME):
        return _text(name, text, kind, default)
    if kind is Kind.WORD:
        return _yaml(name, text, _Loader) if _NO_WORD.fullmatch(text) else _unquoted(text)
    if kind is Kind.SWITCH:
        return _switch(name, text)
    if default is None and text.lower() in _NULL:
        return None
    value = _yaml(name, text, _TextLoader if kind is Kind.NAMES else _Loader)
    if kind is Kind.NUMBER:
        return _number(name, value, default)
    if kind in (Kind.LIST, Kind.NAMES):
        return _list(name, value, default)
    return _separated(value)


def check_signs(name: str, value: Any) -> None:
    """Refuse text with ``#``, which MONAI would read as ``::``: results would go to a folder of another name.

    Args:
        name: the id, for messages.
        value: what it is set to; references, expressions and macros may have the sign.

    Raises:
        BadInputError: with what would do.
    """
    for text in _texts(value):
        if "#" in text and not text.startswith(_PYTHON_OR_MONAI):
            raise BadInputError(
                f"--{name} is {text!r}, of which MONAI's configurations would make {text.replace('#', '::')!r}; use a "
                "name or folder without #, such as a link to it"
            )


def _texts(value: Any) -> Iterator[str]:
    """Every text in a value, also in a list or mapping that is written down as one."""
    if isinstance(value, str) and value.startswith(("{", "[")):
        try:
            value = yaml.load(value, _Loader)
        except yaml.YAMLError:  # a name that only looks like one
            yield str(value)
            return
    if isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, (str, Path)):
        yield str(value)


def check_value(name: str, part: str, value: Any) -> None:
    """Refuse a value of a right kind that no run can work with: no epochs, empty batches, a device that is not there.

    Args:
        name: the id, for messages.
        part: its last part, which says what it is of.
        value: from :func:`read_word`.

    Raises:
        BadInputError: with what would do.
    """
    if isinstance(value, str) and value.startswith(_PYTHON_OR_MONAI):
        return
    if part == "device":
        _check_device(name, value)
    single = part in _WHOLE_FROM and part not in _MANY_OR_NONE
    if single and (isinstance(value, list) or (value is None and part not in _NONE)):
        raise BadInputError(f"--{name} is {value}; it takes one whole number from {_WHOLE_FROM[part]}")
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, bool) or not isinstance(one, (int, float)):
            continue
        least = _WHOLE_FROM.get(part)
        if least is not None and (not isinstance(one, int) or one < least):
            raise BadInputError(f"--{name} is {value}; it takes whole numbers from {least}")
        if part in _ABOVE_ZERO and not 0 < one < float("inf"):
            raise BadInputError(f"--{name} is {value}; it takes a number above 0")


def _check_device(name: str, value: Any) -> None:
    try:
        torch.zeros(1, device=value).tolist()
    except (AssertionError, ImportError, RuntimeError, TypeError) as error:  # what torch says is long, of its build
        raise BadInputError(f"--{name} is {value!r}, which PyTorch cannot use here; cpu would do") from error


def _unquoted(text: str) -> str:
    """Without the quotes that some write around a word so that it is not taken for a number."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def _text(name: str, text: str, kind: Kind, default: Any) -> Any:
    if default is None and kind is Kind.PATH and text.lower() in _NULL:
        return None
    if kind is Kind.PATH and text.startswith("{"):  # thresholds as a mapping in place of their file
        return _yaml(name, text, _Loader)
    if not text:
        raise BadInputError(f"--{name} is empty; it takes {kind.value}")
    return with_home(_unquoted(text)) if kind is Kind.PATH else _unquoted(text)


def _switch(name: str, text: str) -> bool:
    if text.lower() not in _ON + _OFF:
        raise BadInputError(f"--{name} is {text!r}; it is a switch, true or false")
    return text.lower() in _ON


def _yaml(name: str, text: str, loader: type[yaml.SafeLoader] | type[yaml.BaseLoader]) -> Any:
    try:
        return yaml.load(text, loader)
    except yaml.YAMLError as error:
        raise BadInputError(f"the value {text!r} of {name!r} is no YAML; check its brackets and quotes") from error


def _separated(value: Any) -> Any:
    """A list, where text is values with commas between them, as ``0.5,1`` or ``(0.5, 1)``."""
    if not isinstance(value, str) or "," not in value or not re.fullmatch(r"\(.*\)|[\w.+-]+(, *[\w.+-]+)*,?", value):
        return value
    return [_yaml("", part.strip(), _Loader) for part in value.strip("()").split(",") if part.strip()]


def _is_one(value: Any, default: Any) -> bool:
    """Whether a value is one entry of a list, such as the radius ``0.5`` or ``20HU``, or the group ``source``."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)) or value == "":
        return False
    texts = not default or any(isinstance(one, str) for one in default)
    return not isinstance(value, str) or texts or re.match(r"[0-9.]+ *[a-zA-Z%]+$", value) is not None


def _number(name: str, value: Any, default: Any) -> Any:
    if value is None or isinstance(value, list):  # an image size of two numbers; null for what the data or a plan says
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        example = "" if default is None else f" such as {default}"
        raise BadInputError(f"--{name} is {str(value)!r}; it takes a number{example}")
    return int(value) if isinstance(default, int) and float(value).is_integer() else value


def _list(name: str, value: Any, default: Any) -> Any:
    value = _separated(value)
    if _is_one(value, default):
        return [value]
    if value is not None and not isinstance(value, list):
        example = str(default) if default else "[a, b]"
        raise BadInputError(f"--{name} is {str(value)!r}; it takes a list, such as '{example}'")
    return value
