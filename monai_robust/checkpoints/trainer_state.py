"""What a trainer's own state in checkpoints holds besides epoch and iteration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ignite.engine import Engine

from monai_robust.checkpoints.attached import validators_of

__all__ = ["expect_extras", "note_progress", "restore_validation"]

_VALIDATION, _ENDED = "validation", "epoch_ended"


def note_progress(engine: Engine, epoch_ended: bool) -> None:
    """Let the trainer's state say whether it stands at an epoch's end, and which validation was the best."""
    _keep(engine, _ENDED, epoch_ended)
    validator = _comparing_validator(engine)
    if validator is not None:
        best: Any = validator.state.best_metric  # MONAI compares none but single numbers
        epoch = int(validator.state.best_metric_epoch)
        _keep(engine, _VALIDATION, {"best_metric": float(best), "best_metric_epoch": epoch})


def expect_extras(engine: Engine, content: Mapping[str, Any], wanted: dict[str, Any]) -> None:
    """Ask for what the saver adds where there is something to put it into; older checkpoints lack it.

    Args:
        engine: the trainer.
        content: of the checkpoint.
        wanted: names and objects that are restored, to which a gradient scaler is added.
    """
    for key in (_ENDED, _VALIDATION):
        if key in content.get("trainer", {}):
            _keep(engine, key, None)
    if "scaler" in content and getattr(engine, "scaler", None) is not None:
        wanted.setdefault("scaler", engine.scaler)  # type: ignore[attr-defined]


def restore_validation(engine: Engine) -> None:
    """Hand the best validation on from the trainer's restored state to its validator."""
    validator, found = _comparing_validator(engine), getattr(engine.state, _VALIDATION, None)
    if validator is not None and found:
        validator.state.best_metric = found["best_metric"]
        validator.state.best_metric_epoch = found["best_metric_epoch"]


def _keep(engine: Engine, key: str, value: Any) -> None:
    """Make something a part of an engine's state in checkpoints."""
    setattr(engine.state, key, value)
    if key not in engine.state_dict_user_keys:
        engine.state_dict_user_keys.append(key)


def _comparing_validator(engine: Engine) -> Any:
    """The validator that keeps the best value of its key metric."""
    found: list[Any] = validators_of(engine)
    return next((one for one in found if hasattr(getattr(one, "state", None), "best_metric")), None)
