"""Cells of CSV files that a spreadsheet would run as a formula, written so that it does not.

A text that begins with ``=``, ``+``, ``-``, ``@``, a tab or a line break (or one of the first four in full width) is
written with an apostrophe before it, which spreadsheets take for the mark of a text; one that begins with apostrophes
and then such a character gets one more, so that reading gives back every text as it was. Numbers stay numbers.

Source: OWASP, CSV Injection.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from typing import Any

import pandas as pd

__all__ = ["csv_line", "csv_text", "plain_cell", "safe_cell"]

_RUN = "=+\\-@\t\r\n＝＋－＠"
_WOULD_RUN = re.compile(f"'*[{_RUN}]")
_GUARDED = re.compile(f"'+[{_RUN}]")
_NUMBER = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|inf|nan)")


def safe_cell(text: str) -> str:
    """``text`` as it is written to a CSV file.

    >>> safe_cell("=1+1"), safe_cell("'=1+1"), safe_cell("-1.5"), safe_cell("'tis")
    ("'=1+1", "''=1+1", '-1.5', "'tis")
    """
    return f"'{text}" if _WOULD_RUN.match(text) and not _NUMBER.fullmatch(text) else text


def plain_cell(cell: str) -> str:
    """The text that :func:`safe_cell` wrote as ``cell``.

    >>> plain_cell("'=1+1"), plain_cell("''=1+1"), plain_cell("-1.5"), plain_cell("'tis")
    ('=1+1', "'=1+1", '-1.5', "'tis")
    """
    return cell[1:] if cell[:1] == "'" and _GUARDED.match(cell) else cell


def csv_line(values: Iterable[Any]) -> str:
    """A row of a CSV file, with its line end.

    Texts are guarded, cells that hold a line break are in quotes (a carriage return, too), numbers are written with all
    their digits, and None and NaN are empty cells.
    """
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow([_cell(value) for value in values])
    return buffer.getvalue().removesuffix("\r\n") + "\n"


def csv_text(table: pd.DataFrame, *, header: bool = True) -> str:
    """A data frame as CSV without its index, each row and the columns' names by :func:`csv_line`."""
    columns = [table.iloc[:, place] for place in range(table.shape[1])]
    names = [csv_line(str(name) for name in table.columns)] if header else []
    return "".join([*names, *map(csv_line, zip(*columns, strict=True))])


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return safe_cell(value)
    if value is None or pd.isna(value):
        return ""
    return repr(value) if type(value) is float else str(value)
