"""What every corruption of the table keeps to, whatever it does: a new one is tested by standing in the table."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from monai_robust.errors import BadInputError, BadSampleError
from monai_robust.evaluation import CorruptionSweep, corruptions
from monai_robust.evaluation.measure.perturbations import EvaluatedBatch
from monai_robust.tasks import Classification
from monai_robust.transforms import (
    CORRUPTION_GROUPS,
    CORRUPTIONS,
    Corruption,
    corruption,
    corruption_names,
    register_corruption,
    severity_table,
)
from monai_robust.transforms.corruptions import LEVELS, SpatialCorruption

TABLE = pytest.mark.parametrize("name", CORRUPTIONS)
SPATIAL = [name for name, kind in CORRUPTIONS.items() if issubclass(kind, SpatialCorruption)]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(*shape: int) -> torch.Tensor:
    """Something with edges, flat places and shades, (C, *spatial), in [0, 1]."""
    axes = torch.meshgrid(*(torch.linspace(-1, 1, side) for side in shape[1:]), indexing="ij")
    radius = torch.stack(list(axes)).norm(dim=0)
    body = 0.25 + 0.35 * (radius < 0.8) + 0.3 * ((axes[0] - 0.3).abs() + (axes[1] + 0.2).abs() < 0.35)
    texture = 0.04 * torch.sin(9 * axes[0]) * torch.cos(13 * axes[1])
    shades = torch.linspace(1.0, 0.7, shape[0]).view(-1, *[1] * len(axes))
    return ((body + texture) * shades).clamp(0, 1)


def made_for(name: str) -> list[tuple[int, ...]]:
    kind = CORRUPTIONS[name]
    plane = (3, 52, 44) if kind.colour else (1, 52, 44)
    shapes = [plane] if 2 in kind.dimensions else []
    return shapes + ([(2, 24, 20, 8)] if 3 in kind.dimensions else [])


@TABLE
def test_a_corruption_follows_from_its_seed_alone(name: str) -> None:
    for shape in made_for(name):
        image, change = picture(*shape), corruption(name, level=3)
        first = change(image, seeded(1))
        assert torch.equal(change(image, seeded(1)), first)
        torch.rand(3)
        assert torch.equal(change(image.clone(), seeded(1)), first)
        others = [change(image, seeded(seed)) for seed in range(2, 6)]
        assert any(not torch.equal(other, first) for other in others) == CORRUPTIONS[name].random


@TABLE
def test_a_corruption_keeps_range_shape_type_and_metadata(name: str) -> None:
    for shape in made_for(name):
        image = MetaTensor(picture(*shape), meta={"filename_or_obj": "a.dcm"})
        before = image.as_tensor().clone()
        for level in (1, 5):
            changed = corruption(name, level=level)(image, seeded(0))
            assert isinstance(changed, MetaTensor)
            assert changed.meta["filename_or_obj"] == "a.dcm"
            assert changed.shape == shape
            assert changed.dtype == torch.float32
            assert 0 <= float(changed.min()) <= float(changed.max()) <= 1
            assert changed.isfinite().all()
        assert torch.equal(image.as_tensor(), before)
        for dtype in (torch.float16, torch.float64):
            again = corruption(name, level=3)(picture(*shape).to(dtype), seeded(0))
            assert again.dtype == dtype
        of_array = corruption(name, level=3)(picture(*shape).numpy(), seeded(0))
        assert torch.equal(torch.as_tensor(of_array), corruption(name, level=3)(picture(*shape), seeded(0)))


def swept(name: str, image: torch.Tensor, films: list[str]) -> torch.Tensor:
    """An image as each film's, at every level of a sweep, less the image: (levels, films, C, *spatial)."""
    sweep = CorruptionSweep(name)
    images = image.expand(len(films), *image.shape)
    batch = EvaluatedBatch(lambda x: x, images, torch.zeros(len(films)), Classification(), films, 0)
    return torch.stack([sweep.apply(severity, batch) - image for severity in sweep.severities])


@TABLE
def test_each_level_takes_every_film_farther_from_its_image(name: str) -> None:
    for shape in made_for(name):
        ways = swept(name, picture(*shape), ["film-0", "film-1", "film-2", "film-3"]).flatten(2).norm(dim=2)
        if name == "letters":  # a larger letter covers other pixels, which may be white already
            ways = ways.sum(dim=1, keepdim=True)
        assert (ways[0] > 0).all()
        assert (ways[1:] >= ways[:-1]).all()
        assert (ways[-1] > 1.4 * ways[0]).all()


@pytest.mark.parametrize("name", [name for name, kind in CORRUPTIONS.items() if kind.kind == "noise"])
def test_noise_is_the_same_draw_at_every_level_and_another_for_every_film(name: str) -> None:
    for shape in made_for(name):
        change = swept(name, picture(*shape), ["film-0", "film-1"])[-2:].flatten(2)
        assert float(torch.corrcoef(change[:, 0])[0, 1]) > 0.5  # of two draws it is about 0
        assert abs(float(torch.corrcoef(change[-1])[0, 1])) < 0.5


@TABLE
def test_levels_do_not_destroy_the_image(name: str) -> None:
    image = picture(*made_for(name)[0])
    changed = corruption(name, level=5)(image, seeded(3))
    both = torch.stack([image.flatten(), changed.flatten()])
    assert float(torch.corrcoef(both)[0, 1]) > 0.3


@TABLE
def test_images_that_a_corruption_is_not_made_for_are_refused_by_name(name: str) -> None:
    kind = CORRUPTIONS[name]
    shape = {1: (1, 40), 2: (1, 52, 44), 3: (1, 24, 20, 8)}
    for dimensions in (1, 2, 3):
        if dimensions not in kind.dimensions:
            with pytest.raises(BadSampleError, match=f"corruption {name} is made for"):
                corruption(name, level=1)(torch.rand(*shape[dimensions]))
    if kind.colour:
        with pytest.raises(BadSampleError, match=f"corruption {name} is of colours"):
            corruption(name, level=1)(torch.rand(1, 52, 44))


@TABLE
def test_a_sample_is_corrupted_alike_in_any_batch(name: str) -> None:
    shape = made_for(name)[0]
    images = torch.stack([picture(*shape), picture(*shape).flip(1), 0.5 * picture(*shape)])

    def swept(places: list[int]) -> torch.Tensor:
        names = [f"film-{place}" for place in places]
        batch = EvaluatedBatch(lambda x: x, images[places], torch.zeros(len(places)), Classification(), names, 0)
        sweep = CorruptionSweep(name, levels=[4])
        return sweep.apply(sweep.severities[0], batch)

    together = swept([0, 1, 2])
    torch.testing.assert_close(swept([1]), together[1:2], rtol=0, atol=1e-6)
    torch.testing.assert_close(swept([2, 0]), together[[2, 0]], rtol=0, atol=1e-6)


@TABLE
def test_a_flat_and_a_tiny_image_are_corrupted_or_refused_in_a_sentence(name: str) -> None:
    channels = 3 if CORRUPTIONS[name].colour else 1
    sizes = ((5, 4), (1, 9), (1, 1))
    tiny = [torch.rand(channels, *size) for size in sizes]
    for image in (torch.zeros(channels, 16, 16), torch.ones(channels, 16, 16), *tiny):
        for level in (1, 5):
            assert corruption(name, level=level)(image, seeded(0)).isfinite().all()


@TABLE
def test_the_table_says_what_a_corruption_is(name: str) -> None:
    kind = CORRUPTIONS[name]
    assert kind.name == name
    assert len(kind.severities) == len(set(kind.severities)) == len(LEVELS)
    assert kind.label
    assert kind.meaning
    assert kind.severity_label
    assert len(kind.source) > 10
    assert set(kind.groups) <= set(CORRUPTION_GROUPS)
    assert kind.groups
    assert f"`{name}`" in severity_table()


@pytest.mark.parametrize("name", SPATIAL)
def test_masks_landmarks_and_boxes_move_with_the_image(name: str) -> None:
    spatial = (96, 80)
    places = torch.tensor([[30.0, 28.0], [60.0, 50.0], [48.0, 40.0]])
    rows, columns = torch.meshgrid(torch.arange(96.0), torch.arange(80.0), indexing="ij")
    dots = torch.stack([torch.exp(-((rows - r) ** 2 + (columns - c) ** 2) / 18) for r, c in places.tolist()])
    change = corruption(name, level=5, seed=7)
    assert isinstance(change, SpatialCorruption)
    moved = change(dots, seeded(7))
    found = torch.stack([torch.stack([(one * rows).sum(), (one * columns).sum()]) / one.sum() for one in moved])
    expected = change.move_points(places, spatial, seeded(7))
    assert (expected - places).norm(dim=1).max() > 1
    torch.testing.assert_close(expected, found, rtol=0, atol=0.6)

    mask = (dots > 0.5).long()
    moved_mask = change.move_mask(mask, seeded(7))
    assert moved_mask.dtype == mask.dtype
    overlap = (moved_mask.bool() & (moved > 0.5)).sum() / (moved_mask.bool() | (moved > 0.5)).sum()
    assert overlap > 0.85

    boxes = torch.cat([places - 6, places + 6], dim=1)
    new = change.move_boxes(boxes, spatial, seeded(7))
    for box, one in zip(new, moved_mask, strict=True):
        inside = one.nonzero().float()
        assert (inside[:, 0] >= box[0] - 0.6).all()
        assert (inside[:, 1] <= box[3] + 0.6).all()


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name not in SPATIAL])
def test_what_is_not_spatial_leaves_things_in_their_place(name: str) -> None:
    image = picture(*made_for(name)[0])
    if CORRUPTIONS[name].kind in ("noise", "occlusion", "artefact"):
        image = image.mean(dim=0, keepdim=True).expand_as(image).contiguous()
    changes = [corruption(name, level=2)(image, seeded(seed)) for seed in range(12)]
    mean = torch.stack(changes).mean(dim=(0, 1))
    still = image.mean(dim=0)
    scores = {}
    for shift in ((0, 0), (0, 3), (3, 0), (0, -3), (-3, 0)):
        rolled = still.roll(shift, dims=(0, 1))[4:-4, 4:-4].flatten()
        scores[shift] = float(torch.corrcoef(torch.stack([rolled, mean[4:-4, 4:-4].flatten()]))[0, 1])
    assert max(scores, key=scores.__getitem__) == (0, 0)


def test_groups_and_names_are_chosen_by_words() -> None:
    assert corruption_names("mr") == [name for name, kind in CORRUPTIONS.items() if "mr" in kind.groups]
    assert corruption_names(" gaussian , mr,gaussian")[0] == "gaussian"
    assert len(corruption_names(["mr", "mr_spike"])) == len(corruption_names("mr"))
    assert [sweep.name for sweep in corruptions("ct", levels=[1, 5], bounds=(-1.0, 1.0))] == corruption_names("ct")
    assert all(len(sweep.severities) == 2 for sweep in corruptions("ct", levels=[1, 5]))
    assert all(corruption_names(group) for group in CORRUPTION_GROUPS)
    with pytest.raises(BadInputError, match=r"no corruption or group 'mri'.*did you mean mr"):
        corruption_names("mri")
    with pytest.raises(BadInputError, match=r"'ghosting'.*did you mean mr_ghosting"):
        corruption_names("ghosting")


def test_levels_and_severities_exclude_each_other() -> None:
    assert CorruptionSweep("gaussian").severities == list(CORRUPTIONS["gaussian"].severities)
    with pytest.raises(BadInputError, match="give one of them"):
        CorruptionSweep("gaussian", [0.1], levels=[1])
    with pytest.raises(BadInputError, match="level must be 1, 2, 3, 4 or 5, got 6"):
        CorruptionSweep("gaussian", levels=[6])
    with pytest.raises(BadInputError, match="give a severity"):
        corruption("gaussian")


def test_a_class_that_the_table_cannot_take_is_refused() -> None:
    class Again(CORRUPTIONS["gaussian"]):  # type: ignore[misc,name-defined]
        pass

    with pytest.raises(BadInputError, match="there is a corruption 'gaussian' already"):
        register_corruption(Again)
    Again.name, Again.severities = "again", (1.0,)
    with pytest.raises(BadInputError, match="severities must be 5"):
        register_corruption(Again)
    Again.severities, Again.groups = (1.0, 2.0, 3.0, 4.0, 5.0), ("xray",)
    with pytest.raises(BadInputError, match="no group 'xray'"):
        register_corruption(Again)
    assert "again" not in CORRUPTIONS
    assert issubclass(Again, Corruption)
