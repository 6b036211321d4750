"""Writing a data set's folder whole or not at all, and recognising it later."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from monai_robust.data.files.side_files import read_object
from monai_robust.errors import BadInputError, writing

__all__ = ["is_written", "write_whole", "writing_no_phantoms", "written_once"]

_SETTINGS_FILE = "phantom.json"
_WRITES: ContextVar[bool] = ContextVar("_WRITES", default=True)


@contextmanager
def writing_no_phantoms() -> Iterator[None]:
    """Have :func:`written_once` refuse what is not there yet within, in place of writing it."""
    token = _WRITES.set(False)
    try:
        yield
    finally:
        _WRITES.reset(token)


def write_whole(folder: str | os.PathLike[str], settings: dict[str, Any], write: Callable[[Path], None]) -> Path:
    """Let ``write`` fill a folder beside the target, add the settings, and rename it into place.

    Args:
        folder: to be made; it may exist if it is empty.
        settings: of the data set, stored as ``phantom.json``.
        write: fills the folder that it is given.

    Returns:
        The folder.

    Raises:
        BadInputError: the folder has content.
    """
    target = Path(folder).expanduser()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BadInputError(f"{target} exists and is not empty; give the phantoms a folder of their own")
    partial = target.parent / f".{target.name}.{os.getpid()}.partial"
    try:
        with writing(target):
            partial.mkdir(parents=True)
            write(partial)
            (partial / _SETTINGS_FILE).write_text(
                json.dumps(settings, indent=2, default=float) + "\n", encoding="utf-8"
            )
            if target.exists():
                target.rmdir()
            partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def is_written(folder: Path, settings: dict[str, Any], files: Iterable[str]) -> bool:
    """Whether the folder holds the data set of these settings.

    Args:
        folder: to look into.
        settings: that ``phantom.json`` must hold.
        files: that must be there, relative to the folder; looked at only if the settings are.

    Raises:
        BadInputError: the settings are others, or files are missing; nothing is changed.
    """
    if not folder.is_dir() or not (folder / _SETTINGS_FILE).exists():
        return False
    stored = read_object(folder / _SETTINGS_FILE, "record of phantoms")
    if stored != settings:
        differing = {key: stored.get(key) for key, value in settings.items() if stored.get(key) != value}
        raise BadInputError(f"{folder} holds phantoms with other settings ({differing}); use those or another folder")
    missing = [file for file in files if not (folder / file).is_file()]
    if missing:
        raise BadInputError(
            f"{folder} lacks {len(missing)} of its phantoms, first {missing[0]}; remove it to start anew"
        )
    return True


def written_once(
    folder: str | os.PathLike[str], kind: str, is_complete: Callable[[Path], bool], write: Callable[[Path], object]
) -> str:
    """The folder of a data set, which ``write`` makes if it is not there yet.

    Args:
        folder: where it is or is to be.
        kind: of phantoms, as ``monai-robust phantoms --kind`` has it.
        is_complete: whether a folder holds the data set, as :func:`is_written` tells.
        write: writes it whole, as :func:`write_whole` does.

    Raises:
        BadInputError: the folder holds something else, or a data set with other settings, or nothing yet within
            :func:`writing_no_phantoms`; nothing is changed then.
    """
    target = Path(folder).expanduser()
    if not is_complete(target):
        if not _WRITES.get():
            raise BadInputError(
                f"{target} holds no phantoms yet, which a training would write; write some with monai-robust phantoms "
                f"--kind {kind} --output_dir {kind} and give --set dataset_dir={kind}, or name a data set of yours so"
            )
        try:
            write(target)
        except (BadInputError, OSError):
            if not is_complete(target):  # another process may have written the same set meanwhile
                raise
    return str(target)
