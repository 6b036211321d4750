"""Tables and text files of landmarks: which columns are landmarks, which spacings, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from monai_robust.data import landmark_datalist
from monai_robust.errors import BadInputError, BadSampleError

EXIF_ORIENTATION = 0x0112


def write_table(root: Path, heading: str, row: str = "", rows: Sequence[str] = (), orientation: int = 1) -> Path:
    """Nine pictures of 40 x 30, with the same cells in every row, or with those of ``rows`` in the first ones."""
    root.mkdir(exist_ok=True)
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    lines = [f"file,{heading}"]
    for number in range(9):
        Image.new("L", (40, 30), number).save(root / f"{number}.png", exif=exif)
        lines.append(f"{number}.png,{rows[number] if number < len(rows) else row}")
    (root / "landmarks.csv").write_text("\n".join(lines) + "\n")
    return root


def item(found: Any, number: int = 0) -> dict[str, Any]:
    return next(one for items in found.items.values() for one in items if Path(one["image"]).stem == str(number))


@pytest.mark.parametrize(
    "heading",
    [
        "mm_per_px_x,mm_per_px_y",
        "MM_PER_PX_X,MM_PER_PX_Y",
        "spacing_x,spacing_y",
        "pixel_size_x,pixel_size_y",
        "Pixel Spacing X,Pixel Spacing Y",
        "mm_per_pixel_x,mm_per_pixel_y",
    ],
)
def test_a_spacing_is_no_landmark(tmp_path: Path, heading: str) -> None:
    found = landmark_datalist(write_table(tmp_path, f"a_x,a_y,{heading}", "5,6,0.1,0.2"))
    assert found.classes == ("a",)
    assert item(found)["spacing"] == [0.1, 0.2]


@pytest.mark.parametrize("heading", ["mm_per_px", "pixel_spacing", "Spacing", "pixel_size_mm"])
def test_one_column_is_the_spacing_of_both_axes(tmp_path: Path, heading: str) -> None:
    found = landmark_datalist(write_table(tmp_path, f"a_x,a_y,{heading}", "5,6,0.1"))
    assert found.classes == ("a",)
    assert item(found)["spacing"] == [0.1, 0.1]


@pytest.mark.parametrize(
    ("heading", "told"),
    [
        (
            "pixel_size_um_x,pixel_size_um_y",
            "'pixel_size_um_x', which seems to be a spacing and no landmark; call",
        ),
        ("px_per_mm_x,px_per_mm_y", "'px_per_mm_x', which seems to be a spacing"),
        ("spacing,mm_per_px", "columns 'spacing' and 'mm_per_px', which both are a spacing; keep one"),
        ("spacing_x,other,spacing,spacing_y", "columns 'spacing' and 'spacing_x', which both are a spacing"),
        ("spacing_x,other", "has only one of the columns spacing_x and spacing_y"),
        ("a_X,b", "has two columns 'a_x', but for capitals"),
    ],
)
def test_spacings_that_nobody_can_tell_are_refused(tmp_path: Path, heading: str, told: str) -> None:
    cells = ",".join(["1"] * len(heading.split(",")))
    with pytest.raises(BadInputError, match=told):
        landmark_datalist(write_table(tmp_path, f"a_x,a_y,{heading}", f"5,6,{cells}"))


def test_ends_may_be_in_capitals_and_no_column_of_ours_is_listed(tmp_path: Path) -> None:
    found = landmark_datalist(write_table(tmp_path / "a", "A_X,A_Y,b_x,b_y", "5,6,7,8"))
    assert found.classes == ("A", "b")
    assert item(found)["points"] == [[5, 6], [7, 8]]
    with pytest.raises(BadInputError, match=r"has no columns <name>_x and <name>_y; it has age$"):
        landmark_datalist(write_table(tmp_path / "b", "age", "5"))


def test_coordinates_in_shares_of_the_picture_are_refused(tmp_path: Path) -> None:
    root = write_table(tmp_path, "a_x,a_y", "0.5,0.25")
    with pytest.raises(BadInputError, match=r"landmarks\.csv line 2: all coordinates of the data set are from 0 to 1"):
        landmark_datalist(root)
    found = landmark_datalist(write_table(tmp_path, "a_x,a_y", "0.5,0.25", ["5,6"]))
    assert item(found)["points"] == [[5, 6]]


@pytest.mark.parametrize("end", ["v", "V"])
def test_a_landmark_that_nobody_sees_is_missing(tmp_path: Path, end: str) -> None:
    rows = ["0,0,0,7,8", "5,6,1,7,8", "5,6,,7,8"]
    found = landmark_datalist(write_table(tmp_path, f"a_x,a_y,a_{end},b_x,b_y", "5,6,2,7,8", rows))
    assert found.classes == ("a", "b")
    assert str(item(found)["points"]) == "[[nan, nan], [7.0, 8.0]]"
    assert [item(found, number)["points"][0] for number in (1, 2, 3)] == [[5, 6]] * 3
    with pytest.raises(BadSampleError, match=r"landmarks\.csv line 2: a_v is '7'; it can be 0 \(missing\), 1, 2 or"):
        landmark_datalist(write_table(tmp_path, "a_x,a_y,a_v", "5,6,2", ["5,6,7"]))


def test_landmarks_in_the_corner_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = landmark_datalist(write_table(tmp_path, "a_x,a_y,b_x,b_y", "5,6,7,8", ["0,0,7,8", "0.0,0,0,0"]))
    assert item(found)["points"][0] == [0, 0]
    (said,) = caplog.messages
    assert said.startswith("3 landmarks of 2 pictures are at exactly 0, 0, which often stands for one that is missing")


def test_landmarks_of_pictures_that_exif_turns_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    landmark_datalist(write_table(tmp_path / "upright", "a_x,a_y", "5,6"))
    assert not caplog.messages
    landmark_datalist(write_table(tmp_path / "turned", "a_x,a_y", "5,6", orientation=3))
    (said,) = caplog.messages
    assert said.startswith("9 pictures are turned or mirrored by their EXIF orientation: their landmarks are taken")


def challenge(root: Path, text: bytes, end: str = ".txt") -> Path:
    for number in range(9):
        picture = root / "RawImage" / ("TrainingData" if number < 6 else "Test1Data") / f"{number}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (40, 30)).save(picture)
        written = root / "AnnotationsByMD" / "400_senior" / f"{number}{end}"
        written.parent.mkdir(parents=True, exist_ok=True)
        written.write_bytes(text)
    return root


@pytest.mark.parametrize(
    "text",
    [b"1,2\n3,4\n5,6\n1\n2\n", b"1,2\n\n3,4\n \n5,6\n\n1\n", b"1,2\r\r\n3,4\r\r\n5,6\r\r\n1\r\r\n", b"\n1,2\n3,4\n5,6"],
)
def test_blank_lines_of_text_files_mean_nothing(tmp_path: Path, text: bytes) -> None:
    assert item(landmark_datalist(challenge(tmp_path, text)))["points"] == [[1, 2], [3, 4], [5, 6]]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"1,2\n3 4\n5,6\n", r"0\.txt line 2: '3 4' is no pair of numbers x,y, with a comma"),
        (b"1,2\n3\n5,6\n", r"0\.txt line 3: '5,6' is a landmark after the end of them in line 2"),
        (b"x\n5,6\n", r"0\.txt line 2: '5,6' is a landmark after the end of them in line 1"),
    ],
)
def test_landmarks_after_the_end_of_a_text_file_are_not_lost(tmp_path: Path, text: bytes, told: str) -> None:
    with pytest.raises(BadSampleError, match=told):
        landmark_datalist(challenge(tmp_path, text))


def test_text_files_may_end_in_capitals(tmp_path: Path) -> None:
    assert item(landmark_datalist(challenge(tmp_path, b"1,2\n3,4\n", ".TXT")))["points"] == [[1, 2], [3, 4]]


def test_a_column_of_two_joined_tables_is_no_landmark(tmp_path: Path) -> None:
    root = write_table(tmp_path, "a_x,a_y,age_x,age_y", "5,6,30,30", rows=["5,6,21,21"])
    with pytest.raises(BadInputError, match="same in the columns age_x and age_y of every row"):
        landmark_datalist(root)
    (root / "landmarks.json").write_text('{"names": ["a"]}')
    assert landmark_datalist(root).classes == ("a",)


def test_a_landmark_at_one_place_of_the_diagonal_is_a_landmark(tmp_path: Path) -> None:
    assert landmark_datalist(write_table(tmp_path, "a_x,a_y", "5,5")).classes == ("a",)
