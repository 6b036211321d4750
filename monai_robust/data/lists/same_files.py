"""One file that a data list names twice, however it spells its path."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from monai_robust.errors import BadInputError

__all__ = ["real_paths", "refuse_same_files"]


def real_paths(files: Iterable[str | Path]) -> list[str]:
    """Where each file lies, without links, ``.`` and ``..``; each folder is looked up once."""
    folders: dict[str, str] = {}
    found = []
    for file in files:
        folder, name = os.path.split(os.path.abspath(file) if ".." not in str(file) else os.path.realpath(file))
        real = folders.get(folder) or folders.setdefault(folder, os.path.realpath(folder))
        path = os.path.join(real, name)
        found.append(os.path.realpath(path) if os.path.islink(path) else path)
    return found


def refuse_same_files(files: Iterable[str | Path], source: Path | str, what: str = "picture") -> None:
    """Refuse a list in which one file has two names, or two entries: it could be trained on and tested on.

    Args:
        files: absolute paths.
        source: the list, which begins the sentence.
        what: a file is.

    Raises:
        BadInputError: with the first.
    """
    listed = [str(file) for file in files]
    first: dict[str, str] = {}
    for file, real in zip(listed, real_paths(listed), strict=True):
        other = first.setdefault(real, file)
        if other is not file:
            both = f"{other} and {file}" if other != file else f"{file}, for two samples"
            raise BadInputError(f"{source} lists one {what} twice: {both}; keep one entry of it")
