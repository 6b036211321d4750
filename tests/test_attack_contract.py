"""What every attack keeps to, whoever wrote it: the call, the ball and the bounds, the network and the batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from conftest import TinyNet
from monai.data import MetaTensor
from torch import nn

from monai_robust.attacks import (
    APGD,
    BIM,
    FGSM,
    FMN,
    PGD,
    Attack,
    AttackEnsemble,
    Square,
    WindowAttack,
    attack_curve,
    strong_attack,
)
from monai_robust.attacks.threat import Bounds
from monai_robust.errors import BadInputError
from monai_robust.tasks import Classification, Segmentation, Task

ATTACKS: dict[str, Callable[..., Attack]] = {
    "fgsm": FGSM,
    "bim": BIM,
    "pgd": lambda **threat: PGD(steps=4, random_start="ball", **threat),
    "apgd": lambda **threat: APGD(steps=5, restarts=2, **threat),
    "fmn": lambda **threat: FMN(steps=6, **threat),
    "square": lambda **threat: Square(queries=8, **threat),
    "ensemble": lambda **threat: AttackEnsemble([PGD(steps=2, **threat), Square(queries=3, **threat)]),
    "strong": lambda **threat: strong_attack("classification", steps=3, queries=3, **threat),
}
WINDOWS = "windows"


@dataclass
class Case:
    """An attack, and what it is called with: windows attack pixels' classes, the others an image's class."""

    name: str
    norm: str = "l2"
    dims: int = 2
    count: int = 3

    def __post_init__(self) -> None:
        torch.manual_seed(self.dims)
        self.dense = self.name == WINDOWS
        self.task: Task = Segmentation() if self.dense else Classification()
        self.network = TinyNet(classes=2 if self.dense else 3, dims=self.dims, dense=self.dense)
        self.inputs = torch.rand(self.count, 1, *[6] * self.dims)
        with torch.no_grad():  # at the edge of its decisions, so that each attack finds a success
            self.network.eval().head.weight.mul_(30)
            spatial = range(2, 2 + self.dims) if self.dense else ()
            self.network.head.bias.sub_(self.network(self.inputs).mean(dim=(0, *spatial)))
            outputs = self.network(self.inputs)
        self.targets = outputs.argmax(dim=1, keepdim=self.dense)
        self.network.train()
        threat: dict[str, Any] = {"norm": self.norm, "bounds": (0.0, 1.0)}
        if self.dense:
            inner = PGD(steps=3, random_start="ball", **threat)
            self.attack: Any = WindowAttack(inner, [4] * self.dims)
        else:
            self.attack = ATTACKS[self.name](**threat)

    def run(self, rows: slice | list[int] = slice(None), **changed: Any) -> torch.Tensor:
        """The attack on those rows, each with a generator of its own."""
        every = list(range(self.count))[rows] if isinstance(rows, slice) else rows
        arguments: dict[str, Any] = {
            "eps": 0.3,
            "task": self.task,
            "generator": [torch.Generator().manual_seed(row) for row in every],
            **changed,
        }
        network = arguments.pop("network", self.network)
        inputs = arguments.pop("inputs", self.inputs[every])
        return self.attack(network, inputs, self.targets[every], **arguments)


@pytest.fixture(params=[*ATTACKS, WINDOWS])
def name(request) -> str:
    return request.param


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("dims", [2, 3])
def test_every_sample_stays_within_its_own_radius_and_the_bounds(name, norm, dims):
    case = Case(name, norm, dims)
    eps = torch.tensor([0.01, 0.1, 0.8])
    made = case.run(eps=eps)
    delta = made - case.inputs
    if name == WINDOWS and norm == "l2":  # each of at most 2^D windows a pixel lies in has the radius, not the image
        assert (delta.flatten(1).norm(dim=1) <= eps * 2**dims).all()
    else:
        size = delta.flatten(1).norm(dim=1) if norm == "l2" else delta.flatten(1).abs().amax(dim=1)
        assert (size <= eps * (1 + 1e-5) + 1e-6).all()
    assert made.min() >= 0
    assert made.max() <= 1
    assert (delta != 0).any()


def test_the_result_is_a_detached_tensor_like_the_inputs_which_stay_as_they_are(name):
    case = Case(name)
    given = MetaTensor(case.inputs.double(), meta={"filename_or_obj": "film"})
    before = given.clone()
    made = case.run(inputs=given, network=case.network.double())
    assert isinstance(made, MetaTensor)
    assert made.meta["filename_or_obj"] == "film"
    assert (made.shape, made.dtype, made.device) == (given.shape, torch.float64, given.device)
    assert not made.requires_grad
    assert torch.equal(given, before)
    assert type(case.run(network=case.network.float())) is torch.Tensor


def state(network: nn.Module) -> list[Any]:
    return [
        [module.training for module in network.modules()],
        [parameter.requires_grad for parameter in network.parameters()],
        [parameter.grad is None for parameter in network.parameters()],
        {key: value.clone() for key, value in network.state_dict().items()},
    ]


def assert_same_state(network: nn.Module, before: list[Any]) -> None:
    after = state(network)
    assert after[:3] == before[:3]
    for key, value in before[3].items():
        assert torch.equal(after[3][key], value), key


class OnPurposeError(Exception):
    pass


@pytest.mark.parametrize("fail", [False, True])
def test_the_network_is_left_as_it_was_found_also_after_an_exception(name, fail):
    case = Case(name)
    case.network.features[1].weight.requires_grad_(False)
    case.network.features[0].eval()
    before = state(case.network)
    if fail:

        def refuse(*_: Any) -> None:
            raise OnPurposeError

        case.network.head.register_forward_hook(refuse)
        with pytest.raises(OnPurposeError):
            case.run()
    else:
        case.run()
    assert_same_state(case.network, before)


def test_no_gradient_of_a_parameter_is_asked_for(name):
    case, asked = Case(name), []

    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = case.network

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            asked.append(any(parameter.requires_grad for parameter in self.parameters()))
            return self.network(x)

    case.run(network=Spy())
    assert asked
    assert not any(asked)


def test_a_sample_does_not_depend_on_the_rest_of_its_batch(name):
    case = Case(name)
    case.network, case.inputs = case.network.double(), case.inputs.double()
    together = case.run()
    alone = torch.cat([case.run([row]) for row in range(case.count)])
    torch.testing.assert_close(together, alone, rtol=1e-6, atol=1e-8)


def test_the_same_generators_give_the_same_result(name):
    case = Case(name)
    assert torch.equal(case.run(), case.run())


def test_padding_is_never_perturbed(name):
    case = Case(name)
    mask = torch.ones_like(case.inputs[:, :1], dtype=torch.bool)
    mask[0, ..., -2:] = False
    made = case.run(mask=mask)
    assert torch.equal(made[~mask], case.inputs[~mask])
    assert (made != case.inputs)[mask].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_inputs_of_half_precision_may_lie_on_bounds_that_are_none_of_its_numbers(name, dtype):
    case = Case(name)
    low, high = -2.119, 2.6404
    for attack in (case.attack, getattr(case.attack, "attack", None), *getattr(case.attack, "members", ())):
        if attack is not None:
            attack.bounds = Bounds((low, high))
    share = (case.inputs - case.inputs.min()) / (case.inputs.max() - case.inputs.min())
    given = (low + share * (high - low)).to(dtype)
    made = case.run(inputs=given, network=case.network.to(dtype))
    assert made.dtype == dtype
    assert made.min() >= given.min()
    assert made.max() <= given.max()


@torch.no_grad()
def harm(case: Case, points: torch.Tensor) -> torch.Tensor:
    outputs = case.network.eval()(points)
    return torch.stack(tuple(case.task.terms(outputs, case.targets).values())).sum(dim=0)


def test_an_attack_does_harm(name):
    case = Case(name, count=6)
    before, after = harm(case, case.inputs), harm(case, case.run(eps=2.0))
    assert after.mean() > before.mean()


@pytest.mark.parametrize(
    ("kind", "argument"),
    [
        *[(FMN, argument) for argument in ("step_size", "random_start", "goal", "restarts", "loss")],
        *[(Square, argument) for argument in ("steps", "step_size", "relative_step", "random_start")],
        *[(AttackEnsemble, argument) for argument in ("steps", "step_size", "random_start", "goal", "norm", "bounds")],
        (PGD, "restarts"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_an_argument_that_means_nothing_for_an_attack_is_not_taken(kind, argument):
    members = [[PGD()]] if kind is AttackEnsemble else []
    with pytest.raises(TypeError, match=argument):
        kind(*members, **{argument: 1})


class Noise(Attack):
    """What the how-to asks of an attack of one's own."""

    def _search(self, network, samples, task):
        return self.projected(samples.clean + self._random(samples, surface=True), samples, self.limits(samples))


def test_an_attack_of_ones_own_says_how_it_searches_and_nothing_else(network, batch):
    inputs, labels = batch
    eps = torch.linspace(0.1, 0.5, len(inputs))
    attack = Noise(norm="linf", bounds=(0.0, 1.0), eps=1.0)
    made = attack(network, inputs, labels, eps, generator=torch.Generator().manual_seed(0))
    assert ((made - inputs).flatten(1).abs().amax(dim=1) <= eps + 1e-6).all()
    assert repr(attack).startswith("Noise(norm='linf'")
    curve = attack_curve(network, inputs, labels, [0.1, 0.5], attack=attack)
    assert curve.broken.shape == (2, len(inputs))
    with pytest.raises(BadInputError, match="begins where it chooses"):
        attack(network, inputs, labels, start=torch.zeros_like(inputs))
