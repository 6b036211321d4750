"""The files that a dataset.json lists, and those that lie beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from data_list_tasks import Segmentation

from monai_robust.data import segmentation_datalist, volumes_below
from monai_robust.errors import BadInputError


def written(root: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    path, content = Segmentation(root).json(("training", "validation", "test"))
    change(content)
    path.write_text(json.dumps(content))
    return root


def one_label_twice(content: dict[str, Any]) -> None:
    content["test"][0]["label"] = "i/../" + content["training"][0]["label"]


def own_label(content: dict[str, Any]) -> None:
    content["training"][0]["label"] = content["training"][0]["image"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (one_label_twice, r"dataset\.json lists one label map twice: .*s 00\.nii\.gz"),
        (own_label, r"lists .*i/s 00\.nii\.gz as an image and as a label map; it can be one of them"),
    ],
)
def test_a_file_is_one_image_or_one_label_map(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], told: str
) -> None:
    with pytest.raises(BadInputError, match=told):
        segmentation_datalist(written(tmp_path, change))


@pytest.mark.parametrize("name", ["background", "Background", "BG"])
def test_labels_whose_background_is_not_0_are_refused(tmp_path: Path, name: str) -> None:
    written(tmp_path, lambda content: content.update(labels={"0": "tumour", "1": name}))
    with pytest.raises(BadInputError, match=rf"calls the label 0 'tumour' and another one '{name}'; the background is"):
        segmentation_datalist(tmp_path)


def test_another_number_of_cases_than_declared_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    segmentation_datalist(written(tmp_path, lambda content: content.update(numTraining=6)))
    assert not caplog.messages
    segmentation_datalist(written(tmp_path, lambda content: content.update(numTraining=20)))
    assert caplog.messages == [f"{tmp_path / 'dataset.json'} has numTraining 20 and lists 6 training cases"]


def test_images_that_nobody_lists_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = written(tmp_path, lambda content: None)
    (root / "i").rename(root / "imagesTr")
    path = root / "dataset.json"
    path.write_text(path.read_text().replace('"i/', '"imagesTr/'))
    segmentation_datalist(root)
    assert not caplog.messages
    for name in ("more.nii.gz", "more.nrrd", "notes.txt"):
        (root / "imagesTr" / name).touch()
    segmentation_datalist(root)
    (said,) = caplog.messages
    assert said.startswith(f"2 images in {root / 'imagesTr'} are not listed in {path} and left out")


def test_two_volumes_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("a.nii", "a.nii.gz", "b.nii"):
        (tmp_path / name).touch()
    with pytest.raises(BadInputError, match=r"a\.nii and .*a\.nii\.gz are both called a; rename or remove one"):
        volumes_below(tmp_path)
