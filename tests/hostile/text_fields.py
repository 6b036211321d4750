"""Damage to values of text files: JSON, YAML, CSV, XML, and headers of lines "key: value" or "key = value"."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import yaml

__all__ = ["damage_csv", "damage_header_lines", "damage_json", "damage_xml", "damage_yaml"]

Random = np.random.Generator

# Were any of it run, the file would be there; the working directory of a case is its own folder.
CODE = "$__import__('pathlib').Path('code_was_run').touch()"
_VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 7, 2**40, 10**400, 0.5, -0.0, float("nan"), float("inf"), 1e308, "", " ", "0", "nan",
    "1e999", "x" * 5000, "\0", "é\u202e", "\ud800", "../outside", "/etc/passwd", CODE, "@network", "%x#y", "$\\frac{",
    "<b>&", "=1+1", [], {}, [[]], [None], {"a": {"b": 1}}, [1, "a", None], {"_target_": "os.system", "command": "x"},
]  # fmt: skip
_PLACEHOLDER = "@@here@@"
_DEEP, _NESTED = "[" * 20000, '{"a":' * 5000 + "1" + "}" * 5000
_RAW = [_DEEP, _DEEP + "]" * 20000, _NESTED, "9" * 6000, "-", "NaN", "1e999", "tru"]
_CELLS = [
    "", " ", "nan", "NaN", "inf", "-1", "0", "1.5", "1,5", '"1,5"', "1e999", "9" * 400, "abc", "=1+1", "\0", '"', '""',
    "'", "é", "x" * 5000, "../outside", CODE, "True", "None", "1\n2", '"1\n2"', "$\\frac{", "covid ", "COVID", "train ",
    "2024",
]  # fmt: skip
_TABLE_ACTIONS = ["drop cell", "add cell", "drop column", "twice column", "drop row", "twice row", "empty row"]
_TABLE_ACTIONS += ["encoding", "semicolons", "cr", "swap"]


def damage_json(path: Path, random: Random) -> str:
    """Replace, remove, add or rename one value of a JSON file, or write it in another encoding."""
    content = json.loads(path.read_text(encoding="utf-8"))
    if random.random() < 0.12:
        return _recoded(path, json.dumps(content), random)
    content, what = _changed_tree(content, random)
    text = json.dumps(content)
    if random.random() < 0.15:  # what no writer would write
        content, what = _replaced(json.loads(path.read_text(encoding="utf-8")), random, _PLACEHOLDER)
        raw = _RAW[int(random.integers(len(_RAW)))]
        text, what = json.dumps(content).replace(f'"{_PLACEHOLDER}"', raw), f"{what[:60]} raw {raw[:8]}"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    return what


def damage_yaml(path: Path, random: Random) -> str:
    """Replace, remove, add or rename one value of a YAML file."""
    content, what = _changed_tree(yaml.safe_load(path.read_text(encoding="utf-8")), random)
    text = yaml.safe_dump(content)
    if random.random() < 0.1:
        bomb = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
            f"{chr(98 + k)}: &{chr(98 + k)} [{', '.join(['*' + chr(97 + k)] * 8)}]\n" for k in range(9)
        )
        text, what = bomb + text, "aliases of aliases"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    return what


def _changed_tree(content: Any, random: Random) -> tuple[Any, str]:
    action = str(random.choice(["replace", "replace", "replace", "remove", "rename", "repeat", "add"]))
    places = list(_places(content))
    if not places or action == "replace":
        return _replaced(content, random, _VALUES[int(random.integers(len(_VALUES)))])
    owner, key, path = places[int(random.integers(len(places)))]
    if action == "remove":
        del owner[key]
    elif action == "rename" and isinstance(owner, dict):
        owner[str(random.choice(["", "x", str(key).upper(), f"{key} ", "$x", "0"]))] = owner.pop(key)
    elif action == "repeat" and isinstance(owner, list):
        owner.insert(int(key), owner[key])
    elif isinstance(owner, dict):
        owner[f"more{key}"] = owner[key]
    else:
        owner.append(owner[0])
    return content, f"{action} {path}"


def _replaced(content: Any, random: Random, value: Any) -> tuple[Any, str]:
    places = [(None, None, "everything"), *_places(content)]
    # Few values stand near the root, and they decide most.
    depth = [len(path) for _, _, path in places]
    weights = 1.0 / np.maximum(np.array(depth, float), 4.0)
    owner, key, path = places[int(random.choice(len(places), p=weights / weights.sum()))]
    if owner is None:
        return value, f"everything is {str(value)[:40]!r}"
    owner[key] = value
    return content, f"{path} is {str(value)[:40]!r}"


def _places(content: Any, path: str = "") -> Any:
    if isinstance(content, dict):
        for key in list(content):
            yield content, key, f"{path}.{key}"
            yield from _places(content[key], f"{path}.{key}")
    if isinstance(content, list):
        for index in range(len(content)):
            yield content, index, f"{path}[{index}]"
            yield from _places(content[index], f"{path}[{index}]")


def _recoded(path: Path, text: str, random: Random) -> str:
    encoding = str(random.choice(["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1"]))
    path.write_bytes((text.replace("a", "é", 1) if encoding == "latin-1" else text).encode(encoding))
    return f"written in {encoding}"


def damage_csv(path: Path, random: Random) -> str:
    """Change one cell, column or row of a CSV file, or the way it is written."""
    text = path.read_text(encoding="utf-8")
    rows = [line.split(",") for line in text.splitlines()]
    row, column = int(random.integers(len(rows))), int(random.integers(len(rows[0])))
    row = 0 if random.random() < 0.2 else row
    column = min(column, len(rows[row]) - 1)
    action = str(random.choice(["cell"] * 8 + _TABLE_ACTIONS))
    what = f"{action} line {row + 1} column {column + 1}"
    if action == "cell":
        cell = _CELLS[int(random.integers(len(_CELLS)))]
        rows[row][column] = cell
        what += f" is {cell[:30]!r}"
    elif action == "drop cell":
        del rows[row][column]
    elif action == "add cell":
        rows[row].append("more")
    elif action == "drop column":
        rows = [[cell for place, cell in enumerate(cells) if place != column] for cells in rows]
    elif action == "twice column":
        rows = [[*cells, cells[column] if column < len(cells) else ""] for cells in rows]
    elif action == "drop row":
        del rows[row]
    elif action == "twice row":
        rows.insert(row, rows[row])
    elif action == "empty row":
        rows.insert(row, [""])
    elif action == "swap":
        rows[row][0], rows[row][column] = rows[row][column], rows[row][0]
    elif action == "encoding":
        return _recoded(path, text, random)
    separator, end = ("; " if action == "semicolons" else ","), ("\r" if action == "cr" else "\n")
    path.write_text(end.join(separator.join(cells) for cells in rows) + end, encoding="utf-8", newline="")
    return what


def damage_xml(path: Path, random: Random) -> str:
    """Change one element of an XML file, or put before it what makes readers expand or fetch."""
    tree = ElementTree.parse(path)
    nodes = list(tree.getroot().iter())
    node = nodes[int(random.integers(len(nodes)))]
    action = str(random.choice(["text"] * 6 + ["drop", "twice", "rename", "bomb", "fetch", "deep", "encoding"]))
    if action in ("drop", "twice") and len(node):
        child = node[int(random.integers(len(node)))]
        node.remove(child) if action == "drop" else node.append(child)
    elif action == "rename":
        node.tag = "other"
    else:
        node.text = str(random.choice([cell for cell in _CELLS if cell != "\0"]))
    text = ElementTree.tostring(tree.getroot(), encoding="unicode")
    if action == "bomb":
        parts = "".join(f'<!ENTITY {chr(98 + k)} "{("&" + chr(97 + k) + ";") * 10}">' for k in range(9))
        text = f'<!DOCTYPE x [<!ENTITY a "ha">{parts}]>' + text.replace("</annotation>", "<z>&j;</z></annotation>")
    elif action == "fetch":
        text = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + text.replace("</name>", "&a;</name>", 1)
    elif action == "deep":
        text = text.replace("</annotation>", "<a>" * 50000 + "</a>" * 50000 + "</annotation>")
    if action == "encoding":
        return _recoded(path, text, random)
    path.write_text(text, encoding="utf-8")
    return f"{action} at {node.tag}, {str(node.text)[:30]!r}"


def damage_header_lines(path: Path, random: Random) -> str:
    """Change the value of one line of a text header (MetaImage, NRRD), which pixels may follow."""
    content = path.read_bytes()
    lines = list(re.finditer(rb"^([A-Za-z][A-Za-z ]*?)( = |: |:=)([^\n]*)\n", content[:2048], flags=re.MULTILINE))
    line = lines[int(random.integers(len(lines)))]
    numbers = line[3].split()
    values = [
        b"", b"0", b"-1", b"nan", b"abc", b"4294967295", b"1e400", b"True", b"False", b"../outside.raw", b"/etc/passwd",
        b"LIST", b"gzip", b"raw", b"big", b"MET_UCHAR", b"MET_DOUBLE", b"double", b"uchar", b"text", b"3", b"2",
        line[3] + b" 1", b" ".join(numbers[:-1]), b" ".join(reversed(numbers)),
    ]  # fmt: skip
    if numbers and random.random() < 0.6:
        numbers[int(random.integers(len(numbers)))] = values[int(random.integers(7))]
        value = b" ".join(numbers)
    else:
        value = values[int(random.integers(len(values)))]
    whole = line[1] + line[2] + value + b"\n" if random.random() < 0.9 else b""
    path.write_bytes(content[: line.start()] + whole + content[line.end() :])
    return f"{line[1].decode()} is {value.decode()!r}" if whole else f"no {line[1].decode()}"
