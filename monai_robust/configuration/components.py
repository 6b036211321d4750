"""The components of a bundle's configuration, known by their classes and not by what a bundle calls them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pydoc import ErrorDuringImport, locate
from typing import Any

from monai.bundle import ComponentLocator
from monai.bundle.config_item import ConfigComponent

from monai_robust.errors import BadInputError

__all__ = ["Component", "components", "mentioned", "missing_package", "node_of", "pip_line", "referred"]

_REFERENCE = re.compile(r"\$?@(\w+(?:(?:#|::)\w+)*)")
_MENTIONED = re.compile(r"@(\w+(?:(?:#|::)\w+)*)")
_NO_MODULE = re.compile(r"No module named '([\w.]+)'")
# Packages that are installed by another name than they are imported by.
_PIP_NAMES = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "ignite": "pytorch-ignite",
    "monai": "monai",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
    "cucim": "cucim-cu12",
    "tensorboard": "tensorboard",
}


@dataclass(frozen=True)
class Component:
    """One component of a configuration.

    Attributes:
        id: where it stands, such as ``train#trainer``.
        target: its ``_target_``, a bare name of MONAI's or a dotted one.
        config: its arguments, unresolved.
    """

    id: str
    target: str
    config: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The last name of the target."""
        return self.target.rsplit(".", 1)[-1]

    @property
    def disabled(self) -> bool:
        """Whether it says that it is not to be made, as :class:`monai.bundle.ConfigComponent` reads it."""
        said = self.config.get("_disabled_", False)
        return said.strip().lower().removeprefix("$") == "true" if isinstance(said, str) else bool(said)

    def imported(self) -> Any:
        """What the target names, a class or a function.

        Raises:
            BadInputError: for a name that is nowhere, or a package that is not installed.
        """
        return _imported(self.target, self.id)

    def is_a(self, *kinds: type) -> bool:
        """Whether the target is a class that comes from one of ``kinds``; one that cannot be imported is none."""
        try:
            found = self.imported()
        except BadInputError:
            return False
        return isinstance(found, type) and issubclass(found, kinds)


def components(config: Any, prefix: str = "") -> Iterator[Component]:
    """Every component of a configuration, outer ones before those within."""
    if isinstance(config, Mapping):
        if isinstance(config.get("_target_"), str):
            yield Component(prefix, config["_target_"], config)
        items: Iterator[tuple[Any, Any]] = iter(config.items())
    elif isinstance(config, list):
        items = iter(enumerate(config))
    else:
        return
    for key, value in items:
        yield from components(value, f"{prefix}#{key}" if prefix else str(key))


def node_of(config: Mapping[str, Any], identifier: str) -> Any:
    """What a configuration has under an id; None where it has none."""
    node: Any = config
    for key in identifier.replace("::", "#").split("#"):
        if isinstance(node, Mapping) and key in node:
            node = node[key]
        elif isinstance(node, list) and key.isdigit() and int(key) < len(node):
            node = node[int(key)]
        else:
            return None
    return node


def referred(config: Mapping[str, Any], value: Any) -> tuple[str | None, Any]:
    """The id that a value is nothing but a reference to, followed to its end, and what stands there.

    The id is None for what is no reference; an expression stays as it is.
    """
    identifier: str | None = None
    seen: set[str] = set()
    while isinstance(value, str) and (match := _REFERENCE.fullmatch(value.strip())) and match[1] not in seen:
        identifier = match[1].replace("::", "#")
        seen.add(match[1])
        value = node_of(config, identifier)
    return identifier, value


def mentioned(expression: str) -> list[str]:
    """The ids that a reference or an expression names."""
    if not expression.strip().startswith(("@", "$")):
        return []
    return [name.replace("::", "#") for name in _MENTIONED.findall(expression)]


def missing_package(error: BaseException | str) -> str | None:
    """The package that an import error says is missing."""
    found = _NO_MODULE.search(str(error))
    return found[1].split(".")[0] if found else None


def pip_line(package: str, versions: Mapping[str, Any] | None = None) -> str:
    """What installs a package, in the version that a bundle's metadata asks for.

    Args:
        package: the name it is imported by.
        versions: what the metadata requires, by name.
    """
    name = _PIP_NAMES.get(package, package)
    version = next((text for key, text in (versions or {}).items() if key in (package, name)), None)
    return f"pip install {name}=={version}" if version else f"pip install {name}"


@cache
def _locator() -> ComponentLocator:
    return ComponentLocator()


def _imported(target: str, identifier: str) -> Any:
    path = ConfigComponent({"_target_": target}, locator=_locator()).resolve_module_name()
    try:
        found = locate(path)
    except ErrorDuringImport as error:
        package = missing_package(error.value) if isinstance(error.value, ImportError) else None
        if package is None:
            raise BadInputError(f"{target}, the class of {identifier}, cannot be imported: {error.value}") from error
        raise BadInputError(
            f"{target}, the class of {identifier}, needs the package {package}, which is not installed; "
            f"{pip_line(package)}"
        ) from error
    if found is not None:
        return found
    package = target.split(".")[0]
    if "." not in target:
        raise BadInputError(f"{identifier} names {target}, which is no component of MONAI; correct its _target_")
    if package in sys.modules or locate(package) is not None:
        raise BadInputError(f"{identifier} names {target}, which {package} does not have; correct its _target_")
    raise BadInputError(
        f"{identifier} names {target}, and there is no package {package}; {pip_line(package)}, or run in the bundle's "
        "own folder if it is a part of the bundle"
    )
