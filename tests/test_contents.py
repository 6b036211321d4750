"""What is kept of samples comes back for the images it was learned on, not for others of the same names."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from monai.data import ArrayDataset, CacheDataset, Dataset, ImageDataset
from monai.transforms import Compose, EnsureChannelFirst, EnsureChannelFirstd, LoadImage, LoadImaged
from test_sample_ids import LABEL, trainer_of

from monai_robust.data import WithSampleIds, known_samples
from monai_robust.data.contents import contents_of
from monai_robust.data.sample_ids import batch_ids, dataset_ids, image_folder
from monai_robust.errors import BadInputError

COUNT = 4


def images(folder: Path, brightness: float = 1.0, count: int = COUNT) -> list[dict[str, str]]:
    """NIfTI files of one size, by the same names in every folder."""
    folder.mkdir(exist_ok=True)
    for index in range(count):
        values = np.full((8, 8), brightness * (index + 1), np.float32)
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), folder / f"case{index}.nii")
    return [{"image": str(folder / f"case{index}.nii")} for index in range(count)]


def loaded(items: list[dict[str, str]]) -> Any:
    return Dataset(items, Compose([LoadImaged("image"), EnsureChannelFirstd("image"), LABEL]))


@pytest.mark.parametrize("starts", [False, True])
@pytest.mark.parametrize("wrapped", [False, True])
def test_other_images_of_the_same_names_do_not_get_what_was_kept(starts: bool, wrapped: bool, tmp_path: Path) -> None:
    def train(items: list[dict[str, str]], load: Path | None = None) -> Any:
        data = WithSampleIds(loaded(items)) if wrapped else loaded(items)
        trainer, kept = trainer_of(data, tmp_path, load=load, starts=starts)
        trainer.run()
        return kept

    train(images(tmp_path / "here"))
    again = train(images(tmp_path / "moved"), load=tmp_path)
    assert len(again if starts else again.margins) == COUNT
    with pytest.raises(BadInputError, match="of another data set whose samples have the same names: of 4"):
        train(images(tmp_path / "others", brightness=2.0), load=tmp_path)


def test_some_images_that_were_made_anew_are_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trainer_of(loaded(images(tmp_path / "here")), tmp_path)[0].run()
    images(tmp_path / "here", brightness=2.0, count=1)
    items = [{"image": str(tmp_path / "here" / f"case{index}.nii")} for index in range(COUNT)]
    with caplog.at_level(logging.WARNING):
        trainer_of(loaded(items), tmp_path, load=tmp_path)[0].run()
    assert "1 of 4 samples that were looked at hold other images now" in caplog.text


def test_a_sample_holds_files_folders_or_numbers_and_names_tell_nothing(tmp_path: Path) -> None:
    files = [one["image"] for one in images(tmp_path)]
    names = ["a", "b"]
    for pair in ([files[:2], files[2:]], [{"image": one} for one in files[:2]], [{"t1": files[0]}, {"t1": files[1]}]):
        first, second = contents_of(Dataset(pair), names).values()
        assert first != second
    numbers = contents_of(Dataset([{"image": torch.zeros(2)}, {"image": np.arange(2.0)}]), names)
    assert numbers["a"] != numbers["b"]
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "1.dcm").write_bytes(b"one")
    folder = contents_of(Dataset([{"image": tmp_path / "series"}]), ["a"])
    (tmp_path / "series" / "1.dcm").write_bytes(b"two")
    assert contents_of(Dataset([{"image": tmp_path / "series"}]), ["a"]) != folder
    assert contents_of(Dataset([{"image": "gone.nii"}, {"image": object()}]), names) == {}
    assert list(contents_of(Dataset([{"image": torch.zeros(1)}] * 99), [str(one) for one in range(99)]))[-1] == "98"


def test_the_middle_of_a_large_file_counts(tmp_path: Path) -> None:
    content = np.zeros(10**6, np.uint8)
    content.tofile(tmp_path / "a.raw")
    before = contents_of(Dataset([{"image": tmp_path / "a.raw"}]), ["a"])
    content[300_000:700_000] = 1
    content.tofile(tmp_path / "a.raw")
    assert contents_of(Dataset([{"image": tmp_path / "a.raw"}]), ["a"]) != before


def sets_of_files(files: list[str]) -> dict[str, Any]:
    load = Compose([LoadImage(image_only=True), EnsureChannelFirst()])
    return {
        "ImageDataset": ImageDataset(files, labels=[0] * len(files), transform=EnsureChannelFirst()),
        "ArrayDataset": ArrayDataset(files, load, files, load),
        "ArrayDataset of images alone": ArrayDataset(files, load),
        "a list of files": CacheDataset(files, load, progress=False),
    }


@pytest.mark.parametrize("kind", list(sets_of_files([])))
def test_images_are_known_by_their_files_in_every_data_set_of_monai(kind: str, tmp_path: Path) -> None:
    data = sets_of_files([one["image"] for one in images(tmp_path)])[kind]
    names = [f"case{index}.nii" for index in range(COUNT)]
    assert (known_samples(data).ids, known_samples(data).by) == (names, "file")
    assert image_folder(data) == str(tmp_path)
    assert dataset_ids(data, "sample_id", image_folder(data)) == names
    item = data[1]
    image = item[0] if isinstance(item, tuple) else item
    assert batch_ids([image[None]], "sample_id", 1, image_folder(data)) == ["case1.nii"]


def test_names_that_are_no_files_are_entries() -> None:
    assert known_samples(Dataset(["case one", "case two"])).by == "entry"


class Unlisted(torch.utils.data.Dataset[Any]):
    """Images of a folder, which it lists in a way of its own."""

    def __init__(self, folder: Path) -> None:
        self._all = loaded(images(folder))

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, index: int) -> Any:
        return self._all[index]


def test_margins_of_a_data_set_that_lists_no_files_are_refused_after_an_epoch_of_other_ones(tmp_path: Path) -> None:
    trainer_of(Unlisted(tmp_path / "here"), tmp_path)[0].run()
    again, margins = trainer_of(Unlisted(tmp_path / "here"), tmp_path, load=tmp_path)
    again.run()
    assert list(margins.margins.values()) == pytest.approx([0.3] * COUNT)
    for _ in range(2):  # MONAI's saver writes its final file also where a training fails
        with pytest.raises(BadInputError, match="another data set: 0 of 4 samples have one among 4"):
            trainer_of(Unlisted(tmp_path / "moved"), tmp_path, load=tmp_path)[0].run()


def test_the_history_of_a_training_that_goes_on_calls_samples_as_they_are_called_now(tmp_path: Path) -> None:
    items = images(tmp_path / "here")
    trainer, margins = trainer_of(loaded(items), tmp_path)
    margins.log.history = True
    trainer.run()
    state = torch.load(tmp_path / "end.pt", weights_only=True)
    whole = {Path(one["image"]).name: one["image"] for one in items}
    state["margins"]["ids"] = [whole[one] for one in state["margins"]["ids"]]  # as an older version wrote them
    torch.save(state, tmp_path / "end.pt")
    history = tmp_path / "margins_by_sample.csv"
    table = pd.read_csv(history)
    table.assign(sample_id=table["sample_id"].map(whole)).to_csv(history, index=False)
    trainer, margins = trainer_of(loaded(items), tmp_path, load=tmp_path)
    margins.log.history = True
    trainer.state.max_epochs = 2
    trainer.run()
    table = pd.read_csv(history)
    assert sorted(table["sample_id"].unique()) == sorted(whole)
    assert sorted(table["epoch"].unique()) == [0, 1, 2]
