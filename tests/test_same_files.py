"""One picture that a data list names twice, under whatever spelling of its path or sample id."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from data_list_tasks import Classification, Detection, Landmarks, Segmentation, Task, picture, table

from monai_robust.data import unlabelled_datalist
from monai_robust.data.lists.same_files import real_paths
from monai_robust.errors import BadInputError

SPLITS = ("train", "val", "test")


def inside(path: Path) -> str:
    return f"../{path.parent.name}/{path.name}"


def linked(path: Path) -> str:
    (path.parent / f"link {path.name}").symlink_to(path)
    return f"link {path.name}"


def through_folder(path: Path) -> str:
    (path.parent / "folder").symlink_to(path.parent)
    return f"folder/{path.name}"


SPELT = {"dot": lambda path: f"./{path.name}", "inside": inside, "linked": linked, "folder": through_folder}


@pytest.mark.parametrize("task", [Classification, Detection, Landmarks])
@pytest.mark.parametrize("spelt", SPELT)
def test_a_picture_under_another_path_is_refused(tmp_path: Path, task: type[Task], spelt: str) -> None:
    one = task(tmp_path)
    path, rows = one.table(SPLITS)
    key = next(iter(rows[0]))
    file = tmp_path / rows[0][key]
    again = {**rows[0], key: f"{Path(rows[0][key]).parent}/{SPELT[spelt](file)}", "split": "test"}
    path.write_text(table([*rows, again]))
    with pytest.raises(BadInputError, match=r"twice|a second time"):
        one.found(path)


@pytest.mark.parametrize("task", [Classification, Detection, Landmarks])
def test_a_picture_under_two_sample_ids_is_refused(tmp_path: Path, task: type[Task]) -> None:
    one = task(tmp_path)
    path, rows = one.table(SPLITS)
    named = [{**row, "sample_id": f"s{place}"} for place, row in enumerate(rows)]
    path.write_text(table([*named, {**named[0], "sample_id": "other", "split": "test"}]))
    with pytest.raises(BadInputError, match=r"twice|a second time"):
        one.found(path)


def test_a_picture_of_a_coco_file_under_another_path_is_refused(tmp_path: Path) -> None:
    one = Detection(tmp_path)
    path, content = one.json(SPLITS)
    content["images"].append({**content["images"][0], "id": 99, "file_name": "p/../p/s 00.png"})
    path.write_text(json.dumps(content))
    with pytest.raises(BadInputError, match=r"lists one picture twice: .*s 00\.png and .*s 00\.png; keep one"):
        one.found(path)


def test_a_volume_under_another_path_is_refused(tmp_path: Path) -> None:
    one = Segmentation(tmp_path)
    path, content = one.json(SPLITS)
    (tmp_path / "i" / "again.nii.gz").symlink_to(tmp_path / "i" / "s 00.nii.gz")
    content["test"].append({"image": "i/again.nii.gz", "label": "l/s 01.nii.gz"})
    path.write_text(json.dumps(content))
    with pytest.raises(BadInputError, match=r"lists one image twice: .*s 00\.nii\.gz"):
        one.found(path)


def test_unlabelled_images_under_two_sample_ids_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "0.png")
    (tmp_path / "index.csv").write_text("file,sample_id\n0.png,a\n./0.png,b\n")
    with pytest.raises(BadInputError, match=r"lists one image twice: .*0\.png, for two samples; keep one"):
        unlabelled_datalist("classification", tmp_path, ["a", "b"])


def test_real_paths_are_those_of_the_file(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "x.png")
    picture(tmp_path / "a" / "y.png")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "z.png").symlink_to(tmp_path / "b" / "x.png")
    files = [tmp_path / "a" / "x.png", tmp_path / "b" / "x.png", tmp_path / "z.png", tmp_path / "b" / ".." / "z.png"]
    assert len(set(real_paths(files))) == 1
    assert len(set(real_paths([tmp_path / "a" / "y.png", *files]))) == 2
    assert len(set(real_paths([tmp_path / "no" / "x.png", tmp_path / "gone.png"]))) == 2
