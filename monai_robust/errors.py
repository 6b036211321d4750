"""Errors a user can mend: one sentence that says what is wrong, where, and what would do."""

from __future__ import annotations

import errno
import gc
import io
import logging
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from tqdm import tqdm

__all__ = [
    "BadInputError",
    "BadSampleError",
    "BadSamplesError",
    "NotFiniteError",
    "close_bars",
    "in_one_line",
    "install_excepthook",
    "naming",
    "require_choice",
    "user_error",
    "user_sentence",
    "writing",
]

_LONGEST = 600
# What PyTorch writes of an error in a process that loads data; the error itself stays there.
_IN_WORKER = re.compile(r"^monai_robust\.errors\.\w+Error: (.+)$", re.MULTILINE)
_ENDS_A_RUN = re.compile(r"(Current|Engine) run is terminating due to exception: ")  # ignite's, twice for each
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_EXPLAIN: list[Callable[[BaseException], str | None]] = []  # of what runs in this process

Names = Any
"""Names of samples, or their places in a larger batch: a sequence or a tensor."""


class BadInputError(ValueError):
    """An argument, a file or a data set that cannot work; the message is one sentence for the person who gave it.

    Messages of other libraries that are quoted in it may have several lines; it has one.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(in_one_line(message))


class BadSampleError(BadInputError):
    """One sample (image, label, annotation) that cannot be used; the message names it."""


class BadSamplesError(BadInputError):
    """Some samples of a batch that cannot be worked on.

    Args:
        what: is wrong.
        samples: their places in the batch, or their names.

    Attributes:
        what: as given.
        samples: as given.
    """

    def __init__(self, what: str, samples: Sequence[int | str] = ()) -> None:
        self.what = what
        self.samples = list(samples)
        super().__init__(f"samples {self.samples} of the batch: {what}" if self.samples else what)

    def among(self, names: Names) -> BadSamplesError:
        """The same error of samples whose names, or whose places in a larger batch, are ``names``."""
        known = names.tolist() if hasattr(names, "tolist") else names
        return type(self)(self.what, [known[own] if isinstance(own, int) else own for own in self.samples])


class NotFiniteError(BadSamplesError, FloatingPointError):
    """Samples for which a network or a loss gives NaN or infinite values, so that nothing can be said of them."""


@contextmanager
def naming(names: Names) -> Iterator[None]:
    """Have an error within that tells places in a batch tell ``names`` instead.

    Raises:
        BadSamplesError: in place of one that was raised within.
    """
    try:
        yield
    except BadSamplesError as error:
        raise error.among(names) from error


def in_one_line(message: object, longest: int = _LONGEST) -> str:
    """A message with its line breaks and runs of spaces made single spaces, and its middle left out where it is long.

    Of the traceback that PyTorch makes of an error in a process that loads data, it is the sentence at the end.

    >>> in_one_line("mapping values are not allowed\\n   in line 3")
    'mapping values are not allowed in line 3'
    """
    text = str(message)
    in_worker = _IN_WORKER.findall(text)
    line = " ".join((in_worker[-1] if in_worker else text).split())
    return line if len(line) <= longest else f"{line[: longest // 2]} ... {line[-longest // 3 :]}"


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Have an error of the system within name the file or folder that was to be written, not a draft of it or nothing.

    Raises:
        OSError: of the same kind, in place of one that was raised within.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def require_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Refuse a value that is not one of the choices.

    Raises:
        BadInputError: with the name, the value and the choices.
    """
    if value not in choices:
        raise BadInputError(f"{name} is {value!r}; it must be one of {', '.join(map(repr, choices))}")


def user_error(error: BaseException | None) -> BadInputError | KeyboardInterrupt | None:
    """The error made for a user among an error's causes (MONAI and ignite wrap what a configuration raises), if any."""
    for one in _causes(error, contexts=True):
        if isinstance(one, (BadInputError, KeyboardInterrupt)):
            return one
        found = _IN_WORKER.findall(str(one))
        if found:
            return BadInputError(found[-1])
    return None


def user_sentence(error: BaseException) -> str | None:
    """What to tell a user of an error: a sentence of our own, or that of a file the system refuses, if it is either."""
    known = user_error(error)
    if isinstance(known, BadInputError):
        return str(known)
    for one in _causes(error):
        if isinstance(one, OSError) and (one.errno is not None or one.filename is not None):
            return in_one_line(_refused_by_the_system(one))
    return None


def _causes(error: BaseException | None, *, contexts: bool = False) -> Iterator[BaseException]:
    """An error, what it was raised from, and the members of groups; ``contexts``: also what was being handled."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop(0)
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [*getattr(one, "exceptions", ()), one.__cause__, one.__context__ if contexts else None]


def _refused_by_the_system(error: OSError) -> str:
    reason = error.strerror or str(error)
    name = "a file" if error.filename is None else error.filename
    if error.errno in _DISK_FULL:
        return f"{name} cannot be written: {reason}; make room, or name another folder"
    if isinstance(error, FileExistsError):
        return f"{name} is a file where a folder is needed; name another folder"
    if isinstance(error, NotADirectoryError):
        return f"{name} cannot be used: a part of its path is a file and no folder; name another folder"
    if isinstance(error, IsADirectoryError):
        return f"{name} is a folder where a file is needed; name a file"
    return f"{name} cannot be used: {reason}; name another file or folder"


def close_bars() -> None:
    """Have nothing wait to be printed: a progress bar would write its last line after the sentence that ends a run."""
    sys.stdout.flush()
    for bar in [one for one in gc.get_objects() if issubclass(type(one), tqdm)]:
        bar.close()


def install_excepthook(explain: Callable[[BaseException], str | None] | None = None) -> None:
    """End a process that meets a user's error with one line and exit status 2 (130 after Ctrl-C).

    Bundles and overlays call this while their configuration is parsed, so that ``python -m monai.bundle run`` speaks as
    plainly as ``monai-robust`` does. Handlers that log such an error do so without its traceback. Every other exception
    keeps it.

    Args:
        explain: says what to tell of further errors, such as those of a configuration; None for what it does not know.
    """
    if explain is not None and explain not in _EXPLAIN:
        _EXPLAIN.append(explain)
    previous = sys.excepthook
    if getattr(previous, "speaks_plainly", False):
        return

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        interrupted = isinstance(user_error(error), KeyboardInterrupt)
        sentence = None if interrupted else _explained(error)
        if not interrupted and sentence is None:
            previous(kind, error, traceback)
            return
        close_bars()
        print("interrupted" if interrupted else f"error: {sentence}", file=_messages())
        sys.exit(130 if interrupted else 2)

    hook.speaks_plainly = True  # type: ignore[attr-defined]
    sys.excepthook = hook
    logging.setLogRecordFactory(_without_traceback(logging.getLogRecordFactory()))
    if logging.lastResort is not None:  # what is logged where nobody asked for logs
        logging.lastResort.addFilter(_ends_no_run)


def _ends_no_run(record: logging.LogRecord) -> bool:
    return not _ENDS_A_RUN.match(str(record.msg))


def _explained(error: BaseException) -> str | None:
    """What to tell a user of an error, if anything."""
    return user_sentence(error) or next((told for one in _EXPLAIN if (told := one(error))), None)


def _messages() -> TextIO:
    """Standard error. Among several processes, PyTorch's own hook collects what ours prints, to put the process' number
    before it, and loses it when ours ends the process."""
    return sys.__stderr__ if type(sys.stderr) is io.StringIO and sys.__stderr__ is not None else sys.stderr


def _without_traceback(make: Callable[..., logging.LogRecord]) -> Callable[..., logging.LogRecord]:
    """A maker of log records that leaves out the traceback of what :func:`install_excepthook` ends in one line."""

    def made(*arguments: Any, **keywords: Any) -> logging.LogRecord:
        record = make(*arguments, **keywords)
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and (isinstance(user_error(error), KeyboardInterrupt) or _explained(error)):
            record.exc_info = None
        return record

    return made
