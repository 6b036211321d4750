"""Robust accuracy at eight radii: a loop over radii with four libraries against one search of ours.

python -m benchmarks.peers.bench_curve --dataset_dir /data/covid_cxr3 [--images 300] [--radii ...] [--libraries ...]

L2 PGD with 20 steps of 2.5 * eps / 20 from the input, float32, the same batches for all. The libraries get a network
whose parameters ask for no gradients (foolbox and ART would compute them), and the forward pass that tells accuracy
afterwards is not timed for them; ours has everything timed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.common import machine
from benchmarks.peers.libraries import PGD as PEERS
from benchmarks.peers.problem import Problem, arguments, problem
from benchmarks.peers.timing import OURS, in_turns, table
from monai_robust.attacks import PGD, attack_curve
from monai_robust.attacks.threat import L2

Curve = list[float]
RADII = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 1.0)


def of_library(pgd: Callable[..., Tensor], given: argparse.Namespace, task: Problem) -> list[Tensor]:
    """The adversarial images at each radius."""
    batches = list(zip(task.images.split(given.batch), task.labels.split(given.batch), strict=True))
    return [
        torch.cat([pgd(task.network, *batch, "l2", eps, given.steps, 2.5 * eps / given.steps) for batch in batches])
        for eps in given.radii
    ]


def plain_loop(given: argparse.Namespace, task: Problem) -> Curve:
    """A loop of ours over radii and batches in which a sample is left alone once it is wrong; nothing else is saved."""
    batches = list(zip(task.images.split(given.batch), task.labels.split(given.batch), strict=True))
    standing = [
        sum(_standing(task.network, *batch, eps, given.steps) for batch in batches) / len(task.images)
        for eps in given.radii
    ]
    return [100.0 * share for share in standing]


def _standing(network: nn.Module, clean: Tensor, labels: Tensor, eps: float, steps: int) -> int:
    norm, radius, point = L2(), torch.full((len(clean),), eps), clean
    for step in range(steps + 1):
        leaf = point.detach().requires_grad_(step < steps)
        logits = network(leaf)
        right = logits.argmax(dim=1) == labels
        if step == steps or not bool(right.any()):
            break
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(logits, labels, reduction="sum"), leaf)
        clean, labels, radius = clean[right], labels[right], radius[right]
        moved = leaf.detach()[right] - clean + 2.5 * eps / steps * norm.steepest(gradient[right])
        point = (clean + norm.project(moved, radius)).clamp(0.0, 1.0)
    return int(right.sum())


def ours(given: argparse.Namespace, task: Problem) -> Curve:
    """One search over all radii."""
    attack = PGD(steps=given.steps, bounds=(0, 1))
    found = attack_curve(task.network, task.images, task.labels, given.radii, attack=attack, batch_size=given.batch)
    return [100.0 * share for share in found.standing().tolist()]


def main() -> None:
    parser = arguments(__doc__, images=300, size=96, batch=32, steps=20, rounds=1, threads=1, epochs=6)
    parser.add_argument("--radii", type=float, nargs="+", default=list(RADII))
    parser.add_argument("--libraries", nargs="+", choices=list(PEERS), default=list(PEERS))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    task = problem(given, epochs=given.epochs)
    task.network.requires_grad_(False)
    print(f"{machine()}; {len(task.images)} images of {given.size} px, batch {given.batch}, {given.steps} steps")
    print(f"clean accuracy {task.accuracy(task.images):.2f} %")
    actions: dict[str, Callable[[], list]] = {
        name: partial(of_library, PEERS[name], given, task) for name in given.libraries
    }
    actions |= {f"{OURS}, plain loop": partial(plain_loop, given, task), OURS: partial(ours, given, task)}
    seconds, results, refused = in_turns(actions, given.rounds)
    curves = {
        name: result if name.startswith(OURS) else [task.accuracy(images, given.batch) for images in result]
        for name, result in results.items()
    }
    rows = [
        [name, f"{seconds[name]:.1f}", f"{seconds[name] / seconds[OURS]:.2f}", *(f"{value:.2f}" for value in curve)]
        for name, curve in curves.items()
    ]
    print(table(["", "seconds", "times ours", *(f"{eps:g}" for eps in given.radii)], rows))
    for name, why in refused.items():
        print(f"{name}: {why}")
    theirs = [name for name in curves if not name.startswith(OURS)]
    fastest = min(theirs, key=seconds.__getitem__)
    lowest = [min(values) for values in zip(*(curves[name] for name in theirs), strict=True)]
    above = max(mine - low for mine, low in zip(curves[OURS], lowest, strict=True))
    plain = seconds[f"{OURS}, plain loop"] / seconds[OURS]
    print(f"fastest library: {fastest}, {seconds[fastest] / seconds[OURS]:.2f} times ours (asked: at least 7)")
    print(f"plain loop of ours: {plain:.2f} times ours")
    print(f"ours is at most {above:+.2f} points above the lowest of the libraries (asked: at most 0.5)")


if __name__ == "__main__":
    main()
