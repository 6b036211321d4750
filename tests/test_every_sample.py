"""Thresholds are fitted on every training sample once, as it is, and leave training what it had."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from linear_margins import BOUNDARIES, Ramp, items, make_trainer
from monai.data import (
    CacheDataset,
    DataLoader,
    Dataset,
    GridPatchDataset,
    IterableDataset,
    PatchDataset,
    PatchIterd,
    PersistentDataset,
    list_data_collate,
    pad_list_data_collate,
)
from monai.transforms import (
    Compose,
    EnsureTyped,
    OneOf,
    RandAdjustContrastd,
    RandAffined,
    RandCoarseDropoutd,
    RandFlipd,
    RandGaussianNoised,
    RandRotate90d,
    RandShiftIntensityd,
    RandSpatialCropd,
    RandSpatialCropSamplesd,
    RandZoomd,
    ScaleIntensityRanged,
)
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    RandomSampler,
    Subset,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from monai_robust.data import CheckedDataset
from monai_robust.data.sample_ids import batch_ids, dataset_ids
from monai_robust.errors import BadInputError
from monai_robust.handlers import AdaptiveMargins, EverySample
from monai_robust.planning.patch import RandForegroundPatchd
from monai_robust.planning.rand_mirror import RandMirrord
from monai_robust.planning.rotate_scale import RandRotateScaled
from monai_robust.transforms import AugMixd, RandContrastShiftd

CLEAN = -np.array(list(BOUNDARIES.values()))  # what Ramp says of the items
HARSH = [
    ScaleIntensityRanged("image", -10, 10, -10, 10),
    RandFlipd("image", prob=1.0),
    RandShiftIntensityd("image", offsets=(5, 9), prob=1.0),
    RandGaussianNoised("image", prob=1.0, std=3.0),
    RandAffined("image", prob=1.0, rotate_range=1.0, translate_range=2, padding_mode="zeros"),
    RandZoomd("image", prob=1.0, min_zoom=0.5, max_zoom=0.6),
    RandRotate90d("image", prob=1.0),
    RandCoarseDropoutd("image", holes=2, spatial_size=2, fill_value=9.0, prob=1.0),
    OneOf([RandAdjustContrastd("image", prob=1.0, gamma=3.0), RandShiftIntensityd("image", offsets=50, prob=1.0)]),
    RandMirrord(["image"], prob=1.0),
    RandRotateScaled(["image"], rotation_prob=1.0, scale_prob=1.0),
    AugMixd("image", bounds=None),
    RandContrastShiftd("image", factors=(2.0, 3.0), bounds=None),
    EnsureTyped("image", track_meta=False),
]


def trained(folder):
    torch.save({"network": Ramp().state_dict()}, folder / "trained.pt")
    return folder / "trained.pt"


def levels(loader) -> list[float]:
    with torch.no_grad():
        return sorted(float(value) for batch in loader for value in Ramp()(torch.as_tensor(batch["image"])))


def patterned():
    """The items, with images that are not constant."""
    pattern = torch.tensor([[0.1, -0.1], [-0.1, 0.1]]).repeat(2, 2)
    return [{**item, "image": item["image"] + pattern} for item in items()]


DATASETS = {
    "Dataset": lambda folder: Dataset(items(), Compose(HARSH)),
    "CacheDataset": lambda folder: CacheDataset(items(), Compose(HARSH), progress=False),
    "PersistentDataset": lambda folder: PersistentDataset(items(), Compose(HARSH), cache_dir=folder),
    "CheckedDataset": lambda folder: CheckedDataset(patterned(), [], HARSH),
    "Subset": lambda folder: Subset(Dataset(items() + items(), Compose(HARSH)), range(8)),
    "ConcatDataset": lambda folder: ConcatDataset([Dataset(own, Compose(HARSH)) for own in (items()[:3], items()[3:])]),
}


@pytest.mark.parametrize("name", list(DATASETS))
def test_every_sample_comes_once_as_it_is(name, tmp_path):
    loader = DataLoader(DATASETS[name](tmp_path), batch_size=3, shuffle=True, drop_last=True)
    np.testing.assert_allclose(levels(EverySample(loader)), np.sort(CLEAN), atol=1e-4)
    assert abs(np.array(levels(loader))[:6] - np.sort(CLEAN)[:6]).max() > 0.5  # training's own are as harsh as before


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["grid", "grid with places", "random"])
def test_patches_of_every_image_come_as_they_are(kind, workers, monkeypatch):
    source = Dataset([{**one, "image": one["image"].repeat(1, 2, 2)} for one in items()], Compose(HARSH[:4]))
    if kind == "random":
        crop = RandSpatialCropSamplesd("image", roi_size=4, num_samples=3, random_size=False)
        data, each = PatchDataset(source, crop, samples_per_image=3), 3
    else:
        patches = PatchIterd("image", patch_size=(4, 4))
        data, each = GridPatchDataset(source, patches, with_coordinates=kind == "grid with places"), 4
    loader = DataLoader(data, batch_size=3, num_workers=workers)

    def read():
        return [one[0] if isinstance(one, list) else one for one in EverySample(loader)]

    np.testing.assert_allclose(levels(read()), np.sort(np.repeat(CLEAN, each)), atol=1e-4)
    first = batch_ids(next(iter(EverySample(loader))), "sample_id", 3)
    assert set(first) <= set(dataset_ids(data, "sample_id"))
    monkeypatch.setattr("ignite.distributed.get_world_size", lambda: 2)
    assert len(levels(read())) == each * len(CLEAN) / 2
    assert len(source) == len(CLEAN), "training's own is as it was"


@pytest.mark.parametrize("transform", HARSH, ids=lambda one: type(one).__name__)
def test_every_random_transform_can_be_silenced(transform):
    loader = DataLoader(Dataset([{**item, "image": torch.rand(1, 6, 6)} for item in items()], Compose([transform])))
    for item, batch in zip(loader.dataset.data, EverySample(loader), strict=True):
        torch.testing.assert_close(torch.as_tensor(batch["image"])[0], item["image"], rtol=0, atol=1e-5)


def test_samplers_say_what_belongs_to_the_training_set_and_not_how_often():
    data = Dataset(items())
    weights = torch.tensor([5.0, 1, 0, 1, 1, 1, 1, 0])
    kept = [index for index in range(8) if weights[index]]
    for loader, expected in (
        (DataLoader(data, batch_size=3, sampler=WeightedRandomSampler([9.0] + [0.1] * 7, 20)), range(8)),
        (DataLoader(data, batch_size=3, sampler=WeightedRandomSampler(weights, 20)), kept),
        (DataLoader(data, batch_size=3, sampler=SubsetRandomSampler([6, 1, 1])), [1, 6]),
        (DataLoader(data, batch_sampler=[[0, 0], [1, 0]]), range(8)),
        (DataLoader(data, batch_sampler=BatchSampler(RandomSampler(data), 3, True)), range(8)),
    ):
        np.testing.assert_allclose(levels(EverySample(loader)), np.sort(CLEAN[list(expected)]), atol=1e-5)


def test_samples_of_several_sizes_are_collated_by_size():
    data = [{"image": torch.rand(1, size, 4), "label": 0} for size in (4, 4, 4, 5, 5, 4)]
    for collate in (list_data_collate, pad_list_data_collate):
        found = list(EverySample(DataLoader(Dataset(data), batch_size=2, collate_fn=collate)))
        assert [tuple(batch["image"].shape) for batch in found] == [
            (2, 1, 4, 4), (1, 1, 4, 4), (2, 1, 5, 4), (1, 1, 4, 4)
        ]  # fmt: skip


def test_random_crops_stay_and_are_the_same_at_every_fit():
    generator = torch.Generator().manual_seed(0)
    data = [{"image": torch.rand(1, 9, 9, generator=generator), "label": 0} for _ in range(3)]
    for crop, count in (
        (RandSpatialCropd("image", (4, 4), random_size=False), 3),
        (RandSpatialCropSamplesd("image", (4, 4), num_samples=2, random_size=False), 6),
    ):
        loader = DataLoader(Dataset(data, Compose([crop, RandFlipd("image", prob=0.9)])), batch_size=2)
        runs = [torch.cat([batch["image"] for batch in EverySample(loader)]) for _ in range(2)]
        assert torch.equal(*map(torch.as_tensor, runs))
        assert runs[0].shape == (count, 1, 4, 4)
    patch = Dataset(data, Compose([RandForegroundPatchd(["image"], "label", (5, 5))]))
    found = torch.cat([batch["image"] for batch in EverySample(DataLoader(patch, batch_size=3))])
    torch.testing.assert_close(found, torch.stack([one["image"][:, 2:7, 2:7] for one in data]))


def test_fitting_leaves_every_random_state_where_it_was(tmp_path):
    def weights_after(thresholds):
        torch.manual_seed(5)
        network = Ramp()
        transform = Compose([RandShiftIntensityd("image", offsets=1.0, prob=1.0)]).set_random_state(3)
        margins = AdaptiveMargins(0.5, thresholds, radii_of_interest=9.0)
        loader = DataLoader(Dataset(items(), transform), batch_size=3, shuffle=True)
        drawn = []
        trainer = make_trainer(margins, loader=loader, network=network, lr=0.1, epochs=2)
        trainer.add_event_handler("ITERATION_COMPLETED", lambda engine: drawn.append(engine.state.output["image"]))
        trainer.run()
        return torch.cat([torch.as_tensor(one).flatten() for one in drawn]), network.gain.item()

    fitted, fixed = weights_after(trained(tmp_path)), weights_after({"loss": CLEAN.mean()})
    assert torch.equal(fitted[0], fixed[0])
    assert fitted[1] == fixed[1]


def test_margins_are_fitted_on_the_samples_on_an_epoch_or_on_a_loader_of_ones_own(tmp_path):
    path = trained(tmp_path)
    shifted = Compose([RandShiftIntensityd("image", offsets=(0.25, 0.2501), prob=1.0)])  # raises Ramp by 4 * 0.25
    sampler = WeightedRandomSampler([1.0] + [0.0] * 6 + [1e-6], 8)
    own = DataLoader(items({"x": 2.0}), batch_size=1)
    expected = {"samples": CLEAN[[0, 7]].mean(), "epoch": CLEAN[0] + 1, own: -2.0}
    for on, value in expected.items():
        loader = DataLoader(Dataset(items(), shifted), batch_size=4, sampler=sampler)
        margins = AdaptiveMargins(0.5, path, fit_on=on)
        make_trainer(margins, loader=loader).run()
        assert margins.thresholds["loss"] == pytest.approx(value, abs=0.01)
        assert margins.thresholds.fitted["on"] == (on if isinstance(on, str) else "a loader of its own")
    with pytest.raises(BadInputError, match="fit_on is 'batches'; it must be one of 'samples', 'epoch'"):
        AdaptiveMargins(0.5, path, fit_on="batches")


class SameIterator:
    """Hands out one iterator, again and again."""

    def __init__(self):
        self.left = once()

    def __iter__(self):
        return self.left


def once():
    return iter(list(DataLoader(items(), batch_size=4)))


@pytest.mark.parametrize("fit_on", ["samples", "epoch"])
@pytest.mark.parametrize(
    ("make", "what"),
    [
        (once, "a list_iterator of batches"),
        (lambda: (batch for batch in DataLoader(items(), batch_size=4)), "a generator of batches"),
        (SameIterator, "a SameIterator of batches"),
        (lambda: DataLoader(IterableDataset(iter(items())), batch_size=4), "a loader of IterableDataset"),
    ],
    ids=["iterator", "generator", "same", "stream"],
)
def test_data_that_can_be_read_once_is_left_to_training(make, what, fit_on, tmp_path):
    data = make()
    with pytest.raises(BadInputError, match=f"fitted .*before training begins, but {what} .*fit_on=LOADER"):
        make_trainer(AdaptiveMargins(0.5, trained(tmp_path), fit_on=fit_on), loader=data, epoch_length=2).run()
    margins = AdaptiveMargins(0.5, tmp_path / "trained.pt", fit_on=DataLoader(items(), batch_size=4))
    trainer = make_trainer(margins, loader=data, epoch_length=2)
    trainer.run()
    assert trainer.state.iteration == 2
    assert margins.thresholds["loss"] == pytest.approx(CLEAN.mean())


def test_a_training_that_gets_no_batch_is_an_error():
    emptied = once()
    list(emptied)
    with pytest.raises(BadInputError, match="the training got no batch"):
        make_trainer(AdaptiveMargins(0.5, {"loss": 0.0}), loader=emptied, epoch_length=2).run()


@pytest.mark.parametrize(
    "make", [int, np.int64, torch.tensor, np.array, lambda n: torch.tensor([n]), lambda n: np.array([n]), str]
)
def test_an_id_is_one_whether_of_python_numpy_or_torch(make):
    data = [{"image": torch.zeros(1, 4, 4), "sample_id": make(number)} for number in (3, 5)]
    known = dataset_ids(data, "sample_id")
    batch = next(iter(DataLoader(data, batch_size=2)))
    assert known == batch_ids(batch, "sample_id", 2) == batch_ids(data, "sample_id", 2) == ["3", "5"]
