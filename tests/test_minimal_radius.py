from __future__ import annotations

import math

import pytest
import torch
from conftest import TinyNet
from monai.data import MetaTensor
from scipy.linalg import hadamard
from torch import nn

from monai_robust.attacks import FMN, PGD, DiceBelow, ScoreBeyond, WindowAttack
from monai_robust.attacks.criteria import as_criterion
from monai_robust.attacks.radius import minimal_radius
from monai_robust.errors import BadInputError
from monai_robust.tasks import Classification, Inferred, KeyMetric, Landmarks, LossTask, MultiLabel, Segmentation
from monai_robust.tasks.base import Task

METHODS = ["bisection", "minimum_norm"]
NORMS = ["l2", "linf"]
HIGH = {"l2": 4.0, "linf": 1.0}


class Linear(nn.Module):
    """Logits W x + b of 16 pixels; keeps the size of every batch that it saw."""

    def __init__(self, classes: int, *, even: bool = True) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(classes)
        # rows of a Hadamard matrix: all pairs of classes are alike, so that the nearest boundary is the one with the
        # largest other logit, which is what a gradient sees
        rows = torch.tensor(hadamard(16)[1 : classes + 1]) if even else torch.randn(classes, 16, generator=generator)
        self.weight = nn.Parameter(rows.float())
        self.bias = nn.Parameter(0.1 * torch.arange(classes))
        self.seen: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(x))
        return x.flatten(1) @ self.weight.T + self.bias


def images(count: int = 8) -> torch.Tensor:
    return torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(3))


def undecided(x: torch.Tensor) -> TinyNet:
    """A network that is not linear, in evaluation mode, to which no class is likelier than another for ``x``."""
    torch.manual_seed(1)
    network = TinyNet(dims=x.ndim - 2).eval()
    with torch.no_grad():
        network.head.bias -= network(x).mean(dim=0)
    return network


def true_distance(network: Linear, x: torch.Tensor, norm: str) -> torch.Tensor:
    """Distance to the nearest of the hyperplanes on which another class draws level."""
    logits = network(x).detach().double()
    own = logits.argmax(dim=1)
    steps = network.weight.detach().double() - network.weight.detach().double()[own][:, None]
    slopes = steps.norm(dim=2) if norm == "l2" else steps.abs().sum(dim=2)
    distances = (logits.gather(1, own[:, None]) - logits) / slopes
    return distances.scatter(1, own[:, None], math.inf).amin(dim=1).float()


def test_the_direct_search_does_not_mind_how_large_a_radius_it_may_look_at():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 3)).eval()
    inputs = torch.rand(5, 1, 8, 8)
    near, far = (
        minimal_radius(network, inputs, None, high=high, tolerance=0.01, method="minimum_norm").radius
        for high in (5.0, 200.0)
    )
    assert near.isfinite().any()
    torch.testing.assert_close(far[near.isfinite()], near[near.isfinite()], rtol=0.1, atol=0.0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_the_distance_to_a_linear_boundary_is_found_to_the_tolerance(method, norm, classes):
    network, x = Linear(classes), images()
    expected = true_distance(network, x, norm)
    tolerance = HIGH[norm] / 500
    found = minimal_radius(network, x, None, attack=PGD(norm=norm), high=HIGH[norm], tolerance=tolerance, method=method)
    assert found.found.all()
    assert (found.radius >= expected * (1 - 1e-5)).all()
    assert (found.radius <= expected + tolerance).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("norm", NORMS)
def test_what_is_returned_is_a_success_and_its_radius_is_its_distance(method, norm):
    network, x = Linear(4, even=False), images(12)
    found = minimal_radius(network, x, None, attack=PGD(norm=norm, bounds=(0, 1)), high=HIGH[norm], method=method)
    assert found.found.all()
    assert (network(found.adversarial).argmax(dim=1) != network(x).argmax(dim=1)).all()
    delta = (found.adversarial - x).flatten(1)
    size = delta.norm(dim=1) if norm == "l2" else delta.abs().amax(dim=1)
    assert torch.allclose(found.radius, size, rtol=1e-6)
    assert (found.radius >= true_distance(network, x, norm) * (1 - 1e-5)).all()
    assert found.adversarial.min() >= 0
    assert found.adversarial.max() <= 1


def test_both_methods_agree_on_a_network_that_is_not_linear(batch):
    x, _ = batch
    network = undecided(x)
    bisected, direct = (
        minimal_radius(network, x, None, attack=PGD(steps=40), high=5.0, tolerance=0.005, method=method)
        for method in METHODS
    )
    assert bisected.found.all()
    assert (direct.radius <= 1.02 * bisected.radius + 0.01).all()
    assert (bisected.radius <= 1.25 * direct.radius + 0.01).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_sample_that_withstands_the_largest_radius_has_none(method):
    network, x = Linear(2), images()
    expected = true_distance(network, x, "l2")
    high = float(expected.sort().values[3:5].mean())
    found = minimal_radius(network, x, None, high=high, method=method)
    assert torch.equal(found.found, expected < high)
    assert found.radius[~found.found].isinf().all()
    assert torch.equal(found.adversarial[~found.found], x[~found.found])


@pytest.mark.parametrize("method", METHODS)
def test_a_largest_radius_for_each_sample(method):
    network, x = Linear(2), images()
    expected = true_distance(network, x, "l2")
    allowed = torch.where(torch.arange(len(x)) % 2 == 0, 1.2, 0.8)
    found = minimal_radius(network, x, None, high=expected * allowed, tolerance=1e-3, method=method)
    assert found.found.tolist() == [True, False] * 4
    assert torch.allclose(found.radius[::2], expected[::2], atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_a_misclassified_sample_is_at_radius_0_of_incorrect_but_not_of_prediction_changed(method):
    network, x = Linear(3), images()
    labels = network(x).argmax(dim=1)
    labels[::2] = (labels[::2] + 1) % 3
    wrong = minimal_radius(network, x, labels, criterion="incorrect", high=4.0, tolerance=0.01, method=method)
    assert (wrong.radius[::2] == 0).all()
    assert wrong.found.all()
    assert torch.equal(wrong.adversarial[::2], x[::2])
    changed = minimal_radius(network, x, labels, high=4.0, tolerance=0.01, method=method)
    assert torch.allclose(changed.radius, true_distance(network, x, "l2"), atol=0.01)
    assert torch.allclose(wrong.radius[1::2], changed.radius[1::2], atol=0.01)


@pytest.mark.parametrize("method", METHODS)
def test_labels_do_not_matter_where_only_the_prediction_counts(method):
    network, x = Linear(3), images()
    without, with_labels = (
        minimal_radius(network, x, targets, high=4.0, method=method) for targets in (None, torch.zeros(8))
    )
    assert torch.equal(without.radius, with_labels.radius)


@pytest.mark.parametrize("method", METHODS)
def test_a_sample_does_not_depend_on_the_rest_of_its_batch(batch, method):
    x, y = batch
    network = undecided(x)
    attack = PGD(steps=5, random_start="ball")

    def radius(rows: list[int]) -> torch.Tensor:
        starts = [torch.Generator().manual_seed(row) for row in rows]
        found = minimal_radius(network, x[rows], y[rows], attack=attack, high=5.0, generator=starts, method=method)
        return found.radius

    together = radius(list(range(len(x))))
    alone = torch.cat([radius([row]) for row in range(len(x))])
    assert together.isfinite().all()
    assert torch.allclose(together, alone, rtol=1e-3)


def test_only_samples_that_are_not_settled_are_attacked():
    network, x = Linear(2), images()
    labels = network(x).argmax(dim=1)
    labels[0] = 1 - labels[0]  # wrong already
    order = true_distance(network, x, "l2")[1:].sort().values
    high = float(order[:2].mean())  # only one of the others can be moved
    network.seen.clear()
    attack = PGD(steps=5, task=Classification())
    found = minimal_radius(network, x, labels, attack=attack, criterion="incorrect", high=high, tolerance=high / 8)
    assert found.found.sum() == 2
    assert network.seen[:7] == [8, *[7] * 5, 7]  # the clean batch, five steps, one confirmation
    assert set(network.seen[7:]) == {1}


def test_bisection_costs_no_more_attacks_than_its_halvings():
    network, x = Linear(2), images(4)
    minimal_radius(network, x, None, attack=PGD(steps=50, task=Classification()), high=8.0, tolerance=1.0)
    assert sum(network.seen) <= 4 * (1 + 4 * 51 + 4 * 4)


def test_a_success_in_a_smaller_ball_than_one_that_failed_counts():
    """A prediction that changes between 0.3 and 0.45 and again beyond 0.8."""

    class Bands(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            value = x.flatten(1).sum(dim=1)
            inside = ((value > 0.3) & (value < 0.45)) | (value > 0.8)
            return torch.stack([0.01 * value, inside * 2.0 - 1.0 + 0.0 * value], dim=1)

    class Shift(PGD):
        def _search(self, network, samples, task):
            return samples.clean + samples.eps.view(-1, 1, 1)

    found = minimal_radius(Bands(), torch.zeros(1, 1, 1), None, attack=Shift(), high=1.0, tolerance=0.01)
    assert 0.3 < float(found.radius) < 0.31


def test_an_attack_that_finds_the_same_point_in_every_ball_comes_to_an_end():
    class Beyond(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            value = x.flatten(1).sum(dim=1)
            return torch.stack([0 * value, value - 1.99], dim=1)

    class Stubborn(PGD):
        calls = 0

        def _search(self, network, samples, task):
            self.calls += 1
            assert self.calls < 20
            return samples.clean + 2.0

    found = minimal_radius(
        Beyond(), torch.zeros(1, 1, 1), None, attack=Stubborn(task=Classification()), high=3.0, tolerance=0.1
    )
    assert float(found.radius) == 2.0


def test_a_success_far_beyond_the_boundary_is_pulled_in_to_the_tolerance():
    class Step(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            value = x.flatten(1).sum(dim=1)
            return torch.stack([0 * value, value - 0.37], dim=1)

    class Far(PGD):
        def _search(self, network, samples, task):
            return samples.clean + 1.0

    found = minimal_radius(
        Step(), torch.zeros(1, 1, 1), None, attack=Far(task=Classification()), high=1.0, tolerance=0.01
    )
    assert 0.37 < float(found.radius) <= 0.38


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("norm", NORMS)
def test_padding_stays_as_it_is_and_images_in_their_own_range(method, norm):
    x = 0.2 + 0.6 * torch.rand(3, 1, 8, 8)
    mask = torch.ones(3, 1, 8, 8, dtype=torch.bool)
    mask[0, :, 5:] = False
    x = torch.where(mask, x, 0.5)
    network = undecided(x)
    free = minimal_radius(network, x, None, attack=PGD(norm=norm), high=2 * HIGH[norm], method=method, mask=mask)
    assert torch.equal(free.adversarial[~mask], x[~mask])
    attack = PGD(norm=norm, bounds="per_image")
    found = minimal_radius(network, x, None, attack=attack, high=2 * HIGH[norm], method=method, mask=mask)
    assert found.found.all()
    assert (found.radius > 0).all()
    assert torch.equal(found.adversarial[~mask], x[~mask])
    for index in range(3):
        own, made = x[index][mask[index]], found.adversarial[index][mask[index]]
        assert own.min() - 1e-6 <= made.min()
        assert made.max() <= own.max() + 1e-6


class Threshold(nn.Module):
    """A pixel is foreground where it is brighter than one half."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.zeros_like(x), 8 * (x - 0.5)], dim=1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dims", [2, 3])
def test_the_smallest_radius_that_takes_dice_below_a_level(method, dims):
    masks = torch.zeros(3, 1, *[4] * dims)
    masks[:2, :, :2] = 1  # the last sample has no foreground, and so no Dice
    margin = torch.tensor([0.1, 0.2, 0.1]).view(-1, *[1] * (dims + 1))
    x = torch.where(masks == 1, 0.5 + margin, 0.5 - margin)
    attack = PGD(norm="linf", bounds=(0, 1), task=Segmentation())
    found = minimal_radius(
        Threshold(), x, masks, attack=attack, criterion=DiceBelow(0.5), high=0.4, tolerance=0.002, method=method
    )
    assert found.found.tolist() == [True, True, False]
    assert torch.allclose(found.radius[:2], margin.flatten()[:2], atol=0.003)
    score = Segmentation().score(Threshold()(found.adversarial), masks)
    assert (score[:2] < 0.5).all()


@pytest.mark.parametrize("method", METHODS)
def test_of_no_samples_there_are_no_radii(method):
    found = minimal_radius(Linear(2), images()[:0], None, high=1.0, tolerance=0.01, method=method)
    assert found.radius.shape == found.found.shape == (0,)
    assert found.adversarial.shape == images()[:0].shape


@pytest.mark.parametrize("dims", [2, 3])
def test_a_radius_against_the_networks_own_segmentation_asks_for_no_label(dims):
    x = torch.full((2, 1, *[4] * dims), 0.4)
    x[:, :, :2] = 0.6
    attack = PGD(norm="linf", task=Segmentation())
    arguments = {"attack": attack, "criterion": DiceBelow(0.5, "prediction"), "high": 0.4}
    found, known = (minimal_radius(Threshold(), x, labels, **arguments) for labels in (None, torch.zeros_like(x)))
    assert found.found.all()
    assert torch.equal(found.radius, known.radius)


def test_a_sample_below_its_dice_already_is_at_radius_0():
    masks = torch.ones(1, 1, 4, 4)
    x = torch.full((1, 1, 4, 4), 0.4)
    found = minimal_radius(Threshold(), x, masks, task=Segmentation(), criterion=DiceBelow(0.5), high=1.0)
    assert float(found.radius) == 0


def test_worse_is_above_the_level_of_an_error_and_below_that_of_a_score():
    class Distance(Task):
        name = "distance"
        higher_is_better = False

        def terms(self, outputs, targets):
            return {"loss": outputs}

        def score(self, outputs, targets):
            return outputs

    class Overlap(Distance):
        higher_is_better = True

    values = torch.tensor([1.0, 3.0, math.nan])
    assert ScoreBeyond(2.0)(Distance(), values, None, None).tolist() == [False, True, False]
    assert ScoreBeyond(2.0)(Overlap(), values, None, None).tolist() == [True, False, False]


@pytest.mark.parametrize("method", METHODS)
def test_the_smallest_radius_that_moves_landmarks_by_more_than_a_level(method):
    class Brightest(nn.Module):
        """The landmark is where the image is brightest; offsets are none."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([20 * (x - 0.5), 0 * x, 0 * x], dim=1)

    x = torch.zeros(2, 1, 24, 24)
    x[:, :, 4, 4] = 0.9
    x[0, :, 18, 18], x[1, :, 18, 18] = 0.8, 0.5
    targets = torch.tensor([[[4.0, 4.0, 0.5, 0.5]]] * 2)
    task = Landmarks(radius=2.0)
    found = minimal_radius(
        Brightest(), x, targets, task=task, criterion=ScoreBeyond(3.0), high=2.0, tolerance=0.01, method=method
    )
    assert found.found.all()
    assert (task.score(Brightest()(found.adversarial), targets) > 3).all()
    assert 0 < found.radius[0] < found.radius[1]


@pytest.mark.parametrize("method", METHODS)
def test_without_a_label_dice_is_that_with_the_networks_own_mask(method):
    masks = torch.zeros(2, 1, 4, 4)
    masks[:, :, :2] = 1
    margin = torch.tensor([0.1, 0.2]).view(-1, 1, 1, 1)
    x = torch.where(masks == 1, 0.5 + margin, 0.5 - margin)
    wrong = 1 - masks  # of which no pixel is found: with this truth the Dice is 0 as it is
    attack = PGD(norm="linf", bounds=(0, 1), task=Inferred(Segmentation(), lambda inputs, model: model(inputs)))
    arguments = {"attack": attack, "high": 0.4, "tolerance": 0.002, "method": method}
    found = minimal_radius(Threshold(), x, wrong, criterion=DiceBelow(0.5, reference="prediction"), **arguments)
    assert torch.allclose(found.radius, margin.flatten(), atol=0.003)
    moved = Segmentation().score(Threshold()(found.adversarial), masks)
    assert (moved < 0.5).all()
    assert minimal_radius(Threshold(), x, wrong, criterion=DiceBelow(0.5), **arguments).radius.tolist() == [0, 0]


def test_without_a_label_landmarks_are_compared_with_those_that_were_found():
    outputs = torch.randn(2, 3 * 3, 16, 16, generator=torch.Generator().manual_seed(0))
    task = Landmarks(radius=2.0)
    truth = torch.tensor([[[4.0, 4.0, 0.5, 0.25], [9.0, 3.0, 0.5, 0.25], [math.nan, math.nan, 0.5, 0.25]]] * 2)
    own = task.predicted_targets(outputs, truth)
    assert own.shape == (2, 3, 4)
    assert torch.equal(own[..., :2], task.points(outputs))
    assert (own[..., 2:] == torch.tensor([0.5, 0.25])).all()  # also of the landmark that has no truth
    assert task.score(outputs, own).max() < 1e-5
    criterion = ScoreBeyond(1.0, reference="prediction")
    other = outputs.flip(0)
    expected = task.score(other, own) > 1.0
    assert criterion(task, other, truth, outputs).tolist() == expected.tolist()
    assert expected.any()
    assert not criterion(task, outputs, truth, outputs).any()


def test_without_a_label_a_class_or_a_finding_has_changed():
    criterion, outputs = ScoreBeyond(0.5, reference="prediction"), torch.tensor([[2.0, -1.0, 0.5], [0.1, 3.0, -2.0]])
    other = torch.tensor([[2.0, 1.0, 0.5], [0.1, 1.0, -2.0]])
    assert criterion(MultiLabel(), other, None, outputs).tolist() == [True, False]
    assert criterion(Classification(), other.flip(1), None, outputs).tolist() == [True, False]


def test_another_reference_and_a_task_without_predictions_are_refused():
    with pytest.raises(BadInputError, match="reference is 'label'"):
        ScoreBeyond(1.0, reference="label")
    with pytest.raises(BadInputError, match="'key_metric' have no form of targets"):
        ScoreBeyond(1.0, reference="prediction")(
            KeyMetric(torch.nn.MSELoss(), lambda outputs, targets: outputs), torch.ones(1), None, torch.ones(1)
        )


@pytest.mark.parametrize("method", METHODS)
def test_an_inferer_runs_the_network(method):
    network, x = Linear(3), images()
    task = Inferred(Classification(), lambda inputs, model: model(inputs))
    found = minimal_radius(network, x, None, task=task, high=4.0, tolerance=0.01, method=method)
    assert torch.allclose(found.radius, true_distance(network, x, "l2"), atol=0.05)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("fail", [False, True])
def test_the_network_is_left_as_it_was_found(network, batch, method, fail):
    x, y = batch
    network.train()
    network(x).sum().backward()
    network.dropout.eval()
    network.head.bias.requires_grad_(False)
    modes = [module.training for module in network.modules()]
    gradients = [parameter.grad.clone() for parameter in network.parameters()]
    state = {name: value.clone() for name, value in network.state_dict().items()}

    def run(inputs, model):
        if fail and inputs.requires_grad:
            raise RuntimeError("on purpose")
        return model(inputs)

    task = Inferred(Classification(), run)
    if fail:
        with pytest.raises(RuntimeError, match="on purpose"):
            minimal_radius(network, x, y, task=task, high=5.0, method=method)
    else:
        minimal_radius(network, x, y, task=task, high=5.0, method=method)
    assert [module.training for module in network.modules()] == modes
    assert [p.requires_grad for p in network.parameters()] == [p is not network.head.bias for p in network.parameters()]
    assert all(torch.equal(p.grad, old) for p, old in zip(network.parameters(), gradients, strict=True))
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("method", METHODS)
def test_successes_in_half_precision_are_confirmed_in_the_networks_own(batch, method):
    x, _ = batch
    network = undecided(x)
    found = minimal_radius(network, x, None, attack=PGD(precision="bfloat16"), high=5.0, method=method)
    assert found.found.all()
    assert (network(found.adversarial).argmax(dim=1) != network(x).argmax(dim=1)).all()
    single = minimal_radius(network, x, None, high=5.0, method=method)
    assert torch.allclose(found.radius, single.radius, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("method", METHODS)
def test_kind_precision_and_metadata_of_the_inputs_are_kept(method):
    network, x = Linear(3).double(), images().double()
    meta = MetaTensor(x, meta={"filename_or_obj": ["a"] * len(x)})
    with torch.inference_mode():
        found = minimal_radius(network, meta, torch.zeros(8), high=4.0, method=method)
    assert isinstance(found.adversarial, MetaTensor)
    assert found.adversarial.meta["filename_or_obj"] == ["a"] * 8
    assert found.adversarial.dtype == torch.float64
    assert not found.adversarial.requires_grad
    half = minimal_radius(Linear(3).bfloat16(), images().bfloat16(), None, high=4.0, method=method)
    assert half.adversarial.dtype == torch.bfloat16
    assert half.found.all()
    changed = Linear(3).bfloat16()
    assert (changed(half.adversarial).argmax(dim=1) != changed(images().bfloat16()).argmax(dim=1)).all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_fmn_stays_within_each_samples_radius_and_the_bounds(norm, dims):
    x = torch.rand(3, 1, *[6] * dims)
    eps = torch.tensor([0.0001, 0.5, 3.0])
    network = undecided(x)
    made = FMN(norm=norm, bounds=(0, 1), criterion="prediction_changed")(network, x, None, eps)
    delta = (made - x).flatten(1)
    assert ((delta.norm(dim=1) if norm == "l2" else delta.abs().amax(dim=1)) <= eps * (1 + 1e-5)).all()
    assert made.min() >= 0
    assert made.max() <= 1
    assert made[1:].ne(x[1:]).any()
    moved = (made != x).flatten(1).any(dim=1)
    assert torch.equal(moved, network(made).argmax(dim=1) != network(x).argmax(dim=1))


def test_fmn_finds_the_boundary_from_a_ball_a_thousand_times_too_large():
    network, x = Linear(3), images()
    made = FMN(criterion="prediction_changed")(network, x, None, 1000 * true_distance(network, x, "l2"))
    assert torch.allclose((made - x).flatten(1).norm(dim=1), true_distance(network, x, "l2"), rtol=2e-3)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"method": "search"}, "bisection"),
        ({"criterion": "wrong"}, "prediction_changed"),
        ({"criterion": DiceBelow(0.5)}, "no Dice"),
        ({"task": LossTask(nn.CrossEntropyLoss())}, r"ScoreBeyond\(level\)"),
        ({"task": Segmentation()}, r"DiceBelow\(level\)"),
        ({"high": 0.0}, "radius"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"attack": FMN()}, "minimum_norm"),
        ({"attack": PGD}, "the class PGD; make one"),
        ({"attack": PGD(mode="train")}, "eval"),
        ({"attack": WindowAttack(PGD(), (4, 4))}, "WindowAttack"),
        ({"attack": PGD(goal=1), "method": "minimum_norm"}, "goal"),
        ({"attack": PGD(bounds=(0, 0.1))}, "bounds"),
        ({"generator": [torch.Generator()]}, "generators"),
    ],
)
def test_arguments_that_cannot_work_are_refused_in_one_sentence(keywords, message):
    with pytest.raises(BadInputError, match=message):
        minimal_radius(Linear(2), images(), torch.zeros(8), **{"high": 1.0, **keywords})


@pytest.mark.parametrize("level", [0, 1.5, math.nan, "half"])
def test_a_dice_level_is_above_0_and_at_most_1(level):
    with pytest.raises(BadInputError, match="level"):
        DiceBelow(level)


def test_criteria_are_known_by_name():
    assert as_criterion("incorrect") == as_criterion(as_criterion("incorrect"))
    with pytest.raises(BadInputError, match="shrink"):
        FMN(shrink=1.0)
