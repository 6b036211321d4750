"""Checkpoints that hold all a run needs to go on, also after Ctrl-C."""

from __future__ import annotations

from typing import Any

from ignite.engine import Engine
from monai.handlers import CheckpointLoader, CheckpointSaver

from monai_robust.errors import BadInputError

__all__ = ["TrainingLoader", "TrainingSaver"]


class TrainingSaver(CheckpointSaver):
    """MONAI's saver, which also keeps the trainer it is attached to, as ``trainer`` (its epoch and iteration).

    A configuration cannot put a trainer into the dictionary of one of its own handlers: that is a circle. Keyword
    arguments are those of ``monai.handlers.CheckpointSaver``. It should stand before ``StatsHandler`` among the
    handlers, whose answer to an exception would otherwise keep the last checkpoint from being written.
    """

    def attach(self, engine: Engine) -> None:
        self.save_dict.setdefault("trainer", engine)
        super().attach(engine)


class TrainingLoader(CheckpointLoader):
    """MONAI's loader, which also restores the trainer it is attached to, so that training goes on where it stopped.

    Args:
        load_path: a checkpoint of :class:`TrainingSaver`; ``None`` starts from scratch.
        load_dict: names and objects, as for ``monai.handlers.CheckpointLoader``.
        map_location: device of the tensors.
        trainer: whether to restore epoch and iteration too; without, only what ``load_dict`` names.
    """

    def __init__(
        self, load_path: str | None, load_dict: dict[str, Any], map_location: Any = None, trainer: bool = True
    ) -> None:
        super().__init__(load_path=str(load_path), load_dict=dict(load_dict), map_location=map_location)
        self.enabled = load_path is not None
        self.trainer = trainer

    def attach(self, engine: Engine) -> None:
        if not self.enabled:
            return
        if self.trainer:
            self.load_dict.setdefault("trainer", engine)
        super().attach(engine)

    def __call__(self, engine: Engine) -> None:
        try:
            super().__call__(engine)
        except FileNotFoundError as error:
            raise BadInputError(f"there is no checkpoint {self.load_path}") from error
        except (KeyError, ValueError, RuntimeError) as error:
            names = ", ".join(self.load_dict)
            raise BadInputError(f"{self.load_path} cannot restore {names} of this run: {error}") from error
