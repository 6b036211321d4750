"""Which columns of a table are landmarks, which say whether a landmark is seen, and which are mm per pixel."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from monai_robust.errors import BadInputError

__all__ = ["SPACING_COLUMNS", "check_places", "landmark_names", "with_usual_names"]

SPACING_COLUMNS = ("mm_per_px_x", "mm_per_px_y")
_OTHER_PIXELS = "orig_"  # columns in the pixels of another file, from which the listed one was made
_OURS = ("image", "written")
_MILLIMETRES = re.compile(r"(?:mmper(?:px|pixel)|(?:px|pixel)?spacing|(?:px|pixel)size)(?:mm)?([xy]?)(?:mm)?")
_OTHER_UNITS = re.compile(r".*(?:spacing|(?:px|pixel|voxel)size|per(?:px|pixel|mm|cm|inch)).*[xy]")


def with_usual_names(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The table with ends in small letters (``A_X`` and ``A_Y`` as ``A_x`` and ``A_y``), and mm per pixel under
    :data:`SPACING_COLUMNS`, whether it is called ``pixel_spacing``, ``spacing_x``, ``MM_PER_PX`` or alike.

    Raises:
        BadInputError: two columns say the same, one of a pair is missing, or a spacing has a unit that nobody knows.
    """
    table = table.rename(columns=_small_ends([str(name) for name in table]))
    twice = table.columns[table.columns.duplicated()]
    if len(twice):
        raise BadInputError(f"{path} has two columns {twice[0]!r}, but for capitals; keep one")
    found: dict[str, list[str]] = {"": [], "x": [], "y": []}
    for name in map(str, table):
        plain = re.sub(r"[\W_]", "", name.casefold())
        known = _MILLIMETRES.fullmatch(plain)
        if known and not name.startswith(_OTHER_PIXELS):
            found[known.group(1)].append(name)
        elif re.search(r"[_\s-][xy]$", name) and _OTHER_UNITS.fullmatch(plain) and not name.startswith(_OTHER_PIXELS):
            raise BadInputError(
                f"{path} has the column {name!r}, which seems to be a spacing and no landmark; call it "
                f"{' and '.join(SPACING_COLUMNS)}, in mm per pixel, or leave it out"
            )
    return _with_spacing(table, found, path)


def landmark_names(table: pd.DataFrame, path: Path) -> tuple[str, ...]:
    """Names of the pairs of columns ``<name>_x`` and ``<name>_y``, in their order.

    Raises:
        BadInputError: there is none, or only one of a pair.
    """
    columns = [str(name) for name in table if name not in _OURS]
    usable = [name for name in columns if not name.startswith(_OTHER_PIXELS) and name not in SPACING_COLUMNS]
    ends = {axis: [name[:-2] for name in usable if name.endswith(f"_{axis}")] for axis in "xy"}
    if not ends["x"]:
        raise BadInputError(f"{path} has no columns <name>_x and <name>_y; it has {', '.join(usable) or 'no others'}")
    lonely = sorted(set(ends["x"]) ^ set(ends["y"]))
    if lonely:
        raise BadInputError(f"{path} has only one of the columns {lonely[0]}_x and {lonely[0]}_y")
    return tuple(ends["x"])


def check_places(table: pd.DataFrame, names: Sequence[str], path: Path) -> None:
    """Refuse ``age_x`` and ``age_y`` of two tables that both have an age: joined, pandas ends their names so."""
    for name in names:
        x, y = list(table[f"{name}_x"]), list(table[f"{name}_y"])
        if x == y and len(set(x)) > 1:
            raise BadInputError(
                f"{path} has the same in the columns {name}_x and {name}_y of every row: one column of "
                f"two tables that were joined, it seems, and no landmark; leave one out, and call the other {name}"
            )


def _small_ends(names: list[str]) -> dict[str, str]:
    """New names by old ones, of pairs and of what says whether their landmark is seen."""
    pairs = {name[:-2] for name in names if name[-2:].lower() == "_x"} & {
        name[:-2] for name in names if name[-2:].lower() == "_y"
    }
    return {
        name: name[:-2] + name[-2:].lower()
        for name in names
        if name[:-2] in pairs and name[-2:].lower() in ("_x", "_y", "_v")
    }


def _with_spacing(table: pd.DataFrame, found: dict[str, list[str]], path: Path) -> pd.DataFrame:
    several = next((names for names in found.values() if len(names) > 1), found[""] + found["x"] if found[""] else [])
    if len(several) > 1:
        raise BadInputError(
            f"{path} has the columns {several[0]!r} and {several[1]!r}, which both are a spacing; keep one"
        )
    if len(found["x"]) != len(found["y"]):
        (lonely,) = found["x"] + found["y"]
        other = lonely[:-1] + {"x": "y", "y": "x", "X": "Y", "Y": "X"}.get(lonely[-1], "?")
        raise BadInputError(f"{path} has only one of the columns {' and '.join(sorted((lonely, other)))}")
    if found[""]:
        cells = table[found[""][0]]
        return table.drop(columns=found[""]).assign(**dict.fromkeys(SPACING_COLUMNS, cells))
    pair = {
        name: usual for names, usual in zip((found["x"], found["y"]), SPACING_COLUMNS, strict=True) for name in names
    }
    return table.rename(columns=pair)
