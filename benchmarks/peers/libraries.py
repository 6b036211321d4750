"""The gradient attacks of four libraries behind one call, as their documentation says to use them.

foolbox 3.3, torchattacks 3.5, the Adversarial Robustness Toolbox (ART) 1.20 and the RAI toolbox 0.2. All start at the
input, take steps of a given length, and keep to intensities in [0, 1]: the RAI toolbox, which knows no such bounds, has
its result clipped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import foolbox
import numpy as np
import torch
import torchattacks
from art.attacks.evasion import (
    AutoAttack,
    AutoProjectedGradientDescent,
    DeepFool,
    FastGradientMethod,
    ProjectedGradientDescentPyTorch,
    SquareAttack,
)
from art.estimators.classification import PyTorchClassifier
from rai_toolbox.optim import L2ProjectedOptim, LinfProjectedOptim
from rai_toolbox.perturbations import gradient_ascent
from torch import Tensor, nn

__all__ = ["APGD", "AUTO_ATTACK", "PGD", "art_classifier", "fgsm"]

NormName = Literal["l2", "linf"]


def art_classifier(network: nn.Module, inputs: Tensor) -> PyTorchClassifier:
    """The network as ART sees it."""
    with torch.no_grad():
        classes = network(inputs[:1]).shape[1]
    return PyTorchClassifier(
        network, nn.CrossEntropyLoss(), tuple(inputs.shape[1:]), classes, clip_values=(0.0, 1.0), device_type="cpu"
    )


def _foolbox(
    network: nn.Module, inputs: Tensor, labels: Tensor, norm: NormName, eps: float, steps: int, step: float
) -> Tensor:
    attacks = foolbox.attacks
    kind = attacks.L2ProjectedGradientDescentAttack if norm == "l2" else attacks.LinfProjectedGradientDescentAttack
    attack = kind(abs_stepsize=step, steps=steps, random_start=False)
    _, clipped, _ = attack(foolbox.PyTorchModel(network, bounds=(0, 1)), inputs, labels, epsilons=eps)
    return clipped


def _torchattacks(
    network: nn.Module, inputs: Tensor, labels: Tensor, norm: NormName, eps: float, steps: int, step: float
) -> Tensor:
    kind = torchattacks.PGDL2 if norm == "l2" else torchattacks.PGD
    return kind(network, eps=eps, alpha=step, steps=steps, random_start=False)(inputs, labels)


def _art(
    network: nn.Module, inputs: Tensor, labels: Tensor, norm: NormName, eps: float, steps: int, step: float
) -> Tensor:
    attack = ProjectedGradientDescentPyTorch(
        art_classifier(network, inputs),
        norm=2 if norm == "l2" else np.inf,
        eps=eps,
        eps_step=step,
        max_iter=steps,
        batch_size=len(inputs),
        verbose=False,
    )
    return torch.from_numpy(attack.generate(inputs.numpy(), labels.numpy()))


def _rai(
    network: nn.Module, inputs: Tensor, labels: Tensor, norm: NormName, eps: float, steps: int, step: float
) -> Tensor:
    optimizer = L2ProjectedOptim if norm == "l2" else LinfProjectedOptim
    adversarial, _ = gradient_ascent(
        model=network, data=inputs, target=labels, optimizer=optimizer, steps=steps, lr=step, epsilon=eps
    )
    return adversarial.clamp(0.0, 1.0)


PGD: dict[str, Callable[..., Tensor]] = {
    "foolbox": _foolbox,
    "torchattacks": _torchattacks,
    "ART": _art,
    "RAI toolbox": _rai,
}


def fgsm(library: str, network: nn.Module, inputs: Tensor, labels: Tensor, eps: float) -> Tensor:
    """The library's own single step in L-inf; the RAI toolbox has none but its PGD with one step."""
    if library == "foolbox":
        model = foolbox.PyTorchModel(network, bounds=(0, 1))
        return foolbox.attacks.FGSM(random_start=False)(model, inputs, labels, epsilons=eps)[1]
    if library == "torchattacks":
        return torchattacks.FGSM(network, eps=eps)(inputs, labels)
    if library == "ART":
        attack = FastGradientMethod(art_classifier(network, inputs), norm=np.inf, eps=eps, batch_size=len(inputs))
        return torch.from_numpy(attack.generate(inputs.numpy(), labels.numpy()))
    return _rai(network, inputs, labels, "linf", eps, 1, eps)


def _torchattacks_apgd(
    network: nn.Module, inputs: Tensor, labels: Tensor, norm: NormName, eps: float, steps: int, seed: int = 0
) -> Tensor:
    name = {"l2": "L2", "linf": "Linf"}[norm]
    attack = torchattacks.APGD(network, norm=name, eps=eps, steps=steps, n_restarts=1, seed=seed, loss="ce")
    return attack(inputs, labels)


def _art_apgd(
    network: nn.Module, inputs: Tensor, labels: Tensor, norm: NormName, eps: float, steps: int, seed: int = 0
) -> Tensor:
    np.random.seed(seed)
    attack = AutoProjectedGradientDescent(
        art_classifier(network, inputs),
        norm=2 if norm == "l2" else np.inf,
        eps=eps,
        eps_step=2 * eps,
        max_iter=steps,
        nb_random_init=1,
        batch_size=len(inputs),
        loss_type=None,
        verbose=False,
    )
    return torch.from_numpy(attack.generate(inputs.numpy(), labels.numpy()))


APGD: dict[str, Callable[..., Tensor]] = {"torchattacks": _torchattacks_apgd, "ART": _art_apgd}


def _torchattacks_strong(
    network: nn.Module, inputs: Tensor, labels: Tensor, norm: NormName, eps: float, queries: int, steps: int = 10
) -> Tensor:
    """torchattacks' AutoAttack, whose members take 10 steps unless told otherwise; the publication has 100."""
    with torch.no_grad():
        classes = network(inputs[:1]).shape[1]
    name = {"l2": "L2", "linf": "Linf"}[norm]
    attack = torchattacks.AutoAttack(network, norm=name, eps=eps, n_classes=classes, seed=0)
    *climbing, square = attack._autoattack.attacks  # AutoAttack itself has no arguments for their numbers
    square.n_queries = queries
    for member in climbing:
        member.steps = steps
    return attack(inputs, labels)


def _art_strong(
    network: nn.Module, inputs: Tensor, labels: Tensor, norm: NormName, eps: float, queries: int, restarts: int = 5
) -> Tensor:
    """The members of ART's AutoAttack with its own numbers, but for queries, restarts (5) and progress bars."""
    classifier, order = art_classifier(network, inputs), 2 if norm == "l2" else np.inf
    shared = {"norm": order, "eps": eps, "verbose": False}
    climbing = {"eps_step": 2 * eps, "max_iter": 100, "nb_random_init": restarts, "batch_size": len(inputs), **shared}
    members = [
        AutoProjectedGradientDescent(classifier, loss_type="cross_entropy", **climbing),
        AutoProjectedGradientDescent(classifier, loss_type="difference_logits_ratio", **climbing),
        DeepFool(classifier, max_iter=100, epsilon=1e-3, nb_grads=10, batch_size=len(inputs), verbose=False),
        SquareAttack(classifier, max_iter=queries, p_init=0.8, nb_restarts=restarts, batch_size=len(inputs), **shared),
    ]
    attack = AutoAttack(classifier, norm=order, eps=eps, eps_step=2 * eps, attacks=members, batch_size=len(inputs))
    return torch.from_numpy(attack.generate(inputs.numpy(), labels.numpy()))


AUTO_ATTACK: dict[str, Callable[..., Tensor]] = {"torchattacks": _torchattacks_strong, "ART": _art_strong}
