"""What a checkpoint was trained with: an evaluation that contradicts it could be about the training's own images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from monai_robust.data import check_record, classification_datalist, write_radiograph_phantoms, write_record
from monai_robust.errors import BadInputError

TRAINED: dict[str, Any] = {
    "classes": ["normal", "lobar"],
    "image_size": [64, 48],
    "split_seed": 0,
    "fold": None,
    "features": [8, 16],
    "recipe": "sat",
}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    write_record(tmp_path, **TRAINED)
    path = tmp_path / "model.pt"
    path.write_bytes(b"weights")
    return path


def test_what_agrees_with_the_training_is_handed_back(checkpoint: Path) -> None:
    same = {name: value for name, value in TRAINED.items() if name != "recipe"}
    assert check_record(checkpoint, **same) == TRAINED
    assert check_record(checkpoint, classes=TRAINED["classes"]) == TRAINED
    assert check_record(checkpoint, classes=TRAINED["classes"], heatmap="bce") == TRAINED  # which it does not tell


@pytest.mark.parametrize(
    ("change", "mention"),
    [
        ({"classes": ["lobar", "normal"]}, "tells apart normal, lobar, but the data set has lobar, normal"),
        ({"classes": ["normal", "lobar", "diffuse"]}, "but the data set has normal, lobar, diffuse"),
        ({"image_size": [48, 64]}, "add --image_size \\[64, 48\\]"),
        ({"split_seed": 1}, "may have been trained on the test data.*add --split_seed 0"),
        ({"fold": 2}, "trained with fold .*, not 2, so it may have been trained on the test data"),
        ({"features": [8, 8]}, "or have another network; add --features"),
    ],
)
def test_what_contradicts_the_training_is_refused(checkpoint: Path, change: dict[str, Any], mention: str) -> None:
    with pytest.raises(BadInputError, match=mention):
        check_record(checkpoint, **{"classes": TRAINED["classes"], **change})


def test_the_splits_that_are_refused_are_those_that_hold_training_data(tmp_path: Path) -> None:
    """With another seed the test split has images of the training in it, and with the same one it has none."""
    folder = write_radiograph_phantoms(tmp_path / "films", patients=24, size=32)
    index = folder / "index.csv"
    lines = index.read_text().splitlines()
    column = lines[0].split(",").index("split")
    index.write_text("\n".join(",".join(one for k, one in enumerate(row.split(",")) if k != column) for row in lines))

    def split(name: str, seed: int) -> set[str]:
        return {str(item["image"]) for item in classification_datalist(folder, seed=seed).items[name]}

    assert not split("train", 0) & split("test", 0)
    assert split("train", 0) & split("test", 1)
    write_record(tmp_path, classes=["a"], split_seed=0)
    (tmp_path / "model.pt").write_bytes(b"weights")
    check_record(tmp_path / "model.pt", classes=["a"], split_seed=0)
    with pytest.raises(BadInputError, match="may have been trained on the test data"):
        check_record(tmp_path / "model.pt", classes=["a"], split_seed=1)


@pytest.mark.parametrize("missing", ["classes", "image_size"])
def test_a_record_that_does_not_tell_what_is_asked_is_refused(checkpoint: Path, missing: str) -> None:
    told = {name: value for name, value in TRAINED.items() if name != missing}
    checkpoint.with_name("training.json").write_text(json.dumps(told))
    with pytest.raises(BadInputError, match=f"field '{missing}' is missing"):
        check_record(checkpoint, classes=TRAINED["classes"], image_size=TRAINED["image_size"])


def test_without_a_checkpoint_or_its_record_nothing_is_evaluated(checkpoint: Path) -> None:
    with pytest.raises(BadInputError, match="train one first"):
        check_record(checkpoint.with_name("gone.pt"), classes=TRAINED["classes"])
    checkpoint.with_name("training.json").unlink()
    with pytest.raises(BadInputError, match=r"training.json is missing"):
        check_record(checkpoint, classes=TRAINED["classes"])
