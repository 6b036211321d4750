"""Lists of pictures with landmarks: every layout, whole patients, and a clear sentence for what is wrong."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from monai_robust.data import landmark_datalist, write_landmark_datalist
from monai_robust.errors import BadInputError, BadSampleError

NAMES = ("a", "b", "c")
SIZE = (30, 20)


def write_picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", SIZE, 7).save(path, dpi=(72, 72))


def points(number: int) -> list[tuple[float, float]]:
    return [(1 + number, 2.0), (29.4, 3.5), (0.0, 19.0)]


@pytest.fixture
def challenge(tmp_path: Path) -> Path:
    """20 training pictures, 4 and 3 test pictures, three landmarks, two annotators."""
    numbers = iter(range(27))
    for part, count in (("TrainingData", 20), ("Test1Data", 4), ("Test2Data", 3)):
        for _ in range(count):
            number = next(numbers)
            write_picture(tmp_path / "RawImage" / part / f"{number + 1:03d}.bmp")
            for folder, off in (("400_senior", 0), ("400_junior", 1)):
                text = tmp_path / "AnnotationsByMD" / folder / f"{number + 1:03d}.txt"
                text.parent.mkdir(parents=True, exist_ok=True)
                lines = [f"{x},{y - off}" for x, y in points(number)]
                text.write_text("\n".join([*lines, "1", "2", "1"]) + "\n")
    return tmp_path


def senior(root: Path, number: int) -> Path:
    return root / "AnnotationsByMD" / "400_senior" / f"{number:03d}.txt"


def table(count: int = 12, **columns: list[object]) -> pd.DataFrame:
    rows = [
        {"file": f"p/{n}.png"} | {f"{name}_{k}": v for name, p in zip(NAMES, points(n), strict=True)
                                  for k, v in zip("xy", p, strict=True)}
        for n in range(count)
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(**columns)


def write_table(root: Path, frame: pd.DataFrame, name: str = "landmarks.csv") -> Path:
    for file in frame["file"]:
        write_picture(root / file)
    frame.to_csv(root / name, index=False)
    return root / name


def test_the_challenge_s_layout_is_read(challenge: Path) -> None:
    found = landmark_datalist(challenge)
    assert {split: len(items) for split, items in found.items.items()} == {"train": 17, "val": 3, "test": 4}
    first = found.items["test"][0]
    assert first == {
        "image": str(challenge / "RawImage/Test1Data/021.bmp"),
        "points": [[21.0, 2.0], [29.4, 3.5], [0.0, 19.0]],
        "spacing": [0.1, 0.1],
        "sample_id": "RawImage/Test1Data/021.bmp",
        "patient_id": "021",
    }
    assert found.classes == ("landmark_1", "landmark_2", "landmark_3")
    assert found.skipped == []


@pytest.mark.parametrize(("test_split", "count"), [("test1", 4), ("test2", 3), ("both", 7)])
def test_either_test_set_can_be_chosen(challenge: Path, test_split: str, count: int) -> None:
    assert len(landmark_datalist(challenge, test_split=test_split).items["test"]) == count


@pytest.mark.parametrize(("annotator", "y"), [("senior", 2.0), ("junior", 1.0), ("mean", 1.5)])
def test_annotators_are_told_apart(challenge: Path, annotator: str, y: float) -> None:
    assert landmark_datalist(challenge, annotator=annotator).items["test"][0]["points"][0][1] == y


def test_nineteen_landmarks_have_the_challenge_s_names(challenge: Path) -> None:
    for text in (challenge / "AnnotationsByMD").rglob("*.txt"):
        text.write_text("3,4\n" * 19 + "1\n" * 8)
    classes = landmark_datalist(challenge).classes
    assert (len(classes), classes[0], classes[-1]) == (19, "sella", "articulare")


def test_names_and_swaps_can_be_declared(challenge: Path) -> None:
    (challenge / "landmarks.json").write_text(json.dumps({"names": NAMES, "swaps": [["a", "c"]]}))
    found = landmark_datalist(challenge)
    assert (found.classes, found.swaps) == (NAMES, (("a", "c"),))
    assert landmark_datalist(challenge, swaps=[]).swaps == ()
    with pytest.raises(BadInputError, match=r"swaps is .*'d'.*of a, b, c"):
        landmark_datalist(challenge, swaps=[["a", "d"]])


def test_a_missing_landmark_is_nan(challenge: Path) -> None:
    senior(challenge, 21).write_text("1,2\nnan,nan\n,\n")
    one = landmark_datalist(challenge).items["test"][0]["points"]
    assert [math.isnan(x) and math.isnan(y) for x, y in one] == [False, True, True]
    mean = landmark_datalist(challenge, annotator="mean").items["test"][0]["points"]
    assert mean[1:] == [[29.4, 2.5], [0.0, 18.0]]


WRONG_TEXTS = {
    "1,2\n3,4\n7\n": r"005\.txt line 2: the landmarks end here, after 2, where the data set has 3",
    "1,2\n3,4\n5,6\n7,8\n": r"005\.txt line 4: .* after 4",
    "1,2\nx,4\n5,6\n": r"005\.txt line 2: 'x' is no number",
    "1,2\n3,4,5\n5,6\n": r"005\.txt line 2: '3,4,5' is no pair",
    "1,2\n30,4\n5,6\n": r"005\.txt line 2: landmark landmark_2 at \(30, 4\) is outside the picture 005\.bmp of 30 x 20",
    "1,2\n3,4\n-1,6\n": r"005\.txt line 3: landmark landmark_3 at \(-1, 6\) is outside",
    "1,2\n3,\n5,6\n": r"005\.txt line 2: landmark landmark_2 has only one coordinate",
    "nan,nan\n,\n,\n": r"005\.txt line 1: no landmark of 005\.bmp is placed",
    "": r"005\.txt line 1: the file has no landmarks",
}


@pytest.mark.parametrize("text", WRONG_TEXTS)
def test_a_wrong_text_file_is_named_with_its_line_or_left_out(challenge: Path, text: str) -> None:
    senior(challenge, 5).write_text(text)
    with pytest.raises(BadSampleError, match=WRONG_TEXTS[text] + r".*\(1 of 24 samples"):
        landmark_datalist(challenge)
    found = landmark_datalist(challenge, on_bad_sample="skip")
    assert sum(map(len, found.items.values())) == 23
    assert [one["sample_id"] for one in found.skipped] == ["RawImage/TrainingData/005.bmp"]
    assert re.search(WRONG_TEXTS[text], found.skipped[0]["reason"])


def test_missing_pictures_and_missing_texts_are_named(challenge: Path, caplog: pytest.LogCaptureFixture) -> None:
    (challenge / "RawImage/TrainingData/002.bmp").unlink()
    with pytest.raises(BadSampleError, match=r"002\.txt has landmarks, but there is no picture 002\.\*"):
        landmark_datalist(challenge)
    senior(challenge, 3).unlink()
    skipped = landmark_datalist(challenge, on_bad_sample="skip").skipped
    assert [one["sample_id"] for one in skipped] == ["002", "RawImage/TrainingData/003.bmp"]
    assert "skipped 2 of" in caplog.text
    assert "002" not in caplog.text


def test_a_damaged_picture_is_named(challenge: Path) -> None:
    (challenge / "RawImage/TrainingData/002.bmp").write_text("no picture")
    with pytest.raises(BadSampleError, match=r"002\.bmp cannot be read"):
        landmark_datalist(challenge)


WRONG_ARGUMENTS = {
    "annotator is 'chief'; .* has junior, senior, or mean": {"annotator": "chief"},
    "test_split is 'test3'; it must be one of 'test1', 'test2', 'both'": {"test_split": "test3"},
    "on_bad_sample is 'ignore'": {"on_bad_sample": "ignore"},
    "spacing is 0;": {"spacing": 0},
    "limit is 0;": {"limit": 0},
    "fold is 7 of 5": {"fold": 7},
    "validation_fraction is 0.9": {"validation_fraction": 0.9},
    "there is no data list nowhere.csv": {"datalist": "nowhere.csv"},
}


@pytest.mark.parametrize("message", WRONG_ARGUMENTS)
def test_arguments_that_cannot_work_are_refused(challenge: Path, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        landmark_datalist(challenge, **WRONG_ARGUMENTS[message])


def test_a_folder_with_nothing_in_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no landmarks found in"):
        landmark_datalist(tmp_path)
    with pytest.raises(BadInputError, match="there is no data set folder"):
        landmark_datalist(tmp_path / "nowhere")


def test_limit_and_folds_keep_patients_whole(tmp_path: Path) -> None:
    write_table(tmp_path, table(24, patient_id=[f"p{n // 2}" for n in range(24)]))
    validated = []
    for fold in range(4):
        items = landmark_datalist(tmp_path, fold=fold, folds=4, limit=6).items
        owners = [{item["patient_id"] for item in items[split]} for split in ("train", "val", "test")]
        assert not owners[0] & owners[1] | owners[0] & owners[2] | owners[1] & owners[2]
        assert all(len(one) in (2, 4, 6) for one in items.values())
        validated += [item["sample_id"] for item in landmark_datalist(tmp_path, fold=fold, folds=4).items["val"]]
    assert len(validated) == len(set(validated)) > 16


def test_a_table_and_its_index_are_joined(tmp_path: Path) -> None:
    splits = ["train"] * 6 + ["test1"] * 3 + ["test2"] * 2 + ["train"]
    write_table(tmp_path, table(orig_a_x=9000, orig_a_y=9000, split="train"))
    index = table()[["file"]].assign(split=splits, mm_per_px_x=0.4, mm_per_px_y=0.5, patient_id=list("abcdefghijkl"))
    index["split_clean"] = [*splits[:-1], "excluded_duplicate"]
    index.to_csv(tmp_path / "index.csv", index=False)
    found = landmark_datalist(tmp_path, validation_fraction=0.2)
    assert found.classes == NAMES
    assert {split: len(items) for split, items in found.items.items()} == {"train": 5, "val": 1, "test": 3}
    assert found.items["test"][0]["spacing"] == [0.4, 0.5]
    assert found.items["test"][0]["patient_id"] == "g"


def test_pictures_that_say_no_spacing_get_the_one_given(tmp_path: Path) -> None:
    write_table(tmp_path, table())  # these pictures hold a printing resolution
    assert landmark_datalist(tmp_path).items["test"][0]["spacing"] == [1, 1]
    assert landmark_datalist(tmp_path, spacing=(0.2, 0.3)).items["test"][0]["spacing"] == [0.2, 0.3]


WRONG_CELLS = {
    r"line 4, b: 'x' is no number": ("b_y", "x"),
    r"line 4: landmark b at \(31, 3\.5\) is outside the picture 2\.png of 30 x 20 pixels": ("b_x", "31"),
    r"line 4: landmark c has only one coordinate": ("c_x", ""),
    r"line 4: mm_per_px_x and mm_per_px_y are -1 and 1": ("mm_per_px_x", "-1"),
}


@pytest.mark.parametrize("message", WRONG_CELLS)
def test_a_wrong_cell_is_named_with_its_line(tmp_path: Path, message: str) -> None:
    frame = table(mm_per_px_x=1, mm_per_px_y=1).astype(str)
    column, value = WRONG_CELLS[message]
    frame.loc[2, column] = value
    path = write_table(tmp_path, frame, "points.csv")
    with pytest.raises(BadSampleError, match=re.escape(str(path)) + " " + message):
        landmark_datalist(tmp_path, datalist="points.csv")
    skipped = landmark_datalist(tmp_path, datalist=path, on_bad_sample="skip").skipped
    assert [one["sample_id"] for one in skipped] == ["p/2.png"]


def test_the_mean_of_the_one_annotator_of_a_table_is_that_annotator(tmp_path: Path) -> None:
    write_table(tmp_path, table())
    assert landmark_datalist(tmp_path, annotator="mean").items == landmark_datalist(tmp_path).items
    with pytest.raises(BadInputError, match="has one set of landmarks only"):
        landmark_datalist(tmp_path, annotator="junior")


def test_missing_pictures_of_a_table_are_named_with_the_line(tmp_path: Path) -> None:
    write_table(tmp_path, table())
    (tmp_path / "p/4.png").unlink()
    with pytest.raises(BadSampleError, match=r"picture .*4\.png is missing \(.*landmarks\.csv line 6"):
        landmark_datalist(tmp_path)


WRONG_TABLES = {
    "has no column 'file'": lambda frame: frame.rename(columns={"file": "f"}),
    "has no columns <name>_x and <name>_y": lambda frame: frame[["file"]],
    "only one of the columns b_x and b_y": lambda frame: frame.drop(columns="b_y"),
    r"line 14: p/0\.png is listed a second time": lambda frame: pd.concat([frame, frame[:1]]),
    "no split train, val or test; it has 12 of fold1": lambda frame: frame.assign(split="fold1"),
    "sample id same occurs twice": lambda frame: frame.assign(sample_id="same"),
    "lists no picture": lambda frame: frame[:0],
}


@pytest.mark.parametrize("message", WRONG_TABLES)
def test_a_wrong_table_is_refused(tmp_path: Path, message: str) -> None:
    write_table(tmp_path, table())
    WRONG_TABLES[message](table()).to_csv(tmp_path / "landmarks.csv", index=False)
    with pytest.raises(BadInputError, match=message):
        landmark_datalist(tmp_path)


def test_a_list_that_was_written_is_read_again(challenge: Path) -> None:
    senior(challenge, 21).write_text("1,2\nnan,nan\n5,6.25\n")
    found = landmark_datalist(challenge, seed=4)
    path = write_landmark_datalist(found, challenge, challenge / "lists" / "list.csv")
    again = landmark_datalist(challenge, datalist=path)
    assert again.classes == found.classes
    for split, items in found.items.items():
        for one, other in zip(items, again.items[split], strict=True):
            np.testing.assert_array_equal(one["points"], other["points"])
            assert {**one, "points": 0} == {**other, "points": 0}


def test_the_public_cephalograms_are_listed(public_data: Path) -> None:
    folder = public_data / "cephalometric19"
    if not folder.is_dir():
        pytest.skip("the public cephalograms are not there")
    found = landmark_datalist(folder)
    assert {split: len(items) for split, items in found.items.items()} == {"train": 127, "val": 23, "test": 127}
    assert (len(found.classes), found.classes[0], found.classes[-1]) == (19, "sella", "articulare")
    assert found.items["test"][0]["spacing"] == [0.468523, 0.46875]


def test_missing_landmarks_are_told_in_every_usual_way(tmp_path: Path) -> None:
    frame = table().astype(str)
    for row, values in enumerate(
        (("", ""), ("nan", "NaN"), ("NA", "n/a"), ("-1", "-1"), ("-1.0", "-1"), ("None", "-"))
    ):
        frame.loc[row, ["b_x", "b_y"]] = values
    write_table(tmp_path, frame)
    found = {one["sample_id"]: one["points"] for items in landmark_datalist(tmp_path).items.values() for one in items}
    missing = {name for name, marks in found.items() if math.isnan(marks[1][0]) and math.isnan(marks[1][1])}
    assert missing == {f"p/{row}.png" for row in range(6)}
    frame.loc[7, ["b_x", "b_y"]] = ("1_0", "2")
    write_table(tmp_path, frame)
    with pytest.raises(BadSampleError, match="'1_0' is no number"):
        landmark_datalist(tmp_path)
