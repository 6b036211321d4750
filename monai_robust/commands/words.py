"""Words of a command that are ids of a bundle's configuration."""

from __future__ import annotations

from monai_robust.errors import BadInputError

__all__ = ["overrides"]


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
