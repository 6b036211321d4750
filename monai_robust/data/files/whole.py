"""Writing a whole file or nothing: whoever opens it meanwhile, or after a crash, finds the old one or the new one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from monai_robust.errors import BadInputError

__all__ = ["append_whole_lines", "remove_drafts", "write_whole", "writing_whole"]

_DRAFT = ".part"


@contextmanager
def writing_whole(path: str | Path) -> Iterator[BinaryIO]:
    """A file to write ``path`` into, which takes its name when the block ends without an error; folders are made.

    It is written beside ``path``, flushed to the disk and then renamed, with the permissions that the umask gives.

    Raises:
        BadInputError: when it cannot be written, such as on a full disk, or ``path`` is a folder or a device; what
            stood at ``path`` still stands there.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise BadInputError(f"{path} is {'a folder' if path.is_dir() else 'no regular file'}; name a file to write")
    draft = path.with_name(f".{path.name}.{os.getpid()}{_DRAFT}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(draft, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
            _flush_folder(path.parent)
        finally:
            draft.unlink(missing_ok=True)
    except Exception as error:
        cause = _cause(error)
        if isinstance(cause, KeyboardInterrupt):
            raise cause from None
        if cause is None:
            raise
        raise BadInputError(f"{path} cannot be written: {cause.strerror or cause}") from error


def write_whole(path: str | Path, content: bytes) -> Path:
    """Write ``content`` to ``path`` as :func:`writing_whole` does."""
    with writing_whole(path) as file:
        file.write(content)
    return Path(path)


def append_whole_lines(path: str | Path, text: str) -> None:
    """Append lines to a text file and flush them; of a line that could not be written whole nothing stays.

    Raises:
        BadInputError: when they cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab") as file:
            before = file.tell()
            try:
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
            except BaseException:
                os.truncate(path, before)
                raise
    except OSError as error:
        raise BadInputError(f"{path} cannot be written: {error.strerror or error}") from error


def remove_drafts(folder: str | Path) -> None:
    """Remove what processes that are no longer there left half written in a folder."""
    for draft in Path(folder).glob(f".*{_DRAFT}"):
        process = draft.name.removesuffix(_DRAFT).rpartition(".")[2]
        if process.isdigit() and not _runs(int(process)):
            draft.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Let a new name outlast a power failure, where the system can flush a folder."""
    with suppress(OSError):  # the file itself is whole and in its place; some network file systems flush no folders
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _cause(error: BaseException | None) -> OSError | KeyboardInterrupt | None:
    """The system's error, or Ctrl-C, in a chain: torch's writer reports an error of its own on top of it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, (OSError, KeyboardInterrupt)):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


def _runs(process: int) -> bool:
    if os.name == "nt":  # there, signal 0 is Ctrl-C
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # somebody else's
        return True
    return True
