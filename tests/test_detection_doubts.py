"""Detection data that cannot be meant as it stands: shares for pixels, turned boxes, objects twice, other pictures."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from monai_robust.data import detection_datalist
from monai_robust.errors import BadInputError, BadSampleError

SIZE = (40, 30)
EXIF_ORIENTATION = 0x0112


def write_picture(path: Path, orientation: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    Image.fromarray(np.arange(1200, dtype=np.uint8).reshape(30, 40)).save(path, exif=exif)
    return path


def box(corners: tuple[float, ...] = (5, 6, 15, 18), name: str = "RBC") -> str:
    sides = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    return f"<name>{name}</name><bndbox>{''.join(f'<{side}>{value}</{side}>' for side, value in sides)}</bndbox>"


def voc(root: Path, count: int = 8, **objects: str) -> Path:
    """Pictures and XML files ``im0``, ``im1``, ..., of which some have other objects."""
    for number in range(count):
        name = f"im{number}"
        write_picture(root / "JPEGImages" / f"{name}.png")
        xml = root / "Annotations" / f"{name}.xml"
        xml.parent.mkdir(exist_ok=True)
        size = "<size><width>40</width><height>30</height></size>"
        xml.write_text(f"<annotation>{size}<object>{objects.get(name, box())}</object></annotation>")
    return root


def annotation(number: int, **more: Any) -> dict[str, Any]:
    return {"id": number, "image_id": number % 8, "category_id": 1, "bbox": [5, 6, 10, 12], **more}


def coco(root: Path, annotations: list[dict[str, Any]], orientation: int = 1, **image: Any) -> Path:
    """A COCO file of eight pictures; ``image`` goes into the entry of each."""
    for number in range(8):
        write_picture(root / "train" / f"im{number}.png", orientation)
    images = [{"id": number, "file_name": f"im{number}.png", **image} for number in range(8)]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "RBC"}]}
    (root / "train" / "_annotations.coco.json").write_text(json.dumps(content))
    return root


def boxes(found: Any) -> dict[str, list[list[float]]]:
    return {Path(item["image"]).stem: item["boxes"] for items in found.items.values() for item in items}


def test_boxes_in_shares_of_the_picture_are_refused(tmp_path: Path) -> None:
    shares = [annotation(number, bbox=[0.9, 0.1, 0.3, 0.25]) for number in range(8)]
    with pytest.raises(BadInputError, match=r"all 8 boxes of .* lie within one pixel, as shares of width"):
        detection_datalist(coco(tmp_path / "coco", shares))
    corners = {f"im{number}": box((0.1, 0.1, 0.4, 0.35)) for number in range(8)}
    with pytest.raises(BadInputError, match=r"all 8 boxes of .* lie within one pixel"):
        detection_datalist(voc(tmp_path / "voc", **corners))
    shares[0] = annotation(0)
    assert boxes(detection_datalist(coco(tmp_path / "coco", shares)))["im0"] == [[5, 6, 15, 18]]


@pytest.mark.parametrize("angle", [45, 90.0, "-30"])
def test_a_turned_box_of_a_coco_file_is_bad(tmp_path: Path, angle: Any) -> None:
    turned = [annotation(number, attributes={"rotation": angle if number == 3 else 0.0}) for number in range(8)]
    root = coco(tmp_path, turned)
    with pytest.raises(BadSampleError, match=rf"annotation 3 \(RBC\): it is turned by {float(angle):g} degrees"):
        detection_datalist(root)
    assert "im3" not in boxes(detection_datalist(root, on_bad_sample="skip"))


def test_boxes_and_ids_that_occur_twice_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    twice = [*(annotation(number) for number in range(8)), annotation(9, image_id=1), annotation(7, bbox=[1, 1, 5, 5])]
    found = detection_datalist(coco(tmp_path / "coco", twice))
    assert boxes(found)["im1"] == [[5, 6, 15, 18], [5, 6, 15, 18]]
    assert [said.replace(str(tmp_path), "") for said in caplog.messages] == [
        "/coco/train/_annotations.coco.json: 1 ids of annotations occur more than once; all annotations are used",
        "1 boxes in 1 pictures of /coco repeat a box of the same class exactly, and count as objects of their own",
    ]
    caplog.clear()
    detection_datalist(voc(tmp_path / "voc", im2=f"{box()}</object><object>{box()}"))
    assert any(said.startswith("1 boxes in 1 pictures") for said in caplog.messages)


def test_what_is_to_be_ignored_is_left_out_like_a_crowd(tmp_path: Path) -> None:
    ignored = [*(annotation(number) for number in range(8)), annotation(8, ignore=1, bbox=[1, 1, 5, 5])]
    found = detection_datalist(coco(tmp_path, ignored))
    assert boxes(found)["im0"] == [[5, 6, 15, 18]]
    (left_out,) = found.skipped
    assert left_out["reason"].endswith("annotation 8 (RBC) is to be ignored (ignore)")


def test_pictures_beside_a_coco_file_that_it_does_not_list_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = coco(tmp_path, [annotation(number) for number in range(8)])
    detection_datalist(root)
    assert not caplog.messages
    write_picture(root / "train" / "other.png")
    detection_datalist(root)
    detection_datalist(root, datalist=root / "train" / "_annotations.coco.json")
    assert [said.partition(" of ")[0] for said in caplog.messages] == ["1 pictures"] * 2


def test_an_object_of_two_boxes_is_bad(tmp_path: Path) -> None:
    root = voc(tmp_path, im1=box() + box((1, 1, 9, 9)).partition("</name>")[2])
    with pytest.raises(BadSampleError, match=r"im1\.xml: object 1 \(RBC\): it has 2 boxes \(bndbox\); give each"):
        detection_datalist(root)


def test_an_annotation_that_names_another_picture_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = voc(tmp_path)
    for name, other in (("im1", "im2.png"), ("im2", "IM2.JPG"), ("im3", "C:\\data\\im3.png")):
        xml = root / "Annotations" / f"{name}.xml"
        xml.write_text(xml.read_text().replace("<size>", f"<filename>{other}</filename><size>"))
    assert len(boxes(detection_datalist(root))) == 8
    (said,) = caplog.messages
    assert said.startswith(f"1 annotations of {root} name another picture as <filename>")


def test_from_what_boxes_are_counted_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        detection_datalist(voc(tmp_path / "one"))
        detection_datalist(voc(tmp_path / "zero", im3=box((0, 6, 15, 18))))
        assert not [one for one in caplog.records if one.levelno > logging.INFO]
        detection_datalist(voc(tmp_path / "both", im3=box((0, 6, 15, 18)), im4=box((5, 6, 40, 18))))
    said = [one.replace(str(tmp_path), "") for one in caplog.messages if "counted from" in one]
    assert said[0] == "boxes of /one are taken as counted from 1 (no corner is below 1), and the last included"
    assert said[1].startswith("boxes of /zero are taken as counted from 0")
    assert said[3].startswith("1 boxes of /both begin below 1")
    assert "1 end at the picture's width or height" in said[3]


def test_ends_of_names_in_capitals_are_read(tmp_path: Path) -> None:
    root = voc(tmp_path)
    for xml in (root / "Annotations").iterdir():
        xml.rename(xml.with_suffix(".XML"))
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for split, names in (("train", "01235"), ("val", "4"), ("test", "67")):
        text = "".join(f"im{name}\n" for name in names)
        (root / "ImageSets" / "Main" / f"{split}.TXT").write_text(text)
    found = detection_datalist(root)
    assert {split: len(items) for split, items in found.items.items()} == {"train": 5, "val": 1, "test": 2}
    (root / "Annotations" / "im0.xml").write_text((root / "Annotations" / "im0.XML").read_text())
    with pytest.raises(BadInputError, match=r"im0\.XML and .*im0\.xml are of one picture; keep one"):
        detection_datalist(root)


@pytest.mark.parametrize(
    ("orientation", "size", "told"),
    [
        (1, {}, False),
        (3, {}, True),
        (3, {"width": 40, "height": 30}, True),
        (6, {}, True),
        (6, {"width": 30, "height": 40}, False),
    ],
)
def test_boxes_of_pictures_that_exif_turns_are_told_of_where_nobody_says_what_they_are_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, orientation: int, size: dict[str, int], told: bool
) -> None:
    detection_datalist(coco(tmp_path, [annotation(number) for number in range(8)], orientation, **size))
    assert [said.partition(" by ")[0] for said in caplog.messages] == ["8 pictures are turned or mirrored"] * told


def test_a_size_of_stored_pixels_is_refused_with_the_reason(tmp_path: Path) -> None:
    root = coco(tmp_path, [annotation(number) for number in range(8)], 6, width=40, height=30)
    with pytest.raises(BadSampleError, match=r"has \(30, 40\), upright as its EXIF orientation has it"):
        detection_datalist(root)
