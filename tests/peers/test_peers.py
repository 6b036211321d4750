"""Our attacks beside foolbox, torchattacks, ART and the RAI toolbox themselves. Run by ``make peers``."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from peers_problem import FIXTURE
from sklearn.datasets import load_digits
from torch import Tensor, nn

pytest.importorskip("foolbox", reason="needs the environment that make peers makes")

from write_fixture import adversarials

from benchmarks.peers import libraries
from monai_robust.attacks import APGD, PGD, strong_attack

RADIUS = {"l2": 0.5, "linf": 0.12}
HALF_A_POINT = 0.5 + 1e-4
QUERIES = 100  # of Square, for both: the thousands of the publication take minutes


def test_the_kept_adversarials_are_what_the_libraries_find_today():
    today = adversarials()
    with np.load(FIXTURE) as kept:
        assert sorted(kept.files) == sorted(today)
        worst = {name: float(np.abs(kept[name] - today[name]).max()) for name in kept.files}
    assert max(worst.values()) <= 1e-6, worst


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """ART draws its starts from NumPy's global generator, by which whole digits stand or fall."""
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def digits() -> tuple[nn.Module, Tensor, Tensor]:
    """A network trained for a few seconds on handwritten digits, and 200 digits it has not seen."""
    torch.manual_seed(0)
    pictures, labels = load_digits(return_X_y=True)
    inputs = torch.tensor(pictures, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16.0
    labels = torch.tensor(labels)
    network = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 10),
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    for _ in range(8):
        for rows in torch.randperm(1597).split(64):
            loss = nn.functional.cross_entropy(network(inputs[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.eval(), inputs[1597:], labels[1597:]


def accuracy(network: nn.Module, adversarial: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return 100.0 * float((network(adversarial).argmax(dim=1) == labels).float().mean())


def assert_not_above(network: nn.Module, ours: Tensor, theirs: Tensor, labels: Tensor) -> None:
    """Some digits stand and some fall, and no more stand against ours than against theirs, but for half a point."""
    assert 5.0 < accuracy(network, ours, labels) < 95.0
    assert accuracy(network, ours, labels) <= accuracy(network, theirs, labels) + HALF_A_POINT


@pytest.mark.parametrize("norm", list(RADIUS))
@pytest.mark.parametrize("library", list(libraries.PGD))
def test_pgd_breaks_as_many_digits_as_the_librarys(digits, library, norm):
    """Most of a digit's pixels are 0, where the libraries project and clip in different orders."""
    network, inputs, labels = digits
    eps = RADIUS[norm]
    theirs = libraries.PGD[library](network, inputs, labels, norm, eps, 20, 2.5 * eps / 20)
    ours = PGD(norm=norm, eps=eps, bounds=(0, 1))(network, inputs, labels)
    assert_not_above(network, ours, theirs, labels)


@pytest.mark.parametrize("norm", list(RADIUS))
@pytest.mark.parametrize("library", list(libraries.APGD))
def test_apgd_breaks_as_many_digits_as_the_librarys(digits, library, norm):
    """On average over four random starts: one start alone decides over two digits of 200, with either."""
    network, inputs, labels = digits
    eps, ours, theirs = RADIUS[norm], [], []
    attack = APGD(norm=norm, eps=eps, bounds=(0, 1), loss="ce", random_start="sphere")
    for seed in range(4):
        found = libraries.APGD[library](network, inputs, labels, norm, eps, 100, seed)
        theirs.append(accuracy(network, found, labels))
        found = attack(network, inputs, labels, generator=torch.Generator().manual_seed(seed))
        ours.append(accuracy(network, found, labels))
    assert 5.0 < np.mean(ours) < 95.0
    assert np.mean(ours) <= np.mean(theirs) + HALF_A_POINT


@pytest.mark.parametrize("norm", list(RADIUS))
@pytest.mark.parametrize("library", list(libraries.AUTO_ATTACK))
def test_strong_attacks_break_as_many_digits_as_the_librarys_autoattack(digits, library, norm):
    network, inputs, labels = digits
    eps = RADIUS[norm]
    fewer = {"restarts": 1} if library == "ART" else {}
    theirs = libraries.AUTO_ATTACK[library](network, inputs, labels, norm, eps, QUERIES, **fewer)
    attack = strong_attack("classification", norm=norm, eps=eps, bounds=(0, 1), queries=QUERIES)
    ours = attack(network, inputs, labels, generator=torch.Generator().manual_seed(0))
    size = (ours - inputs).flatten(1)
    assert float(size.norm(dim=1).max() if norm == "l2" else size.abs().max()) <= eps * (1 + 1e-5)
    assert_not_above(network, ours, theirs, labels)
