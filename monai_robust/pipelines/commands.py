"""The command lines that fit a bundle, and the radii that are proposed for it."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from monai_robust.configuration import has_id
from monai_robust.configuration.components import node_of
from monai_robust.errors import BadInputError
from monai_robust.overlays import overlay_path
from monai_robust.overlays.fitting import fit_overlay, fitted_text, read_configs
from monai_robust.overlays.rendering import render_attack
from monai_robust.pipelines.pipeline import Pipeline

__all__ = ["Command", "commands_for", "proposed_radii"]

_TORCHRUN = "torchrun --standalone --nproc_per_node=2"
_SHARES = (0.005, 0.01, 0.02)


@dataclass(frozen=True)
class Command:
    """A command line to be run from within the bundle's folder.

    Attributes:
        name: short, such as ``"train"``.
        purpose: a phrase that says what it does.
        line: for a POSIX shell.
    """

    name: str
    purpose: str
    line: str


def proposed_radii(norm: float) -> tuple[float, ...]:
    """L2 radii of 0.5, 1 and 2 percent of an image's norm, in intensity units of the network's input, two digits each.

    Source of the shares: none is right for every task; below half a percent networks seldom break, and beyond two a
    change tends to be seen. They are where to begin.

    >>> proposed_radii(128.0)
    (0.64, 1.3, 2.6)
    """
    if not norm > 0 or not math.isfinite(norm):
        raise BadInputError(f"the images of the batch have the norm {norm}, so that no radius can be proposed for them")
    return tuple(float(f"{share * norm:.2g}") for share in _SHARES)


def commands_for(pipeline: Pipeline, write: Path | None = None) -> list[Command]:
    """What trains, attacks and measures a bundle, in the order in which one would run it.

    Args:
        pipeline: the bundle.
        write: folder that fitted overlays are written to; without it, the commands make them where they are needed.

    Raises:
        BadInputError: for a bundle that cannot be served.
    """
    found = pipeline.found
    listed: list[Command] = []
    recipe = "rtda" if found.outputs.agreement is not None else "sat"
    if not found.attackable:
        recipe = "stock"
    if found.training is not None:
        listed.append(Command("stock", "train it as it is", _training(pipeline, "stock", write)))
    if found.training is not None and found.attackable:
        listed.append(Command("train", f"train it robustly ({recipe})", _training(pipeline, recipe, write)))
        if _keeps_margins(pipeline):
            margins = _training(pipeline, "amat", write)
            listed.append(Command("amat", "train it with a margin for every sample (amat)", margins))
        listed += _of_several(pipeline, recipe, write)
    if found.validation is not None and found.labelled:
        radii = proposed_radii(found.validation.norm)
        attacked = _under_attack(pipeline, radii[1], recipe, write) if found.attackable else None
        if attacked is not None:
            listed.append(attacked)
        name = "as_it_is" if found.checkpoints is None else recipe
        weights = found.trained if found.checkpoints is None else f"--checkpoint {found.checkpoints.path(recipe)}"
        own = _checkpoint_there(pipeline)
        if own is not None and found.measurable:
            line = _measuring(pipeline, f"--checkpoint {own}", "own", radii)
            listed.insert(0, Command("evaluate_own", "measure the checkpoint that is there", line))
        if weights is not None and found.measurable:
            line = _measuring(pipeline, weights, name, radii)
            listed.append(Command("evaluate", "measure it and write a report", line))
            if pipeline.folder.trains_on_several:
                line = line.replace("monai-robust", f"{_TORCHRUN} -m monai_robust", 1)
                line = line.replace(f"results/{recipe}", f"results/{recipe}_by_two", 1)
                listed.append(Command("evaluate_by_several", "measure it in two processes", line))
            if own is not None:
                line = f"monai-robust report results/own results/{name} --output results/report.html"
                listed.append(Command("compare", "compare both in one report", line))
    return listed


def _checkpoint_there(pipeline: Pipeline) -> str | None:
    """The newest checkpoint that the training as it is has left, from the bundle's folder; None without one."""
    checkpoints = pipeline.found.checkpoints
    if checkpoints is None:
        return None
    files = list((pipeline.folder.path / checkpoints.folder).glob(checkpoints.file))
    if not files:
        return None
    return f"{checkpoints.folder}/{max(files, key=lambda file: file.stat().st_mtime).name}"


def _measuring(pipeline: Pipeline, weights: str, name: str, radii: Sequence[float]) -> str:
    """The line that measures a network into ``results/NAME``."""
    line = f"monai-robust evaluate . {weights}"
    if not pipeline.folder.measures_itself:
        line += f" --radii {','.join(f'{radius:g}' for radius in radii)}{_channels(pipeline, 'channels')}"
    return f"{line} --output_dir results/{name}{_settings(pipeline, pipeline.folder.measuring)}"


def _of_several(pipeline: Pipeline, recipe: str, write: Path | None) -> list[Command]:
    """Trainings in several processes, where the bundle has a configuration for them."""
    if not pipeline.folder.trains_on_several:
        return []
    robust = _training(pipeline, recipe, write, several=True)
    listed = [Command("train_by_several", f"train it robustly ({recipe}) in two processes, a GPU each", robust)]
    if _keeps_margins(pipeline):
        margins = _training(pipeline, "amat", write, several=True)
        listed.append(Command("amat_by_several", "train it with margins in two processes, a GPU each", margins))
    return listed


def _training(pipeline: Pipeline, recipe: str, write: Path | None, *more: str, several: bool = False) -> str:
    """The line that trains by a recipe, or ``"stock"``, by an overlay or by the training's own recipes.

    Args:
        pipeline: the bundle.
        recipe: or ``"stock"``.
        write: as of :func:`commands_for`.
        *more: overlays that go last.
        several: in several processes.
    """
    found, files, own = pipeline.found, pipeline.folder.training, pipeline.own_recipes
    if several:
        files = (*files, *pipeline.folder.trains_on_several)
    assert found.training is not None  # else nothing trains
    radius = proposed_radii(found.training.norm)[1]
    apart = "" if found.checkpoints is None else found.checkpoints.words(recipe)
    run = _TORCHRUN if several else "python"
    if own is not None:
        line = _run(pipeline, files, found.trainer, *more, program=run)
        line += f" --{own.recipe} {'erm' if recipe == 'stock' else recipe}"
        if recipe == "amat":
            assert found.checkpoints is not None  # else margins are not offered
            line += f" --{own.thresholds} {found.checkpoints.path('stock')}"
        elif recipe != "stock" and own.radius is not None and own.eps is None:
            line += f" --{own.radius} {radius:g}"
        return line + apart
    if recipe == "stock":
        return _run(pipeline, files, found.trainer, *more, program=run) + apart
    overlay = _overlay(pipeline, recipe, files, write, sample_ids=recipe == "amat" and found.unnamed)
    line = _run(pipeline, files, found.trainer, overlay, *more, program=run)
    if recipe == "amat":
        assert found.checkpoints is not None
        line += f" --robust#step {float(f'{radius / 5:.2g}'):g} --robust#thresholds {found.checkpoints.path('stock')}"
        return line + _channels(pipeline, "robust#channels") + apart
    line += f" --robust#attack#eps {radius:g}"
    return line + _channels(pipeline, "robust#channels") + _agreement(pipeline, recipe) + apart


def _keeps_margins(pipeline: Pipeline) -> bool:
    """Whether a training can keep a margin for every sample: samples are known, and so is a checkpoint that thresholds
    are taken from."""
    found, own = pipeline.found, pipeline.own_recipes
    return found.samples is not None and found.checkpoints is not None and (own is None or own.thresholds is not None)


def _run(pipeline: Pipeline, files: Sequence[Path], engine: str | None, *overlays: str, program: str = "python") -> str:
    """``python -m monai.bundle run`` of configuration files and overlays, by the id that runs an engine."""
    listed = ", ".join(f"'{one}'" for one in [*pipeline.folder.shown(files), *overlays])
    config = pipeline.configuration(tuple(files))
    action = _action(config, engine, files)
    words = f"{program} -m monai.bundle run" + ("" if action == "run" else f" {action}")
    words += f' --config_file "[{listed}]"'
    root = read_configs(files).get("bundle_root")
    if root is not None and Path(str(root)) != Path():
        words += " --bundle_root ."
    return words + _settings(pipeline, files)


def _settings(pipeline: Pipeline, files: Sequence[Path]) -> str:
    """What was set of the bundle, as far as these files have it, for a command line."""
    config = pipeline.configuration(tuple(files))
    return "".join(
        f" --{name} {shlex.quote(str(value))}" for name, value in pipeline.overrides.items() if has_id(config, name)
    )


def _action(config: Mapping[str, object], engine: str | None, files: Sequence[Path]) -> str:
    """The id at the top whose expressions run an engine: ``run``, or another one as bundles had before."""
    runs = re.compile(rf"@{re.escape(str(engine))}\.run\(\)")
    for name in ("run", *config):
        value = config.get(name)
        lines = value if isinstance(value, list) else [value]
        if any(isinstance(line, str) and runs.search(line) for line in lines):
            return name
    names = ", ".join(file.name for file in files)
    raise BadInputError(f"{names} does not run {engine}: no id at its top is an expression such as $@{engine}.run()")


def _overlay(
    pipeline: Pipeline, name: str, files: Sequence[Path], write: Path | None, *, sample_ids: bool = False
) -> str:
    """An overlay as a word of a ``--config_file`` list."""
    found = pipeline.found
    with pipeline.inside():
        text = fitted_text(name, files, sample_ids=sample_ids)
    if name == "attack" and found.loss == "CrossEntropyLoss" and not found.outputs.dense:
        text = render_attack(str(found.evaluator))  # raises just that by itself
    if text == overlay_path(name).read_text():
        return f"$(monai-robust overlay {name})"
    if write is not None:
        with pipeline.inside():
            path = fit_overlay(name, files, write / f"robust_{name}.yaml", sample_ids=sample_ids)
        inner = path.is_relative_to(pipeline.folder.path)
        return path.relative_to(pipeline.folder.path).as_posix() if inner else str(path)
    listed = " ".join(f"--for {one}" for one in pipeline.folder.shown(files))
    return f"$(monai-robust overlay {name} {listed}{' --sample_ids' if sample_ids else ''})"


def _agreement(pipeline: Pipeline, recipe: str) -> str:
    """The setting that says how views agree, where a recipe needs it and the loss does not tell."""
    found = pipeline.found
    return f" --robust#agreement {found.outputs.agreement}" if recipe == "rtda" and not found.loss_tells else ""


def _channels(pipeline: Pipeline, name: str) -> str:
    """The setting that leaves channels of guidance as they are, where there are any."""
    images = pipeline.found.images
    chosen = [index for index in range(images.shape[0]) if index not in images.guidance]
    return f' --{name} "{chosen}"' if images.guidance and chosen else ""


def _under_attack(pipeline: Pipeline, radius: float, recipe: str, write: Path | None) -> Command | None:
    """Evaluation by the bundle's own metrics, or where only a training evaluates, training that validates so."""
    found, folder = pipeline.found, pipeline.folder
    alone = set(folder.evaluation) - set(folder.training)
    if not alone and not folder.training:
        return None
    files = folder.evaluation
    if folder.training[:1] != files[:1] and (found.outputs.dense or found.outputs.kind != "classes"):
        files = (*folder.training, *files)  # which have the loss that is attacked
    overlay, own = _overlay(pipeline, "attack", files, write), pipeline.own_recipes
    if own is not None and own.eps is not None:
        radius = own.eps
    eps = f" --robust_eval#attack#eps {radius:g}" + _channels(pipeline, "robust_eval#attack#channels")
    if own is not None:
        eps += f" --robust_eval#attack#bounds {shlex.quote(str(own.bounds))}"
    if not alone:
        return Command(
            "attack",
            "train it robustly, validated under attack by its own metrics",
            _training(pipeline, recipe, write, overlay) + eps,
        )
    line = _run(pipeline, files, found.evaluator, overlay) + eps
    if found.checkpoints is not None and own is not None:
        line += f" --{own.recipe} {recipe}" + found.checkpoints.words(recipe)
    elif found.loader is not None and found.checkpoints is not None:
        config = pipeline.configuration(folder.evaluation)
        path = node_of(config, f"{found.loader}#load_path")
        setting = found.checkpoints.setting
        if "#" not in setting and isinstance(path, str) and f"@{setting}" in path:
            line += found.checkpoints.words(recipe)
        else:
            line += f" --{found.loader}#load_path {found.checkpoints.path(recipe)}"
    return Command("attack", "evaluate it under attack by its own metrics", line)
