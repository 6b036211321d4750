"""The outcomes table, a run's folder and its gallery: what is written is read again, what is damaged is refused."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_runs import CLASSES, outcomes, sample_ids, task_columns, write_run

from monai_robust.errors import BadInputError
from monai_robust.evaluation.tables.comparable import check_comparable
from monai_robust.evaluation.tables.gallery import read_gallery, write_gallery
from monai_robust.evaluation.tables.outcomes import read_outcomes
from monai_robust.evaluation.tables.run_folder import read_run
from monai_robust.evaluation.tables.schema import outcome_columns
from monai_robust.evaluation.tables.writer import OutcomesWriter

COUNT = 10
BATCH = 4
COLUMNS = outcome_columns(task_columns(CLASSES), ["source"])
BLOCKS = [("clean", 0.0), ("pgd_l2", 0.5), ("pgd_l2", 1.0)]
TABLES = ("outcomes.csv", "outcomes.parquet")


def rows_of(perturbation: str, severity: float) -> dict[str, list[Any]]:
    generator = np.random.default_rng([len(perturbation), round(10 * severity)])
    return outcomes(generator, COUNT, CLASSES, 0.8, severity, 1.0) | {"norm": [""] * COUNT}


def opened(folder: Path, **changes: Any) -> OutcomesWriter:
    return OutcomesWriter(folder, **({"columns": COLUMNS, "sample_ids": sample_ids(COUNT), "plan": BLOCKS} | changes))


def write_missing(folder: Path, stop_after: int | None = None, each: bool = True, **changes: Any) -> int:
    """Write all batches that are missing, or only so many, and the table if none is; how many were written."""
    written = 0
    with opened(folder, **changes) as writer:
        for perturbation, severity in BLOCKS:
            rows = rows_of(perturbation, severity)
            for start in range(0, COUNT, BATCH):
                if writer.has(perturbation, severity, start):
                    continue
                if written == stop_after:
                    return written
                writer.append(perturbation, severity, {name: own[start : start + BATCH] for name, own in rows.items()})
                writer.commit()
                if each:
                    writer.flush()
                written += 1
    writer.finish()
    return written


def whole_table(folder: Path, rows: dict[str, list[Any]]) -> Path:
    """A table of the clean inputs alone."""
    with opened(folder, plan=[("clean", 0.0)]) as writer:
        writer.append("clean", 0, rows)
        writer.commit()
    writer.finish()
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in TABLES}


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, bytes]:
    write_missing(tmp_path / "whole")
    return content(tmp_path / "whole")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_run(tmp_path / "erm", count=16, gallery=True)


@pytest.mark.parametrize("count", range(10))
@pytest.mark.parametrize("each", [True, False])
def test_a_table_stopped_after_any_part_is_continued_to_the_identical_table(
    tmp_path: Path, whole: dict[str, bytes], count: int, each: bool
) -> None:
    assert write_missing(tmp_path / "cut", stop_after=count, each=each) == count
    assert write_missing(tmp_path / "cut") == 9 - count
    assert write_missing(tmp_path / "cut") == 0
    assert content(tmp_path / "cut") == whole
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == sorted(TABLES)


def test_parts_of_several_processes_make_the_table_of_one(tmp_path: Path, whole: dict[str, bytes]) -> None:
    write_missing(tmp_path / "both", stop_after=3, process=1)
    write_missing(tmp_path / "both", stop_after=3, process=0)
    names = sorted(path.name.partition("-")[0] for path in (tmp_path / "both" / "parts").iterdir())
    assert names == ["0", "0", "0", "1", "1", "1"]
    write_missing(tmp_path / "both", process=2)
    assert content(tmp_path / "both") == whole


def test_rows_may_come_in_any_order_of_perturbations_and_samples(tmp_path: Path, whole: dict[str, bytes]) -> None:
    with opened(tmp_path) as writer:
        for perturbation, severity in reversed(BLOCKS):
            rows = rows_of(perturbation, severity)
            writer.append(perturbation, severity, {name: own[::-1] for name, own in rows.items()})
            writer.commit()
    writer.finish()
    assert content(tmp_path) == whole


def test_a_unit_that_was_not_ended_is_not_written(tmp_path: Path) -> None:
    with opened(tmp_path) as writer:
        writer.append("clean", 0, rows_of("clean", 0))
        writer.commit()
        writer.append("pgd_l2", 0.5, rows_of("pgd_l2", 0.5))
    again = opened(tmp_path)
    assert again.done("clean", 0).all()
    assert not again.done("pgd_l2", 0.5).any()


def test_a_part_is_written_when_its_time_has_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("monai_robust.evaluation.tables.writer.time.monotonic", lambda: now[0])
    writer = OutcomesWriter(tmp_path, COLUMNS, sample_ids(COUNT), BLOCKS)
    parts = []
    for clock, (perturbation, severity) in zip((4.9, 5.0, 1000.0), BLOCKS, strict=True):
        now[0] = clock
        writer.append(perturbation, severity, rows_of(perturbation, severity))
        writer.commit()
        parts.append(len(list(tmp_path.glob("parts/*.parquet"))))
    assert parts == [0, 1, 2]


@pytest.mark.parametrize("left", [".0-000003.parquet.999999.part", ".outcomes.csv.999999.part"])
def test_what_a_kill_left_half_written_is_no_part_and_goes(tmp_path: Path, whole: dict[str, bytes], left: str) -> None:
    write_missing(tmp_path / "cut", stop_after=3)
    draft = (tmp_path / "cut" / "parts" / left) if "0000" in left else tmp_path / "cut" / left
    draft.write_bytes(b"PAR1half")
    assert write_missing(tmp_path / "cut") == 6
    assert content(tmp_path / "cut") == whole
    assert not draft.exists()


@pytest.mark.parametrize("where", ["outcomes.csv", "outcomes.parquet", ".parts_put_together"])
@pytest.mark.parametrize("after", [False, True])
def test_a_kill_while_parts_are_put_together_loses_nothing(
    tmp_path: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, where: str, after: bool
) -> None:
    class Killed(BaseException):
        pass

    replace = os.replace

    def killing(source: Any, target: Any) -> None:
        if Path(target).name == where:
            replace(source, target) if after else None
            raise Killed
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr("os.replace", killing)
        with pytest.raises(Killed):
            write_missing(tmp_path / "cut")
    assert write_missing(tmp_path / "cut") == 0
    assert content(tmp_path / "cut") == whole
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == sorted(TABLES)


def test_a_full_disk_is_told_with_the_file_and_leaves_no_half_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("pyarrow.parquet.write_table", full)
        with pytest.raises(BadInputError, match=r"parts/0-000000\.parquet cannot be written: No space left"):
            write_missing(tmp_path)
    assert list((tmp_path / "parts").iterdir()) == []
    assert write_missing(tmp_path) == 9


def test_a_damaged_part_is_refused_by_name_and_measured_again_without_it(
    tmp_path: Path, whole: dict[str, bytes]
) -> None:
    write_missing(tmp_path / "cut", stop_after=3)
    part = tmp_path / "cut" / "parts" / "0-000001.parquet"
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(BadInputError, match=r"0-000001\.parquet is damaged.*remove it"):
        write_missing(tmp_path / "cut")
    part.unlink()
    assert write_missing(tmp_path / "cut") == 7
    assert content(tmp_path / "cut") == whole


def test_rows_that_are_there_twice_are_refused(tmp_path: Path) -> None:
    write_missing(tmp_path, stop_after=2)
    parts = tmp_path / "parts"
    (parts / "1-000000.parquet").write_bytes((parts / "0-000000.parquet").read_bytes())
    with pytest.raises(BadInputError, match="cannot be continued: sample 'film-0000-secretid' is there twice"):
        opened(tmp_path)


def test_a_missing_number_is_an_empty_cell_and_read_as_nan(tmp_path: Path) -> None:
    rows = rows_of("clean", 0)
    rows["score"][3] = rows["contrast"][2] = rows["probability_1"][5] = float("nan")
    path = whole_table(tmp_path, rows) / "outcomes.csv"
    assert "nan" not in path.read_text()
    for place in (path, tmp_path):
        table = read_outcomes(place, ["source"])
        assert np.flatnonzero(table["score"].isna()).tolist() == [3]
        assert np.flatnonzero(table["contrast"].isna()).tolist() == [2]
        assert np.flatnonzero(table["probability_1"].isna()).tolist() == [5]
    text = path.read_text()
    path.write_text(text.replace(",clean,0.0,", ",clean,,", 1))
    with pytest.raises(BadInputError, match="severity is ''"):
        read_outcomes(path, ["source"])
    path.write_text(text.replace("1.0\n", "nan\n", 1))
    with pytest.raises(BadInputError, match="score is 'nan', which must be a finite number"):
        read_outcomes(path, ["source"])


def test_numbers_are_read_back_exactly(tmp_path: Path) -> None:
    values = [0.1, 1 / 3, 1e-308, float(torch.tensor(0.1)), 123456789.123456789]
    rows = rows_of("clean", 0) | {"distance": values * 2, "input_norm": torch.linspace(0, 1, COUNT)}
    whole_table(tmp_path, rows)
    for place in (tmp_path / "outcomes.csv", tmp_path):
        table = read_outcomes(place, ["source"])
        assert table["distance"].tolist() == values * 2
        assert table["input_norm"].tolist() == torch.linspace(0, 1, COUNT).tolist()
        assert table["label"].dtype == np.int64
        assert table["sample_id"].tolist() == sample_ids(COUNT)


def test_ids_that_look_like_numbers_or_hold_commas_stay_text(tmp_path: Path) -> None:
    ids, samples = ["007", "1e5", "", 'a, "b"'], ["01", "02", "=03", "x, y"]
    columns = outcome_columns({"score": float}, ["site"])
    rows = {name: [1.0] * 4 for name in ("distance", "contrast", "input_norm", "score")}
    with opened(tmp_path, columns=columns, sample_ids=samples, plan=[("clean", 0)]) as writer:
        writer.append("clean", 0, {"sample_id": samples, "patient_id": ids, "norm": [""] * 4, "site": ids, **rows})
        writer.commit()
    writer.finish()
    for place in (tmp_path / "outcomes.csv", tmp_path):
        table = read_outcomes(place, ["site"])
        assert table["sample_id"].tolist() == samples
        assert table["patient_id"].tolist() == table["site"].tolist() == ids


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"))
NUMBERS = st.floats(allow_infinity=False) | st.none()


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_both_files_hold_the_very_rows_that_were_written(data: st.DataObject) -> None:
    ids = data.draw(st.lists(TEXTS.filter(bool), min_size=1, max_size=5, unique=True))

    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        return data.draw(st.lists(values, min_size=len(ids), max_size=len(ids)))

    rows = {"sample_id": ids, "patient_id": column(TEXTS), "norm": column(TEXTS), "site": column(TEXTS)}
    rows |= {name: column(NUMBERS) for name in ("distance", "contrast", "input_norm", "own", "score")}
    rows |= {"label": column(st.integers(-(2**53), 2**53) | st.none())}
    columns = outcome_columns({"label": int, "own": float, "score": float}, ["site"])
    with TemporaryDirectory() as name:
        with OutcomesWriter(name, columns, ids, [("clean", 0.0)]) as writer:
            writer.append("clean", 0.0, rows)
            writer.commit()
        writer.finish()
        parquet, text = read_outcomes(name, ["site"]), read_outcomes(Path(name) / "outcomes.csv", ["site"])
    for key, values in rows.items():
        expected = ["" if value is None or value != value else value for value in values]
        for found in (parquet, text):
            assert ["" if value != value else value for value in found[key].tolist()] == expected, key


@pytest.mark.parametrize("ids", [["a", "a"], ["a", ""], ["a", "b\nc"]])
def test_impossible_sample_ids_are_refused(tmp_path: Path, ids: list[str]) -> None:
    with pytest.raises(BadInputError, match=r"twice|empty|line break"):
        opened(tmp_path, sample_ids=ids)


def test_rows_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    rows = rows_of("clean", 0)
    with opened(tmp_path) as writer:
        for odd, message in (
            ({"contrast": ["x"] * COUNT}, "contrast holds something that is no double"),
            ({"label": [0.5, *rows["label"][1:]]}, "label holds something that is no int64"),
            ({"label": rows["label"][1:]}, "differ in their lengths"),
            ({"source": ["a\nb"] * COUNT}, "line break"),
            ({"sample_id": ["other", *sample_ids(COUNT)[1:]]}, "'other' is none of this run's"),
            ({"more": rows["label"]}, "differ in more"),
        ):
            with pytest.raises(BadInputError, match=message):
                opened(tmp_path).append("clean", 0, rows | odd)
        with pytest.raises(BadInputError, match="differ in contrast"):
            writer.append("clean", 0, {name: values for name, values in rows.items() if name != "contrast"})
        with pytest.raises(BadInputError, match="no part of the plan"):
            writer.append("clean", 0.5, rows)
        writer.append("clean", 0, rows)
        with pytest.raises(BadInputError, match="'film-0000-secretid' already has a row"):
            writer.append("clean", 0, rows)


def test_a_table_that_lacks_rows_is_not_put_together(tmp_path: Path) -> None:
    write_missing(tmp_path, stop_after=5)
    with pytest.raises(BadInputError, match=r"parts holds 0 rows of sample .* start that evaluation again"):
        opened(tmp_path).finish()
    with pytest.raises(BadInputError, match="cannot be read: the measurement was stopped; start it again"):
        read_outcomes(tmp_path)


@pytest.mark.parametrize("stop_after", [4, None])
def test_a_table_of_other_samples_or_columns_is_not_continued(tmp_path: Path, stop_after: int | None) -> None:
    write_missing(tmp_path, stop_after)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    for other, message in (
        ({"sample_ids": [f"other-{index}" for index in range(COUNT)]}, "cannot be continued"),
        ({"plan": [("clean", 0.0), ("pgd_l2", 0.25)]}, "cannot be continued"),
        ({"columns": outcome_columns({"score": float})}, "has the columns"),
    ):
        with pytest.raises(BadInputError, match=message):
            opened(tmp_path, **other)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before


def test_a_table_of_an_earlier_version_is_read_but_not_continued(tmp_path: Path) -> None:
    write_missing(tmp_path)
    table = read_outcomes(tmp_path, ["source"])
    (tmp_path / "outcomes.parquet").unlink()
    pd.testing.assert_frame_equal(read_outcomes(tmp_path, ["source"]), table)
    with pytest.raises(BadInputError, match=r"has no outcomes\.parquet .* can be read, but not continued"):
        opened(tmp_path)


def test_a_csv_file_that_was_changed_is_what_is_read(tmp_path: Path) -> None:
    write_missing(tmp_path)
    path = tmp_path / "outcomes.csv"
    path.write_text(path.read_text().replace("north", "west"))
    assert set(read_outcomes(tmp_path, ["source"])["source"]) == {"west", "south"}


def test_a_damaged_parquet_file_is_refused_and_without_it_the_csv_file_is_read(tmp_path: Path) -> None:
    write_missing(tmp_path)
    path = tmp_path / "outcomes.parquet"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(BadInputError, match=r"outcomes\.parquet is damaged.*remove it, and the CSV file"):
        read_outcomes(tmp_path)
    path.unlink()
    assert len(read_outcomes(tmp_path)) == 3 * COUNT


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: "", "is empty"),
        (lambda text: text.split("\n")[0] + "\n", "no rows"),
        (lambda text: text.replace("contrast", "contract"), "no column 'contrast'"),
        (lambda text: text.replace(",0.0,", ",x,", 1), r"line 2: severity is 'x'"),
        (lambda text: text + text.split("\n")[1] + "\n", r"line 32: this sample, perturbation and severity"),
        (lambda text: text[:-1], "ends within a line"),
        (lambda text: text + "a,b\n", r"line 32: 2 values for 15 columns"),
    ],
)
def test_a_damaged_table_is_refused_with_its_place(
    tmp_path: Path, whole: dict[str, bytes], damage: Any, message: str
) -> None:
    (tmp_path / "o.csv").write_text(damage(whole["outcomes.csv"].decode()))
    with pytest.raises(BadInputError, match=message):
        read_outcomes(tmp_path / "o.csv", ["source"])


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot be read"):
        read_outcomes(tmp_path / "none.csv")


def test_a_run_is_read_with_its_gallery(folder: Path) -> None:
    run = read_run(folder)
    assert (run.name, run.task, run.classes, run.groups) == ("erm", "classification", CLASSES, ["source"])
    assert len(run.clean) == 16
    assert run.gallery is not None
    assert run.gallery.pictures["pgd_l2@2.0"].shape == (3, 48, 48)
    assert run.gallery.captions["pgd_l2@2.0"][0].prediction == CLASSES[1]


def test_an_unfinished_run_is_refused(folder: Path) -> None:
    lines = (folder / "outcomes.csv").read_text().splitlines(keepends=True)
    (folder / "outcomes.csv").write_text("".join(lines[:-5]))
    with pytest.raises(BadInputError, match="11 of 16 samples for contrast_low"):
        read_run(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "not valid JSON"), ("[]", "JSON object"), ('{"name": "erm"}', "lacks task, perturbations")],
)
def test_a_malformed_run_json_is_refused(folder: Path, content: str, message: str) -> None:
    (folder / "run.json").write_text(content)
    with pytest.raises(BadInputError, match=message):
        read_run(folder)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="is this the folder of an evaluation"):
        read_run(tmp_path)


def test_a_folder_of_runs_and_a_file_are_refused_with_the_folders_that_there_are(folder: Path) -> None:
    with pytest.raises(BadInputError, match=rf"is this the folder of an evaluation\?; there are {folder}$"):
        read_run(folder.parent)
    with pytest.raises(BadInputError, match=rf"is a file; name the folder of an evaluation, such as {folder}$"):
        read_run(folder / "run.json")


def change_info(folder: Path, **changes: Any) -> Path:
    info = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(info | changes))
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "segmentation"}, "their tasks differ"),
        ({"classes": ["a", "b", "c"]}, "their classes differ"),
        ({"name": "erm", "recipe": "at"}, "different recipes"),
        ({"name": "erm", "recipe": "erm", "checkpoint": {"sha256": "same"}}, "one and the same network"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    first = write_run(tmp_path / "a", "erm", count=16, info={"checkpoint": {"sha256": "same"}})
    second = change_info(write_run(tmp_path / "b", "rtda", count=16), **changes)
    with pytest.raises(BadInputError, match=message):
        check_comparable([read_run(first), read_run(second)])


@pytest.mark.parametrize("column", ["label", "patient_id"])
def test_samples_of_another_data_set_that_have_the_same_ids_are_refused(tmp_path: Path, column: str) -> None:
    first, second = (write_run(tmp_path / name, name, count=16) for name in ("erm", "rtda"))
    table = pd.read_csv(second / "outcomes.csv")
    at = table["sample_id"] == table["sample_id"].iloc[0]
    table.loc[at, column] = {"label": 2 - table["label"].iloc[0] // 2, "patient_id": "another"}[column]
    table.to_csv(second / "outcomes.csv", index=False)
    with pytest.raises(BadInputError, match=f"1 of the 16 samples that both have by id have another {column}"):
        check_comparable([read_run(first), read_run(second)])


def test_runs_on_other_samples_are_refused_unless_every_name_has_the_same_folds(tmp_path: Path) -> None:
    runs = {}
    for fold, count in ((0, 16), (1, 18)):
        for name in ("erm", "rtda"):
            folder = write_run(tmp_path / f"{name}{fold}", name, seed=fold, count=count, info={"fold": fold})
            runs[name, fold] = read_run(folder)
    check_comparable(list(runs.values()))
    with pytest.raises(BadInputError, match="not measured on the same folds"):
        check_comparable([runs["erm", 0], runs["erm", 1], runs["rtda", 0]])
    other = read_run(change_info(tmp_path / "rtda1", fold=0))
    with pytest.raises(BadInputError, match="different samples"):
        check_comparable([runs["erm", 0], other])


def test_attacks_of_other_strength_are_not_compared(tmp_path: Path) -> None:
    first = read_run(write_run(tmp_path / "a", "erm", count=16))
    second = write_run(tmp_path / "b", "rtda", count=16)
    info = json.loads((second / "run.json").read_text())
    info["perturbations"][1]["settings"]["steps"] = 7
    (second / "run.json").write_text(json.dumps(info))
    with pytest.raises(BadInputError, match="pgd_l2 with different steps"):
        check_comparable([first, read_run(second)])


def test_a_gallery_that_does_not_fit_together_is_refused(tmp_path: Path) -> None:
    caption = {"label": "a", "prediction": "a", "confidence": 0.5}
    with pytest.raises(BadInputError, match="captions"):
        write_gallery(tmp_path / "g.npz", {("clean", 0): np.zeros((2, 4, 4))}, {("clean", 0): [caption]})
    with pytest.raises(BadInputError, match="'clean'"):
        write_gallery(tmp_path / "g.npz", {("pgd", 1): np.zeros((1, 4, 4))}, {("pgd", 1): [caption]})
    (tmp_path / "g.npz").write_bytes(b"PK broken")
    with pytest.raises(BadInputError, match="not a gallery"):
        read_gallery(tmp_path / "g.npz")


def test_a_sample_of_two_groups_or_classes_is_refused(folder: Path) -> None:
    text = (folder / "outcomes.csv").read_text()
    lines = text.splitlines(keepends=True)
    for old, new in (("north", "west"), ("patient-0000-secret", "patient-0009-secret")):
        (folder / "outcomes.csv").write_text("".join([*lines[:17], lines[17].replace(old, new, 1), *lines[18:]]))
        with pytest.raises(BadInputError, match=r"contradicts itself: .* under pgd_l2 at severity 0\.5"):
            read_run(folder)
