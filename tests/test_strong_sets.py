from __future__ import annotations

import json
import math
from pathlib import Path

import nibabel as nib
import pytest
import torch
import torch.nn.functional as F
from conftest import TinyNet
from monai.networks.nets import UNet
from scipy.spatial.distance import jensenshannon
from test_detection_task import loss as detection_loss
from test_detection_task import saying, tiny_network
from test_detection_task import targets as box_targets
from test_landmark_task import RADIUS, perfect
from test_landmark_task import case as landmark_case
from test_segmentation_task import case as pixel_case
from torch import nn

from monai_robust.attacks import APGD, PGD, AttackEnsemble, GradientAttack, Square, strong_attack
from monai_robust.attacks.radius_schedule import RED_EPS, phases
from monai_robust.attacks.threat import as_norm
from monai_robust.errors import BadInputError
from monai_robust.evaluation import AttackSweep, CleanSweep, Measurement
from monai_robust.evaluation.tables.outcomes import read_outcomes
from monai_robust.evaluation.tasks.examples import fullest_of_each_quarter
from monai_robust.losses.attack import ATTACK_LOSSES, AttackLoss, Raised, attack_loss
from monai_robust.tasks import Classification, Detection, Landmarks, LossTask, Segmentation
from monai_robust.tasks.base import Task, total


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def value(name: str, logits: torch.Tensor, labels: torch.Tensor, progress: float = 0.0) -> torch.Tensor:
    return raised(name, Segmentation())(*Segmentation().logits_and_labels(logits, labels), progress)


def raised(name: str, task: Task) -> Raised:
    return attack_loss(name, task.output_kinds, task)[1]


PIXEL_LOSSES = {name for name, loss in ATTACK_LOSSES.items() if "pixels" in loss.of}


class Recorder(nn.Module):
    """Keeps every input that it is shown."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.seen: list[torch.Tensor] = []

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.seen.append(inputs.detach().clone())
        return self.network(inputs)


# Losses of pixels.


@pytest.mark.parametrize("dims", ["2-D", "3-D"])
def test_masked_losses_are_means_over_pixels_in_which_wrong_ones_count_nothing(dims):
    logits, labels = pixel_case(dims)
    for sample in range(len(logits)):
        plain, balanced, spherical = [], {}, []
        for z, y in zip(logits[sample].flatten(1).T.tolist(), labels[sample].flatten().tolist(), strict=True):
            right = max(range(3), key=z.__getitem__) == y
            loss = math.log(sum(map(math.exp, z))) - z[y] if right else 0.0
            plain.append(loss)
            balanced.setdefault(y, []).append(loss)
            spherical.append(-z[y] / math.hypot(*z) if right else 0.0)
        expected = {
            "masked_ce": sum(plain) / len(plain),
            "balanced_masked_ce": sum(sum(own) / len(own) for own in balanced.values()) / len(balanced),
            "masked_spherical": sum(spherical) / len(spherical),
        }
        for name, number in expected.items():
            assert float(value(name, logits, labels)[sample]) == pytest.approx(number, rel=1e-4), name


def test_the_divergence_is_that_of_scipy():
    logits, labels = pixel_case("2-D")
    p, truth = logits.double().softmax(dim=1), F.one_hot(labels[:, 0], 3).movedim(-1, 1).double()
    expected = [
        float((jensenshannon(p[i].flatten(1), truth[i].flatten(1), axis=0) ** 2).mean()) for i in range(len(logits))
    ]
    assert value("js", logits, labels).tolist() == pytest.approx(expected, abs=1e-6)


def test_segpgd_weighs_right_and_wrong_pixels_by_how_far_the_attack_has_come():
    logits, labels = pixel_case("2-D")
    right, everything = (value(name, logits, labels) for name in ("masked_ce", "ce"))
    for progress in (0.0, 0.4, 1.0):
        share = progress / 2
        expected = (1 - share) * right + share * (everything - right)
        assert torch.allclose(value("segpgd", logits, labels, progress), expected, atol=1e-6)


def test_pixels_that_are_far_on_the_wrong_side_have_no_say():
    logits = torch.tensor([[-30.0, 0.0, 0.0], [0.4, 0.2, 0.0]]).T.reshape(1, 3, 1, 2).requires_grad_()
    labels = torch.zeros(1, 1, 1, 2)
    for name in sorted(PIXEL_LOSSES - {"ce"}):
        (slope,) = torch.autograd.grad(value(name, logits, labels).sum(), logits)
        assert slope[..., 0].abs().max() < 1e-6, name
        assert slope[..., 1].abs().max() > 1e-3, name


@pytest.mark.parametrize("name", sorted(PIXEL_LOSSES))
def test_one_channel_stands_for_two_classes_and_of_several_heads_the_first_counts(name):
    logits, labels = pixel_case("2-D", classes=3)
    single, binary = logits[:, :1], (labels > 0).long()
    both = torch.cat([torch.zeros_like(single), single], dim=1)
    single = single.clone().requires_grad_()
    made = value(name, single, binary, 0.5)
    assert torch.allclose(made, value(name, both, binary, 0.5), atol=1e-6)
    (slope,) = torch.autograd.grad(made.sum(), single)
    assert slope.abs().max() > 1e-4
    for heads in ([logits, logits[:, :, :2]], torch.stack([logits, -logits], dim=1)):
        assert torch.equal(value(name, heads, labels), value(name, logits, labels))
    alone = torch.cat([value(name, logits[i : i + 1], labels[i : i + 1]) for i in range(len(logits))])
    assert torch.allclose(value(name, logits, labels), alone, atol=1e-6)


# Losses of landmarks and boxes.


@pytest.mark.parametrize("dims", ["2-D", "3-D"])
def test_the_radial_error_is_the_score_and_has_its_slope(dims):
    outputs, targets = landmark_case(dims)
    axes = outputs.ndim - 2
    # pixels of the discs vote and no others, also after a small step
    outputs = perfect(targets[..., :axes], outputs.shape[2:], logit=1.5).nan_to_num() + 0.1 * outputs
    task = Landmarks(radius=RADIUS)
    loss = raised("radial_error", task)
    outputs.requires_grad_()
    made = loss(outputs, targets, 0.0)
    score = task.score(outputs.detach(), targets)
    assert made.tolist() == pytest.approx(score.nan_to_num(0.0).tolist(), rel=1e-4)
    (slope,) = torch.autograd.grad(made.sum(), outputs)
    assert torch.isfinite(slope).all()
    ahead, behind = (loss(outputs.detach() + h * slope, targets, 0.0) for h in (1e-2, -1e-2))
    assert float(slope.square().sum()) == pytest.approx(float((ahead - behind).sum() / 2e-2), rel=0.02)


def test_the_parts_of_a_loss_add_up_to_it():
    outputs, targets = landmark_case("2-D")
    task = Landmarks(radius=RADIUS, single_term=True)
    parts = [raised(name, task)(outputs, targets, 0.0) for name in ("heatmap", "offset")]
    assert torch.allclose(sum(parts), total(task.terms(outputs, targets)))
    boxes, network = Detection(detection_loss()), tiny_network().eval()
    found = network(torch.rand(3, 3, 48, 32))
    parts = [raised(name, boxes)(found, box_targets(), 0.0) for name in ("classification", "box_regression")]
    assert torch.allclose(sum(parts), total(boxes.terms(found, box_targets())))


# A search that begins in larger balls.


def dense(classes: int = 3, dims: int = 2, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    network = TinyNet(classes=classes, dims=dims, dense=True).eval().requires_grad_(False)
    network.head.weight.mul_(4)
    if classes == 1:
        network.head.bias.sub_(network(torch.rand(3, 1, *[8] * dims, generator=seeded(1))).median())
    return network


def pictures(network: nn.Module, count: int = 3, dims: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and the labels that the network gives most of their pixels."""
    inputs = torch.rand(count, 1, *[8] * dims, generator=seeded(1))
    outputs = network(inputs)
    labels = outputs.argmax(dim=1, keepdim=True) if outputs.shape[1] > 1 else (outputs > 0).long()
    noise = torch.rand(labels.shape, generator=seeded(2)) < 0.1
    return inputs, torch.where(noise, 1, labels)


class From(APGD):
    """Starts where it is told to."""

    def __init__(self, start: torch.Tensor, **keywords: object) -> None:
        super().__init__(random_start="ball", **keywords)
        self.begin = start

    def _random(self, samples, *, surface):
        return self.begin - samples.clean


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_a_run_with_a_schedule_is_a_row_of_runs_each_from_the_projection_of_the_last(norm):
    network, task, eps = dense(), Segmentation(), {"l2": 0.5, "linf": 0.05}[norm]
    x, y = pictures(network)
    threat = {"norm": norm, "task": task, "loss": "js", "bounds": (0, 1)}
    made = APGD(steps=20, eps=eps, radius_schedule=RED_EPS, **threat)(network, x, y)
    point = x
    for factor, steps in ((2.0, 6), (1.5, 6), (1.0, 8)):
        point = From(point, steps=steps, **threat)(network, x, y, factor * eps)
    assert torch.allclose(made, point, atol=1e-6)
    assert (as_norm(norm).size(made - x) <= eps * (1 + 1e-5)).all()


def test_steps_count_those_of_all_balls():
    assert phases(RED_EPS, 300) == [(2.0, 90), (1.5, 90), (1.0, 120)]
    assert phases(RED_EPS, 2) == [(1.0, 2)]
    assert phases(None, 7) == [(1.0, 7)]
    network = Recorder(dense())
    x, y = pictures(network.network)
    APGD(steps=10, eps=0.5, radius_schedule=RED_EPS, task=Segmentation())(network, x, y)
    sizes = [float(as_norm("l2").size(seen - x).max()) for seen in network.seen]
    assert len(sizes) == 4 + 4 + 5  # a look more than steps in each ball
    assert max(sizes[:4]) == pytest.approx(1.0, rel=1e-4)
    assert max(sizes[4:8]) == pytest.approx(0.75, rel=1e-4)
    assert max(sizes[8:]) == pytest.approx(0.5, rel=1e-4)


def test_a_success_outside_the_ball_is_none():
    head = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).requires_grad_(False)
    x = torch.randn(6, 1, 4, 4, generator=seeded(3))
    y = head(x).argmax(dim=1)
    distance = (head(x)[:, 0] - head(x)[:, 1]).abs() / (head[1].weight[0] - head[1].weight[1]).norm()
    attack = APGD(steps=20, radius_schedule=RED_EPS, stop_at_success=True)
    for radii, stands in ((0.7, True), (1.1, False)):
        made = attack(head, x, y, radii * distance)
        assert ((head(made).argmax(dim=1) == y) == stands).all()
        assert (as_norm("l2").size(made - x) <= radii * distance * (1 + 1e-5)).all()


def test_the_attack_tells_a_loss_how_far_it_has_come(monkeypatch):
    told: list[float] = []

    def spy(logits, labels, progress):
        told.append(progress)
        return F.cross_entropy(logits, labels, reduction="none").flatten(1).mean(dim=1)

    monkeypatch.setitem(ATTACK_LOSSES, "segpgd", AttackLoss({"pixels": lambda task: spy}, leaving=True))
    network = dense()
    x, y = pictures(network)
    APGD(loss="segpgd", steps=4, eps=0.1, task=Segmentation())(network, x, y)
    assert told == [0.0, 0.25, 0.5, 0.75, 1.0]
    told.clear()
    schedule = ((2.0, 0.5), (1.0, 0.5))
    APGD(loss="segpgd", steps=4, eps=0.1, radius_schedule=schedule, task=Segmentation())(network, x, y)
    assert told == [0.0, 0.5, 1.0] * 2


# What is kept.


def test_the_worst_dice_on_the_way_is_kept_where_scores_count():
    network, task = Recorder(dense()), Segmentation()
    x, y = pictures(network.network)
    kept = {}
    for keep in ("loss", "score"):
        network.seen.clear()
        made = APGD(loss="masked_ce", steps=15, eps=1.0, task=task, keep=keep)(network, x, y)
        kept[keep] = task.score(network.network(made), y)
        on_the_way = torch.stack([task.score(network.network(seen), y) for seen in network.seen])
    assert torch.allclose(kept["score"], on_the_way.amin(dim=0))
    assert (kept["score"] < kept["loss"]).any()  # what raises this loss is not what lowers Dice


def test_the_largest_radial_error_on_the_way_is_kept():
    outputs, targets = landmark_case("2-D")
    torch.manual_seed(4)
    network, task = Recorder(TinyNet(classes=9, dense=True).eval().requires_grad_(False)), Landmarks(radius=RADIUS)
    x = torch.rand(len(outputs), 1, *outputs.shape[2:], generator=seeded())
    made = Square(queries=15, eps=2.0, task=task, keep="score")(network, x, targets, generator=seeded())
    errors = torch.stack([task.score(network.network(seen), targets) for seen in network.seen])
    best = task.score(network.network(made), targets)
    assert torch.allclose(best[:3], errors.amax(dim=0)[:3])
    assert best[3].isnan()


def test_without_a_score_the_highest_loss_is_kept():
    network, task = dense(), Segmentation()
    x, y = pictures(network)
    y = torch.zeros_like(y)
    made = [APGD(steps=8, eps=0.5, task=task, keep=keep)(network, x, y) for keep in ("loss", "score")]
    assert torch.equal(*made)
    assert (total(task.terms(network(made[0]), y)) > total(task.terms(network(x), y))).all()


def test_a_task_without_a_score_cannot_be_judged_by_it():
    network = dense()
    x, y = pictures(network)
    attack = APGD(eps=0.1, steps=1, keep="score", task=LossTask(nn.CrossEntropyLoss()))
    with pytest.raises(BadInputError, match="no outcomes"):
        attack(network, x, y[:, 0])


def test_the_score_counts_by_the_true_targets_also_under_a_goal():
    network, task = dense(), Segmentation()
    x, y = pictures(network)
    made = APGD(goal=0, steps=15, eps=1.0, task=task, keep="score")(network, x, y)
    score = task.score(network(made), y)
    assert (score < task.score(network(x), y)).all()


# Sets.


def segmentation_case(dims: int, classes: int):
    network = dense(classes, dims)
    return (network, *pictures(network, dims=dims), Segmentation())


def landmarks_case():
    outputs, targets = landmark_case("2-D")
    torch.manual_seed(4)
    network = TinyNet(classes=9, dense=True).eval().requires_grad_(False)
    return network, torch.rand(4, 1, *outputs.shape[2:], generator=seeded()), targets, Landmarks(radius=RADIUS)


class Speaking(nn.Module):
    """Says of every picture what ``boxes`` (1, N, 5) are, more or less so by its brightness here and there."""

    def __init__(self, boxes: torch.Tensor, classes: int) -> None:
        super().__init__()
        said = saying(boxes, logit=1.0)
        said["classification"] = [
            level.unflatten(1, (2, 3))[:, :, :classes].flatten(1, 2) for level in said["classification"]
        ]
        self.said = said
        channels = [level.shape[1] for levels in said.values() for level in levels]
        self.mixing = nn.ModuleList(nn.Conv2d(3, number, 1, bias=False) for number in channels).requires_grad_(False)

    def forward(self, x: torch.Tensor) -> dict[str, list[torch.Tensor]]:
        mixing = iter(self.mixing)
        return {
            name: [level + next(mixing)(F.adaptive_avg_pool2d(4 * x - 2, level.shape[2:])) for level in levels]
            for name, levels in self.said.items()
        }


def detection_case(classes: int = 3):
    """Two pictures of the same objects, and one of none."""
    torch.manual_seed(0)
    boxes = box_targets()[[0, 0, 2]]
    if classes == 1:
        boxes[..., -1] = boxes[..., -1].clamp(max=0)
    network, task = Speaking(boxes[:1], classes), Detection(detection_loss(), score_threshold=0.6, keep_threshold=0.6)
    return network, torch.rand(3, 3, 48, 32, generator=seeded()), boxes, task


CASES = {
    "segmentation": lambda: segmentation_case(2, 3),
    "segmentation, 3-D, one channel": lambda: segmentation_case(3, 1),
    "landmarks": landmarks_case,
    "detection": detection_case,
}


def worse_or_equal(task: Task, first: torch.Tensor, second: torch.Tensor) -> bool:
    first, second = (x.nan_to_num(math.inf if task.higher_is_better else -math.inf) for x in (first, second))
    return bool((first <= second).all() if task.higher_is_better else (first >= second).all())


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("case", CASES)
def test_a_set_is_as_bad_for_every_sample_as_the_worst_of_its_members_and_stays_in_the_ball(case, norm):
    network, x, y, task = CASES[case]()
    eps = torch.linspace(0.5, 1.0, len(x)) * {"l2": 1.0, "linf": 0.05}[norm]
    threat = {"norm": norm, "bounds": (0, 1)}
    attack = strong_attack(case.split(",")[0], steps=6, queries=4, task=task, **threat)

    def score(inputs: torch.Tensor) -> torch.Tensor:
        return task.score(network(inputs), y)

    made = attack(network, x, y, eps, generator=[seeded(row) for row in range(len(x))])
    assert made.min() >= 0
    assert made.max() <= 1
    assert (attack.norm.size(made - x) <= eps * (1 + 1e-5)).all()
    for member in (*attack.members, PGD(**threat)):
        alone = member(network, x, y, eps, task=task, generator=[seeded(row) for row in range(len(x))])
        assert worse_or_equal(task, score(made), score(alone)), member
    assert not torch.equal(score(made).nan_to_num(), score(x).nan_to_num())


@pytest.mark.parametrize("case", CASES)
def test_padding_stays_as_it_is_and_a_sample_does_not_depend_on_its_batch(case):
    network, x, y, task = CASES[case]()
    mask = torch.ones(len(x), 1, *x.shape[2:], dtype=torch.bool)
    mask[:, :, 7:] = False
    attack = strong_attack(case.split(",")[0], eps=0.5, steps=3, queries=2, task=task)
    made = attack(network, x, y, generator=[seeded(row) for row in range(len(x))], mask=mask)
    assert torch.equal(made.masked_fill(mask, 0.0), x.masked_fill(mask, 0.0))
    alone = attack(network, x[1:2], y[1:2], generator=[seeded(1)], mask=mask[1:2])
    assert torch.allclose(made[1:2], alone, atol=1e-4)


@pytest.mark.parametrize("name", ["segmentation", "landmarks", "detection", "classification", "multi_label"])
def test_settings_tell_what_a_set_is_made_of(name):
    attack = strong_attack(name, norm="linf", bounds=(0, 1), restarts=2, eot=2)
    settings = json.loads(json.dumps(attack.settings()))
    members = settings["members"]
    assert {member["norm"] for member in members} == {"linf"}
    assert {member["eot"] for member in members if member["attack"] != "PGD"} == {2}
    climbing = [member for member in members if member["attack"] == "APGD"]
    assert {member["restarts"] for member in climbing} == {2}
    expected = {
        "segmentation": [None, "masked_ce", "balanced_masked_ce", "segpgd", "js", "masked_spherical"],
        "landmarks": [None, "heatmap", "offset", "radial_error"],
        "detection": [None, "classification", "box_regression", None, None],
        "classification": ["ce", "dlr", "targeted_dlr"],
        "multi_label": ["bce", "margin"],
    }[name]
    assert [member["loss"] for member in climbing] == expected
    if name == "segmentation":
        assert {member["steps"] for member in climbing} == {300}
        assert climbing[0]["radius_schedule"] == [[2.0, 0.3], [1.5, 0.3], [1.0, 0.4]]
    if name == "detection":
        assert [member["goal"] for member in climbing] == ["untargeted"] * 3 + ["vanishing", "mislabelling"]
    assert settings["keep"] == ("loss" if name in ("classification", "multi_label") else "score")


def test_a_network_with_one_class_is_attacked_without_mislabelling():
    network, x, y, task = detection_case(classes=1)
    attack = strong_attack("detection", eps=0.5, steps=2, queries=1, task=task)
    made = attack(network, x, y)
    assert (attack.norm.size(made - x) > 0).any()
    with pytest.raises(BadInputError, match="only one class"):
        attack.members[-2](network, x, y, 0.5, task=task)


def test_members_draw_as_if_alone_and_another_call_draws_anew():
    network = dense()
    x, y = pictures(network)
    drawn: list[torch.Tensor] = []

    class Drawing(GradientAttack):
        def _search(self, network, samples, task):
            drawn.append(torch.rand(3, generator=samples.generator))
            return samples.clean

    source = seeded(5)
    ensemble = AttackEnsemble([Drawing(), Drawing()], eps=0.1, task=Segmentation())
    for _ in range(2):
        ensemble(network, x, y, generator=source)
    first, second, third, fourth = drawn
    assert torch.equal(first, torch.rand(3, generator=seeded(5)))
    assert torch.equal(first, second)
    assert torch.equal(third, fourth)
    assert not torch.isin(third, first).any()


def test_several_heads_and_random_networks_are_attacked_as_well():
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = dense()

        def forward(self, x):
            out = self.network(x + 0.01 * torch.randn_like(x))
            return [out, out[..., ::2, ::2]]

    network, task = Heads(), Segmentation()
    x, y = pictures(dense())
    made = strong_attack("segmentation", eps=0.5, steps=4, queries=2, eot=3, restarts=2)(
        network, x, y, generator=seeded()
    )
    assert task.score(network(made), y).mean() < task.score(network(x), y).mean() - 0.05


def hippocampi(folder: Path, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each volume the slice with the most hippocampus, (N, 1, 32, 48), and its labels."""
    images, labels = [], []
    for path in sorted((folder / "imagesTr").glob("*.nii.gz"))[:count]:
        image, label = (
            torch.as_tensor(nib.load(file).get_fdata(), dtype=torch.float32)
            for file in (path, folder / "labelsTr" / path.name)
        )
        level = int((label > 0).sum(dim=(0, 1)).argmax())
        image = (image[..., level] / image[..., level].quantile(0.99)).clamp(0, 1)
        images.append(F.interpolate(image[None, None], (32, 48))[0])
        labels.append(F.interpolate(label[None, None, ..., level], (32, 48))[0])
    return torch.stack(images), torch.stack(labels).long()


@pytest.mark.full
def test_real_slices_are_never_better_off_than_after_pgd(public_data: Path) -> None:
    x, y = hippocampi(public_data / "msd_hippocampus", 8)
    task = Segmentation()
    torch.manual_seed(0)
    network = UNet(2, 1, 3, (12, 24, 32), (2, 2), num_res_units=1)
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    for step in range(60):
        rows = slice(step % 2 * 4, step % 2 * 4 + 4)
        optimiser.zero_grad()
        total(task.terms(network(x[rows]), y[rows])).mean().backward()
        optimiser.step()
    network.eval().requires_grad_(False)

    def dice(inputs: torch.Tensor) -> torch.Tensor:
        return task.score(network(inputs), y)

    assert dice(x).mean() > 0.7
    eps = 0.5
    usual = dice(PGD(eps=eps, task=task)(network, x, y))
    strong = dice(strong_attack("segmentation", eps=eps, steps=15, queries=5)(network, x, y, generator=seeded()))
    assert (strong <= usual).all()
    assert strong.mean() < usual.mean() - 0.01


def test_a_set_is_one_perturbation_of_a_measurement(tmp_path: Path) -> None:
    network = dense()
    x, y = pictures(network)
    items = [
        {"image": x[i], "label": y[i], "sample_id": f"s{i}", "patient_id": f"p{i}", "foreground": [1, 2]}
        for i in range(len(x))
    ]
    attack = strong_attack("segmentation", steps=4, queries=2)
    sweeps = [CleanSweep(), AttackSweep(PGD(), [0.5], "pgd_l2"), AttackSweep(attack, [0.5], "strong_l2")]
    folder = Measurement(
        network,
        items,
        task=Segmentation(),
        perturbations=sweeps,
        output_dir=tmp_path / "run",
        name="net",
        classes=["a", "b"],
        progress=False,
    ).run()
    table = read_outcomes(folder / "outcomes.csv")
    score = table.set_index(["perturbation", "sample_id"])["score"]
    assert (score["strong_l2"] <= score["pgd_l2"]).all()
    assert (table["distance"] <= 0.5 * (1 + 1e-5)).all()
    described = json.loads((folder / "run.json").read_text())["perturbations"][2]
    assert len(described["settings"]["members"]) == 8


def test_pictures_are_chosen_from_each_quarter():
    items = [{"held": number} for number in (0, 1, 1, 0, 0, 0, 5, 7)]
    assert fullest_of_each_quarter(items, "held", lambda item: (item["held"],)) == [1, 2, 7]
    assert fullest_of_each_quarter([{}] * 6, "held", lambda item: (1,)) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: APGD(loss="masked_ce", goal=1), "'masked_ce'.*goal=1"),
        (lambda: APGD(keep="dice"), "keep is 'dice'"),
        (lambda: APGD(radius_schedule=((2.0, 0.5), (1.5, 0.5))), "falling to 1"),
        (lambda: APGD(radius_schedule=((1.0, 0.5), (2.0, 0.5))), "falling to 1"),
        (lambda: APGD(radius_schedule=((2.0, 0.5), (1.0, 0.6))), "share of the steps"),
        (lambda: APGD(radius_schedule=((2.0, 1.0), (1.0, 0.0))), "share of the steps"),
        (lambda: APGD(radius_schedule=(2.0, 1.0)), "pairs"),
        (lambda: Square(loss="segpgd"), "'segpgd' is one of APGD"),
        (lambda: AttackEnsemble([PGD(mode="train"), PGD()]), "mode 'eval'"),
        (lambda: strong_attack("boxes"), "'detection'"),
        (lambda: raised("masked_ce", Classification()), "'classification' has no loss 'masked_ce'.*'dlr'"),
        (lambda: raised("ce", Landmarks()), "'landmarks' has no loss 'ce'.*'radial_error'"),
    ],
)
def test_arguments_that_cannot_work_are_refused_by_name(make, message):
    with pytest.raises(BadInputError, match=message):
        make()
