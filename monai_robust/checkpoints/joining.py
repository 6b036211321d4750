"""Objects that stand in a training's checkpoints without its configuration naming them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ignite.engine import Engine
from ignite.handlers import Checkpoint
from monai.handlers import CheckpointLoader, CheckpointSaver

from monai_robust.checkpoints.attached import handlers_of, validators_of
from monai_robust.checkpoints.loader import TrainingLoader
from monai_robust.data.files.weights import checkpoint_entry

__all__ = ["join_checkpoints"]


def join_checkpoints(engine: Engine, name: str, keeper: Any) -> tuple[Any, Path | None]:
    """Let a trainer's savers keep the state of an object, and find what its loaders have of it.

    Where the trainer has no saver, those of its validators, which keep the best networks, stand for it.

    Args:
        engine: may have MONAI's ``CheckpointSaver`` and ``CheckpointLoader``, their subclasses here, or ignite's
            ``Checkpoint`` of several objects, among its handlers.
        name: of the object in checkpoints.
        keeper: has a ``state_dict``, and a ``state_dict_without_ids`` if that holds sample ids.

    Returns:
        The state that is to be restored, or None, and the folder of the checkpoints, or None.

    Raises:
        BadInputError: for a checkpoint that cannot be read.
    """
    own = handlers_of(engine)
    savers = _savers(own) or [saver for one in validators_of(engine) for saver in _savers(handlers_of(one))]
    for saver in savers:
        (saver.save_dict if isinstance(saver, CheckpointSaver) else saver.to_save).setdefault(name, keeper)
    found = [_stored(one, name) for one in own if isinstance(one, CheckpointLoader)]
    state = next((one for one in found if one is not None), None)
    return state, _folder(savers[0]) if savers else None


def _savers(handlers: list[Any]) -> list[Any]:
    """MONAI's savers, and those of ignite that write several objects into a file: one that writes a single object names
    the file after it."""
    return [one for one in handlers if isinstance(one, CheckpointSaver) or len(_of_ignite(one)) > 1]


def _of_ignite(handler: Any) -> dict[str, Any]:
    kept = handler.to_save if isinstance(handler, Checkpoint) else None
    return kept if isinstance(kept, dict) else {}


def _folder(saver: Any) -> Path | None:
    place = saver.save_dir if isinstance(saver, CheckpointSaver) else getattr(saver.save_handler, "dirname", None)
    return None if place is None else Path(place)


def _stored(loader: CheckpointLoader, name: str) -> Any:
    """What a loader's file has of an object: MONAI's own loader would refuse a file without it."""
    if isinstance(loader, TrainingLoader):
        return loader.take(name) if loader.trainer else None
    return checkpoint_entry(loader.load_path, name)
