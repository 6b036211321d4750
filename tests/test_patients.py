"""Whose the samples of data lists are: columns that say it, spellings, and samples of which nobody says it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from data_list_tasks import Classification, Detection, Segmentation, Task, picture, table, tasks

from monai_robust.data import unlabelled_datalist
from monai_robust.data.lists.patients import is_patient_column, patient_text, patients_of
from monai_robust.errors import BadInputError

SPLITS = ("train", "val", "test")
COLUMNS = ("patient_id", "PatientID", "Patient Id", "patientid", "patient-id", "patient", "SUBJECT", "subject_id")


def with_patients(one: Task, patient: Callable[[int], Any], column: str = "patient_id", split: bool = False) -> Path:
    """The task's table with a column of patients."""
    path, rows = one.table(SPLITS)
    left_out = set() if split else {"split"}
    written = [{name: cell for name, cell in row.items() if name not in left_out} for row in rows]
    path.write_text(table([{**row, column: patient(place)} for place, row in enumerate(written)]))
    return path


def patients(found: Any) -> dict[int, str]:
    items = [item for part in found.items.values() for item in part]
    return {int(Path(item["image"]).name[2:4]): item["patient_id"] for item in items}


@tasks
@pytest.mark.parametrize("column", COLUMNS)
def test_patients_are_known_under_every_usual_name(tmp_path: Path, task: type[Task], column: str) -> None:
    one = task(tmp_path)
    found = one.found(with_patients(one, lambda place: f"P{place // 2}", column))
    assert patients(found) == {place: f"P{place // 2}" for place in range(12)}
    owners = [{item["patient_id"] for item in part} for part in found.items.values()]
    assert sum(map(len, owners)) == 6


@tasks
def test_two_columns_of_patients_are_refused(tmp_path: Path, task: type[Task]) -> None:
    one = task(tmp_path)
    path, rows = one.table(SPLITS)
    path.write_text(table([{**row, "PatientID": "1", "subject": "2"} for row in rows]))
    with pytest.raises(BadInputError, match="columns 'PatientID' and 'subject', which both mean patient_id; keep one"):
        one.found(path)


@pytest.mark.parametrize("task", [Classification, Detection, Segmentation])
def test_patients_stand_in_json_lists_under_every_usual_name(tmp_path: Path, task: type[Task]) -> None:
    one = task(tmp_path)
    for column in COLUMNS:
        path, content = one.json(SPLITS)
        entries = content["images"] if task is Detection else [item for split in SPLITS for item in content[split]]
        for place, entry in enumerate(entries):
            entry[column] = place // 2 if place % 2 else float(place // 2)
        path.write_text(json.dumps(content))
        assert patients(one.found(path)) == {place: str(place // 2) for place in range(12)}
    entries[0]["Subject"] = 1
    entries[0]["patient"] = 1
    path.write_text(json.dumps(content))
    with pytest.raises(BadInputError, match="which both say whose it is; keep one"):
        one.found(path)


SPELT = {
    "7 and 7.0": lambda place: f"{place // 2}{'.0' if place % 2 else ''}",
    "blanks": lambda place: f"P{place // 2}{'  ' if place % 2 else ''}",
    "accents": lambda place: ("M\u00fc" if place % 2 else "Mu\u0308") + str(place // 2),
}


@tasks
@pytest.mark.parametrize("spelt", SPELT)
def test_spellings_of_one_patient_are_one(tmp_path: Path, task: type[Task], spelt: str) -> None:
    one = task(tmp_path)
    found = one.found(with_patients(one, SPELT[spelt]))
    owners = [{item["patient_id"] for item in part} for part in found.items.values()]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 6


@tasks
def test_spellings_that_may_be_one_patient_are_refused_without_the_patient(tmp_path: Path, task: type[Task]) -> None:
    one = task(tmp_path)
    for spelt in (
        lambda place: f"{'Pq' if place % 2 else 'pq'}{place // 2}",
        lambda place: f"{'000' if place % 2 else ''}{77 + place // 2}",
        lambda place: f"pq{' ' if place % 2 else chr(160)}{place // 2}",
    ):
        with pytest.raises(BadInputError, match=r"spells one patient in two ways, in .* and in .*write both") as caught:
            one.found(with_patients(one, spelt))
        assert "pq" not in str(caught.value).replace(str(tmp_path), "").casefold()
        assert "77" not in str(caught.value).replace(str(tmp_path), "")


@tasks
def test_words_for_nobody_make_no_patient(tmp_path: Path, task: type[Task], caplog: pytest.LogCaptureFixture) -> None:
    words = ("nan", "NA", "n/a", "None", "-", "", "Unknown", "anonymous", "#N/A", "null", "?", "ANONYMIZED")
    one = task(tmp_path)
    found = patients(one.found(with_patients(one, lambda place: words[place], split=True)))
    assert len(set(found.values())) == 12
    assert not set(found.values()) & set(words)
    assert any("12 of 12" in said and "patient of its own" in said for said in caplog.messages)


def test_a_patient_called_0_is_one(tmp_path: Path) -> None:
    one = Detection(tmp_path)
    path, content = one.json(SPLITS)
    for place, image in enumerate(content["images"]):
        image["patient_id"] = place // 2
    path.write_text(json.dumps(content))
    assert patients(one.found(path))[0] == patients(one.found(path))[1] == "0"


def test_patients_of_unlabelled_images_are_known_alike(tmp_path: Path) -> None:
    for number in range(4):
        picture(tmp_path / f"{number}.png")
    (tmp_path / "index.csv").write_text("file,Subject\n0.png,7\n1.png,7.0\n2.png,nan\n3.png,8\n")
    items = unlabelled_datalist("classification", tmp_path, ["a", "b"]).items["test"]
    assert [item["patient_id"] for item in items] == ["7", "7", "2.png", "8"]


def test_no_column_is_taken_for_one_of_patients_that_is_none() -> None:
    for name in ("patients", "patient_age", "subject_sex", "case_id", "inpatient", "patient_name"):
        assert not is_patient_column(name)
    assert [patient_text(value) for value in (True, [], {}, "1.2.0", "1.0x")] == [None, None, None, "1.2.0", "1.0x"]
    assert patients_of(None, ["a", "b"], "here", ["1", "2"]) == ["a", "b"]
    assert patients_of(["p10", "p100", "p1"], "abc", "here", "123") == ["p10", "p100", "p1"]
    with pytest.raises(BadInputError, match="here, entry 2: the patient_id is a list"):
        patients_of(["a", []], ["a", "b"], "here", ["entry 1", "entry 2"])
