"""Corruptions: moments of the noise, determinism, range and registry."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Lambdad, ScaleIntensity
from scipy import stats

from monai_robust.errors import BadInputError, BadSampleError
from monai_robust.evaluation.measure.perturbations import CorruptionSweep, EvaluatedBatch, seeded
from monai_robust.tasks import Classification
from monai_robust.transforms import CORRUPTIONS, ContrastShift, Corruption, SaltAndPepperCorruption, corruption
from monai_robust.transforms.corruptions.draws import poisson, uniform

GENERIC = ("gaussian", "speckle", "salt_and_pepper", "contrast_high", "contrast_low")
SEVERITIES = {name: CORRUPTIONS[name].severities[2] for name in GENERIC}


def image(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def clipped_normal_moments(mean: float, variance: float) -> tuple[float, float]:
    """Mean and variance of N(mean, variance) clipped to [0, 1], by summing over a fine grid."""
    x = np.linspace(mean - 12 * math.sqrt(variance), mean + 12 * math.sqrt(variance), 400_001)
    density = np.exp(-((x - mean) ** 2) / (2 * variance))
    density /= density.sum()
    clipped = x.clip(0, 1)
    first = (clipped * density).sum()
    return float(first), float((clipped**2 * density).sum() - first**2)


@pytest.mark.parametrize("variance", [0.0025, 0.1, 1.0])
def test_gaussian_noise_has_the_stated_variance_before_clipping(variance: float) -> None:
    noisy = corruption("gaussian", variance)(torch.full((1, 300, 300), 0.4)).numpy()
    mean, spread = clipped_normal_moments(0.4, variance)
    assert noisy.mean() == pytest.approx(mean, abs=0.006)
    assert noisy.var() == pytest.approx(spread, rel=0.02)


@pytest.mark.parametrize("photons", [0.5, 6.0, 100.0, 1e5])
def test_shot_noise_counts_photons_by_the_law_of_poisson(photons: float) -> None:
    film = image(1, 60, 60)
    film[0, 0] = 0.0
    counts = poisson(photons * film, torch.Generator().manual_seed(3))
    shares = uniform(film, torch.Generator().manual_seed(3)).double()
    assert counts.numpy() == pytest.approx(stats.poisson.ppf(shares, (photons * film).double()).clip(0))
    noisy = corruption("shot_noise", photons)(film, torch.Generator().manual_seed(3))
    torch.testing.assert_close(noisy.double(), (counts / photons).clamp(0, 1), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("level", [0.2, 0.7])
def test_speckle_is_noise_in_proportion_to_the_image(level: float) -> None:
    noisy = corruption("speckle", 0.1)(torch.full((1, 300, 300), level)).numpy()
    mean, spread = clipped_normal_moments(level, 0.1 * level**2)
    assert noisy.mean() == pytest.approx(mean, abs=0.004)
    assert noisy.var() == pytest.approx(spread, rel=0.02)


def test_speckle_leaves_black_black() -> None:
    assert corruption("speckle", 1.0)(torch.zeros(1, 20, 20)).abs().max() == 0


@pytest.mark.parametrize("amount", [0.1, 0.6, 1.0])
def test_salt_and_pepper_replace_the_stated_share_half_by_each(amount: float) -> None:
    x = torch.full((1, 300, 300), 0.4)
    noisy = corruption("salt_and_pepper", amount)(x)
    assert (noisy == 1).float().mean().item() == pytest.approx(amount / 2, abs=0.006)
    assert (noisy == 0).float().mean().item() == pytest.approx(amount / 2, abs=0.006)
    assert torch.equal(noisy[(noisy != 0) & (noisy != 1)], x[(noisy != 0) & (noisy != 1)])


def test_salt_and_pepper_replace_a_pixel_in_all_of_its_channels() -> None:
    x = torch.full((3, 200, 200), 0.4)
    noisy = corruption("salt_and_pepper", 0.3)(x)
    assert torch.equal(noisy, noisy[:1].expand(3, -1, -1))  # a grey image stays grey
    assert (noisy != x).any(dim=0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert torch.equal(noisy[:1], corruption("salt_and_pepper", 0.3)(x[:1]))
    own = SaltAndPepperCorruption(0.3, per_channel=True)(x)
    assert (own != x).any(dim=0).float().mean().item() == pytest.approx(1 - 0.7**3, abs=0.01)


@pytest.mark.parametrize("name", ["gaussian", "speckle"])
def test_electronic_noise_is_of_each_channel_by_itself(name: str) -> None:
    noise = corruption(name, 0.01)(torch.full((3, 100, 100), 0.5)).flatten(1)
    assert torch.corrcoef(noise)[0, 1:].abs().max() < 0.05


def test_contrast_corruptions_are_contrast_shifts() -> None:
    x = image(1, 16, 16)
    torch.testing.assert_close(corruption("contrast_high", 2.0)(x), ContrastShift(2.0)(x))
    torch.testing.assert_close(corruption("contrast_low", 0.3)(x), ContrastShift(0.3)(x))


@pytest.mark.parametrize("name", ["gaussian", "speckle", "salt_and_pepper"])
def test_no_severity_is_no_change(name: str) -> None:
    x = image(1, 16, 16)
    torch.testing.assert_close(corruption(name, 0.0)(x), x)


@pytest.mark.parametrize("name", GENERIC)
@pytest.mark.parametrize("shape", [(1, 12, 10), (3, 6, 7, 8)])
def test_images_of_any_dimension_keep_shape_range_dtype_and_metadata(name: str, shape: tuple[int, ...]) -> None:
    corrupt = corruption(name, SEVERITIES[name])
    x = MetaTensor(image(*shape), meta={"filename_or_obj": "a.dcm"})
    before = x.as_tensor().clone()
    changed = corrupt(x)
    assert isinstance(changed, MetaTensor)
    assert changed.meta["filename_or_obj"] == "a.dcm"
    assert changed.shape == shape
    assert not torch.equal(changed.as_tensor(), before)
    assert changed.min() >= 0
    assert changed.max() <= 1
    torch.testing.assert_close(x.as_tensor(), before)
    assert corrupt(image(*shape).half()).dtype == torch.float16


@pytest.mark.parametrize("name", ["gaussian", "speckle", "salt_and_pepper"])
def test_noise_follows_from_generator_and_severity_alone(name: str) -> None:
    x = image(1, 12, 12)

    def drawn(sample: str, severity: float = 0.3) -> torch.Tensor:
        return corruption(name, severity)(x, seeded(0, sample))

    first = drawn("a")
    others = [drawn("b"), drawn("a", 0.4)]
    torch.testing.assert_close(drawn("a"), first)
    assert not any(torch.equal(other, first) for other in others)


def test_without_a_generator_the_seed_decides() -> None:
    x = image(1, 12, 12)
    torch.testing.assert_close(corruption("gaussian", 0.1)(x), corruption("gaussian", 0.1)(x))
    assert not torch.equal(corruption("gaussian", 0.1)(x), corruption("gaussian", 0.1, seed=1)(x))


def test_a_given_generator_moves_on() -> None:
    x, generator, corrupt = image(1, 12, 12), torch.Generator().manual_seed(0), corruption("gaussian", 0.1)
    assert not torch.equal(corrupt(x, generator), corrupt(x, generator))


@pytest.mark.parametrize("name", GENERIC)
def test_an_image_outside_the_unit_range_is_refused_with_its_range(name: str) -> None:
    with pytest.raises(BadSampleError, match="from -2 to 3, outside 0 to 1"):
        corruption(name, SEVERITIES[name])(torch.tensor([[-2.0, 3.0]]))


def test_an_unknown_name_is_refused_with_the_command_that_lists_them() -> None:
    with pytest.raises(BadInputError, match=r"no corruption 'fog'; .*monai-robust corruptions lists all"):
        corruption("fog", 0.1)


@pytest.mark.parametrize(
    ("name", "severity"),
    [
        ("gaussian", -0.1),
        ("speckle", math.nan),
        ("salt_and_pepper", 1.1),
        ("contrast_high", 0.9),
        ("contrast_low", 1.1),
        ("gaussian", "strong"),
        ("gaussian", math.inf),
    ],
)
def test_a_severity_that_a_corruption_does_not_have_is_refused(name: str, severity: Any) -> None:
    with pytest.raises(BadInputError, match=rf"corruption {name}: severity"):
        corruption(name, severity)


@pytest.mark.parametrize("kind", [CORRUPTIONS[name] for name in GENERIC])
def test_corruptions_stand_in_monais_compositions(kind: type[Corruption]) -> None:
    corrupt = kind(SEVERITIES[kind.name])
    x = image(1, 8, 8)
    single = Compose([ScaleIntensity(), corrupt])(x)
    torch.testing.assert_close(Compose([Lambdad("image", corrupt)])({"image": ScaleIntensity()(x)})["image"], single)
    assert not torch.equal(single, ScaleIntensity()(x))


@pytest.mark.parametrize("bounds", [(-100.0, 300.0), "per_image"])
def test_a_corruption_of_images_in_other_units_is_that_of_the_same_images_in_unit_range(bounds):
    generator = torch.Generator().manual_seed(0)
    unit = torch.rand(2, 1, 6, 6, generator=generator)
    unit.flatten(1)[:, 0], unit.flatten(1)[:, 1] = 0.0, 1.0  # the range of each image is that of the unit
    evaluated_batches = [
        EvaluatedBatch(lambda x: x, inputs, torch.zeros(2), Classification(), ["a", "b"], 0)
        for inputs in (unit, 400 * unit - 100)
    ]
    plain = CorruptionSweep("gaussian", [0.1]).apply(0.1, evaluated_batches[0])
    other = CorruptionSweep("gaussian", [0.1], bounds=bounds).apply(0.1, evaluated_batches[1])
    assert torch.allclose(400 * plain - 100, other, atol=1e-3)
    assert not torch.equal(plain, unit)


def test_an_image_of_one_intensity_is_corrupted_too():
    evaluated = EvaluatedBatch(lambda x: x, torch.full((1, 1, 4, 4), 7.0), torch.zeros(1), Classification(), ["a"], 0)
    assert CorruptionSweep("gaussian", [0.1], bounds="per_image").apply(0.1, evaluated).isfinite().all()
    with pytest.raises(BadInputError, match="needs bounds"):
        CorruptionSweep("gaussian", [0.1], bounds=None)
