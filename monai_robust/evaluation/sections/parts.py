"""What a report is made of: sections with tables and pictures, and how a number is written in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

__all__ = [
    "RADIUS",
    "Measure",
    "Picture",
    "ReportTable",
    "Section",
    "apart",
    "fixed",
    "listed",
    "measured",
    "number",
    "told",
]

MISSING = "–"
UNDEFINED = "undefined"
NO_NUMBER = (
    "a number that does not exist, such as an AUROC without a case. A mean over runs, radii or severities exists only "
    "where each of them has a number, so that no network gains by what it has lost."
)
RADIUS = (
    "the size of a change to an image, by its length (L2 norm) unless said otherwise: under an attack the largest that "
    "is allowed, of a search for the nearest change the smallest that was found; in brackets in percent of the length "
    "of an average image."
)


@dataclass(frozen=True)
class Measure:
    """A number with its spread over replicates or, for a single run, its interval; NaN where there is none."""

    mean: float
    std: float = math.nan
    low: float = math.nan
    high: float = math.nan

    def text(self, scale: float = 1.0, digits: int = 1) -> tuple[str, str]:
        """The number, with its spread such as ``92.3 ± 1.1``, and its interval such as ``88.1 to 95.4``, "" if none."""
        if math.isnan(self.mean):
            return MISSING, ""
        mean, std, low, high = (fixed(scale * one, digits) for one in (self.mean, self.std, self.low, self.high))
        if not math.isnan(self.std):
            return f"{mean} ± {std}", ""
        return mean, "" if math.isnan(self.low) else f"{low} to {high}"


@dataclass(frozen=True)
class ReportTable:
    """A table of measures.

    Attributes:
        name: the stem of its CSV file.
        title: what it shows.
        stub: headers of the leading columns.
        headers: headers of the columns of measures, with units.
        rows: for each row its leading cells and its measures (a text stands for itself).
        scale: what measures are multiplied with, 100 for percent.
        digits: decimals, of all columns or of each.
        note: what a reader must know.
    """

    name: str
    title: str
    stub: Sequence[str]
    headers: Sequence[str]
    rows: Sequence[tuple[Sequence[str], Sequence[Measure | str]]]
    scale: float = 1.0
    digits: int | Sequence[int] = 1
    note: str = ""

    def cells(self) -> list[tuple[Sequence[str], list[tuple[str, str]]]]:
        """The rows as texts, each measure as a number and its interval."""
        digits = [self.digits] * len(self.headers) if isinstance(self.digits, int) else self.digits
        return [(stub, [self._text(*cell) for cell in zip(values, digits, strict=True)]) for stub, values in self.rows]

    def frame(self) -> pd.DataFrame:
        """The table as numbers, in the units of its headers, with the columns of spreads and intervals that exist; of
        columns that have one header, such as that of a class called like a measure, later ones have a number behind."""
        headers = apart([*self.stub, *self.headers])
        columns: dict[str, Sequence[object]] = {
            name: [stub[place] for stub, _ in self.rows] for place, name in enumerate(headers[: len(self.stub)])
        }
        for place, header in enumerate(headers[len(self.stub) :]):
            columns |= self._columns(header, [values[place] for _, values in self.rows])
        return pd.DataFrame(columns)

    def _text(self, value: Measure | str, digits: int) -> tuple[str, str]:
        return (value, "") if isinstance(value, str) else value.text(self.scale, digits)

    def _columns(self, header: str, values: Sequence[Measure | str]) -> dict[str, Sequence[object]]:
        if all(isinstance(value, str) for value in values):
            return {header: values}
        measures = [Measure(math.nan) if isinstance(value, str) else value for value in values]
        parts = {
            header: [one.mean for one in measures],
            f"{header}, standard deviation": [one.std for one in measures],
            f"{header}, 95 % low": [one.low for one in measures],
            f"{header}, 95 % high": [one.high for one in measures],
        }
        columns: dict[str, Sequence[object]] = {
            name: [self.scale * number for number in numbers]
            for name, numbers in parts.items()
            if name == header or not all(map(math.isnan, numbers))
        }
        texts = zip(values, columns[header], strict=True)
        return columns | {header: [value if isinstance(value, str) else one for value, one in texts]}


@dataclass(frozen=True)
class Picture:
    """A figure, what it says in words for who cannot see it, and its caption."""

    figure: Figure
    alt: str
    caption: str


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it; ``points`` are sentences, each with a mark such as ``warning``."""

    title: str
    text: str = ""
    tables: Sequence[ReportTable] = field(default_factory=list)
    pictures: Sequence[Picture] = field(default_factory=list)
    points: Sequence[tuple[str, str]] = field(default_factory=list)


def measured(row: Any, column: str) -> Measure:
    """The measure in a row of ``over_replicates`` (:mod:`monai_robust.evaluation.statistics`), with what interval it
    has."""
    ends = (row.get(f"{column}_low", math.nan), row.get(f"{column}_high", math.nan))
    return Measure(row[column], row[f"{column}_std"], *ends)


def told(row: Any, column: str, words: str, why: str) -> str:
    """What a row of ``over_replicates`` says of the runs of a name, such as ``“erm” reaches 0.81``; where there is no
    such number, that there is none, and why.

    Args:
        row: with ``name``, ``n_runs`` and the column.
        column: the number.
        words: with a field for the number, such as ``reaches {:.2f}``.
        why: what it means that there is none, such as ``no image has a box``.
    """
    if not math.isnan(row[column]):
        return f"“{row['name']}” {words.format(row[column])}"
    where = f" in at least one of its {row['n_runs']} runs" if row["n_runs"] > 1 else ""
    return f"of “{row['name']}” it is {UNDEFINED} ({why}{where})"


def apart(names: Sequence[str]) -> list[str]:
    """Names, those that stood there before with a number behind.

    >>> apart(["Dice", "Mean", "Dice"])
    ['Dice', 'Mean', 'Dice (2)']
    """
    found: list[str] = []
    for name in names:
        number = 1 + sum(one == name for one in names[: len(found)])
        found.append(name if number == 1 else f"{name} ({number})")
    return found


def fixed(value: float, digits: int) -> str:
    """So many decimals; what is rounded to zero has no sign."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def number(value: float) -> str:
    """Three significant digits, without trailing zeros or an exponent where none is needed; of NaN that it is none."""
    if math.isnan(value):
        return UNDEFINED
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def listed(parts: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
