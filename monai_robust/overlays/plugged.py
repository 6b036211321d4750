"""Whether an overlay reached the engine of a run that it is for.

MONAI merges configuration files before anything of theirs runs, and all that it does with them before the first
component is made is to run their import statements. An overlay therefore makes the places it changes where a bundle has
none (MONAI would end in a ``KeyError``, which nobody could explain), and imports :data:`here` from this module, which
looks at the merged configuration, each time a configuration is read.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ReferenceResolver
from monai.engines import SupervisedTrainer

from monai_robust.configuration.command_line import check_ids_within, command_line_files
from monai_robust.configuration.components import Component, components, node_of
from monai_robust.errors import BadInputError
from monai_robust.overlays.engines import find_evaluator, find_trainer, refuse_pipeline

__all__ = ["UnpluggedOverlay", "unplugged"]

_UPDATES = {"robust": ("@robust#update", find_trainer), "robust_eval": ("@robust_eval#update", find_evaluator)}
_AROUND_NONE = "monai_robust.engines.RobustUpdate"


class UnpluggedOverlay(SystemExit):
    """An overlay that changes no engine of a run, so that the run would be as if it were not there.

    MONAI goes on after any other error of an import statement. Its status is 2; a process that it ends has said why.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(2)
        self.sentence = sentence

    def __str__(self) -> str:
        return self.sentence


def __getattr__(name: str) -> Any:
    if name != "here":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    config = _configuration()
    sentence = _misspelt() or (None if config is None else unplugged(config, command_line_files()))
    if sentence is not None:
        print(f"error: {sentence}", file=sys.stderr)
        raise UnpluggedOverlay(sentence)
    return True


def _misspelt() -> str | None:
    """Which id of the command line nothing of the overlays reads, though MONAI sets it."""
    try:
        check_ids_within(*_UPDATES)
    except BadInputError as error:
        return str(error)
    return None


def unplugged(config: Mapping[str, Any], files: list[str]) -> str | None:
    """Why an overlay of a merged configuration changes no engine of it; None where all do.

    Args:
        config: merged, unresolved.
        files: the run's, in their order, for the sentence; none where they are not known.
    """
    for key, (reference, find) in _UPDATES.items():
        own = config.get(key)
        if not isinstance(own, Mapping) or "update" not in own:
            continue
        name = "attack" if key == "robust_eval" else str(own.get("recipe"))
        others = [file for file in files if not _is_overlay(file)]
        changed = [one for one in components(config) if _runs(one.config.get("iteration_update"), reference)]
        try:
            refuse_pipeline(config, changed, others or ["the bundle"])
            engine = changed[0] if changed else find(config, others or ["the bundle"])
        except BadInputError as error:
            return str(error)
        if changed and not (_has_own_iteration(engine) and node_of(own, "update#_target_") == _AROUND_NONE):
            continue
        if not changed and files and _is_overlay(files[0]):
            return f"the overlay {name} stands before files that undo it; name it last in --config_file"
        wanted = " ".join(f"--for {file}" for file in others) or "--for FILE"
        lack = "takes no notice of the iteration of its own that" if changed else "does not change"
        return (
            f"the overlay {name}, as it is shipped, {lack} {engine.id}{' has' if changed else ''}, which is the engine "
            f"of {', '.join(others) or 'the bundle'}; use the one that fits it: monai-robust overlay {name} {wanted}"
        )
    return None


def _has_own_iteration(engine: Component) -> bool:
    """Whether a trainer's class defines an iteration, which an ``iteration_update`` stands in place of."""
    kind = engine.imported()
    return issubclass(kind, SupervisedTrainer) and kind._iteration is not SupervisedTrainer._iteration


def _runs(update: Any, reference: str) -> bool:
    return isinstance(update, str) and reference in update.replace("::", "#")


def _is_overlay(file: str) -> bool:
    return Path(file).resolve().parent == Path(__file__).resolve().parent or Path(file).stem.startswith("robust_")


def _configuration() -> Mapping[str, Any] | None:
    """The configuration whose import statements are being run, from those who run them."""
    frame = inspect.currentframe()
    while frame is not None:
        resolver = frame.f_locals.get("self")
        if isinstance(resolver, ReferenceResolver):
            whole = resolver.items.get("")
            config = None if whole is None else whole.get_config()
            return config if isinstance(config, Mapping) else None
        frame = frame.f_back
    return None
