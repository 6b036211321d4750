"""Networks that do what no attack may rely on: every attack hands back a point of its ball and leaves all as it was."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from monai_robust.attacks import (
    APGD,
    BIM,
    FGSM,
    FMN,
    PGD,
    Square,
    attack_curve,
    minimal_radius,
    strong_attack,
)
from monai_robust.attacks.common.guard import inputs_copied, untouched
from monai_robust.errors import BadInputError, BadSamplesError

EPS, SIZE, BOUNDS = 0.5, 6, (0.0, 1.0)
ATTACKS: dict[str, Callable[..., Tensor]] = {
    "fgsm": FGSM(norm="linf", eps=EPS, bounds=BOUNDS),
    "bim": BIM(norm="l2", eps=EPS, steps=2, bounds=BOUNDS),
    "pgd": PGD(eps=EPS, steps=2, bounds=BOUNDS),
    "pgd in training": PGD(eps=EPS, steps=2, bounds=BOUNDS, mode="train"),
    "pgd as it is": PGD(eps=EPS, steps=2, bounds=BOUNDS, mode="keep"),
    "pgd, least likely": PGD(norm="linf", eps=EPS, steps=2, bounds=BOUNDS, goal="least_likely"),
    "apgd": APGD(norm="linf", eps=EPS, steps=3, bounds=BOUNDS, stop_at_success=True),
    "square": Square(eps=EPS, queries=3, bounds=BOUNDS),
    "fmn": FMN(eps=EPS, steps=3, bounds=BOUNDS),
    "strong": strong_attack("classification", eps=EPS, bounds=BOUNDS, steps=2, queries=2),
    "curve": lambda network, x, y: attack_curve(
        network, x, y, [EPS / 2, EPS], attack=PGD(steps=2, bounds=BOUNDS), batch_size=3
    ).adversarial(EPS),
    "nearest": lambda network, x, y: (
        minimal_radius(network, x, y, high=EPS, attack=PGD(steps=2, bounds=BOUNDS)).adversarial
    ),
}
LINF = ("fgsm", "pgd, least likely", "apgd")


def core() -> nn.Sequential:
    torch.manual_seed(5)
    return nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, 8), nn.BatchNorm1d(8), nn.Dropout(0.1), nn.Linear(8, 3))


class Does(nn.Module):
    """A network that does something to itself or to its input first."""

    def __init__(self, first: Callable[[Does, Tensor], Tensor]) -> None:
        super().__init__()
        self.core, self.first = core(), first
        self.register_buffer("seen", torch.zeros(()))
        self.core[1].bias.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.core(self.first(self, x))


def _counts(network: Does, x: Tensor) -> Tensor:
    network.seen += 1
    return x


def _replaces(network: Does, x: Tensor) -> Tensor:
    network.seen = network.seen + 1
    return x


def _writes_around_autograd(network: Does, x: Tensor) -> Tensor:
    x.data.sub_(0.5)
    return x


def _writes_by_numpy(network: Does, x: Tensor) -> Tensor:
    x.detach().numpy()[...] -= 0.5
    return x


def _writes_later(network: Does, x: Tensor) -> Tensor:
    """Not in the first call."""
    network.calls = getattr(network, "calls", 0) + 1
    return x.sub_(0.5) if network.calls > 1 else x - 0.5


class FrozenNorm(nn.Module):
    """Keeps its normalisation in evaluation mode whatever it is told, as detectors do."""

    def __init__(self) -> None:
        super().__init__()
        self.core = core()

    def train(self, mode: bool = True) -> FrozenNorm:
        super().train(mode)
        self.core[2].eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.core(x)


class Around(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.drop = inner, nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.inner(x))


def made_in_inference_mode() -> nn.Module:
    with torch.inference_mode():
        return core()


def recurrent_in_inference_mode() -> nn.Module:
    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rows, self.head = nn.GRU(SIZE, 4, batch_first=True), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.rows(x[:, 0])[0][:, -1])

    with torch.inference_mode():
        return Rows()


@cache
def exported() -> nn.Module:
    sizes = ({0: torch.export.Dim("batch", min=1, max=64)},)
    return torch.export.export(core().eval(), (torch.rand(4, 1, SIZE, SIZE),), dynamic_shapes=sizes).module()


def plain_function() -> Callable[[Tensor], Tensor]:
    network = core().eval()
    return lambda x: network(x.sub_(0.5))


NETWORKS: dict[str, Callable[[], Any]] = {
    "subtracts in place": lambda: Does(lambda _, x: x.sub_(0.5)),
    "rectifies in place": lambda: nn.Sequential(nn.ReLU(inplace=True), core()),
    "writes around autograd": lambda: Does(_writes_around_autograd),
    "writes by numpy": lambda: Does(_writes_by_numpy),
    "writes later": lambda: Does(_writes_later),
    "counts": lambda: Does(_counts).eval(),
    "replaces a buffer": lambda: Does(_replaces).eval(),
    "in training mode": lambda: core().train(),
    "with a frozen part": lambda: FrozenNorm().train(),
    "made in inference mode": lambda: made_in_inference_mode().train(),
    "recurrent, made in inference mode": recurrent_in_inference_mode,
    "traced": lambda: torch.jit.trace(core().eval(), torch.rand(4, 1, SIZE, SIZE)),
    "scripted": lambda: torch.jit.script(core().train()),
    "frozen script": lambda: torch.jit.freeze(torch.jit.script(core().eval())),
    "exported": exported,
    "around an exported one": lambda: Around(exported()),
    "around a frozen script": lambda: Around(torch.jit.freeze(torch.jit.script(core().eval()))).train(),
    "a function": plain_function,
}


def state(network: Any) -> dict[str, Any]:
    """All that an attack must leave alone; tensors by identity, too, where there is one."""
    if not isinstance(network, nn.Module):
        return {}
    found: dict[str, Any] = {
        "modes": [getattr(module, "training", None) for module in network.modules()],
        "flags": [parameter.requires_grad for parameter in network.parameters()],
        "gradients": [parameter.grad for parameter in network.parameters()],
        "hooks": len(network._forward_pre_hooks),
        "values": {name: value.clone() for name, value in (*network.named_parameters(), *network.named_buffers())},
    }
    if not isinstance(network, torch.jit.ScriptModule):
        found["identities"] = [id(value) for value in (*network.parameters(), *network.buffers())]
    return found


def assert_same(now: dict[str, Any], before: dict[str, Any]) -> None:
    values, wanted = now.pop("values", {}), before.pop("values", {})
    assert now == before
    assert values.keys() == wanted.keys()
    for name, value in values.items():
        assert torch.equal(value, wanted[name]), f"{name} was changed"


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return 0.1 + 0.8 * torch.rand(4, 1, SIZE, SIZE, generator=generator), torch.tensor([0, 1, 2, 0])


@pytest.mark.parametrize("kind", list(NETWORKS))
def test_every_attack_stays_in_its_ball_and_leaves_network_and_inputs_as_they_were(kind, batch):
    inputs, labels = batch
    for name, attack in ATTACKS.items():
        network, given = NETWORKS[kind](), inputs.clone()
        before = state(network)
        found = attack(network, given, labels)
        delta = (found - inputs).flatten(1)
        size = delta.abs().amax(dim=1) if name in LINF else delta.norm(dim=1)
        assert float(size.max()) <= EPS * (1 + 1e-5), name
        assert found.min() >= 0, name
        assert found.max() <= 1, name
        assert torch.equal(given, inputs), f"{name} changed its inputs"
        assert_same(state(network), before)


@pytest.mark.parametrize("kind", ["subtracts in place", "writes around autograd", "writes by numpy", "writes later"])
def test_a_network_that_writes_into_its_input_is_attacked_as_one_that_does_not(kind, batch):
    inputs, labels = batch
    for name in ("pgd", "apgd", "fmn", "curve"):
        wanted = ATTACKS[name](Does(lambda _, x: x - 0.5).eval(), inputs, labels)
        torch.testing.assert_close(ATTACKS[name](NETWORKS[kind]().eval(), inputs, labels), wanted)


@pytest.mark.parametrize("kind", ["traced", "frozen script", "exported", "made in inference mode"])
def test_a_network_as_it_is_deployed_is_attacked_as_any_other(kind, batch):
    inputs, labels = batch
    for name in ("pgd", "apgd", "curve"):
        wanted = ATTACKS[name](core().eval(), inputs, labels)
        torch.testing.assert_close(ATTACKS[name](NETWORKS[kind](), inputs, labels), wanted)


@pytest.mark.parametrize("name", list(ATTACKS))
def test_a_network_that_fails_on_the_way_is_restored(name, batch):
    inputs, labels = batch

    def fails(network: Does, x: Tensor) -> Tensor:
        network.seen += 1
        network.calls = getattr(network, "calls", 0) + 1
        if network.calls == 1 + (name != "fgsm"):
            network.core[2].training = True
            raise RuntimeError("out of memory")
        return x.sub_(0.5)

    network, given = Does(fails).eval(), inputs.clone()
    before = state(network)
    with pytest.raises(RuntimeError, match="out of memory"):
        ATTACKS[name](network, given, labels)
    assert_same(state(network), before)
    assert torch.equal(given, inputs)


class Stubborn(nn.Module):
    """Refuses to be set back to training mode."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "training" and value and getattr(self, "locked", False):
            raise RuntimeError("no way back")
        super().__setattr__(name, value)


def test_what_can_be_restored_is_restored_where_something_else_cannot():
    network = nn.Sequential(core(), Stubborn(), core()).train()
    before = state(network)

    def disturbed() -> None:
        with untouched(network):
            network[1].locked = True
            network[0][2].running_mean.add_(1)
            network[2][2].running_mean.add_(1)

    with pytest.raises(RuntimeError, match="no way back"):
        disturbed()
    after = state(network)
    stubborn = [*network.modules()].index(network[1])
    assert after["modes"].pop(stubborn) is False
    assert before["modes"].pop(stubborn) is True
    assert_same(after, before)


def test_a_script_that_was_made_in_inference_mode_is_refused_in_one_sentence(batch):
    with torch.inference_mode():
        network = torch.jit.script(core())
    before = state(network)
    with pytest.raises(BadInputError, match="inference mode"):
        ATTACKS["pgd"](network, *batch)
    assert_same(state(network), before)


@pytest.mark.parametrize("lazy", [nn.LazyLinear(3), nn.Sequential(nn.LazyBatchNorm1d(), nn.LazyLinear(3))])
def test_a_network_without_weights_yet_is_refused_with_what_would_do(batch, lazy):
    network = nn.Sequential(nn.Flatten(), lazy)
    with pytest.raises(BadInputError, match=r"of a Lazy\w+ of the network has no values yet; .* one forward pass"):
        PGD(eps=EPS)(network, *batch)
    network(batch[0])
    assert not torch.equal(PGD(eps=EPS)(network, *batch), batch[0])


def test_an_empty_batch_is_handed_back_or_refused(batch):
    inputs, labels = batch[0][:0], batch[1][:0]
    for name, attack in ATTACKS.items():
        if name != "curve":
            assert attack(core().eval(), inputs, labels).shape == inputs.shape, name
    with pytest.raises(BadInputError, match="no samples"):
        ATTACKS["curve"](core().eval(), inputs, labels)
    with pytest.raises(BadInputError, match="pixels"):
        ATTACKS["pgd"](core().eval(), torch.rand(2, 1, 0, 6), torch.tensor([0, 1]))


def test_inputs_are_copied_once_and_no_hook_is_left(batch):
    copies = []
    network = Does(lambda _, x: copies.append(x) or x).eval()
    with untouched(network) as guarded, inputs_copied(guarded) as again:
        assert guarded is again is network
        assert len(network._forward_pre_hooks) == 1
        again(batch[0])
    assert copies[0] is not batch[0]
    assert not network._forward_pre_hooks


class Blind(nn.Module):
    """Answers by a constant where an image is dark throughout."""

    def forward(self, x: Tensor) -> Tensor:
        logits = torch.stack([-x.flatten(1).mean(dim=1), x.flatten(1).mean(dim=1)], dim=1)
        dark = (x.flatten(1).amax(dim=1) < 0.05)[:, None]
        return logits if not dark.all() else torch.tensor([[1.0, 0.0]]).repeat(len(x), 1)


def test_an_image_without_a_gradient_is_named(batch):
    inputs, labels = batch[0].clone(), torch.tensor([0, 0, 0, 0])
    inputs[2] = 0.01
    network = Blind()
    assert PGD(eps=0.1, steps=2)(network, inputs, labels).shape == inputs.shape
    for attack in (PGD(eps=0.1, steps=2), APGD(eps=0.1, steps=2)):
        with pytest.raises(BadSamplesError, match=r"samples \[0\].*does not depend") as told:
            attack(network, inputs[2:3], labels[2:3])
        assert told.value.among(["film7"]).samples == ["film7"]
    with pytest.raises(BadSamplesError, match=r"samples \[2\]"):
        attack_curve(network, inputs, labels, [0.1], attack=PGD(steps=2), batch_size=1)


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
