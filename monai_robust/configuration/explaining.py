"""What a user can do about the errors of a configuration that somebody wrote for MONAI."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from difflib import get_close_matches

from monai_robust.configuration.components import missing_package, pip_line
from monai_robust.errors import in_one_line

__all__ = ["chain_of", "configuration_sentence"]

_UNKNOWN = re.compile(r"Cannot locate class or function path: '([^']*)'")
_UNDEFINED = re.compile(r"the referring item `@?([^`]*)` is not defined")
_ARGUMENT = re.compile(r"([\w.]+)\(\) got an unexpected keyword argument '(\w+)'")


def configuration_sentence(
    error: BaseException, what: str = "the bundle", packages: Mapping[str, str] | None = None
) -> str | None:
    """What to tell a user of an error that comes of a configuration: a missing package, class, id or file.

    Args:
        error: with what it was raised from.
        what: begins the sentence.
        packages: versions that the bundle's metadata asks for.

    Returns:
        One sentence, or None for any other error.
    """
    chain = list(chain_of(error))
    made = any("Failed to instantiate component" in str(one) for one in chain)
    for one in chain:
        package = missing_package(one) if isinstance(one, (ImportError, RuntimeError)) else None
        if package is not None:
            return f"{what} needs the package {package}, which is not installed; {pip_line(package, packages)}"
        if found := _UNKNOWN.search(str(one)):
            return f"{what} names {found[1]}, which is neither MONAI's nor in the bundle; correct that _target_"
        if found := _UNDEFINED.search(str(one)):
            return f"{what} refers to @{found[1]}, which none of its configuration files has; name the file that does"
        if made and (found := _ARGUMENT.search(str(one))):
            name = found[1].removesuffix(".__init__")
            close = get_close_matches(found[2], _arguments(name), n=1)
            meant = f"did you mean {close[0]}?" if close else "correct that id"
            return f"{what} gives {name} the argument {found[2]}, which it does not take; {meant}"
        if isinstance(one, FileNotFoundError):
            return f"{what} finds no data: {in_one_line(one, 300)}"
    return None


def _arguments(name: str) -> list[str]:
    """The arguments of a class or function that is loaded, by its name."""
    last = name.rsplit(".", 1)[-1]
    for module in list(sys.modules.values()):
        made = vars(module).get(last)
        if callable(made) and getattr(made, "__module__", None) == module.__name__:
            with suppress(TypeError, ValueError):
                return list(inspect.signature(made).parameters)
    return []


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """An error and what it was raised from or while handling, down to the first."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__
