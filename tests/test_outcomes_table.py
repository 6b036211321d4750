"""The outcomes table, a run's folder and its gallery: what is written is read again, what is damaged is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from synthetic_runs import CLASSES, outcomes, sample_ids, task_columns, write_run

from monai_robust.errors import BadInputError
from monai_robust.evaluation.tables.gallery import read_gallery, write_gallery
from monai_robust.evaluation.tables.outcomes import OutcomesWriter, outcome_columns, read_outcomes
from monai_robust.evaluation.tables.run_folder import check_comparable, read_run

COUNT = 10
BATCH = 4
COLUMNS = outcome_columns(task_columns(CLASSES), ["source"])
BLOCKS = [("clean", 0.0), ("pgd_l2", 0.5), ("pgd_l2", 1.0)]


def rows_of(perturbation: str, severity: float) -> dict[str, list[Any]]:
    generator = np.random.default_rng([len(perturbation), round(10 * severity)])
    return outcomes(generator, COUNT, CLASSES, 0.8, severity, 1.0) | {"norm": [""] * COUNT}


def write_missing(path: Path, stop_after: int | None = None) -> int:
    """Write all batches that the table lacks, or only so many; how many were written."""
    written = 0
    with OutcomesWriter(path, COLUMNS, sample_ids(COUNT), BATCH) as writer:
        for perturbation, severity in BLOCKS:
            rows = rows_of(perturbation, severity)
            for start in range(writer.done(perturbation, severity), COUNT, BATCH):
                if written == stop_after:
                    return written
                batch = {name: values[start : start + BATCH] for name, values in rows.items()}
                writer.append(perturbation, severity, batch)
                written += 1
    return written


@pytest.fixture
def whole(tmp_path: Path) -> bytes:
    write_missing(tmp_path / "whole.csv")
    return (tmp_path / "whole.csv").read_bytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_run(tmp_path / "erm", count=16, gallery=True)


def test_a_table_cut_at_any_byte_is_continued_to_the_identical_table(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "cut.csv"
    for length in range(0, len(whole), 149):
        path.write_bytes(whole[:length])
        write_missing(path)
        assert path.read_bytes() == whole, length


def test_only_whole_batches_count_as_done(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.csv"
    write_missing(path, stop_after=2)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    with OutcomesWriter(path, COLUMNS, sample_ids(COUNT), BATCH) as writer:
        assert writer.done("clean", 0) == BATCH
        assert writer.done("pgd_l2", 0.5) == 0


def test_a_continued_table_does_only_the_missing_batches(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "outcomes.csv"
    assert write_missing(path, stop_after=5) == 5
    assert write_missing(path) == 4
    assert write_missing(path) == 0
    assert path.read_bytes() == whole


def test_batches_of_given_sizes_are_continued_to_the_identical_table(tmp_path: Path) -> None:
    sizes = [3, 1, 4, 2]
    rows, path = rows_of("clean", 0), tmp_path / "uneven.csv"

    def write() -> None:
        with OutcomesWriter(path, COLUMNS, sample_ids(COUNT), sizes) as writer:
            for size, end in zip(sizes, np.cumsum(sizes), strict=True):
                if end > writer.done("clean", 0):
                    writer.append("clean", 0, {name: values[end - size : end] for name, values in rows.items()})

    write()
    whole = path.read_bytes()
    ends = [len(b"".join(whole.splitlines(keepends=True)[: 1 + done])) for done in (0, 3, 4, 8, 10)]
    for length in range(0, len(whole), 149):
        path.write_bytes(whole[:length])
        with OutcomesWriter(path, COLUMNS, sample_ids(COUNT), sizes):
            pass
        assert path.stat().st_size == max(end for end in ends if end <= max(length, ends[0]))
        write()
        assert path.read_bytes() == whole


@pytest.mark.parametrize("batches", [0, [3, 3], [5, 5, 0], [11]])
def test_batches_that_do_not_hold_the_samples_are_refused(tmp_path: Path, batches: Any) -> None:
    with pytest.raises(BadInputError, match="batch"):
        OutcomesWriter(tmp_path / "o.csv", COLUMNS, sample_ids(COUNT), batches)


def test_a_missing_number_is_an_empty_cell_and_read_as_nan(tmp_path: Path) -> None:
    rows = rows_of("clean", 0)
    rows["score"][3] = rows["contrast"][2] = float("nan")
    with OutcomesWriter(tmp_path / "o.csv", COLUMNS, sample_ids(COUNT), COUNT) as writer:
        writer.append("clean", 0, rows)
    assert "nan" not in (tmp_path / "o.csv").read_text()
    table = read_outcomes(tmp_path / "o.csv", ["source"])
    assert np.flatnonzero(table["score"].isna()).tolist() == [3]
    assert np.flatnonzero(table["contrast"].isna()).tolist() == [2]
    text = (tmp_path / "o.csv").read_text()
    (tmp_path / "o.csv").write_text(text.replace(",clean,0.0,", ",clean,,", 1))
    with pytest.raises(BadInputError, match="severity is ''"):
        read_outcomes(tmp_path / "o.csv", ["source"])
    (tmp_path / "o.csv").write_text(text.replace("1.0\n", "nan\n", 1))
    with pytest.raises(BadInputError, match="score is 'nan', which must be a finite number"):
        read_outcomes(tmp_path / "o.csv", ["source"])


def test_perturbations_may_alternate_batch_by_batch(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.csv"
    clean, attacked = rows_of("clean", 0), rows_of("pgd_l2", 1)
    with OutcomesWriter(path, COLUMNS, sample_ids(COUNT), BATCH) as writer:
        for name, rows in (("clean", clean), ("pgd_l2", attacked), ("clean", clean)):
            start = writer.done(name, 0)
            writer.append(name, 0, {column: values[start : start + BATCH] for column, values in rows.items()})
    with OutcomesWriter(path, COLUMNS, sample_ids(COUNT), BATCH) as writer:
        assert (writer.done("clean", 0), writer.done("pgd_l2", 0)) == (2 * BATCH, BATCH)


def test_numbers_are_read_back_exactly(tmp_path: Path) -> None:
    values = [0.1, 1 / 3, 1e-308, float(torch.tensor(0.1)), 123456789.123456789]
    rows = rows_of("clean", 0) | {"distance": values * 2, "input_norm": torch.linspace(0, 1, COUNT)}
    with OutcomesWriter(tmp_path / "o.csv", COLUMNS, sample_ids(COUNT), COUNT) as writer:
        writer.append("clean", 0, rows)
    table = read_outcomes(tmp_path / "o.csv", ["source"])
    assert table["distance"].tolist() == values * 2
    assert table["input_norm"].tolist() == torch.linspace(0, 1, COUNT).tolist()
    assert table["label"].dtype == np.int64
    assert table["sample_id"].tolist() == sample_ids(COUNT)


def test_ids_that_look_like_numbers_or_hold_commas_stay_text(tmp_path: Path) -> None:
    ids = ["007", "1e5", "", 'a, "b"']
    columns = outcome_columns(["score"], ["site"])
    rows = {name: [1.0] * 4 for name in ("distance", "contrast", "input_norm", "score")}
    with OutcomesWriter(tmp_path / "o.csv", columns, ["01", "02", "03", "x, y"], 4) as writer:
        samples = ["01", "02", "03", "x, y"]
        writer.append("clean", 0, {"sample_id": samples, "patient_id": ids, "norm": [""] * 4, "site": ids, **rows})
    table = read_outcomes(tmp_path / "o.csv", ["site"])
    assert table["sample_id"].tolist() == ["01", "02", "03", "x, y"]
    assert table["patient_id"].tolist() == table["site"].tolist() == ids


@pytest.mark.parametrize("ids", [["a", "a"], ["a", ""], ["a", "b\nc"]])
def test_impossible_sample_ids_are_refused(tmp_path: Path, ids: list[str]) -> None:
    with pytest.raises(BadInputError, match=r"twice|empty|line break"):
        OutcomesWriter(tmp_path / "o.csv", COLUMNS, ids)


def test_a_batch_out_of_order_or_not_whole_is_refused(tmp_path: Path) -> None:
    rows = rows_of("clean", 0)
    with OutcomesWriter(tmp_path / "o.csv", COLUMNS, sample_ids(COUNT), BATCH) as writer:
        for part in (slice(4, 8), slice(0, 3), slice(3, None, -1)):
            with pytest.raises(BadInputError, match="clean at severity 0 has 0 of 10"):
                writer.append("clean", 0, {name: values[part] for name, values in rows.items()})
        with pytest.raises(BadInputError, match="contrast"):
            writer.append("clean", 0, {name: values[:4] for name, values in rows.items() if name != "contrast"})
        assert writer.done("clean", 0) == 0


def test_a_table_of_other_samples_or_columns_is_not_continued(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "whole.csv"
    with pytest.raises(BadInputError, match="cannot be continued"):
        OutcomesWriter(path, COLUMNS, [f"other-{index}" for index in range(COUNT)], BATCH)
    with pytest.raises(BadInputError, match="has the columns"):
        OutcomesWriter(path, outcome_columns(["score"]), sample_ids(COUNT), BATCH)
    assert path.read_bytes() == whole


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
def test_a_damaged_table_is_refused_with_its_place(tmp_path: Path, whole: bytes, damage: Any, message: str) -> None:
    (tmp_path / "o.csv").write_text(damage(whole.decode()))
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


def change_info(folder: Path, **changes: Any) -> Path:
    info = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(info | changes))
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "segmentation"}, "their task differ"),
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
