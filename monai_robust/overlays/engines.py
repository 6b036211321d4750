"""Which engines a bundle has, found by class, and which of them an overlay can serve."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.engines import (
    AdversarialTrainer,
    DiffusionPrepareBatch,
    Evaluator,
    GanTrainer,
    SupervisedEvaluator,
    SupervisedTrainer,
    Trainer,
)
from monai.inferers import DiffusionInferer, VQVAETransformerInferer
from monai.networks.blocks import Warp
from monai.networks.nets import RegUNet, VoxelMorph, VoxelMorphUNet
from torch import nn

from monai_robust.configuration.components import Component, components, mentioned, node_of, referred
from monai_robust.engines import DetectorUnderAttack, RobustUpdate, UnderAttack
from monai_robust.engines.around_iteration import takes_loss_once
from monai_robust.errors import BadInputError
from monai_robust.tasks.detectors import is_detector

__all__ = ["find_evaluator", "find_trainer", "find_trainers", "own_iteration", "refuse_pipeline", "runs_detector"]

_USUAL: dict[type, tuple[str, ...]] = {
    SupervisedTrainer: ("train#trainer", "trainer"),
    SupervisedEvaluator: ("validate#evaluator", "evaluator"),
}
_TWO_NETWORKS = (GanTrainer, AdversarialTrainer)
_DIFFUSION = (DiffusionPrepareBatch, DiffusionInferer, VQVAETransformerInferer)
_REGISTRATION = (Warp, RegUNet, VoxelMorph, VoxelMorphUNet)


def find_trainer(config: Mapping[str, Any], files: Sequence[str | Path]) -> Component:
    """The supervised trainer of a configuration, whatever it is called.

    Args:
        config: merged, unresolved.
        files: which it was read from, for messages.

    Raises:
        BadInputError: where there is none, or several of which none has a usual id, or where it does what no overlay
            can serve: trains networks against each other, a diffusion, a registration, or by an iteration of its own.
    """
    trainers = find_trainers(config)
    if not any(_is_kind(config, one, SupervisedTrainer) for one in trainers):
        refuse_pipeline(config, trainers, files)
    found = _one(config, SupervisedTrainer, files)
    refuse_pipeline(config, [found], files)
    return found


def find_evaluator(config: Mapping[str, Any], files: Sequence[str | Path]) -> Component:
    """The supervised evaluator of a configuration; as :func:`find_trainer`."""
    found = _one(config, SupervisedEvaluator, files)
    refuse_pipeline(config, [found], files)
    return found


def find_trainers(config: Mapping[str, Any]) -> list[Component]:
    """All of a configuration's trainers, of any kind."""
    return [one for one in components(config) if one.is_a(Trainer) and not one.disabled]


def refuse_pipeline(config: Mapping[str, Any], engines: Sequence[Component], files: Sequence[str | Path]) -> None:
    """Refuse what no overlay can serve, in one sentence that names it.

    Raises:
        BadInputError: see :func:`find_trainer`.
    """
    where = _named(files)
    for engine in engines:
        if engine.is_a(*_TWO_NETWORKS):
            raise BadInputError(
                f"{where} trains networks against each other by {engine.id} ({engine.name}); attacks and recipes need "
                "one network with one loss of its prediction, as a SupervisedTrainer has"
            )
        for part in _parts(config, engine):
            if part.is_a(*_DIFFUSION):
                raise BadInputError(
                    f"{where} trains or samples a generative model ({part.name} of {engine.id}), whose loss is of "
                    "noise drawn anew for every batch, so that no attack on an input has a meaning here"
                )
    for part in components(config):
        if part.is_a(*_REGISTRATION) and not part.disabled:
            raise BadInputError(
                f"{where} registers images ({part.id}, a {part.name}): moving and fixed image are one input there, and "
                "no label says what would be right, so it is not served"
            )
    for engine in engines:
        _refuse_own_iteration(config, engine, where)


def own_iteration(config: Mapping[str, Any], engine: Component) -> tuple[str, Any, Any] | None:
    """The iteration that an engine has in place of MONAI's: what to call it, the function or class, and what its
    ``iteration_update`` is in the configuration, None where its class defines the iteration. None where it has none."""
    kind = engine.imported()
    stock = next((one for one in (SupervisedTrainer, SupervisedEvaluator) if issubclass(kind, one)), None)
    _, update = referred(config, engine.config.get("iteration_update"))
    if update is not None:
        own = next(iter(components(update)), None)
        if own is not None and own.is_a(RobustUpdate, UnderAttack, DetectorUnderAttack):
            return None
        what = own.target if own is not None else str(update)
        return f"{engine.id}#iteration_update: {what}", None if own is None else own.imported(), update
    if stock is None or kind._iteration is not stock._iteration:
        return f"{engine.id} is a {engine.target}, which defines _iteration", kind._iteration, None
    return None


def runs_detector(config: Mapping[str, Any], engine: Component) -> bool:
    """Whether an engine runs a detector that gives its losses itself: a trainer by an iteration of its own, an
    evaluator by an inferer or an iteration of its own."""
    if engine.is_a(Trainer) and own_iteration(config, engine) is None:
        return False
    return any(_makes_detector(part) for part in _run_by(config, engine))


def _makes_detector(part: Component) -> bool:
    try:
        made = part.imported()
    except BadInputError:
        return False
    if isinstance(made, type):
        return issubclass(made, nn.Module) and is_detector(made)
    return str(getattr(made, "__annotations__", {}).get("return", "")).endswith("Detector")


def _run_by(config: Mapping[str, Any], engine: Component) -> Iterator[Component]:
    """What an engine, or its inferer, has for its detector or its network, also where an expression names it."""
    _, inferer = referred(config, engine.config.get("inferer"))
    own = inferer if isinstance(inferer, Mapping) else {}
    left = [engine.config.get("detector"), engine.config.get("network"), own.get("detector")]
    seen: set[str] = set()
    while left:
        value = left.pop()
        if isinstance(value, Mapping) and isinstance(value.get("_target_"), str):
            yield next(components(value))
        elif isinstance(value, str):
            named = [name for name in mentioned(value) if name not in seen]
            seen.update(named)
            left.extend(node_of(config, name) for name in named)


def _is_kind(config: Mapping[str, Any], engine: Component, kind: type) -> bool:
    """Whether an engine is supervised, or trains or evaluates a detector as a supervised one would."""
    base = Trainer if kind is SupervisedTrainer else Evaluator
    return engine.is_a(kind) or (engine.is_a(base) and runs_detector(config, engine))


def _refuse_own_iteration(config: Mapping[str, Any], engine: Component, where: str) -> None:
    own = own_iteration(config, engine)
    if own is None or runs_detector(config, engine) or (engine.is_a(SupervisedTrainer) and takes_loss_once(own[1])):
        return
    raise BadInputError(
        f"{where} has an iteration of its own ({own[0]}), which an overlay would replace, and what it does beyond one "
        "pass and one loss would be dropped; it is not served"
    )


def _parts(config: Mapping[str, Any], engine: Component) -> Iterator[Component]:
    """The components that an engine's arguments are, whether they stand there or are referred to."""
    for value in engine.config.values():
        _, node = referred(config, value)
        yield from (part for part in components(node) if not part.is_a(Trainer, Evaluator))


def _one(config: Mapping[str, Any], kind: type, files: Sequence[str | Path]) -> Component:
    every = [one for one in components(config) if not one.disabled]
    engines = [one for one in every if one.is_a(Trainer, Evaluator)]
    found = [one for one in engines if _is_kind(config, one, kind)]
    usual = [one for name in _USUAL[kind] for one in found if one.id == name]
    if usual:
        return usual[0]
    where, wanted = _named(files), _USUAL[kind][0]
    likely = [one for one in found if one.id.endswith(f"#{wanted}")]
    for some in (found, _that_run(config, found), likely):
        if len(some) == 1:
            return some[0]
    if found:
        names = ", ".join(one.id for one in found)
        raise BadInputError(
            f"{where} has several {kind.__name__}s ({names}); run does not run just one of them, and none is called "
            f"{wanted}"
        )
    for one in every:  # an engine whose package is missing is no missing engine
        if one.name.endswith(("Trainer", "Evaluator")):
            one.imported()
    top = [key for key in config if key != "_meta_"]  # which MONAI adds
    described = ", ".join(f"{one.id} ({one.name})" for one in engines)
    have = f"its engines are {described}" if engines else f"its top-level ids are {', '.join(top)}"
    raise BadInputError(
        f"the overlay needs a {kind.__name__} such as {wanted}, and {where} has none: {have}{_more(files)}"
    )


def _that_run(config: Mapping[str, Any], engines: Sequence[Component]) -> list[Component]:
    """Of several engines, those that the expressions of ``run`` run."""
    lines = config.get("run")
    told = " ".join(str(one) for one in (lines if isinstance(lines, list) else [lines])).replace("::", "#")
    return [one for one in engines if f"@{one.id}.run(" in told]


def _more(files: Sequence[str | Path]) -> str:
    """Which file beside those that were given is likely to have what they lack."""
    for name in ("train", "evaluate"):
        for file in files:
            beside = [Path(file).with_name(f"{name}{suffix}") for suffix in (".json", ".yaml", ".yml")]
            other = next((one for one in beside if one.is_file() and one not in map(Path, files)), None)
            if other is not None:
                return f"; give --for {other} too"
    return ""


def _named(files: Sequence[str | Path]) -> str:
    return ", ".join(str(path) for path in files)
