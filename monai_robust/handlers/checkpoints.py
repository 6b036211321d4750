"""Checkpoints that hold all a run needs to go on, also after Ctrl-C."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from monai.handlers import CheckpointLoader, CheckpointSaver

from monai_robust.errors import BadInputError

__all__ = ["TrainingLoader", "TrainingSaver"]


class TrainingSaver(CheckpointSaver):
    """MONAI's saver, which also keeps the trainer it is attached to, as ``trainer`` (its epoch and iteration).

    A configuration cannot put a trainer into the dictionary of one of its own handlers: that is a circle. Keyword
    arguments are those of ``monai.handlers.CheckpointSaver``. It should stand before ``StatsHandler`` among the
    handlers, whose answer to an exception would otherwise keep the last checkpoint from being written. Wherever it
    stands, the checkpoint of an epoch is written after all other handlers had their turn at the epoch's end.
    """

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._interval_attached = False
        self._trained = False
        self._saved_after: BaseException | None = None

    def attach(self, engine: Engine) -> None:
        self.save_dict.setdefault("trainer", engine)
        interval, self._interval_checkpoint = self._interval_checkpoint, None
        super().attach(engine)
        self._interval_checkpoint = interval
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._note)
        if interval is not None:
            engine.add_event_handler(Events.STARTED, self._attach_interval)

    def _note(self, engine: Engine) -> None:
        self._trained = True

    def _attach_interval(self, engine: Engine) -> None:
        # Only now are all other handlers attached, such as the one that moves the learning rate when an epoch ends.
        if not self._interval_attached:
            event = Events.EPOCH_COMPLETED if self.epoch_level else Events.ITERATION_COMPLETED
            engine.add_event_handler(event(every=self.save_interval), self.interval_completed)
            self._interval_attached = True

    def exception_raised(self, engine: Engine, e: BaseException) -> None:
        """Save, say where, and raise ``e`` again; save nothing where nothing was trained, as after a failed start."""
        if e is self._saved_after or not self._trained:  # ignite reports an iteration's exception twice
            raise e
        try:
            super().exception_raised(engine, e)  # type: ignore[arg-type]
        except BaseException as raised:
            if raised is e:
                self._saved_after = e
                self._tell(e)
            raise

    def _tell(self, error: BaseException) -> None:
        assert self._final_checkpoint is not None  # MONAI attaches the answer to exceptions with `save_final` only
        name = self._final_filename or self._final_checkpoint.last_checkpoint
        # A warning, since it is shown whatever logging is configured.
        self.logger.warning(
            f"training was stopped by {type(error).__name__}; it can go on from {Path(self.save_dir) / str(name)}"
        )


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
        except Exception as error:  # torch raises whatever its unpickler meets
            names = ", ".join(self.load_dict)
            reason = " ".join(str(error).split()) or type(error).__name__
            raise BadInputError(f"{self.load_path} cannot restore {names} of this run: {reason}") from error
