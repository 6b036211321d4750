from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import TinyNet
from monai.data import MetaTensor
from torch import nn
from torch.utils.checkpoint import checkpoint

from monai_robust.attacks import APGD, BIM, FGSM, IFGSM, PAPER_ATTACKS, PGD, WindowAttack, paper_attack
from monai_robust.attacks.common.half_precision import tell_if_slow
from monai_robust.errors import BadInputError
from monai_robust.tasks import Classification, Inferred, Landmarks, LossTask, Segmentation

ATTACKS = [FGSM, BIM, PGD, APGD]


class Linear(nn.Module):
    """Logits (0, w.x): the gradient of the loss is known, and so is the best perturbation."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        score = x.flatten(1) @ self.weight
        return torch.stack([torch.zeros_like(score), score], dim=1)


def snapshot(network: nn.Module) -> dict[str, object]:
    return {
        "training": [module.training for module in network.modules()],
        "requires_grad": [parameter.requires_grad for parameter in network.parameters()],
        "grad": [None if p.grad is None else p.grad.clone() for p in network.parameters()],
        "state": {name: value.clone() for name, value in network.state_dict().items()},
    }


def assert_same(before: dict[str, object], after: dict[str, object]) -> None:
    assert before["training"] == after["training"]
    assert before["requires_grad"] == after["requires_grad"]
    for old, new in zip(before["grad"], after["grad"], strict=True):
        assert (old is None and new is None) or torch.equal(old, new)
    for name, value in before["state"].items():
        assert torch.equal(value, after["state"][name]), name


def reference_pgd(network, x, y, eps, steps, step, norm, bounds):
    """PGD from zero written once more, sample by sample in numpy-like steps, to compare with."""
    result = []
    for image, label in zip(x, y, strict=True):
        delta = torch.zeros_like(image)
        for _ in range(steps):
            probe = (image + delta).clone().requires_grad_(True)
            loss = -network(probe[None]).log_softmax(1)[0, label]
            (g,) = torch.autograd.grad(loss, probe)
            delta = (image + delta) - image
            if norm == "l2":
                delta = delta + step * g / g.norm()
                delta = delta * min(1.0, eps / float(delta.norm()))
            else:
                delta = (delta + step * g.sign()).clamp(-eps, eps)
            delta = (image + delta).clamp(*bounds) - image
        result.append(image + delta)
    return torch.stack(result)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_pgd_equals_a_reference_written_sample_by_sample(network, batch, norm):
    x, y = batch
    network.eval()
    expected = reference_pgd(network, x, y, 0.4, 6, 2.5 * 0.4 / 6, norm, (0, 1))
    actual = PGD(norm=norm, eps=0.4, steps=6, bounds=(0, 1))(network, x, y)
    assert torch.allclose(actual, expected, atol=2e-5)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_the_best_perturbation_of_a_linear_network_is_found(attack, norm):
    weight = torch.tensor([1.0, -2.0, 3.0, 0.5])
    x = torch.full((2, 1, 4), 0.5)
    y = torch.tensor([1, 0])
    moved = attack(norm=norm, eps=0.1)(Linear(weight), x, y) - x
    best = weight / weight.norm() if norm == "l2" else weight.sign()
    expected = torch.stack([-0.1 * best, 0.1 * best])[:, None]
    assert torch.allclose(moved, expected, atol=1e-6)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_every_sample_stays_within_its_own_radius_and_the_bounds_in_any_number_of_dimensions(attack, norm, dims):
    network = TinyNet(dims=dims)
    x = torch.rand(3, 1, *[6] * dims)
    eps = torch.tensor([0.01, 0.2, 1.5])
    made = attack(norm=norm, bounds=(0, 1), random_start=True)(network, x, torch.tensor([0, 1, 2]), eps)
    delta = (made - x).flatten(1)
    size = delta.norm(dim=1) if norm == "l2" else delta.abs().amax(dim=1)
    assert (size <= eps * (1 + 1e-5) + 1e-7).all()
    assert (size > 0).all()
    assert made.min() >= 0
    assert made.max() <= 1
    assert made.shape == x.shape


def test_a_sample_does_not_depend_on_the_rest_of_its_batch(network, batch):
    x, y = batch
    eps = torch.linspace(0.1, 1.0, len(x))
    together = PGD()(network, x, y, eps)
    alone = torch.cat([PGD()(network, x[i : i + 1], y[i : i + 1], eps[i : i + 1]) for i in range(len(x))])
    assert torch.allclose(together, alone, atol=1e-5)


def test_defaults_are_those_of_the_papers():
    assert (FGSM().norm.name, FGSM().steps) == ("linf", 1)
    assert (BIM().norm.name, BIM().steps, BIM().relative_step) == ("linf", 10, 1.0)
    assert (PGD().norm.name, PGD().steps, PGD().relative_step, PGD().random_start) == ("l2", 20, 2.5, False)
    assert IFGSM is BIM


@pytest.mark.parametrize("mode", ["eval", "train", "keep"])
@pytest.mark.parametrize("fail", [False, True])
def test_the_network_is_left_as_it_was_found_also_after_an_exception(network, batch, mode, fail):
    x, y = batch
    network.train()
    network.dropout.eval()
    network.features[1].weight.requires_grad_(False)
    network(x).sum().backward()
    before = snapshot(network)

    def loss(outputs, targets):
        if fail:
            raise RuntimeError("on purpose")
        return torch.nn.functional.cross_entropy(outputs, targets)

    attack = PGD(eps=0.5, steps=3, mode=mode, task=LossTask(loss))
    if fail:
        with pytest.raises((RuntimeError, BadInputError), match="on purpose"):
            attack(network, x, y)
    else:
        attack(network, x, y)
    assert_same(before, snapshot(network))


def test_no_parameter_gradient_is_computed(network, batch):
    x, y = batch
    seen: list[bool] = []

    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network

        def forward(self, inputs):
            seen.append(any(parameter.requires_grad for parameter in self.parameters()))
            return self.inner(inputs)

    PGD(eps=0.5, steps=2)(Spy(), x, y)
    assert seen == [False, False]


def test_result_is_a_plain_detached_tensor_of_the_same_kind(network, batch):
    x, y = batch
    made = PGD(eps=0.5)(network.double(), x.double(), y)
    assert made.dtype == torch.float64
    assert not made.requires_grad
    assert type(made) is torch.Tensor


def test_a_meta_tensor_keeps_its_metadata(network, batch):
    x, y = batch
    meta = MetaTensor(x, meta={"filename_or_obj": ["a"] * len(x)})
    made = PGD(eps=0.5)(network, meta, y)
    assert isinstance(made, MetaTensor)
    assert made.meta["filename_or_obj"] == meta.meta["filename_or_obj"]
    assert torch.equal(made.as_tensor(), PGD(eps=0.5)(network, x, y))


def test_a_generator_makes_random_starts_repeatable(network, batch):
    x, y = batch
    attack = PGD(eps=0.5, steps=1, random_start="sphere")
    first, second, other = (attack(network, x, y, generator=torch.Generator().manual_seed(s)) for s in (3, 3, 4))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_attack_works_under_no_grad_and_inference_mode(network, batch):
    x, y = batch
    expected = PGD(eps=0.5)(network, x, y)
    with torch.no_grad():
        assert torch.equal(PGD(eps=0.5)(network, x, y), expected)
    with torch.inference_mode():
        made = PGD(eps=0.5)(network, x.clone(), y)
    assert torch.equal(made, expected)


def test_untargeted_raises_the_loss_and_targets_are_approached(network, batch):
    x, y = batch
    network.eval()
    cross_entropy = nn.functional.cross_entropy
    with torch.no_grad():
        clean = network(x)
        assert cross_entropy(network(PGD(eps=1.0)(network, x, y)), y) > cross_entropy(clean, y)
        target = torch.full_like(y, 2)
        towards = network(PGD(eps=1.0, goal=2)(network, x, y))
        assert cross_entropy(towards, target) < cross_entropy(clean, target)
        least = clean.argmin(dim=1)
        steered = network(PGD(eps=1.0, goal="least_likely")(network, x, y))
        assert cross_entropy(steered, least) < cross_entropy(clean, least)


def test_bounds_per_image_keep_each_image_in_its_own_range(network, batch):
    x, y = batch
    x = x * torch.arange(1, len(x) + 1).reshape(-1, 1, 1, 1)
    made = PGD(eps=5.0, bounds="per_image")(network, x, y)
    assert (made.flatten(1).amax(1) <= x.flatten(1).amax(1)).all()
    assert (made.flatten(1).amin(1) >= x.flatten(1).amin(1)).all()


def test_absolute_steps_are_not_scaled_by_the_radius(network, batch):
    x, y = batch
    made = PGD(eps=10.0, steps=3, step_size=0.1)(network, x, y)
    assert ((made - x).flatten(1).norm(dim=1) <= 0.3 + 1e-5).all()


def test_bfloat16_finds_nearly_the_same_perturbation(network, batch):
    x, y = batch
    network.eval()
    single = PGD(eps=0.5)(network, x, y)
    half = PGD(eps=0.5, precision="bfloat16")(network, x, y)
    assert half.dtype == torch.float32
    cosine = nn.functional.cosine_similarity((single - x).flatten(1), (half - x).flatten(1))
    assert (cosine > 0.9).all()


@pytest.mark.parametrize(
    ("machine", "capability", "times"),
    [("x86_64", "AVX2", 1), ("AMD64", "DEFAULT", 1), ("x86_64", "AVX512", 0), ("arm64", "DEFAULT", 0)],
)
def test_a_processor_without_half_precision_is_told_of_once(
    machine, capability, times, network, batch, caplog, monkeypatch
):
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: capability)
    tell_if_slow.cache_clear()
    PGD(eps=0.5, steps=2)(network, *batch)
    assert "no instructions" not in caplog.text
    for _ in range(2):
        PGD(eps=0.5, steps=2, precision="bfloat16")(network, *batch)
    assert caplog.text.count(f"bfloat16, for which this processor ({capability}) has no instructions") == times
    tell_if_slow.cache_clear()


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"norm": "l7"}, "norm"),
        ({"eps": 0}, "eps"),
        ({"eps": float("nan")}, "eps"),
        ({"steps": 0}, "steps"),
        ({"steps": 2.5}, "steps"),
        ({"step_size": -1}, "step_size"),
        ({"relative_step": float("inf")}, "relative_step"),
        ({"random_start": "cube"}, "random_start"),
        ({"goal": "nearest"}, "goal"),
        ({"mode": "half"}, "mode"),
        ({"precision": "int8"}, "precision"),
    ],
)
def test_arguments_that_cannot_work_are_refused_by_name(keywords, message):
    with pytest.raises(BadInputError, match=message):
        PGD(**keywords)


def test_unusable_inputs_are_refused_with_what_is_wrong(network, batch):
    x, y = batch
    with pytest.raises(BadInputError, match="no radius"):
        PGD()(network, x, y)
    with pytest.raises(BadInputError, match="outside the attack's bounds"):
        PGD(eps=1.0, bounds=(0, 0.5))(network, x, y)
    with pytest.raises(BadInputError, match="floating"):
        PGD(eps=1.0)(network, x.long(), y)
    spoiled = x.clone()
    spoiled[2, 0, 0, 0] = float("nan")
    with pytest.raises(BadInputError, match=r"\[2\].*NaN"):
        PGD(eps=1.0)(network, spoiled, y)
    with pytest.raises(BadInputError, match="classes 0 to 2"):
        PGD(eps=1.0)(network, x, torch.full_like(y, 3))
    with pytest.raises(BadInputError, match="give the attack a task"):
        PGD(eps=1.0)(TinyNet(dense=True), x, y)
    with pytest.raises(BadInputError, match="does not depend"):
        PGD(eps=1.0)(lambda inputs: torch.zeros(len(inputs), 3), x, y)
    with pytest.raises(BadInputError, match="class from 0 to 2"):
        PGD(eps=1.0, goal=3)(network, x, y)


@pytest.mark.parametrize("name", list(PAPER_ATTACKS))
def test_paper_settings_run_by_name(network, batch, name):
    x, y = batch
    attack = paper_attack(name)
    made = paper_attack(name, eps=0.05, bounds=(0, 1))(network, x, y)
    assert made.shape == x.shape
    published = {
        "rtda-xray-training": (7, 2.5, 2.0),
        "rtda-mammogram-training": (7, 2.5, 0.15),
        "rtda-pocus-training": (7, 2.5, 0.3),
        "robustaugmix-training": (7, 2.5, 4.0),
        "oncology-bim": (10, 1.0, None),
        "oncology-pgd": (10, 2.5, None),
        "oncology-training": (7, 1.75, None),
        "model-complexity-pgd": (20, 2.0, None),
    }
    if name in published:
        assert (attack.steps, attack.relative_step, attack.eps) == published[name]


def test_an_unknown_paper_attack_is_refused():
    with pytest.raises(BadInputError, match="rtda-evaluation"):
        paper_attack("rtda")


@pytest.mark.gpu
def test_attack_on_a_gpu_agrees_with_the_cpu(network, batch):
    x, y = batch
    network.eval()
    cpu = PGD(eps=0.5)(network, x, y)
    gpu = PGD(eps=0.5)(network.cuda(), x.cuda(), y.cuda())
    assert gpu.is_cuda
    assert torch.allclose(cpu, gpu.cpu(), atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_half_precision_inputs_stay_in_the_ball_up_to_their_own_rounding(dtype, norm):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).to(dtype)
    x = torch.rand(2, 1, 8, 8).to(dtype)
    made = PGD(norm=norm, eps=0.1, steps=5, bounds=(0, 1))(network, x, torch.tensor([0, 1]))
    assert made.dtype == dtype
    rounding = torch.finfo(dtype).eps / 2
    delta = (made.double() - x.double()).flatten(1)
    size = delta.norm(dim=1) if norm == "l2" else delta.abs().amax(dim=1)
    assert (size <= 0.1 + rounding * (8 if norm == "l2" else 1)).all()


def test_targets_made_in_inference_mode_can_be_attacked(network, batch):
    with torch.inference_mode():
        x, y = batch[0].clone(), batch[1].clone()
        made = PGD(eps=0.5)(network, x, y)
    assert torch.equal(made, PGD(eps=0.5)(network, *batch))


class Ready:
    """Targets after their preparation."""

    def __init__(self, labels: torch.Tensor) -> None:
        self.labels = labels


class Preparing(Classification):
    """Notes what it is asked to prepare and which targets its other methods get."""

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[int, ...], torch.Tensor]] = []
        self.got: list[tuple[str, type]] = []

    def prepared(self, inputs, targets):
        self.asked.append((tuple(inputs.shape), targets))
        return Ready(targets)

    def forward(self, network, inputs, targets):
        self.got.append(("forward", type(targets)))
        return super().forward(network, inputs, targets)

    def terms(self, outputs, targets):
        self.got.append(("terms", type(targets)))
        return super().terms(outputs, targets.labels if isinstance(targets, Ready) else targets)


@pytest.mark.parametrize("attack", [FGSM(eps=0.3), PGD(eps=0.3, steps=6, random_start=True)], ids=["FGSM", "PGD"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_targets_are_prepared_once_for_all_steps_of_an_attack(network, batch, attack, wrapped):
    x, y = batch
    task = Preparing()
    generators = [torch.Generator().manual_seed(1) for _ in range(2)]
    given = Inferred(task, lambda inputs, inner: inner(inputs)) if wrapped else task
    made = attack(network, x, y, task=given, generator=generators[0])
    assert [shape for shape, _ in task.asked] == [tuple(x.shape)]
    assert torch.equal(task.asked[0][1], y)
    assert task.got == [("forward", Ready), ("terms", Ready)] * attack.steps
    assert torch.equal(made, attack(network, x, y, generator=generators[1]))


def test_the_targets_an_attack_steers_to_are_those_that_are_prepared(network, batch):
    x, y = batch
    task = Preparing()
    made = PGD(eps=0.3, steps=4, goal=1)(network, x, y, task=task)
    assert len(task.asked) == 1
    assert task.asked[0][1].tolist() == [1] * len(x)
    assert task.got == [("forward", torch.Tensor), *[("forward", Ready), ("terms", Ready)] * 4]
    assert torch.equal(made, PGD(eps=0.3, steps=4, goal=1)(network, x, y))


def test_each_attack_prepares_its_own_targets(network, batch):
    x, y = batch
    task, attack = Preparing(), PGD(eps=0.3, steps=2)
    for inputs, labels in ((x, y), (x[:2], y[:2])):
        attack(network, inputs, labels, task=task)
    assert [len(targets) for _, targets in task.asked] == [len(x), 2]


@pytest.mark.parametrize("goal", ["vanishing", "mislabelling"])
@pytest.mark.parametrize(
    ("task", "outputs", "targets"),
    [
        (Classification(), 3, torch.tensor([0, 1])),
        (LossTask(nn.CrossEntropyLoss()), 3, torch.tensor([0, 1])),
        (Segmentation(), 2, torch.zeros(2, 1, 6, 6, dtype=torch.long)),
        (Landmarks(radius=2.0), 3, torch.full((2, 1, 2), 3.0)),
    ],
    ids=["classification", "loss", "segmentation", "landmarks"],
)
def test_goals_for_boxes_are_known_to_attacks_and_refused_by_tasks_without_boxes(goal, task, outputs, targets):
    network = TinyNet(classes=outputs, dense=targets.ndim > 1)
    attack = PGD(eps=0.3, steps=1, goal=goal, task=task)
    assert attack.settings()["goal"] == goal
    before = snapshot(network)
    with pytest.raises(BadInputError, match=f"goal.*'{goal}'.*'untargeted'"):
        attack(network, torch.rand(2, 1, 6, 6), targets)
    assert_same(before, snapshot(network))


def test_window_attacks_hand_on_goals_that_their_task_refuses():
    attack = WindowAttack(PGD(eps=0.3, steps=1, goal="vanishing", task=Segmentation()), (4, 4))
    with pytest.raises(BadInputError, match="vanishing"):
        attack(TinyNet(classes=2, dense=True), torch.rand(1, 1, 6, 6), torch.zeros(1, 1, 6, 6, dtype=torch.long))


def dense_attack() -> PGD:
    return PGD(eps=0.3, steps=2, task=LossTask(nn.CrossEntropyLoss()))


def test_windows_take_labels_with_and_without_a_channel(batch):
    inputs, _ = batch
    network, labels = TinyNet(dense=True).eval(), (inputs[:, 0] * 3).long()
    whole = PGD(eps=0.3, steps=2, task=Segmentation())
    made = WindowAttack(dense_attack(), (4, 4))(network, inputs, labels)
    for one in range(len(inputs)):  # whatever the other samples are
        alone = WindowAttack(dense_attack(), (4, 4))(network, inputs[one : one + 1], labels[one : one + 1])
        torch.testing.assert_close(alone, made[one : one + 1])
    assert not torch.equal(made, WindowAttack(whole, (4, 4))(network, inputs, labels[:, None]))
    assert bool((made != inputs).any())


@pytest.mark.parametrize(("roi_size", "same"), [(4, (4, 4)), ((0, 4), (10, 4)), ((-1, 4), (10, 4)), (-1, (10, 12))])
def test_windows_are_sized_as_those_of_monais_inferer(batch, roi_size, same):
    inputs, _ = batch
    network, labels = TinyNet(dense=True).eval(), (inputs[:, 0] * 3).long()
    made = [WindowAttack(dense_attack(), size)(network, inputs, labels) for size in (roi_size, same)]
    assert torch.equal(*made)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attack": PGD}, r"the attack is the class PGD; make one"),
        ({"attack": "pgd"}, "the attack is 'pgd'"),
        ({"attack": lambda *_: None}, "the attack is a function; an attack by windows takes one of monai_robust"),
        ({"roi_size": "4"}, "roi_size is '4'; it must be a whole number, or one for each axis"),
        ({"roi_size": (4, 2.5)}, r"roi_size is \(4, 2.5\)"),
        ({"roi_size": True}, "roi_size is True"),
        ({"overlap": "0.5"}, "overlap is '0.5'; it must be a number of at least 0 and less than 1"),
        ({"overlap": 1.0}, "overlap is 1.0"),
        ({"overlap": float("nan")}, "overlap is nan"),
        ({"mode": "mean"}, "mode is 'mean'; it must be one of 'gaussian', 'constant'"),
    ],
)
def test_an_attack_by_windows_that_cannot_work_is_refused(arguments, message):
    with pytest.raises(BadInputError, match=message):
        WindowAttack(**{"attack": dense_attack(), "roi_size": (4, 4), **arguments})


def test_windows_refuse_labels_that_are_not_of_places(network, batch):
    with pytest.raises(BadInputError, match=r"labels of shape \(6,\).*each place of the images \(10, 12\)"):
        WindowAttack(PGD(eps=0.3), (4, 4))(network, *batch)
    with pytest.raises(BadInputError, match=r"windows are \(4, 4, 4\), the images \(10, 12\)"):
        WindowAttack(PGD(eps=0.3), (4, 4, 4))(network, *batch)


def test_a_class_index_of_numpy_is_a_goal(network, batch):
    made = [PGD(eps=0.3, steps=2, goal=goal)(network, *batch) for goal in (1, np.int64(1))]
    assert torch.equal(*made)
    assert type(PGD(goal=np.int64(1)).settings()["goal"]) is int


class Checkpointed(nn.Module):
    def __init__(self, network: nn.Module, use_reentrant: bool) -> None:
        super().__init__()
        self.network, self.use_reentrant = network, use_reentrant

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return checkpoint(self.network, x, use_reentrant=self.use_reentrant)


@pytest.mark.parametrize("attack", [PGD(eps=0.3, steps=1), APGD(eps=0.3, steps=2)])
def test_checkpoints_of_activations_that_give_no_gradient_of_the_input_are_refused(network, batch, attack):
    network.eval()
    torch.testing.assert_close(attack(Checkpointed(network, False), *batch), attack(network, *batch))
    with pytest.raises(BadInputError, match="use_reentrant=False"):
        attack(Checkpointed(network, True), *batch)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_a_given_start_is_projected_to_the_ball_and_padding_stays_out_of_it(network, batch, norm):
    inputs, labels = batch
    start = torch.randn(inputs.shape, generator=torch.Generator().manual_seed(3)).mul(10.0)
    mask = torch.ones_like(inputs[:, :1], dtype=torch.bool)
    mask[..., -2:] = False
    attack = PGD(norm=norm, eps=0.2, steps=1, step_size=1e-6)
    begun = attack(network, inputs, labels, start=start, mask=mask) - inputs
    assert torch.all(begun[..., -2:] == 0)
    expected = attack.norm.project(start.masked_fill(~mask, 0.0), torch.full((len(inputs),), 0.2))
    torch.testing.assert_close(begun, expected, rtol=0, atol=1e-5)


def test_a_start_of_zeros_is_the_attack_without_one(network, batch):
    inputs, labels = batch
    attack = PGD(eps=0.2, steps=3)
    assert torch.equal(attack(network, inputs, labels, start=torch.zeros_like(inputs)), attack(network, inputs, labels))


def test_a_start_is_refused_in_another_shape_and_by_an_attack_that_chooses_its_own(network, batch):
    inputs, labels = batch
    with pytest.raises(BadInputError, match="inputs' shape"):
        PGD(eps=0.2)(network, inputs, labels, start=torch.zeros(1))
    with pytest.raises(BadInputError, match="begins where it chooses"):
        APGD(eps=0.2)(network, inputs, labels, start=torch.zeros_like(inputs))


@pytest.mark.parametrize(
    ("task", "sentence"),
    [
        ("classification", "the task is 'classification'; give a task"),
        (Classification, r"the class Classification; make one: Classification\(\)"),
        (torch.nn.CrossEntropyLoss(), r"the task is a CrossEntropyLoss; .* LossTask\(loss\)"),
    ],
)
def test_what_is_no_task_is_refused(network, batch, task, sentence):
    inputs, targets = batch
    with pytest.raises(BadInputError, match=sentence):
        PGD(eps=0.1, steps=1, task=task)(network, inputs, targets)
    with pytest.raises(BadInputError, match=sentence):
        PGD(eps=0.1, steps=1)(network, inputs, targets, task=task)


@pytest.mark.parametrize("generator", [5, [0, 1, 2, 3]])
@pytest.mark.parametrize("random_start", [False, "ball"])
def test_what_is_no_generator_is_refused(network, batch, generator, random_start):
    inputs, targets = batch
    with pytest.raises(BadInputError, match=r"generator is \d; give a torch.Generator"):
        PGD(eps=0.1, steps=1, random_start=random_start)(network, inputs, targets, generator=generator)
