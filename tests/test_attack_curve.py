from __future__ import annotations

import math

import pytest
import torch
from conftest import TinyNet
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer
from torch import nn

from monai_robust.attacks import (
    APGD,
    BIM,
    FGSM,
    FMN,
    PGD,
    DiceBelow,
    Square,
    WindowAttack,
    attack_curve,
    minimal_radius,
    strong_attack,
)
from monai_robust.attacks.criteria import Criterion
from monai_robust.errors import BadInputError
from monai_robust.evaluation import outcomes_of
from monai_robust.networks.fast_form import FastForm, _agree, fast_form, forms_kept
from monai_robust.networks.few_channels import SpaceToDepth, with_space_to_depth
from monai_robust.tasks import Classification, Inferred, Segmentation

COUNT = 30
RADII = {"l2": [0.1, 0.2, 0.4, 0.8, 1.5, 3.0], "linf": [0.01, 0.02, 0.04, 0.08, 0.15, 0.3]}


@pytest.fixture
def evaluated() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A network that is right about all samples but the first three, at distances spread over the radii."""
    network = TinyNet().eval()
    inputs = torch.rand(COUNT, 1, 10, 12)
    with torch.no_grad():
        network.head.weight.mul_(30)
        network.head.bias.sub_(network(inputs).mean(dim=0))
        labels = network(inputs).argmax(dim=1)
    labels[:3] = (labels[:3] + 1) % 3
    return network, inputs, labels


def wrong(network, points, labels) -> torch.Tensor:
    with torch.no_grad():
        return network(points).argmax(dim=1) != labels


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("make", [PGD, BIM, FGSM], ids=lambda kind: kind.__name__)
def test_a_curve_is_at_most_what_attacks_at_every_radius_leave(evaluated, norm, make):
    network, inputs, labels = evaluated
    attack = make(norm=norm, bounds=(0.0, 1.0))
    curve = attack_curve(network, inputs, labels, RADII[norm], attack=attack, batch_size=7)
    plain = torch.stack(
        [(~wrong(network, attack(network, inputs, labels, radius), labels)).float().mean() for radius in RADII[norm]]
    )
    assert plain[0] > plain[-1]
    assert (curve.standing() <= plain + 1e-6).all()
    if make is PGD:  # whose steps rarely leave a success again
        assert (plain - curve.standing()).max() <= 1.01 / COUNT


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_what_a_curve_calls_broken_is_broken_within_the_radius_and_the_bounds(evaluated, norm):
    network, inputs, labels = evaluated
    attack = PGD(norm=norm, bounds=(0.0, 1.0), steps=10)
    curve = attack_curve(network, inputs, labels, RADII[norm], attack=attack, batch_size=8)
    for radius in RADII[norm]:
        points = curve.adversarial(radius)
        assert (attack.norm.size(points - inputs) <= radius * (1 + 1e-4)).all()
        assert points.min() >= 0
        assert points.max() <= 1
        broken = curve.radius <= radius * (1 + 1e-6)
        assert wrong(network, points, labels)[broken].all()
    assert (curve.distance[curve.radius.isfinite()] <= curve.radius[curve.radius.isfinite()] * (1 + 1e-4)).all()


def test_a_sample_that_is_wrong_already_is_at_radius_0_and_left_as_it_is(evaluated):
    network, inputs, labels = evaluated
    curve = attack_curve(network, inputs, labels, RADII["l2"])
    assert (curve.radius[:3] == 0).all()
    assert (curve.radius[3:] > 0).all()
    assert torch.equal(curve.adversarial(3.0)[:3], inputs[:3])


def test_a_changed_prediction_is_searched_without_labels_also_for_what_is_wrong(evaluated):
    network, inputs, _labels = evaluated
    curve = attack_curve(network, inputs, None, RADII["l2"], criterion="prediction_changed")
    assert (curve.radius > 0).all()
    with torch.no_grad():
        own = network(inputs).argmax(dim=1)
    by_label = attack_curve(network, inputs, own, RADII["l2"])
    assert torch.equal(curve.radius, by_label.radius)


class Counting(nn.Module):
    """Counts the samples that pass through a network whose inner form cannot be traced."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.seen = 0
        self.largest = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen += len(x)
        self.largest = max(self.largest, len(x))
        return self.network(x)


def test_few_passes_are_needed_and_no_batch_is_larger_than_asked_for(evaluated):
    network, inputs, labels = evaluated
    counting = Counting(network).eval()
    attack = PGD(bounds=(0.0, 1.0))
    curve = attack_curve(counting, inputs, labels, RADII["l2"], attack=attack, batch_size=7)
    assert counting.largest == 7
    # the clean input once and once for its gradient, the steps of failures, and a few of each sample's only success
    failures, successes = int((~curve.broken).sum()), int((curve.radius > 0).sum())
    assert counting.seen < 2 * COUNT + (failures + 0.5 * successes) * attack.steps
    assert failures < COUNT * len(RADII["l2"]) / 2


def test_what_follows_the_sign_of_one_gradient_asks_for_that_gradient_once(evaluated):
    network, inputs, labels = evaluated
    counting = Counting(network).eval()
    curve = attack_curve(counting, inputs, labels, RADII["linf"], attack=FGSM(), batch_size=7)
    attempts = int((~curve.broken).sum() + curve.radius.isfinite().sum())
    assert counting.seen <= 2 * COUNT + 2 * attempts


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_the_batch_size_does_not_matter(evaluated, batch_size):
    network, inputs, labels = (evaluated[0].double(), evaluated[1].double(), evaluated[2])
    generators = [torch.Generator().manual_seed(index) for index in range(COUNT)]
    attack = PGD(random_start="ball", steps=5)
    curve = attack_curve(
        network, inputs, labels, RADII["l2"], attack=attack, batch_size=batch_size, generator=generators
    )
    again = [torch.Generator().manual_seed(index) for index in range(COUNT)]
    whole = attack_curve(network, inputs, labels, RADII["l2"], attack=attack, batch_size=COUNT, generator=again)
    torch.testing.assert_close(curve.distance, whole.distance)


@pytest.mark.parametrize(
    "attack",
    [
        APGD(steps=10),
        Square(queries=50),
        strong_attack("classification", steps=5, queries=20),
        PGD(steps=5, goal="least_likely"),
    ],
    ids=["apgd", "square", "strong", "targeted"],
)
def test_any_attack_can_be_searched_with(evaluated, attack):
    network, inputs, labels = evaluated
    curve = attack_curve(
        network, inputs, labels, RADII["l2"], attack=attack, generator=torch.Generator().manual_seed(0)
    )
    assert 0 < curve.standing()[0] < 1
    for radius, broken in zip(RADII["l2"], curve.broken, strict=True):
        assert torch.equal(wrong(network, curve.adversarial(radius), labels), broken)


def test_half_precision_gradients_give_the_same_curve_and_confirmed_successes(evaluated):
    network, inputs, labels = evaluated
    own = attack_curve(network, inputs, labels, RADII["l2"], attack=PGD(steps=10))
    half = attack_curve(network, inputs, labels, RADII["l2"], attack=PGD(steps=10, precision="bfloat16"))
    assert (half.standing() <= own.standing() + 1e-6).all()
    for radius in RADII["l2"]:
        broken = half.radius <= radius * (1 + 1e-6)
        assert wrong(network, half.adversarial(radius), labels)[broken].all()


class BlindInHalfPrecision(nn.Module):
    """Under autocast its gradient points away from the boundary, so that only its own precision finds a success."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.network(x)
        return out.detach() + out.sum() * 0 if torch.is_autocast_enabled("cpu") else out


def test_what_stands_in_half_precision_is_tried_again_in_the_networks_own(evaluated):
    network, inputs, labels = evaluated
    blind = BlindInHalfPrecision(network).eval()
    own = attack_curve(network, inputs, labels, RADII["l2"], attack=PGD(steps=10))
    found = attack_curve(blind, inputs, labels, RADII["l2"], attack=PGD(steps=10, precision="bfloat16"))
    assert torch.equal(found.radius, own.radius)


def test_volumes_of_a_segmentation_are_searched_by_dice():
    network = TinyNet(classes=2, dims=3, dense=True).eval()
    inputs = torch.rand(4, 1, 6, 6, 6)
    with torch.no_grad():
        network.head.weight.mul_(20)
        labels = network(inputs).argmax(dim=1, keepdim=True)
    attack = PGD(task=Segmentation(), steps=10)
    curve = attack_curve(
        network, inputs, labels, [0.1, 0.5, 2.0, 8.0], attack=attack, criterion=DiceBelow(0.5), batch_size=3
    )
    assert (curve.radius > 0).all()
    assert curve.radius.isfinite().any()
    outcomes = outcomes_of(Segmentation()).values(network(curve.adversarial(8.0)), labels)
    assert (outcomes["score"][curve.radius <= 8.0] < 0.5).all()


def test_metadata_dtype_and_the_state_of_the_network_are_kept(evaluated):
    network, inputs, labels = evaluated
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    given = MetaTensor(inputs.double(), meta={"filename_or_obj": "film"})
    network = network.double()
    points = attack_curve(network, given, labels, [0.5], attack=PGD(steps=3)).adversarial(0.5)
    assert isinstance(points, MetaTensor)
    assert points.meta["filename_or_obj"] == "film"
    assert points.dtype == torch.float64
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    for name, value in network.state_dict().items():
        assert torch.equal(value.to(before[name]), before[name])


def test_padding_stays_as_it_is(evaluated):
    network, inputs, labels = evaluated
    mask = torch.ones_like(inputs[:, :1], dtype=torch.bool)
    mask[..., -3:] = False
    curve = attack_curve(network, inputs, labels, RADII["l2"], attack=PGD(steps=5), mask=mask)
    assert torch.equal(curve.adversarial(3.0)[..., -3:], inputs[..., -3:])


@pytest.mark.parametrize("labels", [torch.zeros(3), torch.zeros(5), [0, 1, 0]], ids=["fewer", "more", "listed"])
def test_a_search_is_given_one_label_for_each_sample(labels):
    network, inputs = TinyNet().eval(), torch.rand(4, 1, 6, 6)
    for search in (
        lambda: attack_curve(network, inputs, labels, [0.1], attack=PGD(steps=1)),
        lambda: minimal_radius(network, inputs, labels, high=0.1, attack=PGD(steps=1)),
    ):
        with pytest.raises(BadInputError, match=f"there are {len(labels)} labels for 4 samples"):
            search()


def test_arguments_that_cannot_work_are_refused(evaluated):
    network, inputs, labels = evaluated
    with pytest.raises(BadInputError, match="no radius"):
        attack_curve(network, inputs, labels, [])
    with pytest.raises(BadInputError, match="listed twice"):
        attack_curve(network, inputs, labels, [1.0, 1.0])
    with pytest.raises(BadInputError, match="positive finite"):
        attack_curve(network, inputs, labels, [0.0, 1.0])
    with pytest.raises(BadInputError, match="gradient attack"):
        attack_curve(network, inputs, labels, [1.0], attack=WindowAttack(PGD(), (4, 4)))
    with pytest.raises(BadInputError, match="positive numbers"):
        attack_curve(network, inputs, labels, ["small", "large"])
    with pytest.raises(BadInputError, match="no samples"):
        attack_curve(network, inputs[:0], labels[:0], [1.0])
    with pytest.raises(BadInputError, match="minimum_norm"):
        attack_curve(network, inputs, labels, [1.0], attack=FMN())
    with pytest.raises(BadInputError, match="training mode"):
        attack_curve(network, inputs, labels, [1.0], attack=PGD(mode="train"))
    with pytest.raises(BadInputError, match="the class PGD; make one"):
        attack_curve(network, inputs, labels, [1.0], attack=PGD)
    with pytest.raises(BadInputError, match="training mode"):
        attack_curve(TinyNet().train(), inputs, labels, [1.0], attack=PGD(mode="keep"))
    with pytest.raises(BadInputError, match="not among the radii"):
        attack_curve(network, inputs, labels, [1.0], attack=PGD(steps=1)).adversarial(0.5)


def form_of(network, inputs: torch.Tensor):
    return fast_form(network, lambda form, points: form(points), inputs[:2])


def test_the_fast_form_computes_the_same_without_its_batch_normalisation(evaluated):
    network, inputs, _ = evaluated
    fast = form_of(network, inputs)
    assert isinstance(fast, FastForm)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fast.modules())
    torch.testing.assert_close(fast(inputs), network(inputs), rtol=1e-4, atol=1e-4)
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


class Noisy(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x) + torch.randn(len(x), 1)


class Branching(nn.Module):
    """Looks at values, as a tracer cannot."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x) if float(x.detach().max()) < 100 else self.network(-x)


def test_a_network_without_a_faster_form_that_agrees_is_used_itself(evaluated):
    network, inputs, _ = evaluated
    noisy = Noisy(network).eval()
    assert form_of(noisy, inputs) is noisy
    assert form_of(network.train(), inputs) is network
    call = lambda x: network(x)  # noqa: E731
    assert form_of(call, inputs) is call


def test_a_forward_pass_may_look_at_values(evaluated):
    network, inputs, _ = evaluated
    branching = Branching(network).eval()
    fast = form_of(branching, inputs)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fast.modules())
    torch.testing.assert_close(fast(inputs), network(inputs), rtol=1e-4, atol=1e-4)


class Rounding(nn.Module):
    """Sees grey values of 4 bits, and passes gradients straight through."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            rest = (x * 16).round() / 16 - x
        return self.network(x + rest)


def test_gradients_that_pass_straight_through_do_so_in_the_fast_form(evaluated):
    network, inputs, labels = evaluated
    rounding = Rounding(network).eval()
    gradients = []
    for one in (rounding, form_of(rounding, inputs[:2])):
        leaf = inputs.clone().requires_grad_(True)
        gradients += torch.autograd.grad(one(leaf)[:, 0].sum(), leaf)
    assert gradients[0].norm() > 0
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-4)
    attack = PGD(bounds=(0.0, 1.0))
    radius = RADII["l2"][-1]
    plain = wrong(rounding, attack(rounding, inputs, labels, radius), labels)
    found = attack_curve(rounding, inputs, labels, [radius], attack=attack)
    assert plain.any()
    assert found.radius.isfinite().sum() >= plain.sum()


class TwoNorms(nn.Module):
    """One convolution whose output two batch normalisations take, and which may mask the last class."""

    def __init__(self, masked: float | None) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 3, 3)
        self.norms = nn.ModuleList([nn.BatchNorm2d(3), nn.BatchNorm2d(3)])
        self.norms[1].weight.data.mul_(-5)
        self.masked = masked

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.features(x)
        logits = sum(norm(features) for norm in self.norms).mean(dim=(2, 3))
        return logits if self.masked is None else logits.index_fill(1, torch.tensor([2]), self.masked)


@pytest.mark.parametrize("masked", [None, -1e9, -math.inf])
def test_a_form_that_computes_something_else_is_refused_whatever_the_largest_logit_is(masked):
    network, inputs = TwoNorms(masked).eval(), torch.rand(3, 1, 8, 8)
    found = form_of(network, inputs)
    torch.testing.assert_close(found(inputs), network(inputs), rtol=1e-4, atol=1e-4)
    wrong_form = FastForm(nn.Sequential(network.features, network.norms[0], nn.AvgPool2d(6), nn.Flatten()))
    assert not _agree(network, wrong_form, lambda form, points: form(points), inputs)


def test_hooks_of_the_user_see_tensors_alone(evaluated):
    network, inputs, labels = evaluated
    seen = []
    handle = network.features.register_forward_hook(lambda module, given, output: seen.append(type(output)))
    attack_curve(network, inputs, labels, [1.0], attack=PGD(steps=2))
    handle.remove()
    assert set(seen) == {torch.Tensor}


def test_a_convolution_that_is_used_twice_keeps_its_batch_normalisation():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features, self.norm = nn.Conv2d(1, 1, 3, padding=1), nn.BatchNorm2d(1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(self.features(self.features(x))).flatten(1)

    network, inputs = Twice().eval(), torch.rand(2, 1, 6, 6)
    network.norm.running_mean.fill_(0.3)
    fast = form_of(network, inputs)
    assert any(isinstance(module, nn.BatchNorm2d) for module in fast.modules())
    torch.testing.assert_close(fast(inputs), network(inputs), rtol=1e-4, atol=1e-4)


def test_a_task_that_runs_the_network_in_its_own_way_is_run_so(evaluated):
    network, inputs, labels = evaluated

    class Doubled(Classification):
        def forward(self, network, inputs, targets):
            return 2 * network(inputs)

    curve = attack_curve(network, inputs, labels, RADII["l2"], attack=PGD(steps=5, task=Doubled()))
    assert 0 < curve.standing()[0] < 1


class Viewing(nn.Module):
    """Counts on channels that lie first."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Linear(3 * 64, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x.view(len(x), -1)) + self.features(x).mean(dim=(2, 3))[:, :3]


def test_a_network_that_counts_on_the_usual_layout_gets_it():
    network, inputs = Viewing().eval(), torch.rand(12, 3, 8, 8)
    with torch.no_grad():
        labels = network(inputs).argmax(dim=1)
    curve = attack_curve(network, inputs, labels, [0.1, 0.5, 5.0], attack=PGD(steps=5), batch_size=4)
    assert curve.standing()[-1] < 1
    assert wrong(network, curve.adversarial(5.0), labels)[curve.radius.isfinite()].all()


def test_a_fast_form_with_several_channels_gives_the_usual_layout_back():
    network = TinyNet(channels=3).eval()
    inputs = torch.rand(6, 3, 8, 8)
    with torch.no_grad():
        network.head.weight.mul_(30)
        labels = network(inputs).argmax(dim=1)
    assert isinstance(form_of(network, inputs), FastForm)
    curve = attack_curve(network, inputs, labels, [0.5, 2.0], attack=PGD(steps=3))
    assert curve.adversarial(2.0).is_contiguous()


@pytest.mark.parametrize("seed", range(3))
def test_a_search_ends_where_rounding_takes_a_point_beyond_its_radius(seed):
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Flatten(), nn.Linear(32 * 32, 2)).eval()
    inputs = (torch.rand(12, 1, 32, 32) - 0.48) / 0.23
    with torch.no_grad():
        labels = network(inputs).argmax(dim=1)
    radii = [step / 255 / 0.23 for step in (0.25, 0.5, 1, 2, 4, 8)]
    attack = PGD(norm="linf", steps=10)
    curve = attack_curve(network, inputs, labels, radii, attack=attack)
    plain = torch.stack([(~wrong(network, attack(network, inputs, labels, r), labels)).float().mean() for r in radii])
    assert torch.equal(curve.standing(), plain)
    for radius in radii:
        assert torch.equal(wrong(network, curve.adversarial(radius), labels), curve.radius <= radius * (1 + 1e-6))


def test_fgsm_makes_one_step_at_every_radius(evaluated, monkeypatch):
    network, inputs, labels = evaluated
    taken: list[tuple[int, float]] = []
    step = FGSM.step

    def noted(self, points, gradient, samples, limits):
        taken.extend(zip(samples.rows.tolist(), samples.eps.tolist(), strict=True))
        return step(self, points, gradient, samples, limits)

    monkeypatch.setattr(FGSM, "step", noted)
    attack_curve(network, inputs, labels, RADII["linf"], attack=FGSM())
    assert len(taken) == len(set(taken))


class FixedWindow(nn.Module):
    """Takes images of one size only."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.convolution(x).view(-1, 2, 8, 8)


def test_a_network_is_only_run_as_its_task_runs_it():
    network, inputs = FixedWindow().eval(), torch.rand(2, 1, 16, 16)
    task = Inferred(Segmentation(), SlidingWindowInferer((8, 8)))
    with torch.no_grad():
        labels = task.forward(network, inputs, None).argmax(dim=1, keepdim=True)
    curve = attack_curve(
        network, inputs, labels, [0.1, 10.0], attack=PGD(steps=3, task=task), criterion=DiceBelow(0.9), batch_size=2
    )
    assert curve.radius.isfinite().all()


class Optional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = TinyNet()

    def forward(self, x: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
        return self.network(x) if weight is None else self.network(x) * weight.unsqueeze(1)


class ViewedTerms(Classification):
    """Counts on outputs in the usual layout."""

    def forward(self, network, inputs, targets):
        return network(inputs).view(len(inputs), 3, -1).mean(dim=2)


def test_optional_arguments_and_tasks_that_count_on_the_usual_layout_do_no_harm():
    inputs, labels = torch.rand(6, 1, 8, 8), torch.zeros(6, dtype=torch.long)
    network = Optional().eval()
    fast = form_of(network, inputs)
    torch.testing.assert_close(fast(inputs), network(inputs), rtol=1e-4, atol=1e-4)
    dense = TinyNet(dense=True).eval()
    curve = attack_curve(dense, inputs, labels, [0.1, 1.0], attack=PGD(steps=2, task=ViewedTerms()))
    assert len(curve.radius) == 6


@pytest.mark.parametrize("attack", [PGD(steps=3), APGD(steps=3)], ids=["pgd", "apgd"])
def test_half_precision_networks_are_searched(attack):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).half().eval()
    inputs = torch.rand(10, 1, 8, 8).half()
    with torch.no_grad():
        labels = network(inputs).argmax(dim=1)
    curve = attack_curve(network, inputs, labels, [0.1, 0.5, 5.0], attack=attack)
    points = curve.adversarial(5.0)
    assert points.dtype == torch.float16
    assert torch.equal(wrong(network, points, labels), curve.radius.isfinite())
    found = curve.radius.isfinite()
    measured = (points - inputs).float().flatten(1).norm(dim=1)[found]
    torch.testing.assert_close(measured, curve.distance[found], rtol=1e-3, atol=1e-4)


def test_a_stricter_criterion_than_the_attacks_own_success_is_searched_on(evaluated):
    network, inputs, labels = evaluated

    class Unlikely(Criterion):
        name = "unlikely"

        def __call__(self, task, outputs, targets, clean_outputs):
            return outputs.softmax(dim=1).gather(1, targets[:, None])[:, 0] < 0.2

    with torch.no_grad():
        network.head.weight.mul_(10)
        network.head.bias.mul_(10)
    attack, radius = APGD(steps=20), RADII["l2"][3]
    curve = attack_curve(network, inputs, labels, [radius], attack=attack, criterion=Unlikely())
    with torch.no_grad():
        plain = network(attack(network, inputs, labels, radius)).softmax(dim=1).gather(1, labels[:, None])[:, 0] < 0.2
    assert plain.any()
    assert (curve.radius.isfinite() >= plain).all()


def test_a_strong_set_in_half_precision_is_tried_again_without(evaluated):
    network, inputs, labels = evaluated
    blind = BlindInHalfPrecision(network).eval()
    attack = strong_attack("classification", steps=5, queries=1, precision="bfloat16")
    own = strong_attack("classification", steps=5, queries=1)
    found = attack_curve(
        blind, inputs, labels, RADII["l2"], attack=attack, generator=torch.Generator().manual_seed(0)
    ).standing()
    wanted = attack_curve(
        network, inputs, labels, RADII["l2"], attack=own, generator=torch.Generator().manual_seed(0)
    ).standing()
    assert (found - wanted).abs().max() <= 0.1
    assert wanted[2] < 0.8


def test_targets_in_a_list_are_kept_in_their_places(evaluated):
    network, inputs, labels = evaluated

    class Paired(Classification):
        def terms(self, outputs, targets):
            return super().terms(outputs, targets[0])

    class Wrong(Criterion):
        name = "wrong"

        def __call__(self, task, outputs, targets, clean_outputs):
            return outputs.argmax(dim=1) != targets[1]

    curve = attack_curve(
        network, inputs, [labels, labels], RADII["l2"], attack=PGD(task=Paired()), criterion=Wrong(), batch_size=4
    )
    plain = attack_curve(network, inputs, labels, RADII["l2"], batch_size=4)
    torch.testing.assert_close(curve.radius, plain.radius)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (7, 2, 3), (3, 3, 2), (4, 3, "valid")])
def test_pixels_for_channels_are_the_same_convolution(dims, kernel, stride, padding):
    kind = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dims]
    convolution = kind(2, 5, kernel, stride, padding)
    other = SpaceToDepth(convolution)
    for size in (9, 10, 12, 13):
        inputs = torch.rand(2, 2, *range(size, size + dims)).requires_grad_(True)
        wanted, found = convolution(inputs), other(inputs)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
        weight = torch.rand_like(wanted)
        slopes = [torch.autograd.grad((out * weight).sum(), inputs)[0] for out in (wanted, found)]
        torch.testing.assert_close(slopes[1], slopes[0], rtol=1e-4, atol=1e-5)


def test_each_axis_has_its_own_stride_when_pixels_become_channels():
    convolution = nn.Conv2d(1, 4, (5, 3), (1, 2), (2, 0), bias=False)
    inputs = torch.rand(2, 1, 11, 14)
    torch.testing.assert_close(SpaceToDepth(convolution)(inputs), convolution(inputs), rtol=1e-4, atol=1e-5)


def test_only_strided_convolutions_of_few_channels_are_replaced():
    class Mirrored(nn.Conv2d):
        def forward(self, inputs):
            return super().forward(inputs.flip(-1))

    kept = [
        nn.Conv2d(1, 8, 3),
        nn.Conv2d(8, 8, 3, stride=2),
        nn.Conv2d(2, 8, 3, stride=2, groups=2),
        nn.Conv2d(1, 8, 3, stride=2, dilation=2),
        nn.Conv2d(1, 8, 3, stride=2, padding=1, padding_mode="reflect"),
        nn.Conv2d(1, 8, 1, stride=2),
        Mirrored(1, 8, 3, stride=2),
    ]
    network = with_space_to_depth(nn.Sequential(*kept, nn.Conv2d(1, 8, 7, stride=2)))
    assert list(network)[:-1] == kept
    assert isinstance(network[-1], SpaceToDepth)


def test_the_fast_form_of_a_stem_with_a_stride_computes_the_same():
    network = nn.Sequential(nn.Conv2d(1, 6, 7, 2, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten())
    network[1].running_mean.uniform_()
    network.eval()
    inputs = torch.rand(3, 1, 15, 16)
    fast = form_of(network, inputs)
    assert any(isinstance(module, SpaceToDepth) for module in fast.modules())
    assert isinstance(network[0], nn.Conv2d)
    torch.testing.assert_close(fast(inputs), network(inputs), rtol=1e-4, atol=1e-4)


def test_a_form_is_made_once_where_the_network_stays_as_it_is_and_anew_elsewhere(evaluated):
    network, inputs, _ = evaluated
    with forms_kept():
        first = form_of(network, inputs)
        with forms_kept():
            assert form_of(network, inputs) is first
        assert form_of(TinyNet().eval(), inputs) is not first
        assert form_of(network.train(), inputs) is network
    assert form_of(network.eval(), inputs) is not first


class Fussy(nn.Module):
    """Takes its inputs in the usual order of memory and in no other."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(2 * 64, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x.view(len(x), -1))


def test_why_a_network_has_no_faster_form_is_logged(caplog):
    network = Fussy().eval()
    assert form_of(network, torch.rand(2, 2, 8, 8)) is network
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "Fussy" in record.getMessage()
    assert "view size" in record.getMessage()


def test_an_error_that_is_no_matter_of_a_copy_is_not_swallowed(evaluated):
    network, inputs, _ = evaluated

    class StoppedError(Exception):
        pass

    def stopped(form, points):
        raise StoppedError

    with pytest.raises(StoppedError):
        fast_form(network, stopped, inputs)
