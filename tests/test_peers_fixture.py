"""Our attacks against what foolbox, torchattacks, ART and the RAI toolbox found on the same fixed problem.

Their adversarial inputs lie in ``peers/adversarials.npz``; ``make peers`` compares with the libraries themselves.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from peers_problem import APGD_STEPS, EPS, FIRST_CHECKPOINT, FIXTURE, STEPPED, Recorder, fixed_inputs, fixed_network

from monai_robust.attacks import APGD, BIM, FGSM, PGD

LIBRARIES = ("foolbox", "torchattacks", "ART", "RAI toolbox")
KINDS = {"fgsm": FGSM, "bim": BIM, "pgd_linf": PGD, "pgd_l2": PGD}


@pytest.fixture(scope="module")
def theirs() -> dict[str, torch.Tensor]:
    with np.load(FIXTURE) as found:
        return {name: torch.from_numpy(found[name]) for name in found.files}


def difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).abs().max())


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("name", list(STEPPED))
def test_a_stepped_attack_ends_where_the_librarys_does(theirs, library, name):
    norm, steps, travel = STEPPED[name]
    network = fixed_network()
    inputs, labels = fixed_inputs(network)
    attack = KINDS[name](norm=norm, eps=EPS[norm], steps=steps, relative_step=travel, bounds=(0, 1))
    assert difference(attack(network, inputs, labels), theirs[f"{library}/{name}"]) <= 1e-6


@pytest.mark.parametrize("name", list(STEPPED))
def test_by_default_a_stepped_attack_has_the_fields_numbers(theirs, name):
    network = fixed_network()
    inputs, labels = fixed_inputs(network)
    norm = STEPPED[name][0]
    attack = KINDS[name](norm=norm, eps=EPS[norm], bounds=(0, 1))
    assert difference(attack(network, inputs, labels), theirs[f"foolbox/{name}"]) <= 1e-6


@pytest.mark.parametrize("norm", list(EPS))
@pytest.mark.parametrize(("library", "random_start"), [("torchattacks", "sphere"), ("ART", False)])
def test_apgd_takes_the_librarys_way_until_steps_are_first_halved(theirs, library, random_start, norm):
    """Later the ways part: after going back, the first algorithm keeps a movement that led elsewhere."""
    network = fixed_network()
    inputs, labels = fixed_inputs(network)
    recorder = Recorder(network)
    attack = APGD(norm=norm, eps=EPS[norm], steps=APGD_STEPS, bounds=(0, 1), random_start=random_start, loss="ce")
    attack(recorder, inputs, labels, generator=torch.Generator().manual_seed(0))
    ours = torch.stack(recorder.points[: FIRST_CHECKPOINT + 1])
    assert difference(ours, theirs[f"{library}/apgd_{norm}"]) <= 1e-6


def test_the_fixed_problem_is_inside_the_bounds_and_the_attacks_move_it(theirs):
    """Where inputs meet the bounds, libraries differ by the order in which they project and clip."""
    inputs, _ = fixed_inputs(fixed_network())
    assert len(theirs) == len(LIBRARIES) * len(STEPPED) + 4
    for name, points in theirs.items():
        assert 0.0 < float(points.min()) <= float(points.max()) < 1.0, name
        assert difference(points[-1] if "apgd" in name else points, inputs) >= 0.9 * EPS["linf"], name
