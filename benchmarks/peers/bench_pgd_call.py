"""One call of L2 PGD with 20 steps on one batch: four libraries, ours, and the floor, at several radii.

python -m benchmarks.peers.bench_pgd_call --dataset_dir /data/covid_cxr3 [--rounds 9] [--radii ...]

The floor is 20 times one forward and one input-only backward pass. "ours, leaving" is `attack_curve` at the one radius:
the same steps in a faster form of the network, but a sample that is wrong takes no more of them. How much that saves
depends on how many samples stand, so there are several radii. Accuracy is that of the network as it was given.
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

LEAVING = f"{OURS}, leaving"


def floor(task: Problem, steps: int) -> Tensor:
    """``steps`` gradients with nothing around them; the images themselves."""
    for _ in range(steps):
        leaf = task.images.clone().requires_grad_(True)
        torch.autograd.grad(nn.functional.cross_entropy(task.network(leaf), task.labels, reduction="sum"), leaf)
    return task.images


def leaving(task: Problem, eps: float, steps: int) -> Tensor:
    """What one search at one radius holds against each image."""
    attack = PGD(steps=steps, bounds=(0, 1))
    found = attack_curve(task.network, task.images, task.labels, [eps], attack=attack, batch_size=len(task.images))
    return found.adversarial(eps)


def compared(given: argparse.Namespace, task: Problem, eps: float) -> list[list[str]]:
    """Rows of name, seconds, times the floor, times ours, accuracy."""
    step = 2.5 * eps / given.steps
    actions: dict[str, Callable[[], Tensor]] = {
        name: partial(pgd, task.network, task.images, task.labels, "l2", eps, given.steps, step)
        for name, pgd in PEERS.items()
    }
    pgd = PGD(eps=eps, steps=given.steps, bounds=(0, 1))
    actions |= {
        OURS: partial(pgd, task.network, task.images, task.labels),
        LEAVING: partial(leaving, task, eps, given.steps),
        "floor": partial(floor, task, given.steps),
    }
    seconds, results, refused = in_turns(actions, given.rounds)
    if refused:
        raise SystemExit(f"a library did not run: {refused}")
    fastest = min(PEERS, key=seconds.__getitem__)
    above = task.accuracy(results[LEAVING]) - min(task.accuracy(results[name]) for name in PEERS)
    print(
        f"radius {eps:g}: {fastest} takes {seconds[fastest] / seconds[LEAVING]:.2f} times as long as ours leaving "
        f"(asked: at least 2.5), accuracy {above:+.2f} points; PGD is {seconds[OURS] / seconds['floor']:.3f} times the "
        "floor (asked: at most 1.05)"
    )
    return [
        [
            f"{eps:g}",
            name,
            f"{value:.2f}",
            f"{value / seconds['floor']:.2f}",
            f"{value / seconds[LEAVING]:.2f}",
            f"{task.accuracy(results[name]):.1f}",
        ]
        for name, value in seconds.items()
    ]


def main() -> None:
    parser = arguments(__doc__, images=32, size=96, steps=20, rounds=9, threads=1, epochs=6)
    parser.add_argument("--radii", type=float, nargs="+", default=[0.1, 0.2, 0.4, 1.0])
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    task = problem(given, epochs=given.epochs)
    task.network.requires_grad_(False)  # foolbox and ART would compute the parameters' gradients too
    print(f"{machine()}; a batch of {len(task.images)} images of {given.size} px, {given.steps} steps, float32")
    print(f"clean accuracy {task.accuracy(task.images):.1f} %")
    rows = [row for eps in given.radii for row in compared(given, task, eps)]
    print(table(["radius", "", "seconds", "times the floor", "times ours, leaving", "accuracy, %"], rows))


if __name__ == "__main__":
    main()
