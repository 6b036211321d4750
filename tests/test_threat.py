from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_robust.attacks.threat import Bounds, as_norm, as_radius
from monai_robust.errors import BadInputError

shapes = st.sampled_from([(3, 1, 7), (2, 3, 5, 4), (4, 2, 3, 4, 5)])
norms = st.sampled_from(["l2", "linf"])


@given(shape=shapes, name=norms, seed=st.integers(0, 1000), scale=st.floats(1e-3, 1e3))
@settings(max_examples=60, deadline=None)
def test_projection_lies_in_the_ball_and_keeps_what_is_inside(shape, name, seed, scale):
    generator = torch.Generator().manual_seed(seed)
    delta = scale * torch.randn(shape, generator=generator)
    eps = 0.01 + torch.rand(shape[0], generator=generator) * scale
    norm = as_norm(name)
    projected = norm.project(delta, eps)
    assert (norm.size(projected) <= eps * (1 + 1e-5)).all()
    inside = norm.size(delta) <= eps
    assert torch.equal(projected[inside], delta[inside])


@given(shape=shapes, name=norms, seed=st.integers(0, 1000), exponent=st.integers(-30, 3))
@settings(max_examples=60, deadline=None)
def test_steepest_direction_has_size_one_also_for_vanishing_gradients(shape, name, seed, exponent):
    gradient = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 10.0**exponent
    direction = as_norm(name).steepest(gradient)
    assert torch.allclose(as_norm(name).size(direction), torch.ones(shape[0]), atol=1e-5)
    assert (direction * gradient).flatten(1).sum(dim=1).gt(0).all()


def test_steepest_direction_of_a_zero_gradient_is_zero():
    for name in ("l2", "linf"):
        assert torch.equal(as_norm(name).steepest(torch.zeros(2, 1, 3)), torch.zeros(2, 1, 3))


@pytest.mark.parametrize("name", ["l2", "linf"])
def test_random_starts_fill_the_ball_uniformly(name):
    like = torch.zeros(4000, 1, 2)
    eps = torch.full((4000,), 2.0)
    start = as_norm(name).sample(like, eps, torch.Generator().manual_seed(0), surface=False)
    size = as_norm(name).size(start)
    assert (size <= 2.0 + 1e-5).all()
    # In two dimensions a quarter of a ball's volume lies within half its radius.
    assert abs((size < 1.0).float().mean().item() - 0.25) < 0.03
    surface = as_norm(name).sample(like, eps, torch.Generator().manual_seed(0), surface=True)
    assert torch.allclose(as_norm(name).size(surface), eps, atol=1e-5)


@pytest.mark.parametrize(
    "eps",
    [0.0, -1.0, float("nan"), float("inf"), True, "2", None, torch.tensor([1.0, 0.0, 1.0]), torch.ones(3) > 0],
)
def test_a_radius_that_is_no_positive_number_is_refused(eps):
    with pytest.raises(BadInputError, match="radius eps"):
        as_radius(eps, 3, "cpu")


def test_a_radius_tensor_of_another_length_is_refused():
    with pytest.raises(BadInputError, match=r"shape \(2,\) for a batch of 3"):
        as_radius(torch.ones(2), 3, "cpu")


def test_an_unknown_norm_is_refused_with_the_known_ones():
    with pytest.raises(BadInputError, match=r"'l1'.*'l2', 'linf'"):
        as_norm("l1")


@pytest.mark.parametrize("bounds", [(1, 0), (0, 0), (0, 1, 2), "image", (0, float("nan"))])
def test_bounds_that_cannot_work_are_refused(bounds):
    with pytest.raises(BadInputError, match="bounds"):
        Bounds(bounds)


def test_inputs_outside_the_bounds_are_refused_with_their_range():
    with pytest.raises(BadInputError, match=r"range from -0\.5 to 1\.25, outside .*\(0, 1\)"):
        Bounds((0, 1)).check(torch.tensor([[-0.5, 1.25]]))
    Bounds((0, 1)).check(torch.tensor([[0.0, 1.0 + 1e-8]]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_bound_that_is_no_number_of_half_precision_is_the_one_nearest_to_it(dtype):
    low, high = -2.119, 2.6404  # rounded away from 0 by both
    given = torch.tensor([[low, high]]).to(dtype)
    assert float(given[0, 0]) < low
    assert float(given[0, 1]) > high
    Bounds((low, high)).check(given)
    Bounds((low, high)).check(given.float(), dtype=dtype)
    for outside in (given.float(), torch.nextafter(given, 2 * given)):
        with pytest.raises(BadInputError, match="outside the attack's bounds"):
            Bounds((low, high)).check(outside)
