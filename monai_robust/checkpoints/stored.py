"""Which of a folder's checkpoints a training can go on from."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from monai_robust.data.files.weights import UnreadableCheckpointError, read_checkpoint
from monai_robust.errors import BadInputError

__all__ = ["LEFT_OUT", "Stored", "newest_checkpoint", "stored_for"]

_LOG = logging.getLogger(__name__)
LEFT_OUT = "without_ids"
"""Entry of a checkpoint that names the entries whose sample ids were left out, so that it cannot be continued."""


class Stored(NamedTuple):
    """A checkpoint that was read."""

    path: Path
    content: Any

    @property
    def trainer(self) -> Mapping[str, Any] | None:
        """The state of the trainer, in a checkpoint that has one."""
        found = self.content.get("trainer") if isinstance(self.content, Mapping) else None
        return found if isinstance(found, Mapping) else None

    @property
    def iteration(self) -> int:
        return int((self.trainer or {}).get("iteration", 0))

    @property
    def epoch_length(self) -> int:
        return int((self.trainer or {}).get("epoch_length") or 1)

    @property
    def within_an_epoch(self) -> bool:
        """Whether it was written before all was done that belongs to an epoch."""
        return not (self.trainer or {}).get("epoch_ended", self.iteration % self.epoch_length == 0)

    @property
    def left_out(self) -> list[str]:
        """The entries whose sample ids were left out."""
        return list(self.content.get(LEFT_OUT, [])) if isinstance(self.content, Mapping) else []

    @property
    def continues_exactly(self) -> bool:
        """Whether a training that goes on from it is the training that was never stopped."""
        return self.trainer is not None and not self.within_an_epoch and not self.left_out


def stored_for(path: str | Path, map_location: Any = "cpu") -> Stored | None:
    """The checkpoint from which a training goes on that is to continue from ``path``.

    A folder stands for the newest of its checkpoints that loads and was written at the end of an epoch. So does a file
    that is damaged, one that was written within an epoch (whose batches cannot be taken up again), and one without the
    sample ids that are needed, for the checkpoints beside it up to its own epoch. What is passed over is told.

    Args:
        path: a folder, or a checkpoint.
        map_location: of its tensors.

    Returns:
        The checkpoint; None where training has to start anew, since the first epoch was not finished.

    Raises:
        BadInputError: where there is nothing to go on from.
    """
    path = Path(path)
    files = _newest_first(path if path.is_dir() else path.parent)
    if not path.is_dir():
        if not path.is_file():
            raise BadInputError(f"there is no checkpoint {path}")
        files = [path, *(other for other in files if other != path)]
    passed: list[Stored] = []
    damaged: list[UnreadableCheckpointError] = []
    for file in files:
        try:
            found = Stored(file, read_checkpoint(file, map_location))
        except UnreadableCheckpointError as error:
            _LOG.warning("%s; looking for an older checkpoint", error)
            damaged.append(error)
            continue
        if file == path and found.trainer is None:
            return found  # weights alone: whoever loads them says what is missing
        if found.continues_exactly and _is_before(found, passed):
            if passed:
                _LOG.warning("%s; training goes on from %s", _why(passed[0]), file.name)
            return found
        if found.trainer is not None and not found.continues_exactly:
            passed.append(found)
    if passed:
        return _best_of(passed[0])
    if damaged:
        raise damaged[0]
    raise BadInputError(f"there is no checkpoint in {path}")


def newest_checkpoint(folder: str | Path) -> Path | None:
    """The checkpoint that a training continues with which is given this folder; None where there is none to load.

    Args:
        folder: where a training wrote its checkpoints.
    """
    try:
        found = stored_for(folder)
    except BadInputError:
        return None
    return None if found is None else found.path


def _newest_first(folder: Path) -> list[Path]:
    files = [file for file in folder.glob("*.pt") if file.is_file() and not file.name.startswith(".")]
    return sorted(files, key=lambda file: (file.stat().st_mtime_ns, file.name), reverse=True)


def _is_before(found: Stored, passed: Iterable[Stored]) -> bool:
    return all(found.iteration <= one.iteration for one in passed)


def _why(passed: Stored) -> str:
    if passed.within_an_epoch:
        return f"{passed.path} was written within an epoch, which is trained again from its start"
    return f"{passed.path} has no sample ids, as final weights have none, and cannot restore {_listed(passed)}"


def _listed(stored: Stored) -> str:
    return ", ".join(stored.left_out)


def _best_of(stored: Stored) -> Stored | None:
    """What can be done where no checkpoint was written at an epoch's end."""
    if stored.iteration < stored.epoch_length:
        _LOG.warning("%s", _why(stored))
        return None
    if stored.left_out:
        raise BadInputError(
            f"{_why(stored)} of this run; continue from the checkpoint of an epoch, such as "
            f"checkpoint_epoch={stored.iteration // stored.epoch_length}.pt"
        )
    _LOG.warning(
        "%s was written within an epoch, and there is no checkpoint of an epoch's end beside it: the rest of the epoch "
        "begins with batches that were trained on before",
        stored.path,
    )
    return stored
