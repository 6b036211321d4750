"""What commands that run a bundle have in common: presets, and words that are ids of its configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monai_robust.errors import BadInputError

__all__ = ["Presets", "from_here", "overrides"]

Presets = Annotated[
    list[Path] | None,
    typer.Option("--preset", help="A config file to read after the bundle's own; may be given several times."),
]


def overrides(arguments: list[str]) -> dict[str, str]:
    """``--id value`` and ``--id=value`` pairs of a bundle's configuration.

    Raises:
        BadInputError: for a word that is no option, or an option without a value.
    """
    pairs: dict[str, str] = {}
    words = iter(arguments)
    for word in words:
        if not word.startswith("--"):
            raise BadInputError(f"{word!r} is no option; give --id value, an id of the bundle's configuration")
        name, equals, value = word[2:].partition("=")
        following = value if equals else next(words, None)
        if following is None:
            raise BadInputError(f"--{name} has no value; give --{name} value")
        pairs[name] = following
    return pairs


def from_here(word: str) -> str:
    """A word that names a file or folder seen from here, as it is seen from everywhere."""
    path = Path(word).expanduser()
    return str(path.resolve()) if ("/" in word or path.is_dir()) and path.exists() else word
