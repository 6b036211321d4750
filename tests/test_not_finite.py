"""Gradients, losses and logits that are NaN: an error that names the samples, and never a success."""

from __future__ import annotations

import json
import math
import warnings

import pandas
import pytest
import torch
from torch import Tensor, nn

from monai_robust.attacks import (
    APGD,
    BIM,
    FGSM,
    FMN,
    PGD,
    AttackEnsemble,
    DiceBelow,
    Square,
    WindowAttack,
    attack_curve,
    minimal_radius,
    strong_attack,
)
from monai_robust.attacks.common.objective import Objective
from monai_robust.attacks.criteria import Incorrect, PredictionChanged, ScoreBeyond, fulfilled
from monai_robust.errors import BadInputError, NotFiniteError, naming
from monai_robust.evaluation import AttackSweep, CleanSweep, Measurement
from monai_robust.evaluation.sanity.check import read_sanity
from monai_robust.tasks import Classification, MultiLabel, Segmentation
from monai_robust.tasks.tensors import holds_nan, map_tensors

EPS, SIZE = 0.3, 6


class Contrast(nn.Module):
    """A square root at zero where an image is flat: its logits are finite, their gradient is not."""

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        spread = ((flat - flat.mean(dim=1, keepdim=True)) ** 2).mean(dim=1).sqrt()
        return torch.stack([flat.mean(dim=1), 0.3 + spread, 0.2 - spread], dim=1)


class Breaks(nn.Module):
    """NaN logits as soon as an image is moved."""

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        logits = torch.stack([flat.mean(dim=1), 0.5 * flat.mean(dim=1), -flat.mean(dim=1)], dim=1)
        moved = ((flat * 64).round() != flat * 64).any(dim=1, keepdim=True)
        return logits.masked_fill(moved, math.nan)


class Hides(nn.Module):
    """Answers NaN by a class, so that a NaN image would look like a success; its gradient at some images is NaN."""

    def forward(self, x: Tensor) -> Tensor:
        logits = Contrast()(x)
        return torch.where(logits.isnan(), logits.new_tensor([0.0, 5.0, 0.0]), logits)


ATTACKS = {
    "fgsm": FGSM(norm="linf", eps=EPS),
    "bim": BIM(norm="linf", eps=EPS, steps=3),
    "pgd l2": PGD(eps=EPS, steps=3),
    "pgd linf, least likely": PGD(norm="linf", eps=EPS, steps=3, goal="least_likely"),
    "apgd": APGD(eps=EPS, steps=4),
    "apgd stops": APGD(norm="linf", eps=EPS, steps=4, stop_at_success=True),
    "apgd, falling radius": APGD(eps=EPS, steps=6, radius_schedule=((2.0, 0.5), (1.0, 0.5)), stop_at_success=True),
    "square": Square(eps=EPS, queries=4),
    "square stops": Square(norm="linf", eps=EPS, queries=4, stop_at_success=True),
    "fmn": FMN(eps=EPS, steps=4),
    "strong": strong_attack("classification", eps=EPS, steps=3, queries=3),
    "ensemble": AttackEnsemble([PGD(steps=2), APGD(steps=2, stop_at_success=True)], eps=EPS),
    "curve": lambda network, x, y: attack_curve(network, x, y, [EPS / 2, EPS], attack=PGD(steps=2)).adversarial(EPS),
    "curve of apgd": lambda network, x, y: attack_curve(network, x, y, [EPS], attack=APGD(steps=2)).adversarial(EPS),
    "nearest": lambda network, x, y: minimal_radius(network, x, y, high=EPS, attack=PGD(steps=2)).adversarial,
    "nearest by fmn": lambda network, x, y: (
        minimal_radius(network, x, y, high=EPS, attack=PGD(steps=2), method="minimum_norm").adversarial
    ),
}
ELSEWHERE = ("square", "square stops", "strong")  # they ask for no gradient, or for none at the image itself


def images() -> tuple[Tensor, Tensor]:
    """Images whose intensities are multiples of 1/64; the second and the fourth are flat."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(16, 48, (5, 1, SIZE, SIZE), generator=generator) / 64
    inputs[1], inputs[3] = 0.25, 0.5
    return inputs, torch.zeros(5, dtype=torch.long)


@pytest.mark.parametrize("name", list(ATTACKS))
@pytest.mark.parametrize("network", [Contrast(), Hides()], ids=["contrast", "hides"])
def test_a_gradient_of_nan_is_an_error_that_names_the_samples(name, network):
    inputs, _ = images()
    with torch.no_grad():
        labels = network(inputs).argmax(dim=1)
    if name in ELSEWHERE:
        assert ATTACKS[name](network, inputs, labels).isfinite().all()
        return
    with pytest.raises(NotFiniteError, match=r"samples \[1, 3\] of the batch.*NaN"):
        ATTACKS[name](network, inputs, labels)
    rest = torch.tensor([0, 2, 4])
    assert ATTACKS[name](network, inputs[rest], labels[rest]).isfinite().all()


@pytest.mark.parametrize("name", list(ATTACKS))
def test_nan_logits_are_an_error_or_no_success(name):
    inputs, labels = images()
    network = Breaks()
    try:
        found = ATTACKS[name](network, inputs, labels)
    except NotFiniteError as error:
        told = error.samples
    else:
        told = list(range(5))
        assert found.isfinite().all()
        if name.startswith(("nearest", "fmn")):
            assert torch.equal(found, inputs)
    assert set(told) <= set(range(5))
    assert told


def test_no_search_calls_a_sample_broken_by_nan():
    inputs, labels = images()
    single = attack_curve(Breaks(), inputs, labels, [EPS], attack=FGSM())
    assert not single.broken.any()
    nearest = minimal_radius(Breaks(), inputs, labels, high=EPS, attack=FGSM())
    assert not nearest.found.any()


def test_nan_is_a_success_by_no_criterion():
    logits = torch.tensor([[0.0, 1.0], [math.nan, math.nan], [math.nan, 1.0], [-math.inf, 1.0]])
    zeros = torch.zeros(4, dtype=torch.long)
    clean = torch.tensor([[1.0, 0.0]]).repeat(4, 1)
    for criterion in (Incorrect(), PredictionChanged(), ScoreBeyond(0.5)):
        met = fulfilled(criterion, Classification(), logits, zeros, clean)
        assert met.tolist() == [True, False, False, True]
    maps = torch.zeros(2, 2, 4, 4)
    maps[:, 0], maps[1, 0, 0, 0] = 1.0, math.nan
    task = Segmentation()
    met = fulfilled(DiceBelow(0.5), task, maps, torch.ones(2, 1, 4, 4, dtype=torch.long), maps)
    assert met.tolist() == [True, False]
    objective = Objective(MultiLabel())
    outputs, targets = torch.tensor([[1.0, -1.0], [math.nan, -1.0]]), torch.tensor([[0, 0], [1, 0]])
    objective.outputs, objective.values = outputs, torch.zeros(2)
    objective.prepared(outputs, targets)
    assert objective.succeeded().tolist() == [True, False]


@pytest.mark.parametrize(
    ("outputs", "found"),
    [
        (torch.tensor([[1.0, math.nan], [0.0, 1.0]]), [True, False]),
        (torch.tensor([0.0, math.nan]), [False, True]),
        ({"a": torch.zeros(2, 3), "b": torch.tensor([[math.nan], [0.0]])}, [True, False]),
        ((torch.zeros(2, 3), [torch.zeros(2), torch.full((2, 1), math.nan)]), [True, True]),
        ([{"box": torch.zeros(0, 4)}, {"box": torch.full((3, 4), math.nan)}], [False, True]),
        ({"anchors": torch.full((7, 4), math.nan)}, [True, True]),
        ((torch.zeros(2, 1), torch.tensor([1, 2]), None), [False, False]),
        ([], [False, False]),
    ],
)
def test_nan_is_found_wherever_outputs_hold_it(outputs, found):
    assert holds_nan(outputs, 2).tolist() == found
    infinite = map_tensors(lambda values: values.nan_to_num(nan=-math.inf), outputs)
    assert not holds_nan(infinite, 2).any()
    assert holds_nan(infinite, 2, infinite=True).tolist() == found


def test_padding_and_windows_have_no_say_and_their_own_samples():
    """A flat border has no gradient, but is no part of the image; windows tell samples of the whole batch."""

    class Rough(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            spread = (x**2).sqrt()
            return torch.cat([1 - spread, spread], dim=1)

    inputs, _ = images()
    mask = torch.ones(5, 1, SIZE, SIZE, dtype=torch.bool)
    mask[..., -2:] = False
    inputs = inputs * mask
    labels = torch.zeros(5, 1, SIZE, SIZE, dtype=torch.long)
    for attack in (PGD(eps=EPS, steps=2), APGD(eps=EPS, steps=2)):
        class_labels = labels[:, 0, 0, 0]
        assert attack(lambda x: Rough()(x).mean(dim=(2, 3)), inputs, class_labels, mask=mask).isfinite().all()
    mask[:2, ..., : SIZE // 2] = False
    inputs[3, ..., 1, 1] = 0
    windows = WindowAttack(PGD(eps=EPS, steps=2, task=Segmentation()), (SIZE, SIZE // 2), overlap=0)
    with pytest.raises(NotFiniteError, match=r"samples \[3\]"):
        windows(Rough(), inputs, labels, mask=mask)


class Films:
    def __init__(self) -> None:
        inputs, labels = images()
        self.items = [
            {"image": image, "label": int(label), "sample_id": f"film{index}", "patient_id": f"patient{index}"}
            for index, (image, label) in enumerate(zip(inputs, labels, strict=True))
        ]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, object]:
        return self.items[index]


def measured(network: nn.Module, folder, *sweeps, samples: int = 0, classes: str = "abc") -> Measurement:
    return Measurement(
        network,
        Films(),
        task=Classification(),
        perturbations=[CleanSweep(), *sweeps],
        output_dir=folder,
        name="run",
        classes=list(classes),
        sanity_samples=samples,
        batch_size=2,
        progress=False,
    )


@pytest.mark.parametrize("faithful", [False, True])
def test_a_measurement_names_the_sample_that_cannot_be_attacked(tmp_path, faithful):
    """Both flat films where each is attacked; one of them is wrong already, so that a search leaves it alone."""
    sweep = AttackSweep(PGD(steps=2), [EPS], faithful=faithful)
    if faithful:
        with pytest.raises(BadInputError, match=r"film(1|3).*NaN"):
            measured(Contrast(), tmp_path, sweep).run()
        return
    measured(Contrast(), tmp_path, sweep).run()
    (failed,) = json.loads((tmp_path / "run.json").read_text())["failed"]
    assert failed["sample_id"] == "film3"
    assert "NaN" in failed["reason"]
    rows = pandas.read_csv(tmp_path / "outcomes.csv", float_precision="round_trip")
    attacked = rows[rows["perturbation"] == "pgd_l2"].set_index("sample_id")
    assert math.isnan(attacked["score"]["film3"])
    assert attacked["score"].drop("film3").notna().all()


def test_a_measurement_names_the_sample_that_a_network_answers_by_nan(tmp_path):
    class Dim(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :3].masked_fill((x.flatten(1).std(dim=1) == 0)[:, None], math.nan)

    with pytest.raises(BadInputError, match=r"film(1|3).*NaN"):  # two of five: more than can be left out
        measured(Dim(), tmp_path).run()


class Ends(nn.Module):
    def __init__(self, end: nn.Module, outputs: int) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, outputs), end)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(4 * x)


@pytest.mark.parametrize(
    ("network", "classes", "told"),
    [
        (Ends(nn.Softmax(dim=1), 3), 3, True),
        (Ends(nn.Sigmoid(), 1), 2, True),
        (Ends(nn.Identity(), 3), 3, False),
        (Ends(nn.Sigmoid(), 3), 3, False),  # not summing to 1: logits within (0, 1) for all that is known
    ],
    ids=["softmax", "sigmoid", "logits", "bounded logits"],
)
def test_outputs_that_look_like_probabilities_are_told(tmp_path, network, classes, told):
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        measured(network, tmp_path, AttackSweep(FGSM(), [0.05]), samples=3, classes="abc"[:classes]).run()
    assert any("look like probabilities" in str(one.message) for one in warned) is told
    finding = next(one for one in read_sanity(tmp_path).findings if one.check == "outputs_are_logits")
    assert finding.status == ("warn" if told else "pass")


def test_errors_are_told_among_names():
    with pytest.raises(NotFiniteError, match=r"samples \['b'\]") as told, naming("abc"):
        raise NotFiniteError("it is NaN", [1])
    assert isinstance(told.value, FloatingPointError)
    assert told.value.among("xyz").samples == ["b"]


class Saturated(nn.Module):
    """So sure of the class of bright images that its loss is zero there, and its gradient too."""

    def forward(self, x: Tensor) -> Tensor:
        mean = x.flatten(1).mean(dim=1)
        return torch.stack([torch.zeros_like(mean), 1000.0 * (mean - 0.4)], dim=1)


@pytest.mark.parametrize("attack", [PGD(eps=EPS), FGSM(eps=EPS), APGD(eps=EPS, steps=3, loss="ce")])
def test_an_attack_that_finds_no_gradient_for_any_sample_says_so(attack):
    bright, sure = torch.full((2, 1, SIZE, SIZE), 0.9), torch.tensor([1, 1])
    with pytest.warns(UserWarning, match="zero for every sample of a batch"):
        attack(Saturated(), bright, sure)


def test_an_attack_with_a_gradient_for_one_sample_says_nothing():
    images, labels = torch.full((2, 1, SIZE, SIZE), 0.9), torch.tensor([1, 0])  # the second is wrong, and has one
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PGD(eps=EPS)(Saturated(), images, labels)
        PGD(eps=EPS)(Saturated(), images[:0], labels[:0])
