"""Where a stranger's training writes its checkpoints, and what says so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.handlers import Checkpoint, DiskSaver
from monai.bundle import ConfigParser
from monai.engines import Evaluator
from monai.handlers import CheckpointSaver

from monai_robust.checkpoints.places import saved_at
from monai_robust.configuration.components import Component, components, referred
from monai_robust.errors import BadInputError
from monai_robust.pipelines.building import build
from monai_robust.pipelines.found import Checkpoints
from monai_robust.pipelines.own_recipes import OwnRecipes

__all__ = ["checkpoints_of"]

_ASKED_BY = ("erm", "at")  # recipes, to see whether a folder is named after them


def checkpoints_of(
    parser: ConfigParser, folder: Path, packages: Mapping[str, str], own: OwnRecipes | None
) -> Checkpoints | None:
    """Where checkpoints go; None where nothing that is known of saves any.

    Args:
        parser: of the training's files.
        folder: the bundle's.
        packages: versions that its metadata asks for.
        own: the training's own recipes, after which it may name its folder.

    Raises:
        BadInputError: where the folder cannot be told.
    """
    config = parser.get()
    made = [one for one in components(config) if not one.disabled]
    savers = [(one, *found) for one in made if (found := _saves(one)) is not None]
    if not savers:
        return None
    saver, argument, file = savers[0]
    place = f"{saver.id}#{argument}"

    def shown() -> str:
        path = Path(str(build(parser, place, folder, packages)))
        return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()

    written = shown()
    named_after = None
    if own is not None:
        of = []
        for recipe in _ASKED_BY:
            parser[own.recipe] = recipe
            of.append(shown())
        first, second = _ASKED_BY
        if of[0].endswith(first) and of[0].removesuffix(first) + second == of[1]:
            written, named_after = of[0], first
    identifier, _ = referred(config, saver.config.get(argument))
    setting = identifier if identifier is not None and "#" not in identifier else place
    return Checkpoints(saver.id, _owner(config, saver), written, file, setting, named_after)


def _saves(one: Component) -> tuple[str, str] | None:
    """The argument that names the folder, and the file, of a saver or of a function that makes one."""
    if one.is_a(CheckpointSaver):
        return "save_dir", _file_name(one.config)
    if one.is_a(Checkpoint, DiskSaver):  # ignite's, whose names of files hold a number
        argument = next((name for name in ("dirname", "save_dir") if name in one.config), None)
        return None if argument is None else (argument, "*.pt")
    if one.target.split(".")[0] in ("monai", "torch", "ignite") or "." not in one.target:
        return None
    try:
        found = saved_at(one.imported())
    except BadInputError:
        return None
    return None if found is None else (found.argument, found.file)


def _owner(config: Mapping[str, Any], saver: Component) -> str:
    evaluators = [one for one in components(config) if one.is_a(Evaluator)]
    for evaluator in evaluators:
        value = evaluator.config.get("val_handlers")
        identifier, _ = referred(config, value)
        places = [identifier or f"{evaluator.id}#val_handlers"]
        if any(saver.id.startswith(f"{place}#") for place in places):
            return "validator"
    return "trainer"


def _file_name(config: Mapping[str, Any]) -> str:
    for name in ("key_metric_filename", "final_filename"):
        if isinstance(config.get(name), str) and not config[name].startswith(("$", "@")):
            return str(config[name])
    return "*.pt"
