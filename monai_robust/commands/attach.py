"""Look at somebody else's bundle, and print the commands that train, attack and measure it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from monai_robust.pipelines import Found, Pipeline

__all__ = ["attach"]


def attach(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder; it is not changed.")] = Path(),
    config_files: Annotated[
        list[Path] | None,
        typer.Option("--config_file", help="A file that trains, where there are several; in order, several times."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="An id of the bundle and its value, such as dataset_dir=/data; several times."),
    ] = None,
    write: Annotated[Path | None, typer.Option("--write", help="Write fitted overlays into this folder.")] = None,
) -> None:
    """Say what a MONAI bundle does, and which commands train it robustly, attack it and measure it.

    One batch of its training and one of its validation are run, with weights as they start; nothing is trained.

    Example: monai-robust attach my_bundle --set dataset_dir=/data/my_images
    """
    import yaml

    from monai_robust.commands.words import from_here
    from monai_robust.configuration import check_ids
    from monai_robust.errors import BadInputError
    from monai_robust.pipelines import Pipeline, commands_for

    overrides = {}
    for one in settings or ():
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise BadInputError(f"--set is {one!r}; it must be an id and its value, such as dataset_dir=/data")
        overrides[name] = yaml.safe_load(from_here(value))
    pipeline = Pipeline.read(bundle, config_files or ())
    if overrides:
        folder = pipeline.folder
        check_ids(pipeline.configuration((*folder.training, *folder.evaluation, *folder.measuring)), overrides)
        pipeline = Pipeline(folder, overrides)
    commands = commands_for(pipeline, None if write is None else write.resolve())
    _show(pipeline, pipeline.found)
    where = pipeline.folder.path
    print("" if where == Path.cwd() else f"\n# From within the bundle's folder:\ncd {where}")
    for command in commands:
        print(f"\n# {command.purpose}\n{command.line}")


def _show(pipeline: Pipeline, found: Found) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in _rows(pipeline, found):
        table.add_row(name, value)
    console = Console(soft_wrap=False, highlight=False, markup=False)
    console.print(table)
    for note in found.notes:
        console.print(f"note: {note}", soft_wrap=True)


def _rows(pipeline: Pipeline, found: Found) -> list[tuple[str, str]]:
    folder, images, outputs = pipeline.folder, found.images, found.outputs
    engines = [one for one in (found.trainer, found.evaluator) if one is not None]
    files = {"trains": folder.training, "evaluates": folder.evaluation, "on several GPUs": folder.several_gpus}
    rows = [(name, ", ".join(folder.shown(files))) for name, files in files.items() if files]
    rows.append(("engines", ", ".join(f"{i} ({n})" for i, n in zip(engines, found.engine_names, strict=True))))
    rows.append(("task", outputs.task + ("" if found.loss is None else f", by {found.loss}")))
    rows.append(("outputs", f"{outputs.described}: {outputs.why}"))
    rows.append(("images", _shape(images.shape) + f", {images.batch} in a batch"))
    if found.training is not None and found.training.shape != images.shape:
        rows.append(("", _shape(found.training.shape) + f" in training, {found.training.batch} in a batch"))
    if images.guidance:
        rows.append(("guidance", f"channels {', '.join(map(str, images.guidance))} are no image ({images.guided_by})"))
    rows.append(("intensity", f"{images.low:.3g} to {images.high:.3g}, typical L2 norm {images.norm:.3g}"))
    if found.windows is not None:
        roi, number = found.windows
        rows.append(("windows", f"{' x '.join(map(str, roi))}, {number} for such an image"))
    if found.attack_gib is not None:
        rows.append(("an attack needs", f"{_gib(found.attack_gib)} beside the network, for such a batch"))
    if found.training is not None:
        rows.append(("samples", found.samples or "cannot be told apart"))
    own = pipeline.own_recipes
    if own is not None:
        ids = [own.recipe, *(one for one in (own.radius, own.step, own.thresholds) if one is not None)]
        radius = "" if own.eps is None else f"; its radius is {own.eps:g}"
        rows.append(("recipes", f"of its own, set by {', '.join(ids)}{radius}"))
    if found.checkpoints is not None:
        one = found.checkpoints
        rows.append(("checkpoints", f"{one.folder}/{one.file} ({one.saver}, of the {one.owner})"))
    return rows


def _shape(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} channel{'s' if shape[0] > 1 else ''} of {' x '.join(map(str, shape[1:]))}"


def _gib(size: float) -> str:
    return "less than 0.01 GiB" if size < 0.01 else f"about {size:.2g} GiB"
