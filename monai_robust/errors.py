"""Errors a user can mend: one sentence that says what is wrong, where, and what would do."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from tqdm import tqdm

__all__ = [
    "BadInputError",
    "BadSampleError",
    "BadSamplesError",
    "NotFiniteError",
    "install_excepthook",
    "naming",
    "require_choice",
    "user_error",
]


Names = Any
"""Names of samples, or their places in a larger batch: a sequence or a tensor."""


class BadInputError(ValueError):
    """An argument, a file or a data set that cannot work; the message is one sentence for the person who gave it."""


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


def require_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Refuse a value that is not one of the choices.

    Raises:
        BadInputError: with the name, the value and the choices.
    """
    if value not in choices:
        raise BadInputError(f"{name} is {value!r}; it must be one of {', '.join(map(repr, choices))}")


def user_error(error: BaseException | None) -> BadInputError | KeyboardInterrupt | None:
    """The error made for a user in a chain of causes (MONAI and ignite wrap what a configuration raises), if any."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, (BadInputError, KeyboardInterrupt)):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


def install_excepthook() -> None:
    """End a process that meets a :class:`BadInputError` with one line and exit status 2 (130 after Ctrl-C).

    Bundles call this while their configuration is parsed, so that ``python -m monai.bundle run`` speaks as plainly
    as ``monai-robust`` does. Every other exception keeps its traceback.
    """
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        known = user_error(error)
        if known is None:
            previous(kind, error, traceback)
            return
        sys.stdout.flush()
        if getattr(tqdm, "_instances", None):  # a bar stands in the line that the message needs for itself
            print(file=sys.stderr)
        if isinstance(known, KeyboardInterrupt):
            print("interrupted", file=sys.stderr)
            sys.exit(130)
        print(f"error: {known}", file=sys.stderr)
        sys.exit(2)

    sys.excepthook = hook
