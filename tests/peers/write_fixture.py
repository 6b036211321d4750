"""Write what the other libraries find on the fixed problem, for the tests that run without them: make peers-fixture."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import torch
from peers_problem import APGD_STEPS, EPS, FIRST_CHECKPOINT, FIXTURE, STEPPED, Recorder, fixed_inputs, fixed_network
from torch import Tensor, nn

from benchmarks.peers.libraries import APGD, PGD, fgsm

__all__ = ["adversarials"]


def adversarials() -> dict[str, np.ndarray]:
    """For ``"library/attack"`` the adversarial inputs, (4, 1, 8, 8); of APGD its way, (23, 4, 1, 8, 8)."""
    network = fixed_network()
    inputs, labels = fixed_inputs(network)
    found = {}
    for library, pgd in PGD.items():
        for name, (norm, steps, travel) in STEPPED.items():
            eps = EPS[norm]
            if name == "fgsm":
                points = fgsm(library, network, inputs, labels, eps)
            else:
                points = pgd(network, inputs, labels, norm, eps, steps, travel * eps / steps)
            found[f"{library}/{name}"] = points.numpy()
    for library in APGD:
        for norm in EPS:
            found[f"{library}/apgd_{norm}"] = _way(library, network, inputs, labels, norm).numpy()
    return found


def _way(library: str, network: nn.Module, inputs: Tensor, labels: Tensor, norm: str) -> Tensor:
    """The points of APGD up to its first checkpoint. torchattacks starts at random, seeded; ART, here, at the input."""
    recorder = Recorder(network)
    with patch("art.attacks.evasion.auto_projected_gradient_descent.random_sphere", lambda n, m, *_: np.zeros((n, m))):
        APGD[library](recorder, inputs, labels, norm, EPS[norm], APGD_STEPS)
    return torch.stack(recorder.points[: FIRST_CHECKPOINT + 1])


if __name__ == "__main__":
    np.savez_compressed(FIXTURE, **adversarials())
    print(f"{FIXTURE.name}: {FIXTURE.stat().st_size / 1024:.0f} kB")
