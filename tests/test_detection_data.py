"""Detection data: Pascal VOC, tables of its files, COCO; boxes in one convention; every fault named with its place."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.apps.detection.transforms.dictionary import RandFlipBoxd
from monai.data import DataLoader
from monai.transforms import EnsureTyped, LoadImaged, ScaleIntensityRanged
from PIL import Image

from monai_robust.data import CheckedDataset, SimpleITKReader, detection_datalist, write_detection_datalist
from monai_robust.errors import BadInputError, BadSampleError
from monai_robust.transforms import BoxesToLabeld, ResizeBoxd

SIZE = (40, 30)
Objects = list[tuple[str, tuple[float, ...]]]
GOOD: Objects = [("RBC", (1, 3, 10, 12)), ("WBC", (20, 5, 40, 30))]


def write_picture(path: Path, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_xml(path: Path, objects: Objects, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    corners = ("xmin", "ymin", "xmax", "ymax")
    body = "".join(
        f"<object><name>{name}</name><bndbox>"
        + "".join(f"<{corner}>{value}</{corner}>" for corner, value in zip(corners, box, strict=True))
        + "</bndbox></object>\n"
        for name, box in objects
    )
    path.write_text(f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size>\n{body}</annotation>")


def voc(root: Path, *, sets: bool = True, **objects: Objects) -> Path:
    """Six pictures a to f, of which the first may have other objects; a to c for training, d and e, f."""
    for name in "abcdef":
        write_picture(root / "JPEGImages" / f"{name}.png")
        write_xml(root / "Annotations" / f"{name}.xml", objects.get(name, GOOD))
    for split, names in (("train", "abc"), ("val", "de"), ("test", "f")) if sets else ():
        path = root / "ImageSets" / "Main" / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{name}\n" for name in names))
    return root


def coco(root: Path, path: Path, names: str, **changes: Any) -> Path:
    """A COCO file of pictures with an RBC each; ``changes`` go into the first annotation."""
    images = [{"id": n, "file_name": f"{name}.png", "width": 40, "height": 30} for n, name in enumerate(names)]
    annotations = [{"id": n + 7, "image_id": n, "category_id": 2, "bbox": [0.5, 2, 9, 10]} for n in range(len(names))]
    annotations[0].update(changes)
    content = {"images": images, "annotations": annotations, "categories": [{"id": 2, "name": "RBC"}]}
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(json.dumps(content))
    return root / path


def by_name(found: Any) -> dict[str, dict[str, Any]]:
    return {Path(item["image"]).stem: item for items in found.items.values() for item in items}


def test_voc_counts_pixels_from_one_and_is_divided_by_its_lists(tmp_path):
    found = detection_datalist(voc(tmp_path))
    assert found.classes == ("RBC", "WBC")
    assert {split: len(items) for split, items in found.items.items()} == {"train": 3, "val": 2, "test": 1}
    assert by_name(found)["a"] == {
        "image": str(tmp_path / "JPEGImages" / "a.png"),
        "boxes": [[0, 2, 10, 12], [19, 4, 40, 30]],
        "classes": [0, 1],
        "sample_id": "JPEGImages/a.png",
        "patient_id": "JPEGImages/a.png",
    }
    assert found.skipped == []


def test_a_zero_anywhere_tells_that_the_data_set_counts_from_zero(tmp_path):
    found = detection_datalist(voc(tmp_path, d=[("RBC", (0, 3, 10, 12))]))
    assert by_name(found)["a"]["boxes"] == [[1, 3, 10, 12], [20, 5, 40, 30]]


def test_voc_without_lists_is_divided_by_a_seed(tmp_path):
    root = voc(tmp_path, sets=False)
    found = detection_datalist(root, seed=1, validation_fraction=0.2, test_fraction=0.2)
    assert all(found.items.values())
    assert len(by_name(found)) == 6
    again = detection_datalist(root, seed=1, validation_fraction=0.2, test_fraction=0.2)
    assert again == found


def test_a_table_of_files_keeps_its_splits_and_patients(tmp_path):
    for name in "abcdef":
        write_picture(tmp_path / "images" / f"{name}.jpg")
        write_xml(tmp_path / "annotations" / f"{name}.xml", GOOD)
    splits = ("training", "training", "training", "valid", "test", "other")
    rows = [f"images/{n}.jpg,annotations/{n}.xml,p{n},{s}\n" for n, s in zip("abcdef", splits, strict=True)]
    (tmp_path / "index.csv").write_text("image,annotation,patient_id,split\n" + "".join(rows))
    found = detection_datalist(tmp_path)
    patients = [[item["patient_id"] for item in items] for items in found.items.values()]
    assert patients == [["pa", "pb", "pc"], ["pd"], ["pe"]]


def test_pictures_without_an_annotation_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = voc(tmp_path)
    detection_datalist(root)
    assert "no annotation" not in caplog.text
    write_picture(root / "JPEGImages" / "smith.png")
    caplog.set_level("DEBUG", "monai_robust")
    detection_datalist(root)
    told = {one.levelname: one.getMessage() for one in caplog.records if "annotation" in one.getMessage()}
    assert told["WARNING"].startswith("1 files in")
    assert "smith" not in told["WARNING"]
    assert told["DEBUG"] == "without annotation: smith.png"


def test_a_pipe_as_data_list_is_called_one(tmp_path: Path) -> None:
    os.mkfifo(voc(tmp_path) / "a.json")
    with pytest.raises(BadInputError, match=r"a\.json is a pipe"):
        detection_datalist(tmp_path, datalist="a.json")


@pytest.mark.parametrize(
    ("file", "parts", "pictures"),
    [
        ("annotations/instances_{}.json", ["train2017", "val", "test"], ["train2017", "images/val", "images"]),
        ("{}/_annotations.coco.json", ["train", "valid", "test"], ["train", "valid", "test"]),
    ],
    ids=["official", "exported"],
)
def test_coco_files_are_found_with_their_pictures(tmp_path, file, parts, pictures):
    for part, folder, names in zip(parts, pictures, ("abc", "de", "f"), strict=True):
        for name in names:
            write_picture(tmp_path / folder / f"{name}.png")
        coco(tmp_path, Path(file.format(part)), names)
    found = detection_datalist(tmp_path)
    assert {split: len(items) for split, items in found.items.items()} == {"train": 3, "val": 2, "test": 1}
    assert by_name(found)["f"]["boxes"] == [[0.5, 2, 9.5, 12]]
    assert by_name(found)["f"]["sample_id"] == f"{pictures[2]}/f.png"


def test_a_coco_picture_without_annotations_is_no_fault_but_one_of_crowds_alone_is(tmp_path):
    for name in "abcdef":
        write_picture(tmp_path / "images" / f"{name}.png")
    path = coco(tmp_path, Path("labels.json"), "abcdef", iscrowd=1)
    shares = {"datalist": path.name, "validation_fraction": 0.2, "test_fraction": 0.2}
    content = json.loads(path.read_text())
    with pytest.raises(BadSampleError, match=r"images/a\.png: all of its 1 objects are crowds .*\(1 of 6"):
        detection_datalist(tmp_path, **shares)
    for choice in ("skip", "drop_boxes"):
        found = detection_datalist(tmp_path, **shares, on_bad_sample=choice)
        assert "a" not in by_name(found)
        assert [one["sample_id"] for one in found.skipped] == ["images/a.png"]
    single = {"id": 99, "image_id": 0, "category_id": 2, "bbox": [1, 2, 3, 4], "iscrowd": "0"}
    path.write_text(json.dumps({**content, "annotations": [*content["annotations"], single]}))
    found = detection_datalist(tmp_path, **shares)
    assert by_name(found)["a"]["boxes"] == [[1, 2, 4, 6]]
    assert "annotation 7 (RBC) is a crowd" in found.skipped[0]["reason"]
    path.write_text(json.dumps({**content, "annotations": content["annotations"][1:]}))
    found = detection_datalist(tmp_path, **shares)
    assert by_name(found)["a"]["boxes"] == []
    assert found.skipped == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": [3, 4, 0, 5]}, r"labels\.json, image images/a\.png: annotation 7 \(RBC\): bbox .* has no area"),
        ({"bbox": [35, 4, 9, 5]}, r"annotation 7 \(RBC\): box \[35, 4, 44, 9\]"),
        ({"bbox": "3, 4, 5, 6"}, r"annotation 7 \(RBC\): bbox is '3, 4, 5, 6'"),
        ({"category_id": 9}, "annotation 7: category 9 is not under categories"),
    ],
)
def test_a_bad_coco_annotation_is_named_with_its_picture(tmp_path, change, message):
    for name in "abcdef":
        write_picture(tmp_path / "images" / f"{name}.png")
    path = coco(tmp_path, Path("labels.json"), "abcdef", **change)
    with pytest.raises(BadSampleError, match=message):
        detection_datalist(tmp_path, datalist=path)


def test_a_written_list_is_read_again(tmp_path):
    root = voc(tmp_path / "set")
    found = detection_datalist(root)
    path = write_detection_datalist(found, root, tmp_path / "list.json")
    assert detection_datalist(root, datalist=path) == found


FAULTS: dict[str, tuple[Objects, str]] = {
    "outside": ([*GOOD, ("RBC", (30, 3, 45, 12))], r"a\.xml: object 3 \(RBC\): box \[29, 2, 45, 12\].*40 x 30"),
    "without area": ([*GOOD, ("RBC", (30, 3, 30, 12))], r"a\.xml: object 3 \(RBC\): box \[30, 3, 30, 12\] has no area"),
    "inverted": ([*GOOD, ("WBC", (30, 13, 35, 12))], r"a\.xml: object 3 \(WBC\): box .* is inverted"),
    "no number": ([*GOOD, ("WBC", ("x", 13, 35, 12))], r"a\.xml: object 3 \(WBC\): xmin is 'x', which is no number"),
    "unknown class": ([*GOOD, ("Rbc", (3, 3, 5, 5))], r"a\.xml: object 3 \(Rbc\): 'Rbc' is none of the classes"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_bad_box_is_named_and_left_out_as_asked(tmp_path, name, caplog):
    objects, message = FAULTS[name]
    root = voc(tmp_path, a=objects)
    classes = ["RBC", "WBC"]
    with pytest.raises(BadSampleError, match=message + r".*\(1 of 6 pictures"):
        detection_datalist(root, classes=classes)
    skipped = detection_datalist(root, classes=classes, on_bad_sample="skip")
    assert "a" not in by_name(skipped)
    assert [one["sample_id"] for one in skipped.skipped] == ["JPEGImages/a.png"]
    dropped = detection_datalist(root, classes=classes, on_bad_sample="drop_boxes")
    assert by_name(dropped)["a"]["boxes"] == by_name(dropped)["b"]["boxes"]
    assert dropped.skipped == skipped.skipped
    assert "left out 1 boxes or pictures" in caplog.text
    assert "a.xml" not in caplog.text
    assert str(tmp_path) not in caplog.text


def test_a_box_that_rounding_pushed_out_by_a_pixel_is_clipped(tmp_path):
    found = detection_datalist(voc(tmp_path, a=[("RBC", (30, 20, 41, 31)), ("WBC", (1, 1, 5, 5))]))
    assert by_name(found)["a"]["boxes"][0] == [29, 19, 40, 30]


def test_a_picture_of_which_no_box_is_left_is_left_out(tmp_path):
    found = detection_datalist(voc(tmp_path, a=[("RBC", (30, 3, 30, 12))]), on_bad_sample="drop_boxes")
    assert "a" not in by_name(found)


def test_an_annotation_without_objects_is_a_fault_unless_said_otherwise(tmp_path):
    root = voc(tmp_path, a=[])
    with pytest.raises(BadSampleError, match=r"a\.xml: it has no object; empty: keep"):
        detection_datalist(root)
    assert by_name(detection_datalist(root, empty="keep"))["a"]["boxes"] == []


def test_bad_pictures_and_files_are_named(tmp_path):
    root = voc(tmp_path)
    write_xml(root / "Annotations" / "a.xml", GOOD, size=(30, 40))
    (root / "JPEGImages" / "b.png").unlink()
    (root / "Annotations" / "c.xml").write_text("<annotation>\n<object>\n")
    (root / "JPEGImages" / "d.png").write_text("no picture")
    (root / "Annotations" / "e.xml").unlink()
    with pytest.raises(BadInputError, match="split 'train' is empty"):
        detection_datalist(root, on_bad_sample="drop_boxes")
    (root / "ImageSets" / "Main" / "train.txt").write_text("a\nb\nc\nd\ne\n")
    (root / "ImageSets" / "Main" / "val.txt").write_text("")
    with pytest.raises(BadSampleError, match=r"\(5 of 6 pictures have such faults"):
        detection_datalist(root)
    for name in "ghi":
        write_picture(root / "JPEGImages" / f"{name}.png")
        write_xml(root / "Annotations" / f"{name}.xml", GOOD)
    (root / "ImageSets" / "Main" / "train.txt").write_text("".join(f"{name}\n" for name in "abcde"))
    (root / "ImageSets" / "Main" / "val.txt").write_text("".join(f"{name}\n" for name in "ghi"))
    write_xml(root / "Annotations" / "j.xml", GOOD)
    write_picture(root / "JPEGImages" / "j.png")
    (root / "ImageSets" / "Main" / "train.txt").open("a").write("j\n")
    reasons = [one["reason"] for one in detection_datalist(root, on_bad_sample="skip").skipped]
    expected = ["(30, 40) pixels", "b is missing", "no XML", "damaged", "cannot be read (No such file"]
    assert all(text in reason for text, reason in zip(expected, reasons, strict=True)), reasons
    assert "line 3" in reasons[2]


def test_arguments_and_folders_that_cannot_work_are_refused(tmp_path):
    root = voc(tmp_path / "set")
    refused: list[tuple[dict[str, Any], str]] = [
        ({"on_bad_sample": "ignore"}, "on_bad_sample is 'ignore'"),
        ({"empty": "yes"}, "empty is 'yes'"),
        ({"limit": 0}, "limit is 0"),
        ({"fold": 5}, "fold is 5"),
        ({"validation_fraction": 1.5}, "validation_fraction is 1.5"),
        ({"classes": ["RBC", "RBC"]}, "more than once"),
        ({"classes": ["Rbc", "WBC"], "on_bad_sample": "drop_boxes"}, "no object in .* is of class 'Rbc'"),
        ({"datalist": "none.json"}, "there is no data list none.json"),
    ]
    for arguments, message in refused:
        with pytest.raises(BadInputError, match=message):
            detection_datalist(root, **arguments)
    with pytest.raises(BadInputError, match="no boxes found in"):
        detection_datalist(tmp_path)
    (root / "broken.json").write_text('{"images": [\n]')
    with pytest.raises(BadInputError, match=r"broken\.json is not valid JSON.*line 2"):
        detection_datalist(root, datalist="broken.json")
    (root / "ImageSets" / "Main" / "val.txt").write_text("d\ne\na\n")
    with pytest.raises(BadInputError, match=r"val\.txt, line 3: a is in the list of split 'train' too"):
        detection_datalist(root)


def test_limit_and_folds_keep_to_their_splits(tmp_path):
    root = voc(tmp_path)
    limited = detection_datalist(root, limit=1)
    assert [len(items) for items in limited.items.values()] == [1, 1, 1]
    folds = [detection_datalist(root, fold=fold, folds=5) for fold in range(5)]
    validated = [item["sample_id"] for found in folds for item in found.items["val"]]
    assert sorted(validated) == [f"JPEGImages/{name}.png" for name in "abcde"]


def test_colour_pictures_become_batches_of_inputs_and_labels(tmp_path):
    found = detection_datalist(voc(tmp_path))
    transform = [
        LoadImaged("image", reader=SimpleITKReader(color="keep"), ensure_channel_first=True),
        ScaleIntensityRanged("image", a_min=0, a_max=255, b_min=0, b_max=1, clip=True),
        ResizeBoxd((20, 15)),
    ]
    finishing = [BoxesToLabeld(max_boxes=4), EnsureTyped("image", dtype=torch.float32, track_meta=False)]
    flip = RandFlipBoxd(image_keys="image", box_keys="boxes", box_ref_image_keys="image", prob=1.0, spatial_axis=0)
    dataset = CheckedDataset(found.items["train"], transform, [flip, *finishing])
    batch = next(iter(DataLoader(dataset, batch_size=3)))
    assert batch["image"].shape == (3, 3, 20, 15)
    assert 0 <= batch["image"].min() < batch["image"].max() <= 1
    assert batch["label"][0, :2].tolist() == [[15, 1, 20, 6, 0], [0, 2, 10.5, 15, 1]]
    assert batch["sample_id"] == [item["sample_id"] for item in found.items["train"]]


@pytest.mark.real_data
def test_bccd_is_read_whole_but_for_its_two_boxes_without_area(public_data):
    with pytest.raises(BadSampleError, match=r"BloodImage_00338\.xml: object 13 \(RBC\).*2 of 364"):
        detection_datalist(public_data / "bccd")
    found = detection_datalist(public_data / "bccd", on_bad_sample="drop_boxes")
    assert {split: len(items) for split, items in found.items.items()} == {"train": 205, "val": 87, "test": 72}
    counts = Counter(found.classes[index] for item in by_name(found).values() for index in item["classes"])
    assert counts == {"RBC": 4153, "WBC": 372, "Platelets": 361}
    boxes = np.array([box for item in by_name(found).values() for box in item["boxes"]])
    assert boxes.min(axis=0)[:2].tolist() == [0, 0]
    assert boxes.max(axis=0)[2:].tolist() == [640, 480]
    assert len(found.skipped) == 2


def test_faults_of_one_picture_do_not_move_others_between_splits(tmp_path):
    flat: Objects = [*GOOD, ("RBC", (5, 5, 5, 5))]
    folder = voc(tmp_path, sets=False, b=flat)
    whole = detection_datalist(folder, on_bad_sample="drop_boxes").items
    fewer = detection_datalist(folder, on_bad_sample="skip").items
    sides = {item["sample_id"]: split for split, items in whole.items() for item in items}
    kept = {item["sample_id"]: split for split, items in fewer.items() for item in items}
    assert len(kept) == len(sides) - 1
    assert kept.items() <= sides.items()


def test_names_that_differ_in_case_alone_are_no_two_classes(tmp_path):
    folder = voc(tmp_path, c=[("rbc", (1, 3, 10, 12))])
    with pytest.raises(BadInputError, match="'RBC' and of class 'rbc'"):
        detection_datalist(folder)
    found = detection_datalist(folder, classes=["RBC", "WBC"], on_bad_sample="skip")
    assert [one["reason"].split(": ")[-1] for one in found.skipped]


def test_the_order_of_classes_survives_being_written(tmp_path):
    folder = voc(tmp_path / "data")
    found = detection_datalist(folder, classes=["WBC", "RBC"])
    again = detection_datalist(folder, datalist=write_detection_datalist(found, folder, tmp_path / "list.json"))
    assert again.classes == ("WBC", "RBC")
    assert by_name(again) == by_name(found)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_every_picture_has_three_colours_for_a_network_of_three(tmp_path, mode):
    Image.fromarray(np.full((6, 8, 3), 200, dtype=np.uint8)).convert(mode).save(tmp_path / "one.png")
    load = LoadImaged("image", reader=SimpleITKReader(color="rgb"), ensure_channel_first=True, image_only=True)
    loaded = load({"image": str(tmp_path / "one.png")})["image"]
    assert loaded.shape == (3, 8, 6)
    assert float(loaded.min()) == float(loaded.max()) == 200


def test_lists_of_voc_name_pictures_as_tools_write_them(tmp_path):
    root = voc(tmp_path)
    for old in "abcdef":
        for path in (root / "JPEGImages" / f"{old}.png", root / "Annotations" / f"{old}.xml"):
            path.rename(path.with_stem(f"Image {ord(old) - 96}"))
    main = root / "ImageSets" / "Main"
    main.joinpath("train.txt").write_text("Image 1\nImage 2  1\nImage 3.png\n\n")
    main.joinpath("val.txt").unlink()
    main.joinpath("valid.txt").write_bytes("JPEGImages/Image 4.png\r\nImage 5 -1\r\n".encode("utf-16"))
    main.joinpath("test.txt").write_text("Image 6")
    main.joinpath("RBC_train.txt").write_text("Image 6 -1\n")  # of one class: not asked
    found = detection_datalist(root)
    assert {split: len(items) for split, items in found.items.items()} == {"train": 3, "val": 2, "test": 1}


@pytest.mark.parametrize(
    ("lists", "sizes"),
    [
        ({"trainval": "abcde", "test": "f"}, (4, 1, 1)),
        ({"train": "abc", "trainval": "abcde", "test": "f"}, (3, 2, 1)),
        ({"train": "abc", "val": "de", "trainval": "abcde", "test": "f"}, (3, 2, 1)),
        ({"val": "de", "trainval": "abcde", "test": "f"}, (3, 2, 1)),
    ],
)
@pytest.mark.parametrize("layout", ["voc", "coco"])
def test_a_list_of_training_and_validation_is_divided(tmp_path, layout, lists, sizes):
    root = voc(tmp_path, sets=False)
    for split, names in lists.items():
        path = root / "ImageSets" / "Main" / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(names))
        if layout == "coco":
            coco(root, Path(f"annotations/instances_{split}2012.json"), names)
    if layout == "coco":
        (root / "JPEGImages").rename(root / "images")
        (root / "Annotations").rename(root / "annotations_of_voc")
    found = detection_datalist(root, validation_fraction=0.2)
    assert tuple(len(items) for items in found.items.values()) == sizes
    assert len(by_name(found)) == 6


def test_two_pictures_of_one_name_are_told_apart_by_the_annotation_or_refused(tmp_path):
    root = voc(tmp_path)
    Image.open(root / "JPEGImages" / "a.png").save(root / "JPEGImages" / "a.bmp")
    with pytest.raises(BadSampleError, match=r"a\.xml: pictures a\.bmp, a\.png are both named so"):
        detection_datalist(root)
    xml = root / "Annotations" / "a.xml"
    xml.write_text(xml.read_text().replace("<size>", "<filename>a.png</filename><size>"))
    assert by_name(detection_datalist(root))["a"]["image"].endswith("a.png")


@pytest.mark.parametrize("low", ["0", "0.25", "-0.5"])
def test_a_corner_below_one_tells_that_pixels_are_counted_from_zero(tmp_path, low):
    found = by_name(detection_datalist(voc(tmp_path, a=[("RBC", (low, "3.5", "10", "12"))])))
    assert found["a"]["boxes"] == [[max(float(low), 0), 3.5, 10, 12]]
    assert found["b"]["boxes"][0] == [1, 3, 10, 12]


def test_sizes_that_a_tool_does_not_know_are_no_fault(tmp_path):
    root = voc(tmp_path)
    for name, size in zip("abcd", ((0, 0), (-1, -1), ("", ""), ("nan", "40")), strict=True):
        write_xml(root / "Annotations" / f"{name}.xml", GOOD, size=size)
    (root / "Annotations" / "e.xml").write_text((root / "Annotations" / "e.xml").read_text().partition("</size>")[2])
    (root / "Annotations" / "e.xml").write_text("<annotation>" + (root / "Annotations" / "e.xml").read_text())
    assert len(by_name(detection_datalist(root))) == 6


def test_ids_are_texts_or_numbers_and_mean_the_same(tmp_path):
    for name in "abcdef":
        write_picture(tmp_path / "images" / f"{name}.png")
    path = coco(tmp_path, Path("labels.json"), "abcdef")
    expected = by_name(detection_datalist(tmp_path, datalist=path))
    content = json.loads(path.read_text())
    for one in content["annotations"]:
        one.update(image_id=str(one["image_id"]), category_id=float(one["category_id"]))
    content["categories"][0]["id"] = "2"
    path.write_text(json.dumps(content))
    assert by_name(detection_datalist(tmp_path, datalist=path)) == expected
    content["images"][1]["id"] = "0"
    path.write_text(json.dumps(content))
    with pytest.raises(BadInputError, match=r"labels\.json: two images have the id 0"):
        detection_datalist(tmp_path, datalist=path)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("iscrowd", "maybe", 'annotation 7 .* iscrowd is "maybe"; it can be 0 or 1'),
        ("iscrowd", [1], r"annotation 7 .* iscrowd is \[1\]"),
        ("bbox", [True, 1, 2, 3], "annotation 7 .* bbox is"),
        ("bbox", [1e300, 1, 2, 3], "annotation 7 .* is not inside"),
        ("category_id", [2], r"annotation 7: category \[2\] is not under categories"),
        ("image_id", {}, r"'image_id' of the annotation is \{\}; it needs a number or a text"),
        ("image_id", None, "'image_id' of the annotation is null"),
    ],
)
def test_a_wrong_value_of_an_annotation_is_named(tmp_path, place, value, message):
    for name in "abcdef":
        write_picture(tmp_path / "images" / f"{name}.png")
    path = coco(tmp_path, Path("labels.json"), "abcdef", **{place: value})
    with pytest.raises(BadInputError, match=message):
        detection_datalist(tmp_path, datalist=path)


def test_a_large_coco_file_is_read_in_seconds(tmp_path):
    for name in "abcdef":
        write_picture(tmp_path / "images" / f"{name}.png")
    path = coco(tmp_path, Path("labels.json"), "abcdef")
    content = json.loads(path.read_text())
    content["annotations"] = [{**content["annotations"][0], "id": n, "image_id": n % 6} for n in range(6_000)]
    path.write_text(json.dumps(content))
    begin = time.process_time()
    found = detection_datalist(tmp_path, datalist=path)
    assert sum(len(item["boxes"]) for item in by_name(found).values()) == 6_000
    assert time.process_time() - begin < 8  # less than one on a quiet machine; quadratic steps would take minutes
