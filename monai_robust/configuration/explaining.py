"""What a user can do about the errors of a configuration that somebody wrote for MONAI."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from difflib import get_close_matches
from importlib.util import find_spec
from traceback import walk_tb
from types import FrameType
from typing import Any

from monai_robust.configuration.components import missing_package, pip_line
from monai_robust.errors import in_one_line

__all__ = ["chain_of", "configuration_sentence"]

_UNKNOWN = re.compile(r"Cannot locate class or function path: '([^']*)'")
_UNDEFINED = re.compile(r"the referring item `@?([^`]*)` is not defined")
_UNSTORED = re.compile(  # ignite's, and what it says in other versions
    r"Object labeled by '([^']*)' from `to_load` is not found in the checkpoint|Key '([^']*)' from x is not found in y"
)
_OTHER_NETWORK = re.compile(r"Error\(s\) in loading state_dict for (\w+)")
_KINDS = ("Missing", "Unexpected")
_METRICS = "ignite/metrics/metric.py"
_ARGUMENT = re.compile(r"([\w.]+)\(\) got an unexpected keyword argument '(\w+)'")


def configuration_sentence(
    error: BaseException, what: str = "the bundle", packages: Mapping[str, str] | None = None
) -> str | None:
    """What to tell a user of an error that comes of a configuration: a missing package, class, id or file, a checkpoint
    of another network, or a metric that fails.

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
            package = found[1].split(".")[0]
            if "." in found[1] and find_spec(package) is None:
                install = pip_line(package, packages)
                return (
                    f"{what} names {found[1]}, and there is no package {package}; {install}, or correct that _target_"
                )
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
        if found := _UNSTORED.search(str(one)):
            name = found[1] or found[2]
            return f"{what} loads {name!r} from a checkpoint that does not hold it; correct the loader's load_dict"
        if found := _OTHER_NETWORK.search(str(one)):
            return _other_network(what, found[1], one)
    return _metric_sentence(what, chain[-1])


def _other_network(what: str, network: str, error: BaseException) -> str:
    """A sentence on weights of another network, from what torch says of them."""
    text = str(error)
    listed = {kind: re.search(rf"{kind} key\(s\) in state_dict: (.*?)\. *$", text, re.MULTILINE) for kind in _KINDS}
    names = {kind: re.findall(r'"([^"]+)"', found[1]) if found else [] for kind, found in listed.items()}
    shapes = re.findall(r"size mismatch for (\S+):", text)
    unfit = [*names["Missing"], *shapes]
    loading = _of_frame(error, lambda frame: frame.f_code.co_name == "load_state_dict")
    own = len(loading.state_dict()) if loading is not None else None
    fit = f"{len(unfit)} do not fit" if own is None else f"{own - len(unfit)} of {own} weights fit"
    counts = (
        f"{len(names['Missing'])} are missing, {len(shapes)} have another shape, {len(names['Unexpected'])} too many"
    )
    first = next(iter([*unfit, *names["Unexpected"]]), "")
    return f"{what} loads a checkpoint of another network into {network}: {fit} ({counts}), such as {first!r}"


def _metric_sentence(what: str, error: BaseException) -> str | None:
    """A sentence on a metric that fails while an engine runs; None for any other error."""
    metric = _of_frame(error, lambda frame: frame.f_code.co_filename.replace("\\", "/").endswith(_METRICS))
    if metric is None or "memory" in str(error):
        return None
    told = f"{type(error).__name__}: {in_one_line(error, 300)}"
    return (
        f"{what} cannot compute its metric {type(metric).__name__} of what the network gives: {told}; correct it or "
        "its output_transform, or leave it out"
    )


def _of_frame(error: BaseException, wanted: Callable[[FrameType], bool]) -> Any:
    """What ``self`` is in the first wanted frame that an error came through; None without one."""
    for frame, _ in walk_tb(error.__traceback__):
        if wanted(frame) and "self" in frame.f_locals:
            return frame.f_locals["self"]
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
