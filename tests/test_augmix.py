"""AugMix: the mixture, its draws, its operations against scipy and numpy, and its use in pipelines."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.transforms import Compose, Flip, Lambda, RandGaussianNoise, RandGaussianNoised, RandShiftIntensity, Resize
from PIL import Image, ImageOps
from scipy import ndimage

from monai_robust.errors import BadInputError, BadSampleError
from monai_robust.transforms import OPERATION_SETS, AugMix, AugMixd, AugMixOperation, apply_per_sample
from monai_robust.transforms.operations import KINDS


def image(*shape: int, seed: int = 0) -> torch.Tensor:
    """Smooth positive noise that fills [0, 1]."""
    noise = np.random.default_rng(seed).normal(size=shape)
    smooth = ndimage.gaussian_filter(noise, [0] + [1.5] * (len(shape) - 1))
    return torch.tensor((smooth - smooth.min()) / (smooth.max() - smooth.min()), dtype=torch.float32)


# the mixture


def test_the_result_is_the_papers_mixture_of_its_chains() -> None:
    halve, invert = Lambda(lambda x: 0.5 * x), Lambda(lambda x: 1 - x)
    functions: list[Callable[[np.ndarray], np.ndarray]] = [lambda x: 0.5 * x, lambda x: 1 - x]
    transform = AugMix([halve, invert], width=4)
    transform.set_random_state(5)
    x = image(1, 8, 8)
    for _ in range(10):
        mixed = transform(x)
        expected = (1 - transform.mixing) * x.numpy()
        for weight, chain in zip(transform.weights, transform.chains, strict=True):
            changed = x.numpy()
            for index in chain:
                changed = functions[index](changed)
            expected = expected + transform.mixing * weight * changed
        np.testing.assert_allclose(mixed.numpy(), expected, atol=1e-6)


def test_draws_have_the_papers_distributions() -> None:
    transform = AugMix()
    transform.set_random_state(0)
    mixing, depths, weights = [], [], []
    for _ in range(600):
        transform.randomize()
        assert sum(transform.weights) == pytest.approx(1)
        mixing.append(transform.mixing)
        depths += [len(chain) for chain in transform.chains]
        weights.append(transform.weights[0])
    # Beta(1, 1) is uniform; a weight of Dirichlet(1, 1, 1) is Beta(1, 2): mean 1/3, variance 1/18
    assert np.mean(mixing) == pytest.approx(1 / 2, abs=0.04)
    assert np.var(mixing) == pytest.approx(1 / 12, rel=0.15)
    assert np.mean(weights) == pytest.approx(1 / 3, abs=0.03)
    assert np.var(weights) == pytest.approx(1 / 18, rel=0.2)
    assert {d: round(depths.count(d) / len(depths), 1) for d in set(depths)} == {1: 0.3, 2: 0.3, 3: 0.3}


def test_width_depth_and_alpha_are_taken() -> None:
    transform = AugMix(width=5, depth=2, alpha=200.0)
    transform.randomize()
    assert [len(chain) for chain in transform.chains] == [2] * 5
    assert transform.weights == pytest.approx([0.2] * 5, abs=0.1)
    assert transform.mixing == pytest.approx(0.5, abs=0.2)


@pytest.mark.parametrize("name", OPERATION_SETS)
@pytest.mark.parametrize("shape", [(1, 24, 20), (2, 10, 12, 9)])
def test_every_set_changes_images_of_two_and_three_dimensions_within_their_range(
    name: str, shape: tuple[int, ...]
) -> None:
    transform = AugMix(name)
    transform.set_random_state(0)
    x = image(*shape)
    results = torch.stack([transform(x) for _ in range(6)])
    assert results.shape[1:] == shape
    assert results.isfinite().all()
    assert results.min() >= 0
    assert results.max() <= 1
    assert ((results - x).abs().flatten(1).max(dim=1).values > 0.01).sum() >= 4


def test_stronger_severity_changes_more() -> None:
    x = image(1, 24, 24)

    def mean_change(severity: float) -> float:
        transform = AugMix("intensity", severity=severity)
        transform.set_random_state(0)
        return sum((transform(x) - x).abs().mean().item() for _ in range(40))

    assert mean_change(1) < mean_change(3) < mean_change(9)


def test_images_of_another_range_are_changed_alike_on_their_own_scale() -> None:
    x = image(1, 16, 16)
    unit, z_scored, bounded = AugMix(), AugMix(bounds=None), AugMix(bounds=(-500, 1500))
    for transform in (unit, z_scored, bounded):
        transform.set_random_state(1)
    for _ in range(10):
        expected = unit(x)
        torch.testing.assert_close((z_scored(4 * x - 1.5) + 1.5) / 4, expected, atol=1e-4, rtol=0)
        torch.testing.assert_close((bounded(2000 * x - 500) + 500) / 2000, expected, atol=1e-4, rtol=0)


def test_a_constant_image_stays_as_it_is() -> None:
    x = torch.full((1, 8, 8), 7.0)
    torch.testing.assert_close(AugMix(bounds=None)(x), x)


def test_an_image_outside_the_bounds_is_refused_with_its_range() -> None:
    with pytest.raises(BadSampleError, match="from 0 to 255, outside 0 to 1"):
        AugMix()(255 * image(1, 8, 8))
    with pytest.raises(BadSampleError, match="not finite"):
        AugMix(bounds=None)(torch.full((1, 8, 8), math.inf))


# draws


def test_the_seed_decides_everything_also_in_monais_own_random_operations() -> None:
    x = image(1, 12, 12)

    def run(seed: int, disturb: bool) -> torch.Tensor:
        noise = RandGaussianNoise(prob=1.0)
        nested = Compose([RandShiftIntensity(0.3, prob=1.0)])
        if disturb:
            noise(x)
        transform = AugMix([noise, nested], bounds=None)
        transform.set_random_state(seed)
        return torch.stack([transform(x) for _ in range(4)])

    first = run(3, disturb=False)
    torch.testing.assert_close(run(3, disturb=True), first)
    assert not torch.equal(run(4, disturb=False), first)


def test_a_draw_can_be_repeated_with_its_operations() -> None:
    x, transform = image(1, 12, 12), AugMix()
    first = transform(x)
    torch.testing.assert_close(transform(x, randomize=False), first)
    assert not torch.equal(transform(x), first)


def test_probability_zero_changes_nothing() -> None:
    x = image(1, 12, 12)
    assert torch.equal(AugMix(prob=0.0)(x), x)


def test_dictionary_version_forwards_its_seed_and_changes_all_keys_alike() -> None:
    x = image(1, 12, 12)
    array, dictionary = AugMix(), AugMixd(["image", "copy"])
    array.set_random_state(2)
    dictionary.set_random_state(2)
    items = {"image": x, "copy": x, "label": 1}
    for _ in range(3):
        changed = dictionary(items)
        torch.testing.assert_close(changed["copy"], changed["image"])
        torch.testing.assert_close(array(x), changed["image"])
    assert changed["label"] == 1


def test_workers_draw_differently_for_each_sample_and_again_alike_under_one_seed() -> None:
    items = [{"image": image(1, 12, 12)} for _ in range(6)]
    transform = Compose([AugMixd("image", "intensity")])

    def epoch() -> torch.Tensor:
        torch.manual_seed(3)
        loader = DataLoader(Dataset(items, transform), batch_size=2, num_workers=2)
        return torch.cat([batch["image"] for batch in loader])

    first = epoch()
    torch.testing.assert_close(epoch(), first)
    assert len(torch.unique(first.flatten(1), dim=0)) == 6


# what goes in and comes out


def test_metadata_dtype_and_kind_are_kept_and_the_input_is_not_written_into() -> None:
    x = MetaTensor(image(1, 12, 12), meta={"filename_or_obj": "a.dcm"})
    before = x.as_tensor().clone()
    changed = AugMix([Lambda(lambda y: y.mul_(0.5))])(x)
    assert isinstance(changed, MetaTensor)
    assert changed.meta["filename_or_obj"] == "a.dcm"
    torch.testing.assert_close(x.as_tensor(), before)
    assert type(AugMix()(image(1, 12, 12))) is torch.Tensor
    assert AugMix()(image(1, 12, 12).half()).dtype == torch.float16
    assert isinstance(AugMix()(image(1, 12, 12).numpy()), torch.Tensor)


def test_a_batch_is_changed_sample_by_sample() -> None:
    batch = image(1, 12, 12).expand(5, 1, 12, 12)
    changed = apply_per_sample(AugMix(), batch)
    assert changed.shape == batch.shape
    assert len(torch.unique(changed.flatten(1), dim=0)) == 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"operations": "colour"}, "no set of operations 'colour'; there are intensity"),
        ({"operations": []}, "must not be empty"),
        ({"operations": [3]}, "array transform"),
        ({"operations": [RandGaussianNoised("image")]}, "array transform"),
        ({"width": 0}, "width"),
        ({"depth": 0}, "depth"),
        ({"alpha": 0.0}, "alpha"),
        ({"severity": 11}, "from 0.1 to 10"),
        ({"bounds": (0, math.inf)}, "finite"),
        ({"prob": -0.1}, "from 0 to 1"),
    ],
)
def test_arguments_that_cannot_work_are_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        AugMix(**arguments)


def test_an_operation_that_changes_the_shape_is_refused() -> None:
    with pytest.raises(BadSampleError, match="Resize made"):
        AugMix([Resize((4, 4))])(image(1, 8, 8))


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_a_small_image_takes_well_under_six_milliseconds_of_processor_time() -> None:
    x, transform = image(1, 64, 64), AugMix()
    transform.set_random_state(0)
    times = []
    for _ in range(60):
        start = time.process_time()
        transform(x)
        times.append(time.process_time() - start)
    assert float(np.median(times)) < 0.006


# the operations


def applied(name: str, x: torch.Tensor, amount: float, axes: tuple[int, ...] = (0, 1, 2)) -> np.ndarray:
    return KINDS[name].apply(x, amount, axes).numpy()


def resampled(x: torch.Tensor, matrix: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """scipy's linear resampling about the centre of the image."""
    centre = (np.array(x.shape[1:]) - 1) / 2
    shift = centre + offset - matrix @ centre
    return np.stack([ndimage.affine_transform(c, matrix, shift, order=1, mode="grid-constant") for c in x.numpy()])


@pytest.mark.parametrize("shape", [(1, 20, 31), (2, 9, 12, 15)])
@pytest.mark.parametrize("name", ["rotate", "shear", "translate"])
def test_geometric_operations_agree_with_scipy_on_any_shape(name: str, shape: tuple[int, ...]) -> None:
    x, dims = image(*shape), len(shape) - 1
    axes = (1, 0) if dims == 2 else (2, 0, 1)
    matrix, offset = np.eye(dims), np.zeros(dims)
    if name == "rotate":
        c, s = math.cos(math.radians(20)), math.sin(math.radians(20))
        matrix[np.ix_(axes[:2], axes[:2])] = [[c, -s], [s, c]]
        amount = 20.0
    elif name == "shear":
        matrix[axes[0], axes[1]] = amount = 0.25
    else:
        amount = 0.3
        offset[axes[0]] = 0.3 * shape[1 + axes[0]]
    np.testing.assert_allclose(applied(name, x, amount, axes), resampled(x, matrix, offset), atol=2e-5)


def test_full_equalisation_makes_grey_levels_equally_frequent() -> None:
    x = image(1, 64, 64) ** 3
    equalised = applied("equalize", x, 1.0)
    histogram, _ = np.histogram(equalised, bins=8, range=(0, 1))
    before, _ = np.histogram(x.numpy(), bins=8, range=(0, 1))
    assert histogram.std() < 0.2 * before.std()
    order = np.argsort(x.numpy().ravel())
    assert (np.diff(equalised.ravel()[order]) >= 0).all()


def test_a_channel_of_one_grey_level_is_left_alone() -> None:
    x = torch.full((1, 6, 6), 0.4)
    for name in ("equalize", "autocontrast"):
        np.testing.assert_allclose(applied(name, x, 0.05), x.numpy())


def test_autocontrast_stretches_between_the_cut_off_pixels() -> None:
    x = torch.linspace(0.2, 0.6, 101).reshape(1, 101, 1)
    stretched = applied("autocontrast", x, 0.1).ravel()
    assert stretched[10] == pytest.approx(0, abs=1e-5)
    assert stretched[90] == pytest.approx(1, abs=1e-5)
    assert stretched[50] == pytest.approx(0.5, abs=1e-5)


def test_the_published_set_is_augmixs_nine_and_solarize_inverts_the_bright_part() -> None:
    assert len(AugMix(operations="published").operations) == 9
    bright = applied("solarize", torch.linspace(0, 1, 11).reshape(1, 1, 11), 0.35)
    assert bright.ravel() == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.3, 0.2, 0.1, 0.0], abs=1e-6)


def test_posterize_leaves_the_stated_number_of_grey_levels() -> None:
    x = torch.linspace(0, 1, 1000).reshape(1, 10, 100)
    assert len(np.unique(applied("posterize", x, 0.0))) == 16
    assert len(np.unique(applied("posterize", x, 1.0))) == 8
    assert len(np.unique(applied("posterize", x, 4.0))) == 2


@pytest.mark.parametrize("level", [0.1, 2.4, 2.6, 5.1, 9.9])
def test_posterize_bits_is_pillows_posterize_at_augmix_levels(level: float) -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    wanted = ImageOps.posterize(Image.fromarray(grey[0]), 4 - int(level * 4 / 10))
    found = applied("posterize_bits", torch.from_numpy(grey / np.float32(255)), 4.0 * level / 10)
    np.testing.assert_array_equal(np.round(found[0] * 255).astype(np.uint8), np.asarray(wanted))


def test_tone_operations_by_hand() -> None:
    x = torch.tensor([[[0.25, 0.81]]])
    np.testing.assert_allclose(applied("gamma", x, -1.0), [[[0.5, 0.9]]], atol=1e-6)
    np.testing.assert_allclose(applied("brightness", x, 0.1), [[[0.35, 0.91]]], atol=1e-6)
    np.testing.assert_allclose(applied("contrast", x, 1.0), [[[-0.03, 1.09]]], atol=1e-6)
    np.testing.assert_allclose(applied("flip", x, 1.0, (1, 0)), [[[0.81, 0.25]]])


def test_focus_blurs_as_a_gaussian_one_way_and_sharpens_the_other() -> None:
    x = image(2, 20, 24)
    blurred = np.stack([ndimage.gaussian_filter(c, 1.5, mode="nearest", truncate=2.0) for c in x.numpy()])
    np.testing.assert_allclose(applied("focus", x, -1.5), blurred, atol=0.01)

    def roughness(values: np.ndarray) -> float:
        return float(np.abs(np.diff(values, axis=1)).mean())

    assert roughness(applied("focus", x, -1.5)) < roughness(x.numpy()) < roughness(applied("focus", x, 1.0))


@pytest.mark.parametrize("name", KINDS)
def test_amounts_are_a_tenth_of_the_largest_for_each_level_with_random_signs(name: str) -> None:
    operation = AugMixOperation(name, severity=5.0)
    operation.set_random_state(0)
    x = image(1, 8, 8)
    amounts = []
    for _ in range(100):
        operation.randomize(x)
        amounts.append(operation.amount / KINDS[name].largest)
    assert max(np.abs(amounts)) <= 0.5
    assert min(np.abs(amounts)) >= 0.01
    assert np.mean(np.abs(amounts)) == pytest.approx(0.255, abs=0.04)
    assert (min(amounts) < 0) == KINDS[name].signed


def test_operations_refuse_what_they_cannot_do() -> None:
    with pytest.raises(BadInputError, match="no operation 'sharpness'; there are autocontrast"):
        AugMixOperation("sharpness")
    with pytest.raises(BadSampleError, match="two or three spatial dimensions"):
        AugMixOperation("rotate")(torch.rand(1, 5))
    with pytest.raises(BadSampleError, match="outside 0 to 1"):
        AugMixOperation("rotate")(torch.full((1, 5, 5), 2.0))


def test_operations_can_be_listed_beside_monais() -> None:
    transform = AugMix([AugMixOperation("gamma"), Flip(0)], depth=2)
    assert transform(image(1, 8, 8)).shape == (1, 8, 8)


@pytest.mark.real_data
def test_a_radiograph_stays_recognisable(public_data: Path) -> None:
    first = min((public_data / "covid_cxr3" / "images").rglob("*.jpg"))
    pixels = np.asarray(Image.open(first).convert("L").resize((96, 96)), dtype=np.float32)
    radiograph = torch.tensor(pixels / 255)[None]
    transform = AugMix("intensity")
    transform.set_random_state(0)
    correlations = [
        np.corrcoef(transform(radiograph).numpy().ravel(), radiograph.numpy().ravel())[0, 1] for _ in range(20)
    ]
    assert min(correlations) > 0.9
    assert min(correlations) < 0.9999
