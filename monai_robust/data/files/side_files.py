"""Reading the text files beside images and weights: JSON, YAML and CSV that somebody else may have written.

Whatever such a file holds is data. What is no regular file, too large, no text, malformed, nested without end, or
holds a value of another kind than its schema declares is refused in one sentence that names the file and the place.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from monai_robust.data.files.csv_cells import plain_cell
from monai_robust.data.files.schemas import from_object, shown
from monai_robust.errors import BadInputError

__all__ = [
    "as_number",
    "numbers",
    "parse_json",
    "read_fields",
    "read_json",
    "read_object",
    "read_table",
    "read_text",
    "read_yaml",
    "regular_file",
]

_Schema = TypeVar("_Schema")

LARGEST = 256 * 2**20
"""Bytes of a text file; a COCO file of a million boxes stays below."""
DEEPEST = 64
"""Levels of brackets."""

# The longest mark first: that of UTF-32 begins with that of UTF-16.
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_LARGE_NUMBER = re.compile(r"\d{19}|[eE]\+?\d{3}")
_ODD_CHARACTER = re.compile(r"(?<!\\)(?:\\\\)*\\u(?:0000|[dD][89a-fA-F])")
_DIGITS = 18  # of a whole number: what fits into 64 bits


def regular_file(path: str | Path, what: str = "file", largest: int | None = None) -> Path:
    """``path``, if a file lies there that can be read to its end.

    Args:
        path: the file.
        what: what it should be, for the message.
        largest: number of bytes that it may have.

    Raises:
        BadInputError: for nothing, a folder, a pipe, a device, or a file that is too large.
    """
    path = Path(path)
    try:
        found = path.stat()
    except FileNotFoundError:
        raise BadInputError(f"there is no {what} {path}") from None
    except (OSError, ValueError) as error:  # a name that is too long, a loop of links, a folder that may not be entered
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadInputError(f"the {what} {str(path)!r} cannot be read: {reason}") from None
    if stat.S_ISDIR(found.st_mode):
        raise BadInputError(f"{path} is a folder, where a {what} is needed")
    if not stat.S_ISREG(found.st_mode):
        raise BadInputError(f"{path} is a pipe or a device, where a {what} is needed; write it to a file first")
    if largest is not None and found.st_size > largest:
        raise BadInputError(f"{path} has {found.st_size / 2**20:.0f} MB; a {what} has at most {largest / 2**20:.0f} MB")
    return path


def read_text(path: str | Path, what: str = "file", *, largest: int = LARGEST) -> str:
    """The text of a file in UTF-8, or in UTF-16 or UTF-32 with a byte-order mark; line ends stay as they are.

    Raises:
        BadInputError: for what :func:`regular_file` refuses, what may not be read, and what is no text.
    """
    path = regular_file(path, what, largest)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"the {what} {path} cannot be read: {error.strerror}") from None
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path} is no text in {encoding.upper()}: {error.reason} at byte {error.start}") from None
    if "\0" in text:
        raise BadInputError(f"{path} holds null characters, so it is no {what}")
    return text


def read_json(path: str | Path, what: str = "JSON file", *, constants: bool = False) -> Any:
    """What a JSON file holds, read strictly: see :func:`parse_json`.

    Raises:
        BadInputError: names the file.
    """
    return parse_json(read_text(path, what), str(path), constants=constants)


def read_object(path: str | Path, what: str = "JSON file") -> dict[str, Any]:
    """The JSON object that a file holds.

    Raises:
        BadInputError: for a file that :func:`read_json` refuses, or that holds something else.
    """
    content = read_json(path, what)
    if not isinstance(content, dict):
        raise BadInputError(f"{path} holds {shown(content)}; a {what} holds a JSON object")
    return content


def read_fields(path: str | Path, schema: type[_Schema], what: str = "JSON file") -> _Schema:
    """A JSON object as an instance of a data class, every field of the kind that the class declares.

    Raises:
        BadInputError: for a file that :func:`read_object` refuses, or for the first field that is missing or of another
            kind; ``PATH: field 'x' is null; it must be a whole number``.
    """
    return from_object(schema, read_object(path, what), str(path))


def parse_json(text: str, where: str, *, constants: bool = False) -> Any:
    """Parse JSON as its standard says and no more.

    Refused are NaN and Infinity (unless ``constants``, for readers who say of what they are), names that occur twice in
    one object, brackets over :data:`DEEPEST` levels, numbers that do not fit into 64 bits, and characters that no file
    can hold (the null character, half a surrogate pair).

    Raises:
        BadInputError: in one sentence that begins with ``where``.
    """
    hooks: dict[str, Any] = {"object_pairs_hook": _object}
    if not constants:
        hooks["parse_constant"] = _refuse_constant
    if _LARGE_NUMBER.search(text):  # looking at every number takes time, and hardly any file needs it
        hooks |= {"parse_int": _whole, "parse_float": _finite}
    try:
        found = json.loads(text, **hooks)
    except RecursionError:
        raise BadInputError(f"{where} is nested too deeply; {DEEPEST} levels of brackets are read") from None
    except json.JSONDecodeError as error:
        raise BadInputError(
            f"{where} is not valid JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        ) from None
    except ValueError as error:
        raise BadInputError(f"{where} is not valid JSON: {error}") from None
    _check_depth(found, where)
    if _ODD_CHARACTER.search(text):
        _check_characters(found, where)
    return found


def read_yaml(path: str | Path, what: str = "YAML file") -> Any:
    """What a YAML file holds: plain values only, no aliases (a few of which make gigabytes), nothing that is run.

    Raises:
        BadInputError: names the file.
    """
    text = read_text(path, what)
    try:
        _check_nodes(yaml.compose(text, yaml.SafeLoader), path)
        found = yaml.safe_load(text)
    except RecursionError:
        raise BadInputError(f"{path} is nested too deeply; {DEEPEST} levels of brackets are read") from None
    except BadInputError:
        raise
    except (yaml.YAMLError, ValueError, TypeError) as error:  # such as a date of month 13, or a list as a name
        raise BadInputError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    _check_depth(found, str(path))
    return found


def read_table(
    path: str | Path, what: str = "CSV table", *, delimiters: str = ",", whole: bool = False, spare: bool = False
) -> pd.DataFrame:
    """A CSV table, every cell as text and empty cells as ``""``.

    Args:
        path: the file.
        what: what it should be, for messages.
        delimiters: what may divide the cells.
        whole: refuse a file that does not end with a line end, which a run that was stopped leaves.
        spare: leave out columns that have neither a name nor a value, as spreadsheets write them.

    Cells that were guarded against spreadsheets (see :mod:`monai_robust.data.files.csv_cells`) are read as they were.
    Blank lines are left out. Of several ``delimiters``, that one counts which the heading has most often, or which a
    first line ``sep=;`` names, as spreadsheets write it.

    Returns:
        The rows, with the number of the line in which each of them ends as their index, and the delimiter under
        ``attrs["delimiter"]``.

    Raises:
        BadInputError: for what :func:`read_text` refuses, a row with more or fewer cells than the heading, a column
            that occurs twice or has no name, a cell that is not closed, or no heading; file and line are named.
    """
    text = read_text(path, what)
    if whole and text and not text.endswith("\n"):
        raise BadInputError(f"{path} ends within a line, so the run was stopped; start it again and it continues")
    first, delimiter = _delimiter(text, delimiters)
    reader = csv.reader(io.StringIO(text[first:], newline=""), delimiter=delimiter, strict=True)
    before = text.count("\n", 0, first)
    lines: list[int] = []
    rows: list[list[str]] = []
    try:
        for row in reader:
            if row:
                lines.append(reader.line_num + before)
                rows.append([plain_cell(cell) for cell in row])
    except csv.Error as error:
        raise BadInputError(f"{path}, line {reader.line_num + before}: this is no row of a {what}: {error}") from None
    if not rows:
        raise BadInputError(f"{path} cannot be read: it is empty; a {what} begins with its columns' names")
    for line, row in zip(lines[1:], rows[1:], strict=True):
        if len(row) != len(rows[0]):
            raise BadInputError(f"{path}, line {line}: {len(row)} values for {len(rows[0])} columns")
    if spare:
        filled = [place for place, name in enumerate(rows[0]) if name.strip() or any(row[place] for row in rows[1:])]
        rows = [[row[place] for place in filled] for row in rows]
    header = _header(path, rows[0])
    table = pd.DataFrame(rows[1:], columns=pd.Index(header), index=pd.Index(lines[1:], dtype="int64"), dtype=str)
    table.attrs["delimiter"] = delimiter
    return table


def _delimiter(text: str, delimiters: str) -> tuple[int, str]:
    """Where the table begins, and what divides its cells."""
    heading = text.lstrip("\r\n").partition("\n")[0]
    named = heading.rstrip("\r").casefold()
    if len(delimiters) > 1 and named.startswith("sep=") and len(named) == 5:
        return text.index("\n") + 1 if "\n" in text else len(text), named[-1]
    return 0, max(delimiters, key=heading.count)


def numbers(table: pd.DataFrame, name: str, path: str | Path, *, empty: bool = False) -> NDArray[np.float64]:
    """A column of a table from :func:`read_table` as finite numbers; empty cells are NaN where they are allowed.

    Raises:
        BadInputError: for a column that is missing, or a cell that is no number; file, line and column are named.
    """
    if name not in table:
        raise BadInputError(f"{path} has no column {name!r}; its columns are {', '.join(map(str, table.columns))}")
    found = np.full(len(table), np.nan)
    for place, cell in enumerate(table[name]):
        if empty and not cell:
            continue
        value = as_number(cell)
        if value is None or not math.isfinite(value):
            raise BadInputError(f"{path}, line {table.index[place]}: {name} must be a finite number, not {shown(cell)}")
        found[place] = value
    return found


def as_number(cell: str) -> float | None:
    """A number written as programs write it, in ASCII and without spaces or underscores; None for anything else."""
    try:
        return float(cell) if cell.isascii() and "_" not in cell and cell.strip() == cell else None
    except ValueError:
        return None


def _check_nodes(root: yaml.Node | None, path: str | Path) -> None:
    """Refuse aliases and names that occur twice, of which YAML takes the last without a word."""
    seen: set[int] = set()
    nodes = [root]
    while nodes:
        node = nodes.pop()
        if id(node) in seen:
            raise BadInputError(f"{path} uses an alias (* and a name); write the value out")
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            names = [str(name.value) for name, _ in node.value]
            twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
            if twice is not None:
                raise BadInputError(f"{path} says {shown(twice)} twice")
            nodes += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            nodes += node.value


def _header(path: str | Path, names: list[str]) -> list[str]:
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise BadInputError(f"{path} has two columns {twice!r}; every column needs a name of its own")
    return names


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise ValueError(f"the name {shown(twice)} occurs twice in one object")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it holds {name}, which JSON does not know; write a number")


def _whole(digits: str) -> int:
    if len(digits.lstrip("-")) > _DIGITS:
        raise ValueError(f"it holds a number of {len(digits.lstrip('-'))} digits; {_DIGITS} are read")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"it holds the number {digits[:40]}, which is too large")
    return value


def _check_depth(value: Any, where: str) -> None:
    level, depth = [value], 0
    while level := [one for one in level if isinstance(one, (dict, list))]:
        depth += 1
        if depth > DEEPEST:
            raise BadInputError(f"{where} is nested too deeply; {DEEPEST} levels of brackets are read")
        level = [
            part
            for one in level
            for part in (one.values() if isinstance(one, dict) else one)
            if type(part) is dict or type(part) is list
        ]


def _check_characters(value: Any, where: str) -> None:
    for text in _texts(value):
        if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
            raise BadInputError(f"{where} holds {shown(text)}, with a character that no text may hold")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, part in value.items():
            yield name
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)
