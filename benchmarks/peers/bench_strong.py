"""`strong_attack("classification")` against the AutoAttack of torchattacks and of ART.

python -m benchmarks.peers.bench_strong --dataset_dir /data/brain_tumor_mri [--images 48] [--queries 1000] [--eps 0.3]
    [--libraries ...]

A network trained on what three steps of L2 PGD make of its images, so that some stand. The same number of queries of
Square for all (the publication has 5000). Each attack is given all images as one batch. Ours and ART's climb 100 steps;
torchattacks' 10 as it comes, and it is also run with the 100 of the publication, and ours with 10. torchattacks'
AutoAttack needs at least 4 classes, and ART's at least 3; one that does not run is left out, with its error.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.common import machine
from benchmarks.peers.libraries import AUTO_ATTACK
from benchmarks.peers.problem import Problem, arguments, problem
from benchmarks.peers.timing import OURS, in_turns, table
from monai_robust.attacks import strong_attack


def ours(task: Problem, eps: float, queries: int, steps: int = 100) -> Tensor:
    attack = strong_attack("classification", eps=eps, bounds=(0, 1), queries=queries, steps=steps)
    return attack(task.network, task.images, task.labels, generator=torch.Generator().manual_seed(0))


def main() -> None:
    parser = arguments(
        __doc__, images=48, size=64, eps=0.3, trained_eps=0.3, queries=1000, rounds=1, threads=1, epochs=6
    )
    parser.add_argument("--libraries", nargs="+", choices=list(AUTO_ATTACK), default=list(AUTO_ATTACK))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    task = problem(given, eps=given.trained_eps, epochs=given.epochs)
    task.network.requires_grad_(False)
    print(f"{machine()}; {len(task.images)} images of {given.size} px, {task.classes} classes, {given.queries} queries")
    print(f"clean accuracy {task.accuracy(task.images):.1f} %, L2 radius {given.eps:g}")
    shared = (task.network, task.images, task.labels, "l2", given.eps, given.queries)
    mine = (task, given.eps, given.queries)
    actions: dict[str, Callable[[], Tensor]] = {
        "torchattacks, 10 steps": partial(AUTO_ATTACK["torchattacks"], *shared),
        "torchattacks, 100 steps": partial(AUTO_ATTACK["torchattacks"], *shared, steps=100),
        "ART": partial(AUTO_ATTACK["ART"], *shared),
        f"{OURS}, 10 steps": partial(ours, *mine, steps=10),
        OURS: partial(ours, *mine),
    }
    actions = {name: action for name, action in actions.items() if name.startswith((OURS, *given.libraries))}
    seconds, results, refused = in_turns(actions, given.rounds)
    rows = []
    for name, points in results.items():
        farthest = float((points - task.images).flatten(1).norm(dim=1).max())
        ratio = seconds[name] / seconds[OURS]
        rows.append([name, f"{seconds[name]:.1f}", f"{ratio:.2f}", f"{task.accuracy(points):.1f}", f"{farthest:.4f}"])
    print(table(["", "seconds", "times ours (asked: at least 3)", "robust accuracy, %", "farthest"], rows))
    for name, why in refused.items():
        print(f"{name} did not run: {why}")


if __name__ == "__main__":
    main()
