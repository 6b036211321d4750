"""The one table of corruptions: names, modalities, and the five levels of each."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TypeVar

from monai_robust.errors import BadInputError
from monai_robust.transforms.corruptions.corruption import LEVELS, Corruption

__all__ = [
    "CORRUPTIONS",
    "CORRUPTION_GROUPS",
    "corruption",
    "corruption_names",
    "register_corruption",
    "severity_table",
]

CORRUPTIONS: dict[str, type[Corruption]] = {}
"""The one table of corruptions, by name, which evaluations, figures and reports read; add one of your own to it."""

CORRUPTION_GROUPS: dict[str, str] = {
    "common": "any image",
    "radiograph": "projection radiographs",
    "ct": "computed tomography, within the window that the network sees",
    "mr": "magnitude images of magnetic resonance",
    "ultrasound": "B-mode images, the transducer above",
    "oct": "optical coherence tomography",
    "dermoscopy": "colour photographs of skin",
    "microscopy": "colour micrographs of stained cells and tissue",
}
"""The modalities, and what images of each are."""

Kind = TypeVar("Kind", bound=type[Corruption])


def register_corruption(kind: Kind) -> Kind:
    """Enter a class into :data:`CORRUPTIONS`; a decorator.

    Raises:
        BadInputError: for a name that is taken, levels that are not five, or a group that there is not.
    """
    if kind.name in CORRUPTIONS:
        raise BadInputError(f"there is a corruption {kind.name!r} already, {CORRUPTIONS[kind.name].__name__}")
    if len(kind.severities) != len(LEVELS):
        raise BadInputError(f"corruption {kind.name}: severities must be {len(LEVELS)}, from weak to strong")
    unknown = [group for group in kind.groups if group not in CORRUPTION_GROUPS]
    if unknown:
        raise BadInputError(
            f"corruption {kind.name}: no group {unknown[0]!r}; there are {', '.join(CORRUPTION_GROUPS)}"
        )
    CORRUPTIONS[kind.name] = kind
    return kind


def corruption(name: str, severity: float | None = None, seed: int = 0, *, level: int | None = None) -> Corruption:
    """The corruption of that name and severity.

    Args:
        name: a key of :data:`CORRUPTIONS`.
        severity: as the corruption defines it: a variance, an amount or a factor.
        seed: of the noise.
        level: in place of the severity, one of its five levels, 1 to 5.

    Raises:
        BadInputError: for an unknown name (the message says which are like it), a severity it does not have, or not one
            of severity and level.
    """
    if name not in CORRUPTIONS:
        raise BadInputError(f"no corruption {name!r}; {_nearest(name, list(CORRUPTIONS))}")
    if (severity is None) == (level is None):
        raise BadInputError(f"corruption {name}: give a severity ({CORRUPTIONS[name].meaning}), or a level from 1 to 5")
    kind = CORRUPTIONS[name]
    return kind(kind.severity_of(level) if severity is None and level is not None else severity, seed)  # type: ignore[arg-type]


def corruption_names(chosen: str | Sequence[str]) -> list[str]:
    """Names of corruptions, of groups and names of them.

    Args:
        chosen: names, groups, or both, as text with commas between or as a list: ``"mr"``, ``"gaussian,ct"``.

    Returns:
        Each name once, in the order that they are asked for.

    Raises:
        BadInputError: for a word that is neither, with those that are like it.
    """
    words = chosen.split(",") if isinstance(chosen, str) else chosen
    found: list[str] = []
    for word in (one.strip() for one in words):
        if word in CORRUPTION_GROUPS:
            found += [name for name, kind in CORRUPTIONS.items() if word in kind.groups]
        elif word in CORRUPTIONS:
            found.append(word)
        elif word:
            raise BadInputError(_unknown(word))
    return list(dict.fromkeys(found))


def severity_table(group: str | None = None) -> str:
    """The table of severities in Markdown: what each level means, and its source.

    Args:
        group: those of one modality; all by default.
    """
    rows = [
        "| corruption | name | levels 1 to 5 | which are | 2-D, 3-D | groups | source |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, kind in CORRUPTIONS.items():
        if group is None or group in kind.groups:
            levels = ", ".join(f"{severity:g}" for severity in kind.severities)
            sizes = ", ".join(f"{number}-D" for number in kind.dimensions if number > 1)
            made = f"{sizes}, colour" if kind.colour else sizes
            groups = ", ".join(kind.groups)
            rows.append(f"| {kind.label} | `{name}` | {levels} | {kind.meaning} | {made} | {groups} | {kind.source} |")
    return "\n".join(rows) + "\n"


def _unknown(word: str) -> str:
    groups = ", ".join(CORRUPTION_GROUPS)
    near = _nearest(word, [*CORRUPTION_GROUPS, *CORRUPTIONS])
    return f"corruptions: there is no corruption or group {word!r}; groups are {groups}; {near}"


def _nearest(word: str, known: list[str]) -> str:
    """What was meant instead of a word, as far as letters tell."""
    found = difflib.get_close_matches(str(word), known, n=3, cutoff=0.5)
    found += [name for name in known if str(word).lower() in name and name not in found][:3]
    meant = f"did you mean {' or '.join(found)}? " if found else ""
    return f"{meant}monai-robust corruptions lists all {len(CORRUPTIONS)} names"
