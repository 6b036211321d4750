"""Fit an overlay to a bundle that names its engines in its own way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from monai_robust.data.files.whole import write_whole
from monai_robust.errors import BadInputError
from monai_robust.overlays import overlay_path
from monai_robust.overlays.rendering import render_attack, render_recipe

__all__ = ["fit_overlay"]

_STANDARD = {"SupervisedTrainer": "train#trainer", "SupervisedEvaluator": "validate#evaluator"}


def fit_overlay(name: str, configs: Sequence[str | Path], output: str | Path | None = None) -> Path:
    """Path of an overlay that fits a bundle: the shipped one where it fits, else one written to ``output``.

    Args:
        name: a recipe, ``attack``, or ``fast``, which fits wherever a recipe's overlay does.
        configs: the bundle's configuration files, in the order of its ``--config_file`` list.
        output: where to write, also what is shipped; by default ``robust_<name>.yaml`` in the current folder, and only
            where the shipped overlay does not fit.

    Raises:
        BadInputError: for configurations that cannot be read or hold no engine the overlay could plug into, with
            the ids that they do hold; or when ``output`` exists with other content.
    """
    shipped = overlay_path(name)
    config = _read(configs)
    if name == "attack":
        engine = _engine(config, "SupervisedEvaluator", configs)
        text = render_attack(engine, _loss(config))
    elif name == "fast":
        text = shipped.read_text()
    else:
        engine = _engine(config, "SupervisedTrainer", configs)
        text = render_recipe(name, engine, _node(config, engine).get("train_handlers"))
    if output is None and text == shipped.read_text():
        return shipped
    target = Path(output or f"robust_{name}.yaml")
    if target.is_file() and target.read_text() != text:
        raise BadInputError(f"{target} exists and differs from the overlay that fits; name another file with --output")
    return write_whole(target, text.encode()).resolve()


def _read(configs: Sequence[str | Path]) -> Mapping[str, Any]:
    missing = [str(path) for path in configs if not Path(path).is_file()]
    if missing:
        raise BadInputError(f"there is no configuration file {missing[0]}; give --for the bundle's own config files")
    try:
        parser = ConfigParser()
        parser.read_config([str(path) for path in configs])
        config = parser.get()
    except Exception as error:
        raise BadInputError(
            f"{', '.join(map(str, configs))} cannot be read as MONAI bundle configuration: {error}"
        ) from error
    if not isinstance(config, Mapping):
        raise BadInputError(
            f"{', '.join(map(str, configs))} is no MONAI bundle configuration: it has no ids at its top"
        )
    return config


def _components(config: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every id with a ``_target_``, and the target's last name."""
    if isinstance(config, Mapping):
        if isinstance(config.get("_target_"), str):
            yield prefix, config["_target_"].rsplit(".", 1)[-1]
        items: Iterator[tuple[Any, Any]] = iter(config.items())
    elif isinstance(config, list):
        items = iter(enumerate(config))
    else:
        return
    for key, value in items:
        yield from _components(value, f"{prefix}#{key}" if prefix else str(key))


def _engine(config: Mapping[str, Any], target: str, configs: Sequence[str | Path]) -> str:
    components = list(_components(config))
    found = [identifier for identifier, last in components if last == target]
    standard = _STANDARD[target]
    if standard in found:
        return standard
    if len(found) == 1:
        return found[0]
    files = ", ".join(str(path) for path in configs)
    if found:
        raise BadInputError(f"{files} has several {target}s ({', '.join(found)}) and none is called {standard}")
    engines = [f"{identifier} ({last})" for identifier, last in components if last.endswith(("Trainer", "Evaluator"))]
    top = [key for key in config if key != "_meta_"]  # which MONAI adds
    have = f"its engines are {', '.join(engines)}" if engines else f"its top-level ids are {', '.join(top)}"
    raise BadInputError(f"the overlay needs a {target} such as {standard}, and {files} has none: {have}")


def _node(config: Mapping[str, Any], identifier: str) -> Mapping[str, Any]:
    """The configuration of a component."""
    node: Any = config
    for key in identifier.split("#"):
        node = node[int(key)] if isinstance(node, list) else node[key]
    return node


def _loss(config: Mapping[str, Any]) -> str | None:
    """A reference to the loss of the bundle's trainer, which an attack on dense outputs needs."""
    for identifier, last in _components(config):
        if last == "SupervisedTrainer":
            loss = _node(config, identifier).get("loss_function")
            if isinstance(loss, str) and loss.startswith("@") and not loss.startswith("@#"):  # no relative reference
                return loss
            if loss is not None:
                return f"@{identifier}#loss_function"
    return None
