from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from conftest import TinyNet
from monai.data import MetaTensor
from monai.losses import DiceLoss
from test_attacks import Linear, assert_same, snapshot
from torch import nn

from monai_robust.attacks import (
    APGD,
    PGD,
    AttackEnsemble,
    GradientAttack,
    MultiLabel,
    Square,
    WindowAttack,
    strong_attack,
)
from monai_robust.attacks.apgd import _Ascent, _checkpoints
from monai_robust.attacks.square.boxes import Boxes
from monai_robust.attacks.square.square import _moved
from monai_robust.attacks.threat import L2
from monai_robust.errors import BadInputError
from monai_robust.losses.attack.classes import dlr, label_margin, targeted_dlr
from monai_robust.networks.fast_form import FastForm, gradients_by, gradients_of
from monai_robust.tasks import Classification, LossTask, Segmentation, Watched

RADII = {"l2": 0.3, "linf": 0.03}


def curved(classes: int = 5) -> nn.Module:
    """A small network that is anything but linear."""
    torch.manual_seed(0)
    layers = [nn.Linear(144, 32), nn.Tanh(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, classes)]
    with torch.no_grad():
        for layer in layers:
            if isinstance(layer, nn.Linear):
                layer.weight.mul_(3)
    return nn.Sequential(nn.Flatten(), *layers).requires_grad_(False)


def images(network: nn.Module, count: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and the classes that the network gives them."""
    inputs = torch.rand(count, 1, 12, 12, generator=torch.Generator().manual_seed(1))
    return inputs, network(inputs).argmax(dim=1)


def accuracy(network: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> float:
    return float((network(inputs).argmax(dim=1) == labels).double().mean())


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Counting(nn.Module):
    """Notes how many samples each forward pass has."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.passes: list[int] = []

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.passes.append(len(inputs))
        return self.network(inputs)


# Losses.


def test_dlr_of_known_logits():
    logits = torch.tensor([[3.0, 1.0, 0.5, -1.0], [3.0, 1.0, 0.5, -1.0]])
    made = dlr(logits, torch.tensor([0, 1]), 0.0)
    assert made.tolist() == pytest.approx([-(3 - 1) / (3 - 0.5), -(1 - 3) / (3 - 0.5)])
    three = dlr(torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([0]), 0.0)
    assert three.tolist() == pytest.approx([-(2 - 1) / (2 - 0)])


def test_dlr_does_not_depend_on_shift_and_scale_of_the_logits():
    logits, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    for loss, targets in ((dlr, labels), (targeted_dlr, (labels, (labels + 1) % 4))):
        assert torch.allclose(loss(50 * logits + 7, targets, 0.0), loss(logits, targets, 0.0), atol=1e-4)


def test_dlr_of_two_classes_is_their_margin_also_from_one_logit():
    labels = torch.tensor([0, 1])
    for outputs, expected in ([[2.0, 0.5], [2.0, 0.5]], [-1.5, 1.5]), ([[2.0], [2.0]], [2.0, -2.0]):
        read = Classification().logits_and_labels(torch.tensor(outputs), labels)
        assert dlr(*read, 0.0).tolist() == expected


def test_targeted_dlr_of_known_logits():
    logits, label = torch.tensor([[3.0, 1.0, 0.5, -1.0]]), torch.tensor([0])
    made = targeted_dlr(logits, (label, torch.tensor([2])), 0.0)
    assert made.tolist() == pytest.approx([-(3 - 0.5) / (3 - (0.5 - 1.0) / 2)])
    likeliest = targeted_dlr(logits, label, 0.0)
    assert likeliest.tolist() == pytest.approx([-(3 - 1) / (3 - (0.5 - 1.0) / 2)])
    three = targeted_dlr(torch.tensor([[2.0, 1.0, 0.0]]), (label, torch.tensor([2])), 0.0)
    assert three.tolist() == [-2.0]


def test_losses_of_several_labels_agree_with_torch():
    logits, labels = torch.randn(5, 4), torch.rand(5, 4).round()
    expected = F.binary_cross_entropy_with_logits(logits, labels, reduction="none").sum(dim=1)
    assert torch.allclose(MultiLabel().terms(logits, labels)["binary_cross_entropy"], expected)
    margin = label_margin(logits, labels.bool(), 0.0)
    assert margin.tolist() == pytest.approx(
        [max(((1 - 2 * y) * z).tolist()) for z, y in zip(logits, labels, strict=True)]
    )
    assert torch.equal(margin > 0, MultiLabel().wrong(logits, labels))
    assert torch.equal(margin <= 0, MultiLabel().score(logits, labels).bool())
    both = torch.cat([logits, torch.where(labels.bool(), 1.0, -1.0)])
    assert MultiLabel().score(both, labels.repeat(2, 1))[5:].tolist() == [1.0] * 5


# APGD.


def test_checkpoints_of_a_hundred_steps_are_the_published_ones():
    assert sorted(_checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]


def reference_apgd(network, x, y, eps, steps, norm):
    """Algorithm 1 of the paper written once more, for one sample: its checkpoints, conditions and order of updates."""

    def look(point):
        probe = point.clone().requires_grad_(True)
        loss = F.cross_entropy(network(probe), y)
        return float(loss.detach()), torch.autograd.grad(loss, probe)[0]

    def within(point):
        delta = point - x
        delta = delta * min(1.0, eps / float(delta.norm())) if norm == "l2" else delta.clamp(-eps, eps)
        return (x + delta).clamp(0, 1)

    def ahead(point, slope):
        return within(point + length * (slope / slope.norm() if norm == "l2" else slope.sign()))

    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    checkpoints = [math.ceil(round(share * steps, 6)) for share in shares]
    loss, slope = look(x)
    top, best = loss, (x, slope)
    length, before, now, rises, last = 2 * eps, x, x, [], 0
    halved, top_before = True, -math.inf
    for k in range(steps):
        moved = ahead(now, slope)
        if k:
            moved = within(now + 0.75 * (moved - now) + 0.25 * (now - before))
        before, now, previous = now, moved, loss
        loss, slope = look(now)
        rises.append(loss > previous)
        if loss > top:
            top, best = loss, (now, slope)
        if k + 1 in checkpoints[1:]:
            few = sum(rises[last:]) < 0.75 * (k + 1 - last)
            stuck = not halved and top == top_before
            halved, top_before, last = few or stuck, top, k + 1
            if halved:
                length, loss, (now, slope) = length / 2, top, best
                before = now
    return best[0]


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_apgd_equals_a_reference_written_for_one_sample(norm):
    network = curved().double()
    x = torch.rand(6, 1, 12, 12, generator=seeded(1), dtype=torch.float64)
    y = network(x).argmax(dim=1)
    expected = [reference_apgd(network, x[i : i + 1], y[i : i + 1], 2 * RADII[norm], 50, norm) for i in range(6)]
    task = LossTask(nn.CrossEntropyLoss())  # knows of no success, which would come before the highest loss
    made = APGD(norm=norm, eps=2 * RADII[norm], steps=50, bounds=(0, 1), task=task)(network, x, y)
    assert torch.allclose(made, torch.cat(expected), atol=1e-5)


@pytest.mark.parametrize(
    ("rises", "top", "halved", "goes_back"),
    [(7, 2.0, False, True), (8, 2.0, False, False), (8, 1.0, False, True), (8, 1.0, True, False)],
    ids=["too few rises", "on the way up", "no new top", "no new top, but with a new step"],
)
def test_a_step_is_halved_where_it_leads_nowhere(rises, top, halved, goes_back):
    climb = replace(
        _Ascent.at(torch.zeros(1, 1, 2), torch.ones(1)),
        highest=torch.ones(1, 1, 2),
        rises=torch.tensor([rises]),
        top=torch.tensor([top]),
        top_before=torch.tensor([1.0]),
        halved=torch.tensor([halved]),
    )
    after = climb.at_checkpoint(10)
    assert after.halved.tolist() == [goes_back]
    assert after.step.tolist() == [0.5 if goes_back else 1.0]
    assert after.point.unique().tolist() == [1.0 if goes_back else 0.0]


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("steps", [10, 40])
def test_apgd_is_never_weaker_than_pgd_with_as_many_steps(norm, steps):
    network = curved()
    x, y = images(network)
    threat = {"norm": norm, "eps": RADII[norm], "bounds": (0, 1), "steps": steps}
    plain, own = PGD(**threat)(network, x, y), APGD(**threat)(network, x, y)
    assert 0 < accuracy(network, own, y) <= accuracy(network, plain, y)
    assert F.cross_entropy(network(own), y) >= F.cross_entropy(network(plain), y) - 1e-3


@pytest.mark.parametrize("loss", [None, "ce", "dlr", "margin"])
def test_apgd_returns_the_worst_point_that_it_has_seen(loss):
    network = curved()
    x, y = images(network, 12)
    watched = Watched(Classification(), x, y, L2())
    made = APGD(norm="l2", eps=0.4, steps=15, loss=loss, task=watched)(network, x, y)
    seen = torch.stack([terms["cross_entropy"] for terms in watched.terms_seen])
    assert len(seen) == 16
    mine = F.cross_entropy(network(made), y, reduction="none")
    if loss in (None, "ce"):
        assert torch.allclose(mine, seen.amax(dim=0), atol=1e-5)
    else:
        assert ((seen - mine).abs().amin(dim=0) < 1e-5).all()


def test_a_success_is_worse_than_a_higher_loss_without_one():
    class Detour(nn.Module):
        """Class 2 wins below 0.6; beyond it the loss of class 0 is higher and class 0 the winner once more."""

        def forward(self, x):
            s = x.flatten(1)[:, 0]
            won = torch.stack([torch.zeros_like(s), torch.full_like(s, -9.0), 0.1 + 0 * s], dim=1)
            lost = torch.stack([s, s - 0.01, s - 0.01], dim=1)
            return torch.where(((s > 0.5) & (s < 0.6))[:, None], won, lost) + 0 * s[:, None]

    x, y = torch.zeros(1, 1, 2, 2), torch.tensor([0])
    network = Detour()
    point = torch.full_like(x, 0.55)
    beyond = torch.full_like(x, 0.9)
    assert F.cross_entropy(network(beyond), y) > F.cross_entropy(network(point), y)

    class Fixed(GradientAttack):
        def __init__(self, to: torch.Tensor) -> None:
            super().__init__(norm="linf")
            self.to = to

        def _search(self, network, samples, task):
            return self.to.clone()

    both = AttackEnsemble([Fixed(beyond), Fixed(point)], eps=1.0)(network, x, y)
    assert torch.equal(both, point)


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize(
    ("classes", "loss"),
    [
        *[(classes, loss) for classes in (1, 2) for loss in ("ce", "dlr", "targeted_dlr", "margin")],
        *[(3, loss) for loss in ("dlr", "targeted_dlr", "margin")],
    ],
)
def test_few_classes_are_no_obstacle(norm, classes, loss):
    torch.manual_seed(3)
    head = nn.Sequential(nn.Flatten(), nn.Linear(16, classes)).requires_grad_(False)
    x = torch.randn(8, 1, 4, 4)
    logits = Classification().logits(head(x))
    y = logits.argmax(dim=1)
    weight = torch.cat([torch.zeros(1, 16), head[1].weight]) if classes == 1 else head[1].weight
    # distance of a linear classifier's nearest boundary, in the dual norm
    gap = logits.gather(1, y[:, None]) - logits
    apart = (weight[y][:, None] - weight[None]).norm(p=2 if norm == "l2" else 1, dim=2)
    distances = (gap / apart.clamp_min(1e-9)).scatter(1, y[:, None], math.inf)
    nearest = distances.amin(dim=1)
    # only an attack that tries each class is sure to find the nearest boundary of several
    sure = nearest if classes < 3 or loss == "targeted_dlr" else distances.scatter(1, y[:, None], 0.0).amax(dim=1)
    attack = APGD(norm=norm, loss=loss, steps=60)
    for radius, share in ((1.05 * sure, 0.0), (0.95 * nearest, 1.0)):
        made = Classification().logits(head(attack(head, x, y, radius)))
        assert float((made.argmax(dim=1) == y).double().mean()) == share


def test_targeted_dlr_steers_to_one_wrong_class_after_the_other():
    network = Counting(curved())
    x, y = images(network, 6)
    network.passes.clear()
    APGD(eps=1e-4, steps=3, loss="targeted_dlr", classes=3)(network, x, y)
    assert network.passes == [6] * (1 + 3 * 4)
    network.passes.clear()
    APGD(eps=1e-4, steps=3, loss="targeted_dlr")(network, x, y)
    assert network.passes == [6] * (1 + 4 * 4)  # of five classes four are wrong


def test_a_goal_is_approached_and_its_success_kept():
    network = curved()
    x, y = images(network)
    for loss in (None, "ce", "margin"):
        made = network(APGD(eps=2.0, steps=40, goal=2, loss=loss)(network, x, y)).argmax(dim=1)
        plain = network(PGD(eps=2.0, steps=40, goal=2)(network, x, y)).argmax(dim=1)
        assert (made == 2).sum() >= (plain == 2).sum() > 24


class Plateau(nn.Module):
    """Class 0, without any gradient, but for a slope far off on one side."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        s = F.relu(x.flatten(1)[:, 0] - 0.5)
        return torch.stack([torch.full_like(s, 0.2), s], dim=1)


def test_restarts_find_what_one_start_does_not_and_leave_out_what_is_broken():
    network = Counting(Plateau())
    x, y = torch.zeros(16, 1, 1, 1), torch.zeros(16, dtype=torch.long)
    threat = {"norm": "linf", "eps": 1.0, "steps": 4}
    assert accuracy(network, APGD(**threat)(network, x, y), y) == 1
    network.passes.clear()
    once = accuracy(network, APGD(random_start="ball", **threat)(network, x, y, generator=seeded()), y)
    often = accuracy(network, APGD(random_start="ball", restarts=8, **threat)(network, x, y, generator=seeded()), y)
    assert often < once < 1
    attacked = network.passes[6:-1]  # after the first attack and a look at what it made
    assert attacked == sorted(attacked, reverse=True)
    assert attacked[-1] < attacked[0] == 16


class Noisy(nn.Module):
    """A linear network that hides behind noise, drawn anew in each pass."""

    def __init__(self, weight: torch.Tensor, noise: float) -> None:
        super().__init__()
        self.weight, self.noise, self.passes = weight, noise, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.passes += 1
        x = x.flatten(1)
        score = (x * (self.weight + self.noise * torch.randn_like(x))).sum(dim=1)
        return torch.stack([torch.zeros_like(score), score], dim=1)


def test_expectation_over_passes_finds_the_slope_behind_the_noise():
    network = Noisy(torch.ones(64), noise=3.0)
    x, y = torch.rand(8, 1, 8, 8), torch.zeros(8, dtype=torch.long)

    def slope(eot: int) -> float:
        network.passes = 0
        moved = APGD(eps=0.1, steps=3, loss="margin", eot=eot)(network, x, y) - x
        assert network.passes == 4 * eot
        return float(F.cosine_similarity(moved.flatten(1), network.weight[None]).mean())

    assert slope(100) > slope(1) + 0.3


def test_apgd_attacks_any_task():
    volumes, masks = torch.rand(2, 1, 6, 6, 6), torch.randint(0, 2, (2, 1, 6, 6, 6))
    network = TinyNet(classes=2, dims=3, dense=True).eval()
    dice = DiceLoss(to_onehot_y=True, softmax=True)
    for task in (Segmentation(), LossTask(dice)):
        made = APGD(eps=1.0, steps=10, task=task)(network, volumes, masks)
        plain = PGD(eps=1.0, steps=10, task=task)(network, volumes, masks)
        clean, worst, usual = (
            sum(map(torch.sum, task.terms(network(v), masks).values())) for v in (volumes, made, plain)
        )
        assert worst > clean
        assert worst > usual - 1e-3
    for loss in ("dlr", "targeted_dlr"):
        with pytest.raises(BadInputError, match=f"'segmentation' has no loss '{loss}'.*'masked_ce'"):
            APGD(eps=1.0, loss=loss, task=Segmentation())(network, volumes, masks)


def test_a_success_in_half_precision_is_confirmed_in_the_networks_own():
    class Coarse(nn.Module):
        """Wrong in bfloat16 alone, which cannot tell 256 from 257."""

        def forward(self, x):
            score = F.linear(x.flatten(1), torch.ones(1, 4)) * 64.25
            return torch.cat([score.float(), torch.full((len(x), 1), 256.5)], dim=1)

    x, y = torch.ones(1, 1, 2, 2), torch.zeros(1, dtype=torch.long)
    network = Coarse()
    attack = APGD(eps=1e-4, steps=2, precision="bfloat16", stop_at_success=True)
    assert torch.equal(network(attack(network, x, y)).argmax(dim=1), y)
    passes = Counting(network)
    attack(passes, x, y)
    assert len(passes.passes) > 3  # it went on, having looked once more


# Square.


class Stairs(nn.Module):
    """A network whose gradient is zero everywhere."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(torch.round(32 * x) / 32)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_square_breaks_a_network_with_masked_gradients_where_pgd_fails(norm):
    network = Stairs(curved())
    x, y = images(network, 24)
    threat = {"norm": norm, "eps": 3 * RADII[norm], "bounds": (0, 1)}
    assert accuracy(network, PGD(**threat)(network, x, y), y) == 1
    made = Square(queries=150, **threat)(network, x, y, generator=seeded())
    assert accuracy(network, made, y) < 0.6
    delta = (made - x).flatten(1)
    size = delta.norm(dim=1) if norm == "l2" else delta.abs().amax(dim=1)
    assert (size <= threat["eps"] * (1 + 1e-5)).all()
    assert made.min() >= 0
    assert made.max() <= 1


@pytest.mark.parametrize(("norm", "part"), [("l2", 0.33), ("linf", 0.95)])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_square_comes_near_the_best_perturbation_of_a_linear_network(norm, part, dims):
    shape = {1: (60,), 2: (10, 12), 3: (5, 6, 5)}[dims]
    axes = torch.meshgrid(*[torch.linspace(-1, 1, length) for length in shape], indexing="ij")
    weight = torch.stack([torch.cos(3 * axis) for axis in axes]).prod(dim=0).flatten()
    x, y = torch.rand(3, 1, *shape), torch.zeros(3, dtype=torch.long)
    made = Square(norm=norm, eps=1.0, queries=400)(Linear(weight), x, y, generator=seeded())
    gained = (made - x).flatten(1) @ weight
    assert (gained > part * (weight.norm() if norm == "l2" else weight.abs().sum())).all()


def test_square_asks_for_no_gradient_and_counts_its_queries():
    network = Counting(curved())
    x, y = images(network, 4)
    network.passes.clear()
    asked: list[bool] = []
    network.register_forward_hook(lambda *_: asked.append(torch.is_grad_enabled()))
    Square(eps=1e-4, queries=20)(network, x, y)
    assert network.passes == [4] * 21
    assert not any(asked)


@pytest.mark.parametrize(("attack", "budget"), [(Square, {"queries": 150}), (APGD, {"steps": 30})])
def test_a_sample_may_be_left_at_its_first_success(attack, budget):
    network = Counting(curved())
    x, y = images(network)
    attack = attack(norm="linf", eps=0.06, stop_at_success=True, **budget)
    network.passes.clear()
    made = attack(network, x, y, generator=seeded())
    assert accuracy(network.network, made, y) < 0.3
    assert network.passes == sorted(network.passes, reverse=True)
    assert network.passes[-1] < network.passes[0] == len(x)


class Sums(nn.Module):
    """Sums over pixels, to which padding (0) adds nothing."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        s = torch.sin(4 * x).flatten(2)
        waves = torch.stack([s[:, 0].sum(dim=1), (s[:, 0] ** 2).sum(dim=1), (s[:, 0] ** 3).sum(dim=1)], dim=1)
        return waves - waves.detach().mean(dim=1, keepdim=True)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_padding_is_left_alone_and_does_not_change_where_squares_fall(norm):
    image = 0.2 + 0.3 * torch.rand(1, 1, 6, 5, generator=seeded(4))
    padded, mask = torch.zeros(1, 1, 9, 11), torch.zeros(1, 1, 9, 11, dtype=torch.bool)
    padded[..., 2:8, 1:6], mask[..., 2:8, 1:6] = image, True
    y = Sums()(image).argmax(dim=1)
    attack = Square(norm=norm, eps=0.1, queries=40, bounds=(0, 1))
    alone = attack(Sums(), image, y, generator=[seeded(7)])
    together = attack(Sums(), padded, y, generator=[seeded(7)], mask=mask)
    assert torch.allclose(together[..., 2:8, 1:6], alone, atol=1e-6)
    assert torch.equal(together.masked_fill(mask, 0.0), padded.masked_fill(mask, 0.0))


def test_a_window_is_of_its_share_lies_in_the_image_and_bumps_to_both_sides():
    boxes = Boxes.of(torch.zeros(40, 1, 12, 16), None)
    side = boxes.side(0.25, odd=True)
    assert side.tolist() == [[7, 7]] * 40  # a quarter of 192 pixels
    window = boxes.window(side, torch.rand(40, 2))
    assert (window.inside.flatten(1).sum(dim=1) == 49).all()
    bump = window.bump(torch.arange(40) % 2)
    assert torch.allclose(bump.flatten(1).norm(dim=1), torch.ones(40))
    assert (bump[~window.inside] == 0).all()
    assert ((bump.flatten(1) > 0).sum(dim=1) == 21).all()  # three of seven rows
    assert ((bump.flatten(1) < 0).sum(dim=1) == 28).all()


def test_what_one_square_loses_another_gains():
    delta, eps = torch.randn(5, 2, 8, 9), torch.full((5,), 12.5)
    boxes = Boxes.of(delta, None)
    here, there = (boxes.window(torch.full((5, 2), 3), torch.rand(5, 2)) for _ in range(2))
    bump = here.bump(torch.zeros(5, dtype=torch.long))
    delta = L2().project(delta, eps)
    made = _moved(delta, bump, here.inside, there.inside, eps)
    assert torch.allclose(L2().size(made), eps, atol=1e-4)
    changed = (here.inside | there.inside).expand_as(delta)
    assert torch.equal(made[~changed], delta[~changed])
    assert (made[(there.inside & ~here.inside).expand_as(delta)] == 0).all()


# Ensembles.


class Noting(PGD):
    """Notes the network and the samples that it is given."""

    def __call__(self, network, inputs, targets, *arguments, **keywords):
        self.network, self.form = network, gradients_of(network)
        self.given = (inputs.clone(), targets.clone())
        return super().__call__(network, inputs, targets, *arguments, **keywords)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_an_ensemble_is_as_strong_as_all_members_together(norm):
    network = curved()
    x, y = images(network)
    threat = {"norm": norm, "bounds": (0, 1)}
    members = [APGD(loss=loss, steps=15, **threat) for loss in ("ce", "dlr", "targeted_dlr")]
    both = AttackEnsemble(members)(network, x, y, RADII[norm])
    stands = [network(member(network, x, y, RADII[norm])).argmax(dim=1) == y for member in members]
    assert torch.equal(network(both).argmax(dim=1) == y, torch.stack(stands).all(dim=0))
    assert accuracy(network, both, y) < accuracy(network, members[0](network, x, y, RADII[norm]), y)


def test_members_see_only_the_samples_that_still_stand():
    network = curved()
    x, y = images(network)
    y[:5] = (y[:5] + 1) % 5  # wrong as they are
    first, second = Noting(eps=0.3), Noting(eps=0.3, steps=40)
    made = AttackEnsemble([first, second], eps=0.3)(network, x, y)
    assert torch.equal(first.given[0], x[5:])
    assert torch.equal(made[:5], x[:5])
    stand = network(PGD(eps=0.3)(network, x, y)).argmax(dim=1) == y
    assert torch.equal(second.given[0], x[stand])
    assert torch.equal(second.given[1], y[stand])
    assert 0 < len(second.given[0]) < len(x) - 5


@pytest.mark.parametrize("eot", [1, 2])
def test_members_attack_a_faster_form_unless_the_network_is_random(eot):
    network = curved().eval()
    inputs, labels = images(network, 4)
    members = [Noting(steps=20), Noting(steps=30)]
    AttackEnsemble(members, eps=0.01, eot=eot)(network, inputs, labels)
    for member in members:
        assert isinstance(member.form, FastForm) if eot == 1 else member.form is network
        assert member.network is network
    assert gradients_of(network) is network


def test_a_training_that_watches_its_attack_sees_whole_batches_of_the_network_itself():
    network = curved().eval()
    inputs, labels = images(network, 4)
    watched = Watched(Classification(), inputs, labels, L2())
    members = [Noting(steps=30), Noting(steps=30)]
    AttackEnsemble(members, eps=1e-6)(network, inputs, labels, task=watched)
    assert [member.form is network for member in members] == [True, True]
    assert len(watched.sizes) == 60 + 3  # the judge looks, too


@pytest.mark.parametrize("attack", [APGD(stop_at_success=True, steps=6), Square(stop_at_success=True, queries=6)])
def test_what_only_the_faster_form_takes_for_a_success_is_none(attack):
    network = curved().eval()
    inputs, labels = images(network, 8)
    lying = curved().eval()
    lying[-1].bias.data[:] = 1e3 * F.one_hot(torch.tensor(1), 5).float()  # sees class 1 everywhere
    rows = labels != 1
    assert rows.sum() > 2
    counting = Counting(lying).eval()
    with gradients_by(FastForm(counting), network):
        found = attack(network, inputs[rows], labels[rows], 1e-6, generator=seeded())
    assert accuracy(network, found, labels[rows]) == 1.0
    assert [passed for passed in counting.passes if passed == rows.sum()] == counting.passes
    assert len(counting.passes) == 7  # nobody has left


def test_an_ensemble_without_known_successes_keeps_the_highest_loss_of_each_sample():
    volumes, masks = torch.rand(3, 1, 6, 6), torch.randint(0, 2, (3, 1, 6, 6))
    network, task = TinyNet(classes=2, dense=True).eval(), Segmentation()

    def loss(inputs: torch.Tensor) -> torch.Tensor:
        return torch.stack(list(task.terms(network(inputs), masks).values())).sum(dim=0)

    members = [PGD(steps=1), PGD(steps=10), Square(queries=20)]
    both = AttackEnsemble(members, eps=0.5, task=task)(network, volumes, masks, generator=seeded())
    single = [loss(member(network, volumes, masks, 0.5, task=task, generator=seeded())) for member in members]
    assert torch.allclose(loss(both), torch.stack(single).amax(dim=0), atol=1e-5)


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_the_strong_attack_is_never_weaker_than_pgd(norm, classes):
    network = curved(classes)
    x, y = images(network, 24)
    threat = {"norm": norm, "eps": RADII[norm], "bounds": (0, 1)}
    attack = strong_attack(steps=25, queries=30, **threat)
    made = attack(network, x, y, generator=seeded())
    assert accuracy(network, made, y) <= accuracy(network, PGD(steps=25, **threat)(network, x, y), y)
    assert [member["attack"] for member in attack.settings()["members"]] == ["APGD", "APGD", "APGD", "Square"]


def test_several_labels_are_attacked_until_one_is_wrong():
    torch.manual_seed(5)
    head = nn.Sequential(nn.Flatten(), nn.Linear(16, 4)).requires_grad_(False)
    x = torch.randn(8, 1, 4, 4)
    y = (head(x) > 0).float()
    distance = (head(x).abs() / head[1].weight.norm(dim=1)).amin(dim=1)
    task = MultiLabel()
    attacks = [APGD(loss="margin", task=task, steps=50), strong_attack("multi_label", steps=30, queries=10)]
    for attack in attacks:
        assert task.wrong(head(attack(head, x, y, 1.05 * distance)), y).all()
        assert not task.wrong(head(attack(head, x, y, 0.95 * distance)), y).any()
    by_name = APGD(loss="bce", steps=50)(head, x, y, 3 * distance)  # raises the sum over labels
    assert task.wrong(head(by_name), y).double().mean() > 0.8
    with pytest.raises(BadInputError, match="'bce', 'margin'"):
        APGD(loss="dlr", eps=1.0, task=task)(head, x, y)
    with pytest.raises(BadInputError, match="of 0 and 1"):
        APGD(loss="bce", eps=1.0)(head, x, y.argmax(dim=1))


# The contract of every attack.

ATTACKS = [
    APGD(steps=4, restarts=2),
    APGD(steps=4, loss="targeted_dlr", norm="linf", random_start="ball"),
    Square(queries=5),
    Square(queries=5, norm="linf", stop_at_success=True),
    strong_attack(steps=3, queries=4),
    strong_attack(steps=3, queries=4, norm="linf", bounds=(0, 1)),
]
NAMES = ["apgd", "apgd-t", "square-l2", "square-linf", "strong-l2", "strong-linf"]


@pytest.mark.parametrize("attack", ATTACKS, ids=NAMES)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_every_sample_stays_within_its_own_radius_in_any_number_of_dimensions(attack, dims):
    network = TinyNet(dims=dims, classes=4, channels=2)
    x, eps = torch.rand(3, 2, *[6] * dims), torch.tensor([0.01, 0.2, 1.5])
    made = attack(network, x, network.eval()(x).argmax(dim=1), eps)
    assert made.shape == x.shape
    assert (attack.norm.size(made - x) <= eps * (1 + 1e-5) + 1e-7).all()


@pytest.mark.parametrize("attack", ATTACKS, ids=NAMES)
@pytest.mark.parametrize("fail", [False, True])
def test_the_network_is_left_as_it_was_found_also_after_an_exception(network, batch, attack, fail):
    network.train()
    network.dropout.eval()
    network.features[1].weight.requires_grad_(False)
    network(batch[0]).sum().backward()
    before = snapshot(network)

    class Failing(Classification):
        def logits(self, outputs):
            if fail:
                raise RuntimeError("on purpose")
            return super().logits(outputs)

    if fail:
        with pytest.raises(RuntimeError, match="on purpose"):
            attack(network, *batch, 0.5, task=Failing())
    else:
        attack(network, *batch, 0.5, task=Failing())
    assert_same(before, snapshot(network))


@pytest.mark.parametrize("attack", ATTACKS, ids=NAMES)
def test_a_sample_depends_on_its_own_generator_and_not_on_its_batch(attack):
    network = curved()
    x, y = images(network, 6)
    eps = torch.linspace(0.05, 0.3, 6)
    together = attack(network, x, y, eps, generator=[seeded(row) for row in range(6)])
    again = attack(network, x, y, eps, generator=[seeded(row) for row in range(6)])
    rows = [slice(row, row + 1) for row in range(6)]
    alone = [attack(network, x[row], y[row], eps[row], generator=[seeded(row.start)]) for row in rows]
    assert torch.equal(together, again)
    assert torch.allclose(together, torch.cat(alone), atol=1e-4)


@pytest.mark.parametrize("attack", ATTACKS, ids=NAMES)
def test_the_kind_of_tensor_and_metadata_are_kept_also_in_inference_mode(network, batch, attack):
    x, y = batch
    meta = MetaTensor(x.double(), meta={"filename_or_obj": ["a"] * len(x)})
    network.double()
    with torch.inference_mode():
        made = attack(network, meta.clone(), y.clone(), 0.3)
    assert isinstance(made, MetaTensor)
    assert made.dtype == torch.float64
    assert made.meta["filename_or_obj"] == meta.meta["filename_or_obj"]
    assert not made.requires_grad


@pytest.mark.parametrize("attack", ATTACKS, ids=NAMES)
def test_padding_stays_as_it_is(network, batch, attack):
    x = batch[0]
    y = network.eval()(x).argmax(dim=1)
    mask = torch.ones(len(x), 1, *x.shape[2:], dtype=torch.bool)
    mask[:, :, 7:] = False
    made = attack(network, x, y, 0.3, mask=mask)
    assert torch.equal(made.masked_fill(mask, 0.0), x.masked_fill(mask, 0.0))
    assert not torch.equal(made, x)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_an_image_need_not_be_a_box(norm):
    weight, mask = torch.ones(64), torch.ones(4, 1, 8, 8, dtype=torch.bool).triu()
    x, y = torch.rand(4, 1, 8, 8), torch.zeros(4, dtype=torch.long)
    made = Square(norm=norm, eps=0.3, queries=60)(Linear(weight), x, y, mask=mask, generator=seeded())
    assert torch.equal(made.masked_fill(mask, 0.0), x.masked_fill(mask, 0.0))
    assert ((made - x).flatten(1) @ weight > 0.3).all()


@pytest.mark.gpu
@pytest.mark.parametrize("attack", ATTACKS, ids=NAMES)
def test_attacks_on_a_gpu_agree_with_the_cpu(attack):
    network = curved()
    x, y = images(network, 6)
    cpu = attack(network, x, y, 0.1, generator=[seeded(row) for row in range(6)])
    gpu = attack(network.cuda(), x.cuda(), y.cuda(), 0.1, generator=[seeded(row) for row in range(6)])
    assert gpu.is_cuda
    assert torch.allclose(gpu.cpu(), cpu, atol=1e-3)


@pytest.mark.parametrize("attack", [APGD(eps=1.0, steps=3), Square(eps=1.0, queries=3)])
def test_a_loss_that_is_nan_is_no_silent_success(attack):
    class Broken(nn.Module):
        def forward(self, x):
            return (x.flatten(1) @ torch.ones(144, 3)) * float("nan")

    with pytest.raises(FloatingPointError, match="NaN"):
        attack(Broken(), torch.rand(2, 1, 12, 12), torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: APGD(loss="hinge"), "loss.*'hinge'.*'dlr'"),
        (lambda: APGD(restarts=0), "restarts"),
        (lambda: APGD(restarts=2, random_start=False), "restarts is 2"),
        (lambda: APGD(classes=0), "classes"),
        (lambda: APGD(eot=0), "eot"),
        (lambda: APGD(loss="targeted_dlr", goal=1), "'targeted_dlr'.*goal=1.*'margin'"),
        (lambda: APGD(loss="dlr", goal="least_likely"), "'dlr'.*goal='least_likely'"),
        (lambda: Square(queries=0), "queries"),
        (lambda: Square(share=1.5), "share"),
        (lambda: Square(loss="targeted_dlr"), "APGD"),
        (lambda: Square(loss="dlr", goal=0), "'dlr'.*goal=0"),
        (lambda: Square(eps=1.0)(curved(), torch.rand(2, 144), torch.tensor([0, 1])), "shape"),
        (lambda: AttackEnsemble([]), "no members"),
        (lambda: AttackEnsemble(PGD()), "members are a PGD; give a list of attacks"),
        (lambda: AttackEnsemble([PGD]), "the attack is the class PGD; make one"),
        (lambda: AttackEnsemble([PGD(), "apgd"]), "the attack is 'apgd'"),
        (lambda: AttackEnsemble([WindowAttack(PGD(), (4, 4))]), "a member of the ensemble is a WindowAttack.*of it"),
        (lambda: AttackEnsemble([print]), "a member of the ensemble is a builtin_function_or_method"),
        (lambda: AttackEnsemble([PGD(), PGD(norm="linf")]), "norm 'linf'"),
        (lambda: AttackEnsemble([PGD(bounds=(0, 1)), PGD()]), "bounds None"),
        (lambda: strong_attack("segmentatoin"), "segmentatoin"),
    ],
)
def test_arguments_that_cannot_work_are_refused_by_name(make, message):
    with pytest.raises(BadInputError, match=message):
        make()
