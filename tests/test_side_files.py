from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_robust.data.files.csv_cells import csv_text, plain_cell, safe_cell
from monai_robust.data.files.schemas import Count, Name, Rule, as_data, checked
from monai_robust.data.files.side_files import read_fields, read_json, read_table, read_text, read_yaml
from monai_robust.errors import BadInputError


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(content: str | bytes, name: str = "file.json") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def refused(read: Any, path: Any, *words: str) -> None:
    """Whether ``read`` refuses ``path`` in one line that names it and has ``words``."""
    with pytest.raises(BadInputError) as caught:
        read(path)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    assert len(text) < 500
    for word in (str(path), *words):
        assert word in text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_is_no_part_of_the_text(write: Any, encoding: str) -> None:
    assert read_json(write('{"a": "ü"}'.encode(encoding))) == {"a": "ü"}
    assert list(read_table(write("a,b\n1,ü\n".encode(encoding)))) == ["a", "b"]


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, word in (("pipe", "pipe"), ("", "folder"), ("none", "no file"), ("n" * 300, "cannot be read")):
        refused(read_text, tmp_path / name, word)
    refused(read_text, "/dev/zero", "device")


def test_what_is_no_text_is_refused(write: Any) -> None:
    refused(read_text, write(b"abc\xff"), "UTF-8", "byte 3")
    refused(read_text, write(b"abc\0"), "null")
    with pytest.raises(BadInputError, match="at most"):
        read_text(write("abc"), largest=2)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "line 1"),
        ('{"a": 1', "line 1"),
        ("[" * 100_000, "nested"),
        ("[" * 100 + "]" * 100, "nested"),
        ('{"a":' * 100 + "1" + "}" * 100, "nested"),
        ('{"a": 1, "a": 2}', "twice"),
        ('{"a": NaN}', "NaN"),
        ("[-Infinity]", "Infinity"),
        ('{"a": ' + "9" * 5000 + "}", "5000 digits"),
        ('{"a": -' + "9" * 25 + "}", "25 digits"),
        ('{"a": 1e999}', "too large"),
        (r'{"a": "\ud800"}', "character"),
        (r'{"\u0000": 1}', "character"),
    ],
)
def test_json_is_read_strictly(write: Any, text: str, word: str) -> None:
    refused(read_json, write(text), word)


def test_json_that_only_looks_odd_is_read(write: Any) -> None:
    odd = r'{"a": "\ud83d\ude00 \\u0000", "b": "12345678901234567890", "c": 1e-300, "d": 123456789012345678}'
    assert read_json(write(odd)) == {
        "a": "😀 \\u0000",
        "b": "1" + "23456789" + "01234567890",
        "c": 1e-300,
        "d": 123456789012345678,
    }


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a: [1", "line"),
        ("a: &x [1]\nb: *x", "alias"),
        ("a: 1\na: 2", "twice"),
        ("[" * 3000, "nested"),
        ("!!python/object/apply:os.system [ls]", "YAML"),
        ("a: 2020-13-01", "YAML"),
        ("? [1]\n: 2", "YAML"),
    ],
)
def test_yaml_is_read_strictly(write: Any, text: str, word: str) -> None:
    refused(read_yaml, write(text), word)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "empty"),
        ("a,b\n1\n", "line 2"),
        ("a,b\n1,2\n\n1,2,3\n", "line 4"),
        ("a,a\n1,2\n", "'a'"),
        ('a,b\n1,"2\n', "line 2"),
        ("a\n" + "x" * 200_000 + "\n", "line 2"),
    ],
)
def test_a_table_is_read_strictly(write: Any, text: str, word: str) -> None:
    refused(read_table, write(text), word)


def test_a_tables_rows_know_their_lines(write: Any) -> None:
    table = read_table(write('a,b\r\n1,\r\n\r\n"x\ny",2\r\n'))
    assert table.to_dict("list") == {"a": ["1", "x\ny"], "b": ["", "2"]}
    assert list(table.index) == [2, 5]


@dataclass(frozen=True)
class Inner:
    radii: tuple[float, ...]


@dataclass(frozen=True)
class Outer:
    name: str
    count: Count
    inner: Inner
    kind: Literal["a", "b"] = "a"
    sizes: list[int] = field(default_factory=list)
    share: Annotated[float, Rule("a number from 0 to 1", lambda value: 0 <= value <= 1)] | None = None
    free: dict[str, Any] = field(default_factory=dict)


GOOD = '{"name": "n", "count": 1, "inner": {"radii": [1, 0.5]}, "sizes": [1], "share": null, "more": 1}'


def test_a_schema_reads_its_fields(write: Any) -> None:
    assert read_fields(write(GOOD), Outer) == Outer("n", 1, Inner((1.0, 0.5)), sizes=[1])


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('"n"', "null", "field 'name' is null; it must be a text"),
        ('"name": "n", ', "", "field 'name' is missing; it must be a text"),
        ('"count": 1', '"count": true', "field 'count' is true; it must be a whole number from 1 on"),
        ('"count": 1', '"count": 0', "field 'count' is 0; it must be a whole number from 1 on"),
        ('"count": 1', '"count": 1.5', "field 'count' is 1.5; it must be a whole number from 1 on"),
        ("0.5", '"x"', "field 'inner.radii[1]' is \"x\"; it must be a finite number"),
        ("[1, 0.5]", "3", "field 'inner.radii' is 3; it must be a list, each value a finite number"),
        ('{"radii": [1, 0.5]}', "[]", "field 'inner' is []; it must be an object with names"),
        ('"sizes": [1]', '"sizes": {}', "field 'sizes' is {}; it must be a list, each value a whole number"),
        ('"share": null', '"share": 2', "field 'share' is 2; it must be a number from 0 to 1"),
        ('"share": null', '"share": "1"', "field 'share' is \"1\"; it must be a number from 0 to 1 or null"),
        ('"more": 1', '"kind": ["a"]', 'field \'kind\' is ["a"]; it must be one of "a", "b"'),
        ('"more": 1', '"free": 1', "field 'free' is 1; it must be an object with names"),
    ],
)
def test_a_field_of_another_kind_is_refused_by_its_name(write: Any, old: str, new: str, sentence: str) -> None:
    assert old in GOOD
    path = write(GOOD.replace(old, new))
    refused(lambda path: read_fields(path, Outer), path, f"{path}: {sentence}")


def test_what_a_configuration_would_run_is_no_data() -> None:
    for value in ("$print(1)", "@network", "%train.json#a", " $1", ["$1"], {"a": ("@b",)}, {"_target_": "os.system"}):
        with pytest.raises(BadInputError, match="field 'x"):
            as_data(value, "training.json", "x")
    assert as_data({"a": ["b$", 1, None]}, "training.json", "x") == {"a": ["b$", 1, None]}


def test_a_number_is_finite_and_fits() -> None:
    for value in (float("nan"), float("inf"), 10**400, True):
        with pytest.raises(BadInputError):
            checked(float, value, "here", "x")


@given(st.text(st.sampled_from("'=+-@\t\r\n＝1.e a,\""), max_size=8))
def test_cells_come_back_as_they_were(text: str) -> None:
    assert plain_cell(safe_cell(text)) == text


def test_no_cell_of_a_table_is_run_by_a_spreadsheet(tmp_path: Path) -> None:
    texts = ["=1+1", "+1-1", "-x", "@SUM(A1)", "\t=1", "\r=1", "'=1", "-1", "a", ""]
    table = pd.DataFrame({"=name": texts, "number": [-math.inf, *(-1.0 * place for place in range(1, len(texts)))]})
    path = tmp_path / "table.csv"
    path.write_bytes(csv_text(table).encode())
    raw = pd.read_csv(path, keep_default_na=False)
    assert list(raw) == ["'=name", "number"]
    assert [cell for cell in raw["'=name"] if cell[:1] in ("=", "+", "-", "@", "\t", "\r")] == ["-1"]
    assert list(raw["number"]) == list(table["number"])
    assert list(read_table(path)["=name"]) == texts


def test_a_name_may_hold_odd_spaces_but_no_line_break() -> None:
    for name in ("Pleural\u00a0effusion", "soft\u00adhyphen", "日本"):
        assert checked(Name, name, "here", "x") == name
    for name in ("a\nb", "a\u2028b", "a\x85b", "a\x1bb", "", " ", "a" * 201):
        with pytest.raises(BadInputError, match="field 'x' is"):
            checked(Name, name, "here", "x")
