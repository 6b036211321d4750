"""The search for the smallest radius against attacks at every radius, on small random networks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from monai_robust.attacks import APGD, BIM, FGSM, PGD, AttackCurve, Square, attack_curve, minimal_radius, strong_attack
from monai_robust.attacks.common.draws import twin
from monai_robust.attacks.criteria import ScoreBeyond
from monai_robust.evaluation import AttackSweep
from monai_robust.evaluation.measure.perturbations import EvaluatedBatch, seeded
from monai_robust.tasks import Classification

COUNT, RADII = 12, {"l2": [0.1, 0.3, 0.8, 2.0], "linf": [0.03, 0.1, 0.2, 0.5]}
ATTACKS = {
    "fgsm": lambda norm: FGSM(norm=norm, bounds=(0, 1)),
    "bim": lambda norm: BIM(norm=norm, steps=4),
    "pgd": lambda norm: PGD(norm=norm, steps=5, relative_step=4.0, bounds=(0, 1)),
    "pgd, random": lambda norm: PGD(norm=norm, steps=3, random_start="ball", bounds="per_image"),
    "apgd": lambda norm: APGD(norm=norm, steps=4, restarts=2, bounds=(0, 1)),
    "square": lambda norm: Square(norm=norm, queries=6),
    "strong": lambda norm: strong_attack("classification", norm=norm, steps=3, queries=3),
}


class Crooked(nn.Module):
    """A small network with boundaries so crooked that attacks fail within balls that hold others where they succeed."""

    def __init__(self, seed: int, width: int, frequency: float) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.last = nn.Linear(16, width), nn.Linear(width, 3)
        self.frequency = frequency

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.sin(self.frequency * self.first(x.flatten(1) - 0.5)))


def problem(seed: int, width: int, frequency: float) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """Double precision, in which an answer hardly depends on the samples beside it."""
    network = Crooked(seed, width, frequency).double().eval()
    inputs = torch.rand(COUNT, 1, 4, 4, dtype=torch.float64)
    with torch.no_grad():
        labels = network(inputs).argmax(dim=1)
    labels[0] = (labels[0] + 1) % 3
    return network, inputs, labels


def judged(criterion, network, points, labels) -> torch.Tensor:
    with torch.no_grad():
        outputs = network(points)
        if criterion == "incorrect":
            return outputs.argmax(dim=1) != labels
        return Classification().score(outputs, labels) < criterion.level


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    st.integers(0, 10**6),
    st.sampled_from(sorted(ATTACKS)),
    st.sampled_from(["l2", "linf"]),
    st.sampled_from(["incorrect", ScoreBeyond(0.5)]),
    st.integers(2, 8),
    st.floats(1.0, 30.0),
    st.sampled_from([2, 5, COUNT]),
)
def test_no_sample_stands_where_attacks_up_to_its_radius_break_it(seed, name, norm, criterion, width, frequency, size):
    network, inputs, labels = problem(seed, width, frequency)
    attack = ATTACKS[name](norm)
    starts = [torch.Generator().manual_seed(index) for index in range(COUNT)]
    curve = attack_curve(
        network, inputs, labels, RADII[norm], attack=attack, criterion=criterion, batch_size=size, generator=starts
    )
    broken = judged(criterion, network, inputs, labels)
    for radius, found in zip(RADII[norm], curve.broken, strict=True):
        points = attack(network, inputs, labels, radius, generator=[twin(own) for own in starts])
        broken |= judged(criterion, network, points, labels)
        lost = (broken & ~found).nonzero().flatten().tolist()
        assert not lost, f"{name} {norm}, {criterion}, radius {radius}: samples {lost} stand, and attacks break them"
        returned = curve.adversarial(radius)
        assert torch.equal(judged(criterion, network, returned, labels), found), "what is returned is judged otherwise"
        assert (attack.norm.size(returned - inputs) <= radius * (1 + 1e-4)).all()


def test_attacks_do_fail_within_balls_larger_than_others_that_they_succeed_in():
    """Without such samples the test above would see nothing."""
    worse = 0
    for seed in range(4):
        network, inputs, labels = problem(seed, 6, 15.0)
        attack = ATTACKS["pgd"]("linf")
        each = torch.stack(
            [judged("incorrect", network, attack(network, inputs, labels, radius), labels) for radius in RADII["linf"]]
        )
        worse += int((each[:-1] & ~each[1:]).sum())
    assert worse >= 5


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_attacks_with_another_goal_are_made_within_every_radius(norm):
    network, inputs, labels = problem(3, 6, 8.0)
    labels[:4] = (labels[:4] + 1) % 3  # wrong as they are, and right when they are led to what was least likely
    attack = PGD(norm=norm, steps=5, goal="least_likely", bounds=(0, 1))
    curve = attack_curve(network, inputs, labels, RADII[norm], attack=attack, batch_size=5)
    each = [attack(network, inputs, labels, radius) for radius in RADII[norm]]
    wanted = torch.stack([judged("incorrect", network, points, labels) for points in each])
    assert not curve.searched
    assert torch.equal(curve.broken, wanted)
    assert (wanted[:-1] & ~wanted[1:]).any(), "no sample is right again within a larger radius"
    torch.testing.assert_close(curve.standing(), (~wanted).float().mean(dim=1))
    for radius, points in zip(RADII[norm], each, strict=True):
        torch.testing.assert_close(curve.adversarial(radius), points)


@pytest.mark.parametrize(
    ("attack", "searched"),
    [
        (PGD(), True),
        (strong_attack("classification", steps=1, queries=1), True),
        (PGD(goal="least_likely"), False),
        (PGD(goal=1), False),
        (APGD(eot=2), False),
        (strong_attack("classification", steps=1, queries=1, eot=2), False),
    ],
)
def test_a_sweep_says_whether_its_radii_are_searched(attack, searched):
    sweep = AttackSweep(attack, [0.1, 0.2])
    assert sweep.together(Classification()) is searched
    assert ("search" in sweep.describe(Classification())["settings"]) is searched


def test_a_searched_table_is_wrong_wherever_the_faithful_one_is_at_that_radius_or_a_smaller_one():
    network, inputs, labels = problem(5, 8, 12.0)
    attack = PGD(norm="linf", steps=3, random_start="ball", bounds=(0, 1))
    evaluated = EvaluatedBatch(
        network, inputs, labels, Classification(), [f"film{index}" for index in range(COUNT)], seed=7
    )
    searched, faithful = (
        AttackSweep(attack, RADII["linf"], faithful=faithful).over(evaluated) for faithful in (False, True)
    )
    broken = judged("incorrect", network, inputs, labels)
    for radius in RADII["linf"]:
        broken |= judged("incorrect", network, faithful(radius), labels)
        assert (judged("incorrect", network, searched(radius), labels) >= broken).all()
    assert int(broken.sum()) > 0
    again = attack(
        network, inputs, labels, 0.03, generator=[seeded(7, "pgd_linf", 0.03, one) for one in evaluated.sample_ids]
    )
    torch.testing.assert_close(faithful(0.03), again)


def test_samples_do_not_depend_on_their_batch_or_on_other_radii_also_with_one_generator_for_all():
    network, inputs, labels = problem(8, 6, 10.0)
    attack = PGD(norm="l2", steps=3, random_start="sphere")
    curves = [
        attack_curve(
            network, inputs, labels, radii, attack=attack, batch_size=size, generator=torch.Generator().manual_seed(4)
        )
        for radii, size in ((RADII["l2"], 3), (RADII["l2"], COUNT), (RADII["l2"][1:3], 5))
    ]
    torch.testing.assert_close(curves[0].distance, curves[1].distance)
    first = curves[0].radius > RADII["l2"][0]
    torch.testing.assert_close(curves[0].broken[1:3, first], curves[2].broken[:, first])


def searched(problem, norm, name, radii, size=COUNT, order=None) -> AttackCurve:
    """The curve of the problem's samples in that order, each with a generator of its own."""
    network, inputs, labels = problem
    order = torch.arange(COUNT) if order is None else order
    starts = [torch.Generator().manual_seed(index) for index in order.tolist()]
    return attack_curve(
        network, inputs[order], labels[order], radii, attack=ATTACKS[name](norm), batch_size=size, generator=starts
    )


PROBLEMS = st.builds(problem, st.integers(0, 10**6), st.integers(2, 8), st.floats(1.0, 30.0))
SEARCHED = st.sampled_from(["fgsm", "bim", "pgd", "pgd, random", "apgd"])
NORMS = st.sampled_from(["l2", "linf"])
FEW = settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@FEW
@given(PROBLEMS, NORMS, SEARCHED)
def test_no_sample_breaks_later_than_for_attacks_that_are_counted_together(problem, norm, name):
    network, inputs, labels = problem
    curve = searched(problem, norm, name, RADII[norm])
    smallest = torch.where(judged("incorrect", network, inputs, labels), 0.0, torch.inf)
    for radius in RADII[norm]:
        starts = [torch.Generator().manual_seed(index) for index in range(COUNT)]
        points = ATTACKS[name](norm)(network, inputs, labels, radius, generator=starts)
        broken = judged("incorrect", network, points, labels) & smallest.isinf()
        smallest = torch.where(broken, radius, smallest)
    assert (curve.radius <= smallest * (1 + 1e-6)).all()
    found = curve.radius.isfinite()
    assert (curve.distance[found] <= curve.radius[found] * (1 + 1e-4)).all()
    assert curve.distance[~found].isinf().all()
    assert (curve.broken[1:] >= curve.broken[:-1]).all()


@FEW
@given(PROBLEMS, NORMS, SEARCHED, st.integers(1, 3))
def test_larger_radii_change_nothing_at_the_smaller_ones(problem, norm, name, count):
    few, all_of_them = (searched(problem, norm, name, radii) for radii in (RADII[norm][:count], RADII[norm]))
    assert torch.equal(few.broken, all_of_them.broken[:count])
    for radius in RADII[norm][:count]:
        broken = few.radius <= radius
        assert torch.equal(few.adversarial(radius)[broken], all_of_them.adversarial(radius)[broken])


@FEW
@given(PROBLEMS, NORMS, SEARCHED, st.integers(1, COUNT), st.permutations(range(COUNT)))
def test_neither_the_batch_nor_the_order_of_the_samples_matters(problem, norm, name, size, order):
    order = torch.tensor(order)
    whole, other = searched(problem, norm, name, RADII[norm]), searched(problem, norm, name, RADII[norm], size, order)
    assert torch.equal(whole.broken[:, order], other.broken)
    torch.testing.assert_close(whole.distance[order], other.distance, rtol=1e-5, atol=0.0)


@FEW
@given(PROBLEMS, NORMS, st.sampled_from(["bisection", "minimum_norm"]), st.permutations(range(COUNT)))
def test_the_smallest_radius_is_that_of_a_success_whatever_the_order_of_the_samples(problem, norm, method, order):
    network, inputs, _labels = problem
    order, high = torch.tensor(order), RADII[norm][-1]
    found, other = (
        minimal_radius(network, inputs[rows], None, attack=PGD(norm=norm, steps=5), high=high, method=method)
        for rows in (torch.arange(COUNT), order)
    )
    torch.testing.assert_close(found.radius[order], other.radius, rtol=1e-5, atol=0.0)
    changed = judged("incorrect", network, found.adversarial, network(inputs).argmax(dim=1))
    assert torch.equal(changed, found.found)
    size = PGD(norm=norm).norm.size(found.adversarial - inputs)
    torch.testing.assert_close(found.radius[found.found], size[found.found])
    assert (found.radius[found.found] <= high * (1 + 1e-5)).all()
