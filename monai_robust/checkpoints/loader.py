"""Restoring a training from a checkpoint, read once."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint
from monai.handlers import CheckpointLoader
from torch.optim import Optimizer

from monai_robust.checkpoints.stored import Stored, stored_for
from monai_robust.checkpoints.trainer_state import expect_extras, restore_validation
from monai_robust.data.files.weights import UnreadableCheckpointError, read_checkpoint
from monai_robust.errors import BadInputError

__all__ = ["TrainingLoader"]

_ADDED_LATER = {"foreach", "maximize", "capturable", "differentiable", "fused", "decoupled_weight_decay"}
"""Settings of optimizers that checkpoints of an older torch do not have."""


class TrainingLoader(CheckpointLoader):
    """MONAI's loader, which also restores the trainer it is attached to, so that training goes on where it stopped.

    With ``trainer``, a folder or a damaged file stands for the newest checkpoint there that loads, and a checkpoint
    that was written within an epoch, or is final and lacks sample ids, for that of the last epoch's end beside it
    (see ``monai_robust.checkpoints.stored.stored_for``).

    Args:
        load_path: a checkpoint of :class:`TrainingSaver`, or with ``trainer`` its folder; ``None`` starts from scratch.
        load_dict: names and objects, as for ``monai.handlers.CheckpointLoader``. Entries that are None are none; what
            is kept by sample id, such as ``AdaptiveMargins``, may be missing in the checkpoint, and starts anew then.
        map_location: device of the tensors.
        trainer: whether to restore epoch and iteration too; without, only what ``load_dict`` names.

    Attributes:
        source: the file that is restored, once it is known.

    Raises:
        BadInputError: (when the engine starts) for no checkpoint, or one that is not of this run.
    """

    def __init__(
        self, load_path: str | None, load_dict: dict[str, Any], map_location: Any = None, trainer: bool = True
    ) -> None:
        wanted = {label: one for label, one in load_dict.items() if one is not None}
        super().__init__(load_path=str(load_path), load_dict=wanted, map_location=map_location)
        self.enabled = load_path is not None
        self.trainer = trainer
        self.source: Path | None = None
        self.logger = logging.getLogger(__name__)
        self._held: dict[str, Any] | None = None  # what was read and nobody has restored yet
        self._taken: set[str] = set()
        self._restored = self._anew = False

    def attach(self, engine: Engine) -> None:
        if not self.enabled:
            return
        if self.trainer:
            self.load_dict.setdefault("trainer", engine)
        engine.add_event_handler(Events.STARTED, self)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._forget)

    def take(self, name: str) -> Any:
        """The state of an object that is restored by itself, before or after the others; None where there is none.

        Raises:
            BadInputError: names the file that cannot be read.
        """
        if self._held is None:
            self._held = self._read()
        self._taken.add(name)
        return self._held.pop(name, None)

    def __call__(self, engine: Engine) -> None:
        content = self._read() if self._held is None or self._restored else self._held
        self._restored = True
        self._held = {}
        if not content:
            return
        wanted = {name: one for name, one in self.load_dict.items() if not self._is_left(name, one, content)}
        longest, length = engine.state.max_epochs, engine.state.epoch_length
        for name, one in wanted.items():
            if isinstance(one, Optimizer):
                self._expect_kind(name, one, content.get(name))
        if self.trainer:
            expect_extras(engine, content, wanted)
            self._held = {name: state for name, state in content.items() if name not in wanted}
        try:
            Checkpoint.load_objects(to_load=wanted, checkpoint=content)
        except Exception as error:  # whatever the objects' own loading raises
            reason = " ".join(str(error).split()) or type(error).__name__
            raise BadInputError(f"{self.source} cannot restore {self._named()} of this run: {reason}") from error
        if self.trainer and length is not None and engine.state.epoch_length not in (None, length):
            raise BadInputError(
                f"{self.source} is of a training of {engine.state.epoch_length} batches an epoch, and this run has "
                f"{length}; give it the same data and batch size to go on, or load its weights alone to train anew"
            )
        if self.trainer and longest is not None:
            if engine.state.epoch > longest:
                raise BadInputError(
                    f"{self.source} has {engine.state.epoch} epochs behind it, and this run is to have {longest}; set "
                    "more epochs to train further"
                )
            engine.state.max_epochs = longest
            restore_validation(engine)
        self.logger.info("restored %s from %s", ", ".join(wanted), self.source)

    def _expect_kind(self, name: str, optimizer: Optimizer, stored: Any) -> None:
        """Refuse the state of another optimizer, which torch takes, and fails over at the first step."""
        groups = stored.get("param_groups") if isinstance(stored, Mapping) else None
        if not groups:
            return
        own = optimizer.state_dict()["param_groups"]
        missing = next((key for key in own[0] if key not in groups[0] and key not in _ADDED_LATER), None)
        if missing is not None:
            raise BadInputError(
                f"{self.source} cannot restore {name} of this run: it is of another optimizer than "
                f"{type(optimizer).__name__}, without {missing}; give the optimizer of that training"
            )

    def _is_left(self, name: str, one: Any, content: Mapping[str, Any]) -> bool:
        """Whether an object was restored already, or is kept by sample id and new in this run."""
        return name in self._taken or (name not in content and hasattr(one, "state_dict_without_ids"))

    def _read(self) -> dict[str, Any]:
        """All that the checkpoint holds; nothing where the first epoch was not finished and is trained anew."""
        stored = None if self._anew else self._stored()
        if stored is None:
            self._anew = True
            return {}
        self.source = stored.path
        content = stored.content
        name = next(iter(self.load_dict))
        if len(self.load_dict) == 1 and (not isinstance(content, Mapping) or name not in content):
            content = {name: content}  # a state dictionary by itself
        if not isinstance(content, Mapping):
            raise BadInputError(f"{self.source} cannot restore {self._named()} of this run: it is no checkpoint")
        return dict(content)

    def _stored(self) -> Stored | None:
        path = self.source or Path(self.load_path)
        try:
            if self.trainer and self.source is None:
                return stored_for(path, self.map_location)
            return Stored(path, read_checkpoint(path, self.map_location))
        except UnreadableCheckpointError as error:
            raise BadInputError(f"{path} cannot restore {self._named()} of this run: {error}") from error

    def _named(self) -> str:
        return ", ".join(self.load_dict)

    def _forget(self, engine: Engine) -> None:
        """Free what nobody asked for in the first epoch."""
        self._held = {}
