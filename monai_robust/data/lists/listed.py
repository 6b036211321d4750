"""What the data lists of all tasks read alike: tables, names of files, numbers, and what a folder hides."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from monai_robust.data.files.side_files import read_table
from monai_robust.data.lists.patients import is_patient_column
from monai_robust.errors import BadInputError

__all__ = [
    "NAMES_AT_DEBUG",
    "data_list_file",
    "finite_number",
    "is_hidden",
    "list_table",
    "listed_file",
    "visible_files",
    "visible_folders",
]

NAMES_AT_DEBUG = "; the log at level DEBUG names them"
"""How a warning of files or cases ends, whose names can be those of patients."""

_OF_OTHER_PROGRAMS = {
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "__macosx",
    "@eadir",
    "$recycle.bin",
    "system volume information",
    "lost+found",
    "__pycache__",
}
_COLUMNS = ("annotation", "case_id", "file", "image", "label", "patient_id", "sample_id", "split", "split_clean")
_DECIMAL_COMMA = re.compile(r"^([+-]?\d+),(\d+)$")
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?\s*")


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is none of the data set's, but of the system or another program."""
    return name.startswith(".") or name.casefold() in _OF_OTHER_PROGRAMS


def visible_files(folder: Path) -> Iterator[Path]:
    """What is no folder below a folder, sorted by path, without what is hidden or in hidden folders.

    Pipes and links to nothing are among them: reading refuses those by name, and leaving them out would not. Links to
    folders are followed, but no folder is entered twice, so that a link to one above ends.

    Raises:
        BadInputError: for a folder that may not be read.
    """
    found: list[Path] = []
    entered: set[str] = set()
    for place, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        real = os.path.realpath(place)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        links = {name: os.path.islink(os.path.join(place, name)) for name in folders}
        folders[:] = sorted((name for name in folders if not is_hidden(name)), key=lambda name: (links[name], name))
        found += [Path(place, name) for name in names if not is_hidden(name)]
    yield from sorted(found)


def visible_folders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted by path, without hidden ones.

    Raises:
        BadInputError: for a folder that may not be read.
    """
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name))
    except OSError as error:
        _refuse(error)
        raise


def data_list_file(root: Path, datalist: str | os.PathLike[str]) -> Path:
    """The file that a user named as data list, as it stands or inside the data set's folder.

    What is no file, as a pipe, is left to be refused by name when it is read.

    Raises:
        BadInputError: where there is neither.
    """
    given = Path(datalist).expanduser()
    path = given if os.path.isfile(given) else root / given
    if not os.path.exists(path):
        raise BadInputError(f"there is no data list {datalist}, neither as it stands nor in {root}")
    return path


def list_table(path: Path, what: str = "sample") -> pd.DataFrame:
    """A table of samples, with text cells, that a person, a program or a spreadsheet wrote as CSV.

    Columns are divided by commas, semicolons or tabs; spaces around cells mean nothing, nor does the case of the names
    ``file``, ``image``, ``label``, ``split``, ``patient_id`` and the like; ``PatientID``, ``subject`` and others mean
    ``patient_id``. Rows without any value and columns without a name, as pandas and spreadsheets write them, are left
    out. Where cells are divided by semicolons or tabs, numbers with a decimal
    comma get a point.

    Args:
        path: of the table.
        what: a row is, for messages.

    Returns:
        The rows, with the lines of the file as index, called "line"; a column ``file`` is called ``image``.

    Raises:
        BadInputError: for what ``read_table`` refuses, and for no row; names the file.
    """
    table = read_table(path, delimiters=",;\t", spare=True)
    delimiter = table.attrs["delimiter"]
    table.columns = pd.Index(_columns([str(name) for name in table.columns], path))
    if "image" not in table:
        table = table.rename(columns={"file": "image"})
    comma = delimiter != ","
    for name in table.columns:
        cells = table[name].str.strip()
        table[name] = cells.str.replace(_DECIMAL_COMMA, r"\1.\2", regex=True) if comma else cells
    table = table.drop(columns="", errors="ignore")
    table = table[(table != "").any(axis=1)]
    if table.empty:
        raise BadInputError(f"{path} lists no {what}")
    return table.rename_axis(index="line")


def listed_file(root: Path, entry: Any, where: str) -> Path:
    """The file or folder that an entry of a data list names, from the data set's folder on.

    A list of a single name counts as that name. Backslashes, as of Windows, count as slashes where no file is named so.

    Args:
        root: the data set's folder.
        entry: as the list has it.
        where: file and place, for the message.

    Raises:
        BadInputError: for what is no name; for several names, which are several images.
    """
    if isinstance(entry, (list, tuple)):
        if len(entry) > 1:
            raise BadInputError(
                f"{where} names {len(entry)} files for one image; put its channels into one file, as a 4-D NIfTI"
            )
        entry = entry[0] if entry else ""
    if not isinstance(entry, str) or not entry.strip() or "\0" in entry:
        raise BadInputError(f"{where} is {entry!r}; it needs the name of a file")
    path = root / entry
    slashed = root / entry.replace("\\", "/")
    return slashed if "\\" in entry and not os.path.exists(path) and os.path.exists(slashed) else path


def finite_number(value: Any) -> float | None:
    """A finite number, also written as text, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        return None
    try:
        found = float(value)
    except (OverflowError, ValueError):
        return None
    return found if math.isfinite(found) else None


def _columns(names: list[str], path: Path) -> list[str]:
    """What the columns are called here, each of them once."""
    known: dict[str, str] = {}
    for name in names:
        other = known.setdefault(_column(name), name)
        if other is not name and other.strip() != name.strip():
            raise BadInputError(
                f"{path} has the columns {other.strip()!r} and {name.strip()!r}, which both mean {_column(name)}; keep "
                "one"
            )
        if other is not name:
            raise BadInputError(f"{path} has two columns {_column(name)!r}; every column needs a name of its own")
    return list(known)


def _column(name: str) -> str:
    plain = name.strip()
    known = plain.casefold().replace(" ", "_")
    return "patient_id" if is_patient_column(plain) else plain if known not in _COLUMNS else known


def _refuse(error: OSError) -> None:
    raise BadInputError(f"folder {error.filename} cannot be read: {error.strerror}") from error
