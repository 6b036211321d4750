"""How people write names: two spellings of one, and words that stand for no name at all."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path

from monai_robust.errors import BadInputError

__all__ = ["NOTHING", "composed", "heard", "refuse_nothing", "refuse_spellings"]

NOTHING = frozenset(
    ("", "-", "--", "?", "nan", "<na>", "na", "n/a", "#n/a", "#na", "n.a.", "none", "null", "unknown", "undefined")
)
"""What stands in a cell where there is nothing, or nobody knows; without capitals."""

_QUOTES = "'\"`\u2018\u2019\u201c\u201d"


def refuse_spellings(
    names: Iterable[str],
    source: Path | str,
    words: tuple[str, str, str] = ("objects of class", "of class", "classes"),
) -> None:
    """Refuse names of classes that differ in case, spaces, quotation marks, or what nobody sees: one class, and a slip
    of the pen.

    What nobody sees is how Unicode composes an accented letter, and characters without width.

    Args:
        names: of the classes.
        source: what they were read from, which begins the sentence.
        words: what is called by the first, what by the second, and what they are.

    Raises:
        BadInputError: with the first two.
    """
    spelt: dict[str, str] = {}
    for name in names:
        other = spelt.setdefault(_bare(name), name)
        if other != name:
            show = ascii if composed(other) == composed(name) else repr
            raise BadInputError(
                f"{source} has {words[0]} {show(other)} and {words[1]} {show(name)}; give the names that are meant as "
                f"{words[2]}, and mend the others"
            )


def refuse_nothing(names: Iterable[str], source: Path | str) -> None:
    """Refuse classes whose name is a word for nothing, or for what nobody knows, where nobody has declared them.

    Raises:
        BadInputError: with the first.
    """
    for name in names:
        if name.casefold() in NOTHING - {"-", "--"}:  # which may be said of a test, beside +
            raise BadInputError(
                f"{source} has the label {name!r}, which often stands for none; name the classes, that one among them "
                "if it is one, or leave its samples out"
            )


def heard(name: str) -> str:
    """A name without case, without characters that have no width, and with single spaces."""
    folded = composed(composed(name).casefold())
    return " ".join("".join(one for one in folded if unicodedata.category(one) != "Cf").split())


def composed(name: str) -> str:
    """A name with every letter as Unicode composes it in its plainest form (NFKC)."""
    return unicodedata.normalize("NFKC", name)


def _bare(name: str) -> str:
    """What is heard of a name, without spaces and the quotation marks around it."""
    return heard(name).strip(_QUOTES + " ").replace(" ", "") or name
