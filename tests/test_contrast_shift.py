"""Contrast shifts: the formula, its bounds, its draws, and per-sample use on a batch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.transforms import Compose

from monai_robust.errors import BadInputError, BadSampleError
from monai_robust.transforms import (
    ContrastShift,
    ContrastShiftd,
    RandContrastShift,
    RandContrastShiftd,
    apply_per_sample,
)


def image(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(1, 8, 6), (2, 5, 6, 4)])
@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 2.5])
def test_each_channel_is_stretched_about_its_own_mean_and_clipped(shape: tuple[int, ...], factor: float) -> None:
    x = image(*shape)
    x[0] *= 0.5
    expected = np.stack([np.clip(c.mean() + factor * (c - c.mean()), 0, 1) for c in x.numpy()])
    np.testing.assert_allclose(ContrastShift(factor)(x).numpy(), expected, atol=1e-6)


def test_without_bounds_mean_is_kept_and_spread_scaled_whatever_the_range() -> None:
    x = 30 * image(1, 16, 16) - 500
    shifted = ContrastShift(1.7, bounds=None)(x)
    assert shifted.mean().item() == pytest.approx(x.mean().item(), rel=1e-5)
    assert shifted.std().item() == pytest.approx(1.7 * x.std().item(), rel=1e-3)


def test_own_bounds_are_clipped_to() -> None:
    shifted = ContrastShift(5, bounds=(-1, 1))(2 * image(1, 16, 16) - 1)
    assert shifted.min() == -1
    assert shifted.max() == 1


def test_an_image_outside_the_bounds_is_refused_with_its_range() -> None:
    with pytest.raises(BadSampleError, match="from -3 to 2, outside 0 to 1"):
        ContrastShift(2)(torch.tensor([[-3.0, 2.0]]))
    with pytest.raises(BadSampleError, match="not finite"):
        ContrastShift(2, bounds=None)(torch.tensor([[math.nan, 2.0]]))


def test_metadata_dtype_and_kind_are_kept() -> None:
    affine = torch.diag(torch.tensor([2.0, 3.0, 1.0, 1.0], dtype=torch.float64))
    x = MetaTensor(image(1, 8, 8), affine=affine, meta={"filename_or_obj": "a.dcm"})
    shifted = ContrastShift(1.5)(x)
    assert isinstance(shifted, MetaTensor)
    assert shifted.meta["filename_or_obj"] == "a.dcm"
    torch.testing.assert_close(shifted.affine, affine)
    assert type(ContrastShift(1.5)(image(1, 8, 8))) is torch.Tensor
    assert ContrastShift(1.5)(image(1, 8, 8).half()).dtype == torch.float16
    assert isinstance(ContrastShift(1.5)(image(1, 8, 8).numpy()), torch.Tensor)


def test_the_input_is_not_written_into() -> None:
    x = image(1, 8, 8)
    before = x.clone()
    ContrastShift(0.5)(x)
    torch.testing.assert_close(x, before)


def test_drawn_factors_cover_their_range_and_are_applied() -> None:
    x, transform = image(1, 8, 8), RandContrastShift((0.5, 2.0))
    transform.set_random_state(0)
    drawn = []
    for _ in range(200):
        shifted = transform(x)
        torch.testing.assert_close(shifted, ContrastShift(transform.factor)(x))
        drawn.append(transform.factor)
    assert 0.5 <= min(drawn) < 0.6
    assert 1.9 < max(drawn) <= 2.0


def test_probability_decides_how_often_an_image_is_shifted() -> None:
    x, transform = image(1, 8, 8), RandContrastShift((1.5, 2.0), prob=0.3)
    transform.set_random_state(0)
    changed = sum(not torch.equal(transform(x), x) for _ in range(300))
    assert 60 < changed < 120


def test_a_draw_can_be_repeated() -> None:
    x, transform = image(1, 8, 8), RandContrastShift((0.5, 2.0))
    first = transform(x)
    torch.testing.assert_close(transform(x, randomize=False), first)
    assert not torch.equal(transform(x), first)


def test_dictionary_versions_change_their_keys_alike() -> None:
    items = {"image": image(1, 8, 8), "other": image(1, 8, 8), "label": 1}
    fixed = ContrastShiftd("image", 1.5)(items)
    torch.testing.assert_close(fixed["image"], ContrastShift(1.5)(items["image"]))
    assert fixed["other"] is items["other"]
    drawn = RandContrastShiftd(["image", "other"], (1.5, 3.0))(items)
    torch.testing.assert_close(drawn["image"], drawn["other"])
    assert drawn["label"] == 1
    with pytest.raises(KeyError):
        ContrastShiftd("absent", 1.5)(items)
    ContrastShiftd("absent", 1.5, allow_missing_keys=True)(items)


def test_dictionary_version_forwards_the_seed() -> None:
    one, two = (RandContrastShiftd("image", (0.5, 2.0)).set_random_state(7) for _ in range(2))
    array = RandContrastShift((0.5, 2.0)).set_random_state(7)
    items = {"image": image(1, 8, 8)}
    first = one(items)["image"]
    torch.testing.assert_close(two(items)["image"], first)
    torch.testing.assert_close(array(items["image"]), first)


def test_workers_draw_differently_for_each_sample_and_again_alike_under_one_seed() -> None:
    transform = Compose([RandContrastShiftd("image", (0.2, 3.0), bounds=None)])
    items = [{"image": image(1, 4, 4)} for _ in range(6)]

    def epoch() -> torch.Tensor:
        torch.manual_seed(3)
        loader = DataLoader(Dataset(items, transform), batch_size=2, num_workers=2)
        return torch.cat([batch["image"] for batch in loader])

    first = epoch()
    torch.testing.assert_close(epoch(), first)
    assert len(torch.unique(first.flatten(1), dim=0)) == 6


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"factor": -1}, "of at least 0"),
        ({"factor": math.nan}, "of at least 0"),
        ({"factor": "high"}, "'high'"),
        ({"factor": 2, "bounds": (1, 0)}, "low < high"),
        ({"factor": 2, "bounds": 1}, "pair"),
    ],
)
def test_arguments_that_cannot_work_are_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        ContrastShift(**arguments)


def test_random_arguments_that_cannot_work_are_refused() -> None:
    with pytest.raises(BadInputError, match="lowest, highest"):
        RandContrastShift((2, 1))
    with pytest.raises(BadInputError, match="pair"):
        RandContrastShift(2)  # type: ignore[arg-type]
    with pytest.raises(BadInputError, match="prob"):
        RandContrastShift((1, 2), prob=1.5)


# on a batch


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_a_batch_is_changed_sample_by_sample_with_own_draws(dtype: torch.dtype) -> None:
    batch = image(1, 1, 8, 8).expand(4, 1, 8, 8).to(dtype)
    transform = RandContrastShift((0.2, 3.0))
    transform.set_random_state(0)
    result = apply_per_sample(transform, MetaTensor(batch))
    assert type(result) is torch.Tensor
    assert result.dtype == dtype
    assert len(torch.unique(result.flatten(1), dim=0)) == 4
    transform.set_random_state(0)
    torch.testing.assert_close(result, torch.stack([transform(sample) for sample in batch]))


def test_a_transform_that_writes_into_its_input_leaves_the_batch_alone() -> None:
    batch = image(2, 1, 4, 4)
    before = batch.clone()
    torch.testing.assert_close(apply_per_sample(lambda x: x.mul_(2), batch), 2 * before)
    torch.testing.assert_close(batch, before)


def test_a_transform_that_changes_the_shape_is_refused_on_a_batch() -> None:
    with pytest.raises(BadInputError, match=r"made \(1, 4, 2\)"):
        apply_per_sample(lambda x: x[..., :2], image(2, 1, 4, 4))
