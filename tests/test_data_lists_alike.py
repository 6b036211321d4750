"""What the data lists of all four tasks do alike: spellings, encodings, hidden files, wrong entries and wrong files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from data_list_tasks import (
    EXPECTED,
    XML,
    Classification,
    Detection,
    Landmarks,
    Segmentation,
    Task,
    divided,
    names,
    picture,
    table,
    tasks,
)

from monai_robust.bundles import other_site
from monai_robust.data import (
    classification_datalist,
    detection_datalist,
    images_below,
    landmark_datalist,
    segmentation_datalist,
    volumes_below,
)
from monai_robust.data.files.xml_text import read_xml
from monai_robust.data.lists.listed import finite_number, list_table, listed_file
from monai_robust.data.lists.split_names import split_of, split_of_file, without_trainval
from monai_robust.errors import BadInputError


@tasks
@pytest.mark.parametrize("form", ["table", "json"])
def test_splits_may_be_spelt_in_every_usual_way(tmp_path: Path, task: type[Task], form: str) -> None:
    for splits in (
        ("train", "val", "test"),
        ("Training", "Validation", "Testing"),
        (" TRAIN", "valid ", "test_set"),
        ("train2017", "val2017", "test2017"),
        ("Training Set", "Validation-Data", "Test images"),
    ):
        one = task(tmp_path)
        path, content = getattr(one, form)(splits)
        path.write_text(table(content) if form == "table" else json.dumps(content))
        assert divided(one.found(path)) == EXPECTED, splits


@tasks
@pytest.mark.parametrize("form", ["table", "json"])
def test_byte_order_marks_and_windows_line_ends_are_read(tmp_path: Path, task: type[Task], form: str) -> None:
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le"):
        one = task(tmp_path)
        path, content = getattr(one, form)(("train", "val", "test"))
        text = table(content) if form == "table" else json.dumps(content)
        mark = b"\xff\xfe" if encoding == "utf-16-le" else b""
        path.write_bytes(mark + text.replace("\n", "\r\n").replace("\r\r", "\r").encode(encoding))
        assert divided(one.found(path)) == EXPECTED, encoding


@tasks
def test_spreadsheets_tables_are_read(tmp_path: Path, task: type[Task]) -> None:
    one = task(tmp_path)
    path, rows = one.table(("train", "val", "test"))
    for delimiter in ";\t":
        text = table(rows, delimiter).replace("1.5", "1,5").replace("2.25", "2,25")
        for first in ("", f"sep={delimiter}\n"):
            path.write_text(first + text + delimiter * (len(rows[0]) - 1) + "\n")
            found = one.found(path)
            assert divided(found) == EXPECTED
            if task is Landmarks:
                assert found.items["train"][0]["points"] == [[1.5, 2.25]]
    spelt = [
        {f" {name.title()} " if "_" not in name else name: f" {cell} " for name, cell in row.items()} for row in rows
    ]
    path.write_text(table(spelt))
    assert divided(one.found(path)) == EXPECTED


def sites(one: Task, splits: tuple[str, str, str] = ("train", "val", "test")) -> Path:
    """The table with a column ``site``, north for every other sample."""
    path, rows = one.table(splits)
    path.write_text(table([{**row, "site": ("north", "south")[place % 2]} for place, row in enumerate(rows)]))
    return path


@tasks
def test_columns_to_group_by_are_handed_on(tmp_path: Path, task: type[Task]) -> None:
    one = task(tmp_path)
    path = sites(one)
    found = one.found(path, groups=["site"])
    assert divided(found) == EXPECTED
    for item in (item for items in found.items.values() for item in items):
        number = int(Path(item["image"]).name[2:4])
        assert item["site"] == ("north", "south")[number % 2]
    with pytest.raises(BadInputError, match=r"has no column 'ward' to group by; it has .*site"):
        one.found(path, groups=["ward"])


@tasks
def test_of_another_site_all_samples_are_for_test(tmp_path: Path, task: type[Task]) -> None:
    one = task(tmp_path)
    for splits in (("train", "val", "test"), ("train", "train", "train"), ("", "", "")):
        found = one.found(sites(one, splits), groups=["ward", "site"], undivided=True)
        assert divided(found) == {"train": [], "val": [], "test": [name for name, _ in names()]}
        assert {item["site"] for item in found.items["test"]} == {"north", "south"}
        assert "ward" not in found.items["test"][0]


def test_keys_of_coco_images_are_columns_to_group_by(tmp_path: Path) -> None:
    one = Detection(tmp_path)
    path, content = one.json(("train", "val", "test"))
    for image in content["images"]:
        image["scanner"] = image["id"] % 2
    path.write_text(json.dumps(content))
    found = one.found(path, groups=["scanner"])
    assert {item["scanner"] for item in found.items["train"]} == {"0", "1"}


@pytest.mark.parametrize(
    ("task", "classes", "told"),
    [
        (Classification, ["a", "c"], "label 'b' in the data list is none of the classes a, c"),
        (Detection, ["WBC"], "no object in .* is of class 'WBC'; the names there are RBC"),
    ],
)
def test_classes_of_another_site_that_do_not_fit_are_named(
    tmp_path: Path, task: type[Task], classes: list[str], told: str
) -> None:
    one = task(tmp_path)
    with pytest.raises(BadInputError, match=told):
        one.found(sites(one), classes=classes, undivided=True)


def test_boxes_of_a_further_class_are_not_dropped_unseen(tmp_path: Path) -> None:
    one = Detection(tmp_path)
    path = sites(one)
    (tmp_path / "x" / "s 03.xml").write_text(XML.replace("RBC", "WBC"))
    assert len(one.found(path, classes=["RBC", "WBC"], undivided=True).items["test"]) == 12
    with pytest.raises(BadInputError, match="has boxes of the class 'WBC', which is none of RBC"):
        one.found(path, classes=["RBC"], on_bad_sample="drop_boxes", undivided=True)


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        (("tail", "head"), "their order differs"),
        (("head",), "'tail' is not there"),
        (("head", "body"), "'body' is unknown to the network"),
    ],
)
def test_another_site_has_the_networks_own_classes(tmp_path: Path, classes: tuple[str, ...], told: str) -> None:
    data = SimpleNamespace(classes=classes, items={"test": [{"image": "b.png", "case_id": "1"}]})
    with pytest.raises(BadInputError, match=rf"site_b have the classes .* trained on head, tail: {told}"):
        other_site("site_b", data, ["head", "tail"], {})


KEYS = ("training", "images", "annotations", "categories", "modality", "labels", "names")
NO_JSON = {
    "empty": "",
    "cut off": '{"training": [{"image": "a',
    "null": "null",
    "a list": "[1, 2]",
    "a text": '"x"',
    "deep": "[" * 100_000 + "]" * 100_000,
    "deep object": '{"images": ' * 2000 + "1" + "}" * 2000,
    "huge number": '{"images": ' + "9" * 5000 + "}",
    "not a number": '{"training": [{"image": NaN, "label": NaN}], "images": NaN, "names": NaN, "modality": NaN}',
    "two names": '{"training": [], "training": [], "images": [], "images": []}',
    "binary": "\0\0\0",
    "nulls": json.dumps(dict.fromkeys(KEYS)),
    "texts": json.dumps(dict.fromkeys(KEYS, "x")),
    "numbers": json.dumps({key: [3] for key in KEYS}),
    "lists": json.dumps({key: [[[]]] for key in KEYS}),
    "objects": json.dumps({key: [{"id": []}] for key in KEYS}),
}


def refused(run: Callable[[], Any], file: Path) -> str:
    with pytest.raises(BadInputError) as caught:
        run()
    message = str(caught.value)
    assert "\n" not in message
    assert file.name in message
    assert len(message) < 600
    return message


@tasks
def test_a_json_file_that_is_none_is_refused_in_a_sentence_with_its_name(tmp_path: Path, task: type[Task]) -> None:
    one = task(tmp_path)
    path, _ = one.json(("train", "val", "test"))
    for what, text in NO_JSON.items():
        if task is Landmarks and what == "nulls":  # which says as much as no names at all
            continue
        path.write_text(text)
        refused(lambda: one.found(path), path)
    path.unlink()
    os.mkfifo(path)
    if task in (Landmarks, Segmentation):  # the others are told of it before, as of a file that is not there
        refused(lambda: one.found(path), path)


@tasks
def test_wrong_values_anywhere_in_a_json_list_are_refused_in_a_sentence(tmp_path: Path, task: type[Task]) -> None:
    """Whatever stands in whichever place: an answer, or one sentence with the file's name."""
    one = task(tmp_path)
    path, content = one.json(("train", "val", "test"))
    values: tuple[Any, ...] = (None, [], {}, "", -1, 10**17, 1e300, True, [[1, 2]], {"id": {}}, ["a", "b"])
    for place in places(content):
        for value in values:
            path.write_text(json.dumps(changed(content, place, value)))
            message = what_is_said(lambda: one.found(path))
            assert not message or ("\n" not in message and str(tmp_path) in message), (place, value, message)


def what_is_said(run: Callable[[], Any]) -> str:
    try:
        run()
    except BadInputError as error:
        return str(error)
    return ""


def places(content: Any, first: bool = True) -> list[tuple[Any, ...]]:
    """Of lists the first entry alone."""
    parts = (
        content.items()
        if isinstance(content, dict)
        else list(enumerate(content))[:1]
        if isinstance(content, list)
        else ()
    )
    return [one for key, part in parts for one in ((key,), *((key, *more) for more in places(part)))]


def changed(content: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    copy = content.copy()
    copy[place[0]] = changed(content[place[0]], place[1:], value)
    return copy


NO_TABLE = {
    "empty": b"",
    "binary": b"\x89PNG\r\n\x1a\n\0\0",
    "latin 1": "file,label\nM\xfcller.png,a\n".encode("latin-1"),
    "another table": b"x,y\n1,2\n",
    "only a heading": b"",
    "cut off": b"",
    "too many cells": b"",
    "a quote that is not closed": b"",
    "two columns of one name": b"",
}


@tasks
def test_a_table_that_is_none_is_refused_in_a_sentence_with_its_name(tmp_path: Path, task: type[Task]) -> None:
    one = task(tmp_path)
    path, rows = one.table(("train", "val", "test"))
    text = table(rows)
    NO_TABLE.update(
        {
            "only a heading": text.splitlines()[0].encode(),
            "cut off": text[: text.rindex(",")].encode(),
            "too many cells": text.replace("train", "train,x,y", 1).encode(),
            "a quote that is not closed": text.replace("\n", '\n"', 1).encode(),
            "two columns of one name": text.replace("split", next(iter(rows[0])), 1).encode(),
        }
    )
    for what, content in NO_TABLE.items():
        path.write_bytes(content)
        assert refused(lambda: one.found(path), path), what


@tasks
def test_entries_without_a_file_are_refused_by_name(tmp_path: Path, task: type[Task]) -> None:
    one = task(tmp_path)
    path, rows = one.table(("train", "val", "test"))
    path.write_text(table(rows))
    evaluated = next(iter(sorted(tmp_path.rglob("s 03*"))))
    evaluated.unlink()
    assert "s 03" in refused(lambda: one.found(path), evaluated)


@pytest.mark.parametrize("task", [Classification, Detection, Segmentation])
def test_an_image_in_several_files_is_refused_and_in_a_list_of_one_taken(tmp_path: Path, task: type[Task]) -> None:
    one = task(tmp_path)
    path, content = one.json(("train", "val", "test"))
    entries, key = (content["images"], "file_name") if task is Detection else (content["train"], "image")
    own = entries[0][key]
    entries[0][key] = [own]
    path.write_text(json.dumps(content))
    assert divided(one.found(path)) == EXPECTED
    entries[0][key] = [own, own]
    path.write_text(json.dumps(content))
    assert "names 2 files for one image" in refused(lambda: one.found(path), path)


def test_backslashes_of_windows_are_slashes(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "b.png")
    assert listed_file(tmp_path, "a\\b.png", "here") == tmp_path / "a" / "b.png"
    for wrong in ("", " ", None, 3, "a\0b", [], {}):
        with pytest.raises(BadInputError, match="needs the name of a file"):
            listed_file(tmp_path, wrong, "here")


def litter(root: Path) -> None:
    """What systems and archives leave in every folder."""
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        files = [path.name for path in folder.iterdir() if path.is_file()][:2]
        for name in (".DS_Store", "Thumbs.db", "desktop.ini", *(f"._{file}" for file in files)):
            (folder / name).write_bytes(b"\0\5\x16\7")
        for hidden in ("__MACOSX", ".cache", "@eaDir"):
            for name in ("._x.png", "x.png", "x.xml", "x.txt", "x.nii.gz", "x.dcm"):
                (folder / hidden).mkdir(exist_ok=True)
                (folder / hidden / name).write_bytes(b"\0\5\x16\7")


def class_folders(root: Path) -> Callable[[], Any]:
    for number in range(12):
        picture(root / "ab"[number % 2] / f"{number}.png")
    return lambda: classification_datalist(root)


def split_folders(root: Path) -> Callable[[], Any]:
    for number in range(12):
        picture(root / ("Train", "valid", "test")[number // 2 % 3] / "ab"[number % 2] / f"{number}.png")
    return lambda: classification_datalist(root)


def voc(root: Path) -> Callable[[], Any]:
    for number in range(12):
        picture(root / "JPEGImages" / f"{number}.png")
        (root / "Annotations").mkdir(exist_ok=True)
        (root / "Annotations" / f"{number}.xml").write_text(XML)
    return lambda: detection_datalist(root)


def exported_coco(root: Path) -> Callable[[], Any]:
    one = Detection(root)
    _, content = one.json(("train", "val", "test"))
    for split in ("train", "valid", "test"):
        images = [image for image in content["images"] if split.startswith(image["split"])]
        ids = {image["id"] for image in images}
        annotations = [mark for mark in content["annotations"] if mark["image_id"] in ids]
        (root / split).mkdir()
        (root / split / "_annotations.coco.json").write_text(
            json.dumps({**content, "images": images, "annotations": annotations})
        )
    return lambda: detection_datalist(root)


def challenge(root: Path) -> Callable[[], Any]:
    for number in range(12):
        picture(root / "RawImage" / ("TrainingData", "Test1Data")[number // 9] / f"{number:03d}.png")
        text = root / "AnnotationsByMD" / "400_senior" / f"{number:03d}.txt"
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text("1,2\n3,4\n")
    return lambda: landmark_datalist(root)


def volumes(root: Path) -> Callable[[], Any]:
    for name in ("a.nii.gz", "b/c.NII.GZ", "d.nrrd"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
    return lambda: volumes_below(root)


def images(root: Path) -> Callable[[], Any]:
    for name in ("a.png", "b/c.png", "d"):
        picture(root / "a.png")
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
    return lambda: images_below(root)


FOLDERS = (class_folders, split_folders, voc, exported_coco, challenge, volumes, images)


@pytest.mark.parametrize("make", FOLDERS, ids=[one.__name__ for one in FOLDERS])
def test_what_systems_leave_in_folders_changes_nothing(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    run = make(tmp_path)
    before = run()
    litter(tmp_path)
    assert run() == before


def test_names_of_splits_mean_one_of_three_or_nothing() -> None:
    for name in ("trains", "value", "testament", "", "holdout", "1", "fold1", "test1", "validity", "contest"):
        assert split_of(name) == "", name
    for name in ("train+val", "trainval", "TrainVal2012", "train_val"):
        assert split_of(name) == "trainval", name
    for name, split in (("train_cells", "train"), ("trainval2017", "trainval"), ("value", ""), ("val-v2", "val")):
        assert split_of_file(name) == split, name


def test_trainval_is_divided_by_what_the_other_lists_say() -> None:
    assert without_trainval("abc", ["trainval", "trainval", "test"]) == ["train", "train", "test"]
    assert without_trainval("aab", ["train", "trainval", "trainval"]) == ["train", None, "val"]
    assert without_trainval("aabc", ["val", "trainval", "trainval", "train"]) == ["val", None, "train", "train"]


def test_numbers_are_numbers_alone() -> None:
    assert [finite_number(value) for value in ("1.5", " -2 ", 3, 2.5, "1e3")] == [1.5, -2, 3, 2.5, 1000]
    for value in (True, None, [1], "1_0", "1,5", "inf", "nan", float("nan"), 10**400, "0x1", "", "1e999", {}):
        assert finite_number(value) is None, value


def test_a_column_that_pandas_wrote_as_its_index_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(",File,Label\n0,x.png,a\n\n1,y.png,b\n")
    found = list_table(tmp_path / "a.csv")
    assert found.to_dict("list") == {"image": ["x.png", "y.png"], "Label": ["a", "b"]} or list(found) == [
        "image",
        "label",
    ]
    assert list(found.index) == [2, 4]


NO_XML = {
    "entities": '<!DOCTYPE a [<!ENTITY b "xxxxxxxx"><!ENTITY c "&b;&b;&b;">]><annotation>&c;</annotation>',
    "another file": '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation>&b;</annotation>',
    "deep": "<a>" * 200_000 + "</a>" * 200_000,
    "cut off": XML[:60],
    "no text": "\0\0\0",
    "empty": "",
    "unknown encoding": '<?xml version="1.0" encoding="klingon"?><annotation/>',
    "large": f"<annotation>{' ' * (17 * 2**20)}</annotation>",
}


@pytest.mark.parametrize("what", NO_XML)
def test_xml_that_is_none_or_does_harm_is_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "a.xml"
    path.write_text(NO_XML[what])
    with pytest.raises(BadInputError) as caught:
        read_xml(path)
    assert "\n" not in str(caught.value)


def test_xml_with_a_mark_or_in_utf_16_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    for encoding in ("utf-8-sig", "utf-16"):
        path.write_bytes(XML.encode(encoding))
        assert read_xml(path).findtext("object/bndbox/xmax") == "7"


LISTS = {
    Classification: classification_datalist,
    Detection: detection_datalist,
    Landmarks: landmark_datalist,
    Segmentation: segmentation_datalist,
}


@tasks
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"limit": 0}, "limit is 0; it can be a whole number from 1 on"),
        ({"seed": 1.5}, "seed is 1.5; it can be a whole number from 0 on"),
        ({"seed": -1}, "seed is -1; it can be a whole number from 0 on"),
        ({"fold": 1.5}, "fold is 1.5; it can be a whole number from 0 on"),
        ({"limit": True}, "limit is True"),
        ({"limit": 2.5}, r"limit is 2\.5"),
        ({"validation_fraction": 0}, "validation_fraction is 0 and test_fraction 0.2; both must be above 0"),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, "leave something to train on"),
    ],
)
def test_a_share_or_a_limit_that_cannot_be_is_refused(
    tmp_path: Path, task: type[Task], arguments: dict[str, Any], told: str
) -> None:
    with pytest.raises(BadInputError, match=told):
        LISTS[task](tmp_path, **arguments)
    with pytest.raises(BadInputError, match=r"there is no data set folder .*gone"):
        LISTS[task](tmp_path / "gone", **arguments)


@tasks
def test_rows_of_other_splits_are_left_out_with_a_word(
    tmp_path: Path, task: type[Task], caplog: pytest.LogCaptureFixture
) -> None:
    one = task(tmp_path)
    path, rows = one.table(("train", "val", "test"))
    path.write_text(table([*rows[:-1], {**rows[-1], "split": "holdout"}]))
    found = divided(one.found(path))
    assert found == {**EXPECTED, "test": EXPECTED["test"][:-1]}
    assert any("left out" in line and "holdout" in line for line in caplog.messages)


@tasks
def test_an_empty_split_is_named(tmp_path: Path, task: type[Task]) -> None:
    one = task(tmp_path)
    path, rows = one.table(("train", "val", "test"))
    path.write_text(table([{**row, "split": "test" if row["split"] == "train" else row["split"]} for row in rows]))
    with pytest.raises(BadInputError, match=r"split 'train' is empty: 12 (samples|pictures|cases) are too few, or"):
        one.found(path)


@tasks
def test_columns_with_neither_name_nor_value_are_left_out(tmp_path: Path, task: type[Task]) -> None:
    one = task(tmp_path)
    path, rows = one.table(("train", "val", "test"))
    path.write_text("".join(f"{line};;\n" for line in table(rows, ";").splitlines()))
    assert divided(one.found(path)) == EXPECTED
    path.write_text(path.read_text().replace(";;\n", ";x;x\n").replace(";x;x", ";;", 1))
    assert "two columns ''" in refused(lambda: one.found(path), path)


def test_an_object_called_nothing_is_refused_unless_it_is_declared(tmp_path: Path) -> None:
    one = Detection(tmp_path)
    path, rows = one.table(("train", "val", "test"))
    path.write_text(table(rows))
    for xml in (tmp_path / "x").iterdir():
        xml.write_text(XML.replace("RBC", "unknown"))
    with pytest.raises(BadInputError, match="has the label 'unknown', which often stands for none"):
        one.found(path)
    assert one.found(path, classes=["unknown"]).classes == ("unknown",)
