"""Whatever is done to the files of a run's folder, it is read or refused in one line that names a file there."""

from __future__ import annotations

import copy
import io
import json
import random
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.text import Text
from synthetic_runs import write_pictures, write_run, write_segmentation_run
from test_detection_report import write_detection_run
from test_landmark_report import write_landmark_run

from monai_robust.errors import BadInputError
from monai_robust.evaluation import read_run, write_gallery, write_report
from monai_robust.evaluation.report.nearest import nearest_frames
from monai_robust.evaluation.report.sanity import sanity_frames, sanity_sections
from monai_robust.evaluation.report.training import training_frames
from monai_robust.evaluation.sections.figures import gallery_figure, score_versus_radius
from monai_robust.evaluation.tables.gallery import MOST, read_gallery, spread
from monai_robust.evaluation.tables.sanity_file import Finding, Sanity, write_sanity
from monai_robust.evaluation.tasks.registry import report_of

VALUES: list[Any] = [None, True, -1, 0.5, 10**17, "", "$x_1^{$\n", "a" * 5000, [], {}, [[None]], {"a": {"_target_": 1}}]
CELLS = ["", "x", "nan", "-inf", "1e400", "-1", "9" * 30, "'=1", "1_0", '"a\nb"', "1e308"]
TRIED = 25  # mutations of each file


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if at:
        yield at
    parts = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, part in parts:
        yield from places(part, (*at, key))


def json_mutations(text: str) -> Iterator[bytes]:
    whole = json.loads(text)
    for place in places(whole):
        for value in (*VALUES, ...):
            changed = copy.deepcopy(whole)
            inner = changed
            for key in place[:-1]:
                inner = inner[key]
            inner[place[-1]] = value
            if value is ...:
                del inner[place[-1]]
            yield json.dumps(changed).encode()
    yield from (b"[" * 100_000, b"null", b"", text[:50].encode(), text.replace("0.0", "NaN", 1).encode())
    yield from (text.replace("0.0", "9" * 5000, 1).encode(), text.encode("utf-16"), text.encode() + b"\xff")


def csv_mutations(text: str) -> Iterator[bytes]:
    rows = [line.split(",") for line in text.splitlines()]

    def joined(rows: list[list[str]]) -> bytes:
        return "".join(",".join(row) + "\n" for row in rows).encode()

    for column in range(len(rows[0])):
        yield joined([row[:column] + row[column + 1 :] for row in rows])
        yield joined([[*row, row[column]] for row in rows])
        for cell in CELLS:
            for end in (2, len(rows)):
                changed = [[*row[:column], cell, *row[column + 1 :]] for row in rows[1:end]]
                yield joined([rows[0], *changed, *rows[end:]])
    yield from (joined(rows[:1]), joined([*rows[:2], *rows[1:]]), joined([rows[0], *rows[2:]]), b"", b"\0")
    yield from (
        joined([*rows[:-1], rows[-1][:-1]]),
        text[:-3].encode(),
        text.encode("utf-16"),
        text.encode() + b"\xff\n",
    )


def npz_mutations(content: bytes) -> Iterator[bytes]:
    with np.load(io.BytesIO(content)) as file:
        arrays = {key: file[key] for key in file.files}

    def saved(**changes: Any) -> bytes:
        buffer = io.BytesIO()
        kept: Any = {key: value for key, value in (arrays | changes).items() if value is not None}
        np.savez(buffer, **kept)
        return buffer.getvalue()

    for key, array in arrays.items():
        odd = [None, np.array([None, 1], dtype=object), np.array("x"), array.astype(str), array[None]]
        odd += [] if key == "captions" else [array[:1], array[:0], array * np.nan, array.astype(complex)]
        for value in odd:
            yield saved(**{key: value})
        yield saved(**{key: None, "pgd@much": array})
    for text in json_mutations(str(arrays["captions"])):
        if b"\0" not in text and b"\xff" not in text:
            yield saved(captions=np.array(text.decode()))
    yield from byte_mutations(content)


def byte_mutations(content: bytes) -> Iterator[bytes]:
    for place in range(0, len(content), 97):
        yield content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        yield content[:place]


def read_all(folder: Path) -> None:
    """All that a report reads of a folder and computes from it; what it draws is drawn elsewhere."""
    run = read_run(folder)
    report_of_task = (
        report_of(run.task) if run.task in ("classification", "segmentation", "landmarks", "detection") else None
    )
    if report_of_task is not None:
        report_of_task.check(run)
    training_frames([run])
    sanity_frames([run]), sanity_sections([run])
    nearest_frames([run])


def folders(where: Path) -> dict[str, Path]:
    made = {
        "classification": write_run(where / "a", count=6, info={"failed": [{"sample_id": "film-0001-secretid",
            "perturbation": "clean", "severity": 0.0, "reason": "cut"}]}),
        "segmentation": write_segmentation_run(where / "b", volumes=1, margins=True, gallery=True),
        "detection": write_detection_run(where / "c"),
        "landmarks": write_landmark_run(where / "d"),
    }  # fmt: skip
    found = Finding("pgd_l2", "travels_radius", "warn", "Far.", {"reach": [0.5]})
    write_sanity(made["classification"], Sanity(4, [found]))
    return made


@pytest.mark.parametrize("kind", ["classification", "segmentation", "detection", "landmarks"])
def test_damaged_files_of_a_run_are_refused_in_a_line_that_names_them(tmp_path: Path, kind: str) -> None:
    folder = folders(tmp_path)[kind]
    read_all(folder)
    of_text = {".json": json_mutations, ".csv": csv_mutations}
    of_bytes = {".npz": npz_mutations, ".parquet": byte_mutations}
    draws = random.Random(7)
    refused = 0
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        end = path.suffix
        made = list(of_bytes[end](whole) if end in of_bytes else of_text[end](whole.decode()))
        for content in draws.sample(made, min(TRIED, len(made))):
            path.write_bytes(content)
            refused += is_refused_in_one_line(folder)
        path.write_bytes(whole)
    assert refused > TRIED


def is_refused_in_one_line(folder: Path) -> bool:
    """Whether a folder is refused; any other end of reading it is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            read_all(folder)
        except BadInputError as error:
            text = str(error)
        else:
            return False
    assert str(folder) in text
    assert len(text.splitlines()) == 1
    assert len(text) < 700
    return True


def test_of_many_pictures_a_few_are_shown_evenly_spread(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "erm", count=6)
    captions = [{"label": f"{index}", "prediction": "covid", "confidence": 0.5} for index in range(200)]
    keys = [("clean", 0.0), ("pgd_l2", 2.0)]
    images = np.random.default_rng(0).random((200, 8, 8)).astype(np.float32)
    write_gallery(folder / "gallery.npz", dict.fromkeys(keys, images), dict.fromkeys(keys, captions))
    gallery = read_gallery(folder / "gallery.npz")
    few = spread(gallery)
    labels = [int(one.label) for one in few.captions["clean"]]
    assert (len(labels), labels[0], labels[-1]) == (MOST, 0, 199)
    assert max(np.diff(labels)) - min(np.diff(labels)) <= 1
    assert few.pictures["pgd_l2@2.0"].shape == (MOST, 8, 8)
    assert len(gallery_figure(gallery, "pgd_l2@2.0").axes) == 3 * MOST
    page = write_report([folder], tmp_path / "report.html").read_text()
    assert f"Of 200 samples that were kept, {MOST} are shown" in page


def test_names_are_shown_as_they_are_in_figures(tmp_path: Path) -> None:
    """Also those that matplotlib would take for formulas, or leave out of a legend."""
    names = ["$x_1^{$", "_cut", r"50 % \alpha $\frac"]
    folder = write_run(tmp_path / "a", "_$\\frac{ $y_$", count=6, classes=names)
    write_pictures(folder / "gallery.npz", np.random.default_rng(0), names)
    run = read_run(folder)
    figure = gallery_figure(run.gallery, "pgd_l2@2.0")
    report_of_task = report_of("classification")
    curve = score_versus_radius(report_of_task.frames([run])["summary"], "pgd_l2")
    for one in (figure, curve):
        one.canvas.draw()
        assert not any(text.get_parse_math() for text in one.findobj(Text) if "$" in text.get_text())
    shown = [text.get_text() for text in figure.findobj(Text)]
    assert any("$x_1^{$" in text for text in shown)
    legend = [text.get_text().strip() for one in curve.legends for text in one.get_texts()]
    assert legend == [run.name]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda info: info["perturbations"][1]["severities"].append(0.0), "at a radius that is not above 0"),
        (lambda info: info["perturbations"][1]["severities"].insert(0, -1.0), "at a radius that is not above 0"),
        (lambda info: info["perturbations"][1]["severities"].append(1.0), "lists a severity of pgd_l2 twice"),
        (lambda info: info["perturbations"].append(info["perturbations"][1]), "two perturbations 'pgd_l2'"),
        (lambda info: info.update(classes=["normal", "normal", "covid"]), "lists a class twice"),
    ],
)
def test_a_record_that_says_one_thing_twice_or_attacks_within_no_radius_is_refused(tmp_path, change, sentence):
    folder = write_run(tmp_path / "run")
    info = json.loads((folder / "run.json").read_text())
    change(info)
    (folder / "run.json").write_text(json.dumps(info))
    with pytest.raises(BadInputError, match=sentence):
        read_run(folder)
