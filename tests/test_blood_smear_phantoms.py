"""Phantom blood smears: a valid VOC folder, cells where the boxes say, variety, the same bytes again."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from monai_robust.data import DetectionDatalist, detection_datalist, phantom_blood_smears, write_blood_smear_phantoms
from monai_robust.errors import BadInputError

IMAGES = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blood_smear_phantoms(tmp_path_factory.mktemp("phantoms") / "set", images=IMAGES)


@pytest.fixture(scope="module")
def found(folder: Path) -> DetectionDatalist:
    return detection_datalist(folder)


def items(found: DetectionDatalist) -> list[dict]:
    return [item for split in found.items.values() for item in split]


def light(path: str) -> NDArray[np.float64]:
    """(X, Y, 3) in [0, 1], divided by the background's colour."""
    pixels = np.asarray(Image.open(path)).transpose(1, 0, 2) / 255
    return pixels / np.quantile(pixels, 0.9, axis=(0, 1))


def checksum(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_folder_is_read_without_a_fault(found):
    assert found.classes == ("Platelets", "RBC", "WBC")
    assert {split: len(part) for split, part in found.items.items()} == {"train": 18, "val": 4, "test": 8}
    assert found.skipped == []


def test_numbers_of_cells_are_as_described(found):
    counts = np.array([[item["classes"].count(index) for index in range(3)] for item in items(found)])
    platelets, red, white = counts.T
    assert set(platelets) == {0, 1, 2, 3}
    assert red.min() >= 6
    assert red.max() <= 15
    assert set(white) == {0, 1, 2}


def test_boxes_hold_what_absorbs_light(found):
    """Nearly all dark pixels are in a box, and nearly every row and column at a box's border holds some of the cell."""
    inside, outside, edges = [], [], []
    for item in items(found):
        green = light(item["image"])[..., 1]
        covered = np.zeros(green.shape, dtype=bool)
        for box in item["boxes"]:
            xmin, ymin, xmax, ymax = map(int, box)
            covered[xmin:xmax, ymin:ymax] = True
            part = green[xmin:xmax, ymin:ymax]
            edges += [float(side.min()) for side in (part[0], part[-1], part[:, 0], part[:, -1])]
        inside.append(green[covered].mean())
        outside.append(green[~covered].mean())
    assert np.mean(outside) - np.mean(inside) > 0.15
    assert np.mean(np.array(edges) < np.mean(outside) - 0.05) > 0.95


def test_classes_differ_in_size_and_colour(found):
    widths: dict[int, list[float]] = {0: [], 1: [], 2: []}
    red_light: dict[int, list[float]] = {0: [], 1: [], 2: []}
    for item in items(found):
        red = light(item["image"])[..., 0]
        for (xmin, ymin, xmax, ymax), index in zip(item["boxes"], item["classes"], strict=True):
            widths[index].append(max(xmax - xmin, ymax - ymin))
            red_light[index].append(red[int(xmin) : int(xmax), int(ymin) : int(ymax)].mean())
    assert max(widths[0]) < min(widths[2])
    assert np.median(widths[0]) < np.median(widths[1]) < np.median(widths[2])
    assert np.median(red_light[1]) > max(np.median(red_light[0]), np.median(red_light[2])) + 0.1


def test_stain_and_light_vary_from_picture_to_picture(found):
    means = np.array([np.asarray(Image.open(item["image"])).mean(axis=(0, 1)) for item in items(found)])
    assert (means.std(axis=0) > 4).all()


def test_the_same_settings_give_the_same_bytes(folder, tmp_path):
    again = phantom_blood_smears(tmp_path / "again", images=IMAGES)
    assert checksum(Path(again)) == checksum(folder)
    other = write_blood_smear_phantoms(tmp_path / "other", images=IMAGES, seed=1)
    assert checksum(other)["JPEGImages/smear_001.png"] != checksum(folder)["JPEGImages/smear_001.png"]


def test_what_is_there_is_used_and_never_changed(folder):
    before = checksum(folder)
    assert phantom_blood_smears(folder, images=IMAGES) == str(folder)
    with pytest.raises(BadInputError, match="other settings"):
        phantom_blood_smears(folder, images=IMAGES, seed=3)
    with pytest.raises(BadInputError, match="not empty"):
        write_blood_smear_phantoms(folder, images=IMAGES)
    assert checksum(folder) == before


def test_pictures_of_another_size_hold_cells_in_proportion(tmp_path):
    found = detection_datalist(write_blood_smear_phantoms(tmp_path / "small", images=8, size=(64, 48)))
    pairs = [pair for item in items(found) for pair in zip(item["boxes"], item["classes"], strict=True)]
    widths = [box[2] - box[0] for box, index in pairs if found.classes[index] == "RBC"]
    assert Image.open(items(found)[0]["image"]).size == (64, 48)
    assert 7 < np.median(widths) < 12


@pytest.mark.parametrize("wrong", [{"images": 7}, {"size": (40, 96)}, {"seed": -1}])
def test_settings_that_cannot_work_are_refused(tmp_path, wrong):
    with pytest.raises(BadInputError, match=r"whole numbers? of at least"):
        phantom_blood_smears(tmp_path / "set", **wrong)
    assert not (tmp_path / "set").exists()
