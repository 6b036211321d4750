"""Reading lists as the standard library reads them, and judging what the product made of one."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hostile.judging import difference

__all__ = [
    "COUNT",
    "HEIGHT",
    "SPLITS",
    "WIDTH",
    "all_there",
    "csv_rows",
    "json_content",
    "patient_named",
    "read_list",
    "read_text",
    "split_named",
    "write_pictures",
]

COUNT = 6
SPLITS = ["train", "train", "train", "val", "val", "test"]
WIDTH, HEIGHT = 12, 10


def json_content(path: Path) -> Any:
    """What the standard library reads, strictly: what JSON's own standard does not know is refused."""

    def refuse(text: str) -> Any:
        raise ValueError(f"{text} is no JSON")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a name twice")
        return dict(pairs)

    def finite(text: str) -> float:
        return float(text) if math.isfinite(float(text)) else refuse(text)

    return json.loads(read_text(path), parse_constant=refuse, object_pairs_hook=once, parse_float=finite)


def read_text(path: Path) -> str:
    content = path.read_bytes()
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") and content[2:4] != b"\0\0" else "utf-8-sig"
    return content.decode("utf-32" if content[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff") else encoding)


def csv_rows(path: Path, spreadsheet: bool = False) -> list[dict[str, str]]:
    """Rows of a table whose lines all have as many cells as the first; lines without any character are no rows.

    Args:
        path: of the table.
        spreadsheet: whether it may be written as spreadsheets do, as is documented of data lists: semicolons or tabs,
            spaces around cells, other case of the usual columns, rows without values, a column without a name.
    """
    text = read_text(path)
    heading = text.lstrip("\r\n").partition("\n")[0]
    divider = max(",;\t", key=heading.count) if spreadsheet else ","
    lines = [line for line in csv.reader(io.StringIO(text, newline=""), delimiter=divider, strict=True) if line]
    header = [_column(name) for name in lines[0]] if spreadsheet else lines[0]
    if len(set(header)) < len(header) or any(len(line) != len(header) for line in lines):
        raise ValueError("columns twice, or lines of other lengths")
    rows = [dict(zip(header, line, strict=True)) for line in lines[1:]]
    if not spreadsheet:
        return rows
    rows = [{name: _cell(value, divider) for name, value in row.items() if name} for row in rows]
    return [row for row in rows if any(row.values())]


_PATIENT = ("patient", "patientid", "subject", "subjectid")
_NOBODY = "- -- ? nan <na> na n/a #n/a #na n.a. none null unknown undefined anonymous anonymized anonymised anon unk"


def patient_named(entry: Mapping[str, Any], otherwise: str) -> str:
    """Whose an entry is, under whatever documented name of its key; a word for nobody is nobody."""
    keys = [key for key in entry if _column(str(key)) == "patient_id"]
    if len(keys) > 1 or any(isinstance(entry[key], (dict, list, bool)) for key in keys):
        raise ValueError("no patient, or two")
    text = str(entry[keys[0]]).strip() if keys and entry[keys[0]] is not None else ""
    text = text[:-2] if text.endswith(".0") and text[:-2].isdigit() else text
    return otherwise if text.casefold() in ("", *_NOBODY.split()) else text


def _column(name: str) -> str:
    plain = name.strip()
    if "".join(plain.casefold().replace("_", " ").replace("-", " ").split()) in _PATIENT:
        return "patient_id"
    usual = plain.casefold().replace(" ", "_")
    return usual if usual in ("file", "image", "label", "split", "patient_id", "sample_id", "case_id") else plain


def _cell(text: str, divider: str) -> str:
    text = text.strip()
    return text.replace(",", ".") if divider != "," and text.replace(",", "", 1).lstrip("+-").isdecimal() else text


def split_named(text: str) -> str:
    names = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}
    return names.get(text.strip().lower(), text.strip().lower())


def write_pictures(folder: Path) -> list[str]:
    for index in range(COUNT):
        values = np.add.outer(np.arange(HEIGHT), np.arange(WIDTH)).astype(np.uint8) + index
        Image.fromarray(values).save(folder / f"p{index}.png")
    return [f"p{index}.png" for index in range(COUNT)]


@contextmanager
def told() -> Iterator[list[str]]:
    """Warnings that are logged meanwhile."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    listener = Listener(logging.WARNING)
    logging.getLogger("monai_robust").addHandler(listener)
    try:
        yield said
    finally:
        logging.getLogger("monai_robust").removeHandler(listener)


def read_list(find: Callable[[Path], Any], value: Callable[[Any, dict[str, Any]], Any]) -> Callable[[Path], Any]:
    """The product's list as ``{entries: {file: value}, skipped: files, told: whether something was logged}``."""

    def read(folder: Path) -> Any:
        with told() as said:
            found = find(folder)
        entries: dict[str, Any] = {}
        for split, items in found.items.items():
            for item in items:
                name = Path(item["image"]).name
                entries[name] = [*entries.get(name, []), [split, value(found, item)]]
        skipped = {Path(one["file"]).name for one in getattr(found, "skipped", [])}
        skipped |= {Path(one["sample_id"]).name for one in getattr(found, "skipped", [])}
        return {"entries": entries, "skipped": skipped, "told": bool(said)}

    return read


def all_there(found: Any, expected: Mapping[str, Any]) -> str:
    """Every entry of the file is there with its values, or was left out with a word; None must be left out."""
    more = set(found["entries"]) - set(expected)
    if more:
        return f"{sorted(more)[:3]} are in the list, but not in the file"
    splits = {value[0] for values in expected.values() for value in values or [] if isinstance(value[0], str)}
    for name, values in expected.items():
        if values is None:
            if name in found["entries"] and not found["told"]:
                return f"{name} cannot be used, and is in the list"
            values = []
        if name in found["entries"]:
            if not {"train", "val", "test"} <= splits:  # the product draws a split that the file does not have
                values = [[split, value] for split, _ in found["entries"][name] for _, value in values]
            wrong = difference(sorted(found["entries"][name], key=repr), sorted(values, key=repr), f".{name}")
            if wrong and not (found["told"] or name in found["skipped"]):
                return wrong
        elif (
            name not in found["skipped"]
            and Path(name).with_suffix(".xml").name not in found["skipped"]
            and not found["told"]
        ):
            return f"{name} is left out in silence"
    return ""
