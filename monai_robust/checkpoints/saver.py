"""Saving checkpoints that hold all a run needs to go on, also after Ctrl-C."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint
from monai.handlers import CheckpointSaver
from monai.utils import is_scalar

from monai_robust.checkpoints.attached import handlers_of
from monai_robust.checkpoints.loader import TrainingLoader
from monai_robust.checkpoints.stored import LEFT_OUT
from monai_robust.checkpoints.trainer_state import note_progress
from monai_robust.checkpoints.whole_files import WholeFiles
from monai_robust.data.files.whole import remove_drafts
from monai_robust.errors import BadInputError

__all__ = ["TrainingSaver"]


class TrainingSaver(CheckpointSaver):
    """MONAI's saver, whose files are written whole or not at all, and hold all that a training needs to go on.

    Each file is written under another name, flushed and renamed; the one it replaces goes only then, so that a kill or
    a full disk at any moment leaves the last one. Besides ``save_dict``, files hold the trainer itself as ``trainer``
    (its iteration, and the best value of the key metric of its ``ValidationHandler``), and with mixed precision
    ``scaler``. (A configuration cannot put a trainer into the dictionary of one of its own handlers: that is a circle.)

    Sample ids, such as those of ``AdaptiveMargins``, are in the checkpoints of an interval alone: neither the final
    file nor those of the best key metric, which are handed on, have any.

    It should stand before ``StatsHandler`` among the handlers, whose answer to an exception would otherwise keep the
    last checkpoint from being written. Wherever it stands, the checkpoint of an epoch is written after all other
    handlers had their turn at the epoch's end.

    Args:
        save_dict: as for ``monai.handlers.CheckpointSaver``; entries that are None, such as margins that a recipe does
            without, are none.
        save_dir: as for ``monai.handlers.CheckpointSaver``, and so all that follow: ``name``, ``file_prefix``,
            ``save_final``, ``final_filename``, ``save_key_metric``, ``key_metric_name``, ``key_metric_n_saved``,
            ``key_metric_filename``, ``key_metric_save_state``, ``key_metric_greater_or_equal``,
            ``key_metric_negative_sign``, ``epoch_level``, ``save_interval``, ``n_saved``.

    Raises:
        BadInputError: when a file cannot be written.
    """

    def __init__(
        self,
        save_dir: str,
        save_dict: dict[str, Any],
        name: str | None = None,
        file_prefix: str = "",
        save_final: bool = False,
        final_filename: str | None = None,
        save_key_metric: bool = False,
        key_metric_name: str | None = None,
        key_metric_n_saved: int = 1,
        key_metric_filename: str | None = None,
        key_metric_save_state: bool = False,
        key_metric_greater_or_equal: bool = False,
        key_metric_negative_sign: bool = False,
        epoch_level: bool = True,
        save_interval: int = 0,
        n_saved: int | None = None,
    ) -> None:
        save_dict = {label: one for label, one in save_dict.items() if one is not None}
        super().__init__(save_dir, save_dict, name, epoch_level=epoch_level)
        if key_metric_filename is not None and key_metric_n_saved > 1:
            raise BadInputError("key_metric_filename is one file; leave it, or set key_metric_n_saved to 1")
        self.save_interval = save_interval
        self.key_metric_name = key_metric_name
        self.key_metric_sign = -1 if key_metric_negative_sign else 1
        self.final_filename = final_filename
        self._given_logger = name is not None
        self._last_attached = False
        self._trained = False
        self._ended_at = -1
        self._saved_after: BaseException | None = None

        def files(score: Any, score_name: str, filename: str | None = None, **more: Any) -> Checkpoint:
            return Checkpoint(
                save_dict,
                WholeFiles(save_dir, filename),
                filename_prefix=file_prefix,
                score_function=score,
                score_name=score_name,
                **more,
            )

        kind = "epoch" if epoch_level else "iteration"
        self.interval = (
            files(lambda engine: getattr(engine.state, kind), kind, n_saved=n_saved) if save_interval else None
        )
        self.final = (
            files(lambda engine: engine.state.iteration, "final_iteration", final_filename) if save_final else None
        )
        best = {"n_saved": key_metric_n_saved, "include_self": key_metric_save_state}
        best["greater_or_equal"] = key_metric_greater_or_equal
        self.best = files(self._score, "key_metric", key_metric_filename, **best) if save_key_metric else None

    def attach(self, engine: Engine) -> None:
        if not self._given_logger:
            self.logger = engine.logger
        self.save_dict.setdefault("trainer", engine)
        if getattr(engine, "scaler", None) is not None:
            self.save_dict.setdefault("scaler", engine.scaler)  # type: ignore[attr-defined]
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._note)
        if self.best is not None:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.metrics_completed)
        if self.final is not None:
            engine.add_event_handler(Events.COMPLETED, self.completed)
            engine.add_event_handler(Events.EXCEPTION_RAISED, self.exception_raised)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the list of the best key metrics that was saved with ``key_metric_save_state``."""
        if self.best is None:
            raise BadInputError("the saver keeps no list of best key metrics; set save_key_metric")
        self.best.load_state_dict(state_dict)

    def completed(self, engine: Engine) -> None:
        """Save the final checkpoint."""
        self.logger.info(f"Train completed, saved final checkpoint: {self._save_final(engine)}")

    def metrics_completed(self, engine: Engine) -> None:
        """Save where the key metric is among the best; what is no number is none of them."""
        assert self.best is not None  # attached with it
        if math.isnan(self._score(engine)):  # ignite would keep it for ever: nothing is above NaN
            name = self.key_metric_name or engine.state.key_metric_name  # type: ignore[attr-defined]
            self.logger.warning(f"the key metric {name} is no single number, so that no best one is saved")
            return
        self.best.to_save = self._without_ids(engine)
        self.best(engine)

    def interval_completed(self, engine: Engine) -> None:
        """Save what a training needs to go on."""
        assert self.interval is not None  # attached with it
        self._note_progress(engine)
        self.interval(engine)
        self.logger.info(f"Saved checkpoint {self.interval.last_checkpoint}")

    def exception_raised(self, engine: Engine, e: BaseException) -> None:
        """Save, say where, and raise ``e`` again; save nothing where nothing was trained, as after a failed start."""
        if e is self._saved_after or not self._trained:  # ignite reports an iteration's exception twice
            raise e
        self._saved_after = e
        try:
            path = self._save_final(engine)
        except BadInputError as unwritten:
            if isinstance(e, BadInputError):  # such as the full disk that stopped the training
                raise e from None
            self._saved_after = unwritten
            raise unwritten from e
        # A warning, since it is shown whatever logging is configured.
        self.logger.warning(f"training was stopped by {type(e).__name__}; it can go on from {path}")
        raise e

    def _start(self, engine: Engine) -> None:
        # Only now are all other handlers attached, such as the one that moves the learning rate when an epoch ends.
        if not self._last_attached:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._note_end)
            if self.interval is not None:
                event = Events.EPOCH_COMPLETED if self.epoch_level else Events.ITERATION_COMPLETED
                engine.add_event_handler(event(every=self.save_interval), self.interval_completed)
            self._last_attached = True
        if idist.get_rank() == 0:
            remove_drafts(self.save_dir)
            self._know_earlier_files(engine)

    def _know_earlier_files(self, engine: Engine) -> None:
        """Count the files of the training that goes on here among those of which the newest are kept."""
        sources = [one.source for one in handlers_of(engine) if isinstance(one, TrainingLoader) and one.trainer]
        folder = Path(self.save_dir).expanduser().resolve()
        if self.interval is None or not any(source and source.resolve().parent == folder for source in sources):
            return
        reached = engine.state.epoch if self.epoch_level else engine.state.iteration
        prefix = f"{self.interval.filename_prefix}_" if self.interval.filename_prefix else ""
        pattern = re.compile(rf"{re.escape(prefix)}\w+_{self.interval.score_name}=(\d+)\.pt")
        found = [(int(match[1]), match[0]) for match in map(pattern.fullmatch, _names(folder)) if match]
        self.interval.load_state_dict({"_saved": sorted(one for one in found if one[0] <= reached)})

    def _note(self, engine: Engine) -> None:
        self._trained = True

    def _note_end(self, engine: Engine) -> None:
        self._ended_at = engine.state.iteration

    def _note_progress(self, engine: Engine) -> None:
        iteration, length = engine.state.iteration, engine.state.epoch_length or 1
        note_progress(engine, iteration == self._ended_at if self._trained else iteration % length == 0)

    def _save_final(self, engine: Engine) -> Path:
        assert self.final is not None  # attached with it
        before = self.final.last_checkpoint
        self.final.reset()  # so that it is written also where nothing was trained since the last time
        if before is not None:
            self.final.save_handler.remove(Path(before).name)
        self.final.to_save = self._without_ids(engine)
        self.final(engine)
        return Path(self.save_dir) / (self.final_filename or Path(str(self.final.last_checkpoint)).name)

    def _without_ids(self, engine: Engine) -> dict[str, Any]:
        """What is saved, as it may be handed on: without what only a checkpoint for resuming may hold."""
        self._note_progress(engine)
        kept: dict[str, Any] = {}
        changed = []
        for name, one in self.save_dict.items():
            anonymous = getattr(one, "state_dict_without_ids", None)
            if anonymous is None:
                kept[name] = one
                continue
            changed.append(name)
            state = anonymous()
            if state is not None:
                kept[name] = _State(state)
        return kept | ({LEFT_OUT: _State(changed)} if changed else {})

    def _score(self, engine: Engine) -> float:
        name = self.key_metric_name or getattr(engine.state, "key_metric_name", None)
        if name is None:
            raise BadInputError("save_key_metric needs a key metric; give the engine one, or key_metric_name")
        value = engine.state.metrics[name]
        return self.key_metric_sign * float(value) if is_scalar(value) else math.nan


class _State:
    """A state that was made already, for those who ask an object for it."""

    def __init__(self, state: Any) -> None:
        self.state = state

    def state_dict(self) -> Any:
        return self.state


def _names(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()] if folder.is_dir() else []
