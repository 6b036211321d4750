"""Phantom cephalograms: written whole, the same each time, their landmarks visible, learnable and in millimetres."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from monai.transforms import LoadImage

from monai_robust.data import (
    SimpleITKReader,
    landmark_datalist,
    phantom_cephalograms,
    write_cephalogram_phantoms,
)
from monai_robust.errors import BadInputError
from monai_robust.transforms import PointsToLabel


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(phantom_cephalograms(tmp_path_factory.mktemp("phantoms") / "set", patients=24))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_settings_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    again = write_cephalogram_phantoms(tmp_path / "again", patients=24)
    assert contents(again) == contents(folder)
    other = write_cephalogram_phantoms(tmp_path / "other", patients=24, seed=1)
    assert contents(other) != contents(folder)


def test_a_set_that_is_there_is_recognised_and_never_overwritten(folder: Path) -> None:
    written = (folder / "phantom.json").stat().st_mtime_ns
    assert phantom_cephalograms(folder, patients=24) == str(folder)
    assert (folder / "phantom.json").stat().st_mtime_ns == written
    with pytest.raises(BadInputError, match="other settings"):
        phantom_cephalograms(folder, patients=25)


@pytest.mark.parametrize("settings", [{"patients": 3}, {"size": (20, 120)}, {"seed": -1}])
def test_settings_that_cannot_work_are_refused(tmp_path: Path, settings: dict[str, object]) -> None:
    with pytest.raises(BadInputError, match=next(iter(settings))):
        phantom_cephalograms(tmp_path / "set", **settings)


def test_every_landmark_is_listed_and_some_are_missing(folder: Path) -> None:
    found = landmark_datalist(folder)
    assert found.classes == ("sella", "nasion", "porion", "ANS", "menton", "gonion")
    assert {split: len(items) for split, items in found.items.items()} == {"train": 15, "val": 3, "test": 6}
    placed = [not math.isnan(x) for items in found.items.values() for item in items for x, _ in item["points"]]
    assert 0.85 < np.mean(placed) < 1


def test_annotators_differ_by_half_a_pixel(folder: Path) -> None:
    senior, junior = (
        np.array([item["points"] for item in landmark_datalist(folder, annotator=name).items["train"]])
        for name in ("senior", "junior")
    )
    np.testing.assert_array_equal(np.isnan(senior), np.isnan(junior))
    assert 0.4 < np.nanstd(senior - junior) < 0.6


def test_spacing_is_in_the_file_and_reaches_the_label(folder: Path) -> None:
    item = landmark_datalist(folder).items["train"][0]
    header = pydicom.dcmread(item["image"])
    assert item["spacing"] == [float(value) for value in header.PixelSpacing]
    assert 1.7 < item["spacing"][0] < 2.3
    image = LoadImage(reader=SimpleITKReader(), ensure_channel_first=True)(item["image"])
    by_item, by_file = (PointsToLabel()(item["points"], image, spacing) for spacing in (item["spacing"], None))
    torch.testing.assert_close(by_item, by_file)
    torch.testing.assert_close(by_item[:, :2].double(), torch.tensor(item["points"]).double(), atol=1e-4, rtol=0)


def test_both_ways_to_store_grey_values_occur_and_bone_is_bright_in_both(folder: Path) -> None:
    kinds: dict[str, list[float]] = {"MONOCHROME1": [], "MONOCHROME2": []}
    for items in landmark_datalist(folder).items.values():
        for item in items:
            image = LoadImage(reader=SimpleITKReader())(item["image"])
            menton = item["points"][4]
            if not math.isnan(menton[0]):
                x, y = (round(value) for value in menton)
                around = image[x - 2 : x + 3, y - 2 : y + 3].max()
                kind = pydicom.dcmread(item["image"], stop_before_pixels=True).PhotometricInterpretation
                kinds[kind].append(float(around / image[-8:, -8:].mean()))
    assert min(len(values) for values in kinds.values()) >= 2
    assert all(min(values) > 1.5 for values in kinds.values())


def test_a_landmark_s_surroundings_look_alike_and_unlike_other_places(folder: Path) -> None:
    """A template cut at each landmark finds it among its neighbours better than chance: the picture shows the place."""
    items = landmark_datalist(folder).items["train"]
    images = [np.asarray(LoadImage(reader=SimpleITKReader())(item["image"]), dtype=np.float64) for item in items]
    reach, shift = 7, 6
    for landmark in range(6):
        hits = [
            _correlations(image, item["points"][landmark], template, reach, shift)
            for template in [_template(images[:6], items[:6], landmark, reach)]
            for image, item in zip(images[6:], items[6:], strict=True)
            if not math.isnan(item["points"][landmark][0])
        ]
        assert np.median(hits) <= 2.5, landmark


def _patch(image: np.ndarray, x: int, y: int, reach: int) -> np.ndarray | None:
    if x < reach or y < reach or x + reach >= image.shape[0] or y + reach >= image.shape[1]:
        return None
    patch = image[x - reach : x + reach + 1, y - reach : y + reach + 1]
    return (patch - patch.mean()) / (patch.std() + 1e-6)


def _template(images: list[np.ndarray], items: list[dict], landmark: int, reach: int) -> np.ndarray:
    places = [item["points"][landmark] for item in items]
    seen = [(image, place) for image, place in zip(images, places, strict=True) if not math.isnan(place[0])]
    patches = [_patch(image, round(x), round(y), reach) for image, (x, y) in seen]
    return np.mean([patch for patch in patches if patch is not None], axis=0)


def _correlations(image: np.ndarray, place: list[float], template: np.ndarray, reach: int, shift: int) -> float:
    """How far from the landmark, in pixels, the template fits best."""
    best, found = -np.inf, 0.0
    for dx in range(-shift, shift + 1):
        for dy in range(-shift, shift + 1):
            patch = _patch(image, round(place[0]) + dx, round(place[1]) + dy, reach)
            fit = -np.inf if patch is None else float((patch * template).mean())
            if fit > best:
                best, found = fit, math.hypot(dx, dy)
    return found
