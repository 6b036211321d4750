"""Fit an overlay to a bundle that names its engines in its own way."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from monai.bundle import ConfigParser
from monai.engines import SupervisedTrainer
from torch import nn

from monai_robust.configuration.components import Component, components, node_of, referred
from monai_robust.configuration.macros import expanded, macros_towards
from monai_robust.data.files.whole import write_whole
from monai_robust.errors import BadInputError
from monai_robust.overlays import overlay_path
from monai_robust.overlays.engines import find_evaluator, find_trainer, own_iteration, runs_detector
from monai_robust.overlays.rendering import render_attack, render_recipe

__all__ = ["fit_overlay", "fitted_text", "read_configs"]


def fit_overlay(
    name: str, configs: Sequence[str | Path], output: str | Path | None = None, *, sample_ids: bool = False
) -> Path:
    """Path of an overlay that fits a bundle: the shipped one where it fits, else one written to ``output``.

    Args:
        name: a recipe, ``attack``, or ``fast``, which fits wherever a recipe's overlay does.
        configs: the bundle's configuration files, in the order of its ``--config_file`` list.
        output: where to write, also what is shipped; by default ``robust_<name>.yaml`` in the current folder, and only
            where the shipped overlay does not fit.
        sample_ids: of a recipe: let the trainer's data set say which sample is which, by ``WithSampleIds``.

    Raises:
        BadInputError: for configurations that cannot be read or hold no engine the overlay could plug into, with
            the ids that they do hold; or when ``output`` exists with other content.
    """
    shipped = overlay_path(name)
    text = fitted_text(name, configs, sample_ids=sample_ids)
    if output is None and text == shipped.read_text():
        return shipped
    target = Path(output or f"robust_{name}.yaml")
    if target.is_file() and target.read_text() != text:
        raise BadInputError(f"{target} exists and differs from the overlay that fits; name another file with --output")
    return write_whole(target, text.encode()).resolve()


def fitted_text(name: str, configs: Sequence[str | Path], *, sample_ids: bool = False) -> str:
    """The text of an overlay that fits a bundle; as :func:`fit_overlay`, and nothing is written."""
    shipped = overlay_path(name)
    written = read_configs(configs)
    config = _whole(written, configs)
    if sample_ids and name in ("fast", "attack"):
        raise BadInputError(f"the overlay {name} changes no data; samples are named in that of the recipe it goes with")
    if name == "fast":
        return shipped.read_text()

    def copied(engine: Component) -> tuple[str, Any] | None:
        place = macros_towards(written, engine.id)
        return None if place is None else (place, node_of(config, place))

    if name == "attack":
        evaluator = find_evaluator(config, configs)
        if runs_detector(config, evaluator):
            own = own_iteration(config, evaluator)
            return render_attack(
                evaluator.id, detector=json.dumps(None if own is None else own[2]), copied=copied(evaluator)
            )
        return render_attack(evaluator.id, _loss(config), copied=copied(evaluator))
    trainer = find_trainer(config, configs)
    named = _loaded(config, trainer) if sample_ids else None
    own = own_iteration(config, trainer)
    around = None if own is None else json.dumps(own[2])
    handlers = trainer.config.get("train_handlers")
    detector = runs_detector(config, trainer)
    return render_recipe(name, trainer.id, handlers, named, around, detector=detector, copied=copied(trainer))


def _whole(written: Mapping[str, Any], configs: Sequence[str | Path]) -> Mapping[str, Any]:
    """A merged configuration with what its macros stand for."""
    try:
        return expanded(written)
    except Exception as error:
        names = ", ".join(map(str, configs))
        raise BadInputError(f"a macro (%) of {names} names what is not there: {error}") from error


def _loaded(config: Mapping[str, Any], trainer: Component) -> tuple[str, Any]:
    """The id of a trainer's loader, and what its data set is in the configuration.

    Raises:
        BadInputError: where it is none that another file can change.
    """
    identifier, loader = referred(config, trainer.config.get("train_data_loader"))
    dataset = loader.get("dataset") if isinstance(loader, Mapping) else None
    if dataset is None:
        raise BadInputError(
            f"the loader of {trainer.id} is no component with a dataset, but {loader!r}, so an overlay cannot name its "
            "samples; give the items of its data set a sample_id that transforms keep"
        )
    if "@#" in json.dumps(dataset):
        raise BadInputError(
            f"the data set of {trainer.id} has relative references (@#...), which an overlay cannot move; give the "
            "items of its data set a sample_id that transforms keep"
        )
    return identifier or f"{trainer.id}#train_data_loader", dataset


def read_configs(configs: Sequence[str | Path]) -> Mapping[str, Any]:
    """A bundle's configuration files merged in their order, unresolved.

    Raises:
        BadInputError: for files that are missing, that are no configuration, or that change what no file before them
            has, with the file that is likely to have it.
    """
    missing = [str(path) for path in configs if not Path(path).is_file()]
    if missing:
        raise BadInputError(f"there is no configuration file {missing[0]}; give --for the bundle's own config files")
    _require_what_is_changed(configs)
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


def _require_what_is_changed(configs: Sequence[str | Path]) -> None:
    """Refuse files that set ids within what no file before them has, which MONAI answers by a KeyError."""
    known: set[str] = set()
    for path in configs:
        content = _content(Path(path))
        for key in content:
            top = str(key).removeprefix("+").replace("::", "#").split("#")[0]
            if str(key).removeprefix("+") != top and top not in known and top not in content:
                raise BadInputError(
                    f"{path} sets {key}, and no file before it has {top}; give --for the files it goes with first"
                    f"{_such_as(Path(path), top)}"
                )
        known |= {str(key) for key in content}


def _such_as(path: Path, top: str) -> str:
    """The files beside one that have an id at their top, as the advice to name them."""
    others = sorted(one for one in path.parent.iterdir() if one.suffix in (".json", ".yaml", ".yml") and one != path)
    having = sorted((one for one in others if top in _content(one)), key=lambda one: (one.stem != "train", one.name))
    return f", as in --for {having[0]} --for {path}" if having else ""


def _content(path: Path) -> Mapping[Any, Any]:
    """What a configuration file has at its top; nothing where it cannot be read, which its reader says."""
    try:
        text = path.read_text()
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, yaml.YAMLError):
        return {}
    return content if isinstance(content, Mapping) else {}


def _loss(config: Mapping[str, Any]) -> str | None:
    """A reference to the loss of the bundle's trainer, which an attack on dense outputs needs; else to the only loss
    that an evaluation's files hold."""
    for trainer in components(config):
        if not trainer.is_a(SupervisedTrainer):
            continue
        loss = trainer.config.get("loss_function")
        if isinstance(loss, str) and loss.startswith("@") and not loss.startswith("@#"):  # no relative reference
            return loss
        if loss is not None:
            return f"@{trainer.id}#loss_function"
    losses = [one.id for one in components(config) if "#" not in one.id and _is_loss(one.imported)]
    return f"@{losses[0]}" if len(losses) == 1 else None


def _is_loss(imported: Any) -> bool:
    """Whether a component's class is one of torch's or MONAI's losses."""
    try:
        kind = imported()
    except BadInputError:
        return False
    return isinstance(kind, type) and issubclass(kind, nn.Module) and kind.__name__.endswith("Loss")
