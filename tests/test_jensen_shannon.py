"""The Jensen-Shannon consistency loss against scipy, numpy and its own bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from scipy.spatial.distance import jensenshannon

from monai_robust.errors import BadInputError
from monai_robust.losses import JensenShannonLoss, jensen_shannon


def random_views(count: int, *shape: int, scale: float = 3.0, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(count)
    return [scale * torch.randn(*shape, generator=generator, dtype=dtype) for _ in range(count)]


def by_equations_7_and_8(views: list[torch.Tensor]) -> np.ndarray:
    """The paper's form for (B, C) logits, with plain logarithms of plain probabilities."""
    exponentials = [np.exp(view.numpy()) for view in views]
    p = [e / e.sum(1, keepdims=True) for e in exponentials]
    m = sum(p) / len(p)
    return sum((q * np.log(q / m)).sum(1) for q in p) / len(p)


def test_two_views_give_the_square_of_scipys_distance() -> None:
    first, second = random_views(2, 5, 4)
    expected = jensenshannon(first.softmax(1).numpy(), second.softmax(1).numpy(), axis=1) ** 2
    np.testing.assert_allclose(jensen_shannon([first, second]).numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize("count", [3, 5])
def test_more_views_follow_the_papers_equations(count: int) -> None:
    views = random_views(count, 6, 3)
    np.testing.assert_allclose(jensen_shannon(views).numpy(), by_equations_7_and_8(views), rtol=1e-10)


def test_dense_outputs_are_averaged_over_positions() -> None:
    views = random_views(3, 2, 3, 4, 5)
    positions = [view.permute(0, 2, 3, 1).reshape(-1, 3) for view in views]
    expected = by_equations_7_and_8(positions).reshape(2, 20).mean(1)
    np.testing.assert_allclose(jensen_shannon(views).numpy(), expected, rtol=1e-10)


def test_gradient_is_right() -> None:
    views = [view.requires_grad_() for view in random_views(3, 2, 3)]
    assert torch.autograd.gradcheck(lambda *given: jensen_shannon(given), views)


def test_order_of_the_views_does_not_matter() -> None:
    a, b, c = random_views(3, 4, 3)
    torch.testing.assert_close(jensen_shannon([a, b, c]), jensen_shannon([c, a, b]))


def test_a_sample_does_not_depend_on_the_rest_of_its_batch() -> None:
    views = random_views(3, 4, 3)
    torch.testing.assert_close(jensen_shannon(views)[2:3], jensen_shannon([view[2:3] for view in views]))


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 5), st.integers(2, 4), st.floats(0, 200), st.integers(0, 2**20))
def test_divergence_lies_between_zero_and_log_of_the_number_of_views(
    count: int, classes: int, scale: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    views = [scale * torch.randn(3, classes, generator=generator) for _ in range(count)]
    divergence = jensen_shannon(views)
    assert (divergence >= -1e-6).all()
    assert (divergence <= math.log(count) + 1e-5).all()


def test_equal_views_have_no_divergence_and_contrary_certain_ones_the_greatest() -> None:
    view = random_views(2, 4, 3)[0]
    assert jensen_shannon([view, view, view]).abs().max() < 1e-12
    certain = torch.eye(3) * 1e3
    contrary = jensen_shannon([certain[0:1], certain[1:2], certain[2:3]])
    assert contrary.item() == pytest.approx(math.log(3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_extreme_logits_keep_value_and_gradient_finite(dtype: torch.dtype) -> None:
    first = torch.tensor([[1e4, -1e4, 0.0], [1e4, 1e4, 1e4]], dtype=dtype, requires_grad=True)
    second = torch.tensor([[-1e4, 1e4, 0.0], [-1e4, 1e4, -1e4]], dtype=dtype, requires_grad=True)
    divergence = jensen_shannon([first, second])
    divergence.sum().backward()
    assert divergence.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert divergence[0].item() == pytest.approx(math.log(2), rel=1e-5)
    assert first.grad is not None
    assert first.grad.isfinite().all()
    assert second.grad is not None
    assert second.grad.isfinite().all()


def test_half_precision_is_computed_in_single_precision() -> None:
    views = [view.half() for view in random_views(3, 4, 3, dtype=torch.float32)]
    torch.testing.assert_close(jensen_shannon(views), jensen_shannon([view.float() for view in views]))


def test_metadata_of_the_views_is_left_behind() -> None:
    views = random_views(3, 4, 3)
    result = jensen_shannon([MetaTensor(view) for view in views])
    assert type(result) is torch.Tensor
    torch.testing.assert_close(result, jensen_shannon(views))


def test_loss_module_reduces_as_asked() -> None:
    views = random_views(3, 4, 3)
    torch.testing.assert_close(JensenShannonLoss(reduction="none")(views), jensen_shannon(views))
    torch.testing.assert_close(JensenShannonLoss()(views), jensen_shannon(views).mean())


@pytest.mark.parametrize(
    ("views", "words"),
    [
        ([torch.zeros(2, 3)], "two or more views"),
        ([torch.zeros(2, 3), torch.zeros(2, 4)], "one shape"),
        ([torch.zeros(2, 1), torch.zeros(2, 1)], "two or more classes"),
        ([torch.zeros(2), torch.zeros(2)], "two or more classes"),
    ],
)
def test_views_that_cannot_be_compared_are_refused(views: list[torch.Tensor], words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        jensen_shannon(views)


def test_unknown_reduction_is_refused() -> None:
    with pytest.raises(BadInputError, match="'sum'"):
        JensenShannonLoss(reduction="sum")
