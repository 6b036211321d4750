"""Samples are known again, whatever a pipeline loses on its way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.data import (
    CacheDataset,
    DataLoader,
    Dataset,
    DistributedSampler,
    GridPatchDataset,
    NPZDictItemDataset,
    PersistentDataset,
    SmartCacheDataset,
    list_data_collate,
)
from monai.engines import SupervisedTrainer
from monai.handlers import CheckpointLoader, CheckpointSaver
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    EnsureTyped,
    Lambdad,
    LoadImaged,
    RandGaussianNoised,
    RandSpatialCropSamplesd,
    SelectItemsd,
)
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from monai_robust.attacks import PGD
from monai_robust.data import WithSampleIds, known_samples
from monai_robust.data.sample_ids import batch_ids, dataset_ids, hashed_id, image_folder
from monai_robust.engines import KeptStarts, RobustUpdate
from monai_robust.errors import BadInputError
from monai_robust.handlers import AdaptiveMargins, EverySample
from monai_robust.tasks import Segmentation

LOSE = EnsureTyped(keys="image", track_meta=False)


class Tensors(torch.utils.data.Dataset[Any]):
    """Images without any list of them."""

    def __init__(self, seed: int = 0, count: int = 6) -> None:
        self._images = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"image": self._images[index], "label": (self._images[index] > 0.5).long()}


@pytest.fixture
def files(tmp_path: Path) -> list[dict[str, str]]:
    for index in range(4):
        image = nibabel.Nifti1Image(np.full((8, 8), index, np.float32), np.eye(4))
        nibabel.save(image, tmp_path / f"case{index}.nii")
    return [{"image": str(tmp_path / f"case{index}.nii")} for index in range(4)]


def test_samples_are_named_by_id_by_file_by_entry_or_by_place() -> None:
    def names(items: list[Any]) -> list[str]:
        return known_samples(Dataset(items)).ids

    assert names([{"sample_id": "a"}, {"sample_id": "b"}]) == ["a", "b"]
    assert names([{"image": "x.png"}, {"image": "y.png"}]) == ["x.png", "y.png"]
    twice = names([{"image": "x.nii", "slice": 1}, {"image": "x.nii", "slice": 2}])
    assert len(set(twice)) == 2
    assert all(len(name) == 32 for name in twice)
    assert twice == names([{"slice": 1, "image": "x.nii"}, {"slice": 2, "image": "x.nii"}])
    arrays = names([{"image": np.zeros(3), "place": (0, 1)}, {"image": np.ones(3), "place": (0, 1)}])
    assert all(len(name) == 32 for name in arrays)
    assert arrays[1:] == names([{"image": np.ones(3), "place": (0, 1)}])
    assert names([{"image": torch.zeros(1)}] * 11)[10].endswith("_10")


@pytest.mark.parametrize("several", [False, True])
def test_files_are_known_by_their_place_in_the_folder_of_all_wherever_that_lies(several: bool) -> None:
    def known(root: str, places: list[str]) -> Any:
        files = [f"{root}/images/{place}" for place in places]
        return known_samples(
            Dataset([{"image": [one, one.replace("images", "more")] if several else one} for one in files])
        )

    places = ["a/t1.nii", "a/t2.nii", "b/t1.nii"]
    here, moved = (known(root, places) for root in ("/home/doe/data", "/mnt/other/place"))
    assert here.ids == moved.ids
    assert here.by == ("entry" if several else "file")
    assert several or here.ids == places
    assert not set(here.full) & set(moved.full), "which tells data sets of one layout apart"


def test_files_of_one_folder_keep_their_names_in_parts_of_a_data_set() -> None:
    whole: Any = Dataset([{"image": f"/data/{place}"} for place in ("a/1.png", "a/2.png", "b/1.png")])
    assert known_samples(Subset(whole, [0, 1])).ids == ["a/1.png", "a/2.png"]
    both = ConcatDataset([Dataset([{"image": "/data/a/1.png"}]), Dataset([{"image": "/data/b/1.png"}])])
    assert known_samples(both).ids == ["a/1.png", "b/1.png"]
    assert image_folder(both) == "/data"


@pytest.mark.parametrize("hashed", [False, True])
@pytest.mark.parametrize("starts", [False, True])
def test_margins_and_starts_that_know_files_by_whole_paths_are_read_and_come_along_when_data_moves(
    hashed: bool, starts: bool, files: list[dict[str, str]], tmp_path: Path
) -> None:
    older, moved = tmp_path / "older", tmp_path / "moved"
    for folder in (older, moved):
        folder.mkdir()

    def trained(items: list[dict[str, str]], load: Path | None = None) -> Any:
        data = Dataset(items, Compose([LoadImaged("image"), EnsureChannelFirstd("image"), LABEL]))
        trainer, kept = trainer_of(data, older, load=load, starts=starts)
        kept.hash_ids = hashed
        trainer.run()
        return kept

    names = [f"case{index}.nii" for index in range(4)]
    trained(files)
    state = torch.load(older / "end.pt", weights_only=True)
    own = state["starts" if starts else "margins"]
    ids = own["ids"][0] if starts else own["ids"]
    assert sorted(ids) == sorted(hashed_id(one) if hashed else one for one in names)
    whole = {hashed_id(Path(one["image"]).name) if hashed else Path(one["image"]).name: one["image"] for one in files}
    old = [hashed_id(whole[one]) if hashed else whole[one] for one in ids]
    own["ids"] = [old] if starts else old  # as an older version wrote them
    torch.save(state, older / "end.pt")
    again = trained(files, load=older)
    assert len(again) == 4 if starts else list(again.margins.values()) == pytest.approx([0.3] * 4)
    if hashed:  # whole paths that nobody can read do not tell where they lay
        return
    for one in files:
        Path(one["image"]).rename(moved / Path(one["image"]).name)
    again = trained([{"image": str(moved / one)} for one in names], load=older)
    assert len(again) == 4 if starts else sorted(again.margins) == names


LABEL = Lambdad("image", lambda image: (image > 1).long(), overwrite="label")


@pytest.mark.parametrize(
    ("items", "by"),
    [
        ([{"sample_id": i} for i in range(3)], "sample_id"),
        ([{"image": f"{i}.png"} for i in range(3)], "file"),
        ([{"image": [f"{i}.nii", "same.nii"]} for i in range(3)], "entry"),
        ([torch.full((2,), i) for i in range(3)], "entry"),
        ([{"image": object()} for _ in range(3)], "place"),
    ],
)
def test_what_samples_are_known_by_is_told(items: list[Any], by: str) -> None:
    assert known_samples(Dataset(items)).by == by


def test_a_part_of_a_data_set_has_the_names_of_the_whole() -> None:
    whole: Any = Dataset([{"image": f"{i}.png"} for i in range(6)])
    assert known_samples(Subset(whole, [4, 1])).ids == ["4.png", "1.png"]
    assert known_samples(ConcatDataset([Subset(whole, [5]), Subset(whole, [0, 2])])).ids == ["5.png", "0.png", "2.png"]
    data = Tensors()
    assert known_samples(Subset(data, [4, 1])).ids == [known_samples(data).ids[place] for place in (4, 1)]


def test_places_are_those_of_one_data_set_in_one_order() -> None:
    names = known_samples(Tensors(seed=0)).ids
    assert names == known_samples(Tensors(seed=0)).ids
    assert [name.rpartition("_")[2] for name in names] == list("012345")
    for other in (Tensors(seed=1), Tensors(count=7), Reversed()):
        assert not set(names) & set(known_samples(other).ids)


class Reversed(Tensors):
    def __getitem__(self, index: int) -> dict[str, Any]:
        return super().__getitem__(len(self) - 1 - index)


def test_random_augmentation_neither_changes_a_place_nor_is_it_drawn_from() -> None:
    noise = RandGaussianNoised(keys="image", prob=1.0)
    data: Any = Dataset([{"image": torch.rand(1, 8, 8)}] * 3, Compose([noise]))
    noise.set_random_state(3)
    before, drawn = torch.random.get_rng_state(), drawn_by(noise)
    first = known_samples(data)
    assert first.by == "place"
    assert known_samples(data) == first
    assert torch.equal(torch.random.get_rng_state(), before)
    assert drawn_by(noise) == drawn


def drawn_by(transform: Any) -> list[int]:
    """Where a transform stands in its random numbers."""
    return [int(one) for one in transform.R.get_state()[1]]


def test_a_warm_cache_forgets_files_and_the_wrapper_does_not(files: list[dict[str, str]], tmp_path: Path) -> None:
    load = Compose([LoadImaged("image"), EnsureChannelFirstd("image")])
    for _ in range(2):  # the second finds a warm cache
        data = PersistentDataset(files, load, cache_dir=tmp_path / "cache")
        known = [batch_ids(batch, "sample_id", 2) for batch in DataLoader(WithSampleIds(data), batch_size=2)]
        assert [*known[0], *known[1]] == [f"case{index}.nii" for index in range(4)]
    with pytest.raises(BadInputError, match="WithSampleIds"):
        batch_ids(next(iter(DataLoader(data, batch_size=2))), "sample_id", 2)


@pytest.mark.parametrize("kind", [Dataset, CacheDataset])
@pytest.mark.parametrize("workers", [0, 2])
def test_every_crop_has_the_id_of_its_sample(kind: Any, workers: int) -> None:
    crops = RandSpatialCropSamplesd("image", roi_size=4, num_samples=3, random_size=False)
    items = [{"image": torch.full((1, 8, 8), float(i)), "case": i} for i in range(6)]
    extra = {"progress": False} if kind is CacheDataset else {}
    data = WithSampleIds(kind(items, Compose([crops, SelectItemsd(["image"])]), **extra))
    seen: list[str] = []
    for batch in DataLoader(data, batch_size=2, num_workers=workers, collate_fn=list_data_collate):
        names = batch_ids(batch, "sample_id", 6)
        assert names == [data.known.ids[int(image.mean())] for image in batch["image"]]
        seen += names
    assert sorted(set(seen)) == sorted(data.known.ids)
    assert len(seen) == 18


def test_processes_call_a_sample_by_one_name() -> None:
    data = WithSampleIds(Tensors())
    seen: dict[str, Any] = {}
    for rank in range(2):
        sampler = DistributedSampler(data, shuffle=True, num_replicas=2, rank=rank, even_divisible=True)
        for batch in DataLoader(data, batch_size=3, sampler=sampler):
            seen |= dict(zip(batch["sample_id"], batch["image"], strict=True))
    assert sorted(seen) == data.known.ids
    assert all(torch.equal(seen[name], Tensors()[place]["image"]) for place, name in enumerate(data.known.ids))


def test_arrays_of_a_file_are_known_by_their_place(tmp_path: Path) -> None:
    np.savez(tmp_path / "all.npz", image=np.arange(16.0).reshape(4, 1, 2, 2), label=np.arange(4))
    arrays = WithSampleIds(NPZDictItemDataset(str(tmp_path / "all.npz"), {"image": "image", "label": "label"}))
    assert [arrays[place]["sample_id"] for place in range(4)] == arrays.known.ids
    assert arrays.known.by == "place"


def test_a_slice_of_the_wrapped_data_set_is_one_of_it() -> None:
    data = WithSampleIds(Tensors())
    assert [one["sample_id"] for one in data[1:3]] == data.known.ids[1:3]
    assert dataset_ids(data[1:3], "sample_id") == data.known.ids[1:3]
    assert len(list(EverySample(DataLoader(data, batch_size=2)))) == 3


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (lambda: WithSampleIds(GridPatchDataset([torch.rand(1, 4, 4)], lambda x: [])), "an order of its own"),
        (lambda: WithSampleIds(SmartCacheDataset([{"a": 1}] * 4, None, cache_num=2, progress=False)), "SmartCache"),
        (lambda: WithSampleIds(TensorDataset(torch.rand(3, 1)))[0], "is a tuple"),
    ],
)
def test_what_cannot_be_known_is_refused(made: Any, sentence: str) -> None:
    with pytest.raises(BadInputError, match=sentence):
        made()


def trainer_of(data: Any, folder: Path, *, load: Path | None = None, starts: bool = False) -> tuple[Any, Any]:
    network = torch.nn.Conv2d(1, 2, 1)
    margins = AdaptiveMargins(step=0.1, thresholds={"dice": 9.0, "cross_entropy": 99.0}, output_dir=folder)
    kept = KeptStarts()
    how: dict[str, Any] = {"recipe": "sat", "starts": kept} if starts else {"recipe": "amat", "margins": margins}
    handlers: list[Any] = [] if starts else [margins]
    handlers.append(CheckpointSaver(str(folder), {"model": network}, save_final=True, final_filename="end.pt"))
    handlers += [] if load is None else [CheckpointLoader(str(load / "end.pt"), {"model": network})]
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=DataLoader(data, batch_size=2, shuffle=True),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.01),
        loss_function=lambda outputs, labels: outputs.mean(),
        iteration_update=RobustUpdate(attack=PGD(eps=0.1, steps=1), task=Segmentation(), **how),
        train_handlers=handlers,
    )
    return trainer, kept if starts else margins


@pytest.mark.parametrize("starts", [False, True])
def test_what_is_kept_by_place_comes_back_for_the_same_data_alone(tmp_path: Path, starts: bool) -> None:
    trainer, kept = trainer_of(WithSampleIds(Tensors()), tmp_path, starts=starts)
    trainer.run()
    assert len(kept if starts else kept.margins) == 6
    again, kept = trainer_of(WithSampleIds(Tensors()), tmp_path, load=tmp_path, starts=starts)
    again.run()
    assert len(kept if starts else kept.margins) == 6
    if not starts:
        assert list(kept.margins.values()) == pytest.approx([0.3] * 6)
    other, _ = trainer_of(WithSampleIds(Tensors(seed=1)), tmp_path, load=tmp_path, starts=starts)
    with pytest.raises(BadInputError, match="of another data set"):
        other.run()
