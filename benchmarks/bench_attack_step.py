"""A PGD step against its floor (one forward and one input-only backward pass), and an attack's memory.

python benchmarks/bench_attack_step.py [--rounds 9] [--batch 32] [--size 64] [--steps 7]
"""

from __future__ import annotations

import argparse

import torch
from common import Action, batch, machine, medians, network, peak_megabytes

from monai_robust.attacks import PGD


def floor(size: int, image_size: int, steps: int) -> Action:
    """``steps`` times one forward and one input-only backward pass, written with nothing around them."""
    model = network().eval().requires_grad_(False)
    inputs, targets = batch(size, image_size)

    def run() -> None:
        for _ in range(steps):
            leaf = inputs.clone().requires_grad_(True)
            torch.autograd.grad(torch.nn.functional.cross_entropy(model(leaf), targets, reduction="sum"), leaf)

    return run


def attack(size: int, image_size: int, steps: int) -> Action:
    """The same number of steps of PGD."""
    model = network()
    inputs, targets = batch(size, image_size)
    pgd = PGD(eps=0.5, steps=steps, bounds=(0, 1))
    return lambda: pgd(model, inputs, targets)


def training_step(size: int, image_size: int) -> Action:
    """One ordinary training step."""
    model = network().train()
    inputs, targets = batch(size, image_size)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def run() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()

    return run


class Prepared:
    """A preparation that a child process can be handed."""

    def __init__(self, function, *arguments: int) -> None:  # type: ignore[no-untyped-def]
        self.function, self.arguments = function, arguments

    def __call__(self) -> Action:
        return self.function(*self.arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("rounds", 9), ("batch", 32), ("size", 64), ("steps", 7)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    print(machine())
    shape = given.batch, given.size
    seconds = medians({"floor": floor(*shape, given.steps), "PGD": attack(*shape, given.steps)}, given.rounds)
    print(f"ResNet-18, batch {given.batch}, {given.size} x {given.size} px, {given.steps} steps, float32")
    print(f"floor    {1e3 * seconds['floor'] / given.steps:8.1f} ms a step")
    print(f"PGD      {1e3 * seconds['PGD'] / given.steps:8.1f} ms a step")
    print(f"ratio    {seconds['PGD'] / seconds['floor']:8.3f}   (asked: at most 1.05)")
    big = 4 * given.batch, given.size  # large enough for activations to outweigh what a process takes anyway
    memory = {
        "training step": peak_megabytes(Prepared(training_step, *big)),
        "attack": peak_megabytes(Prepared(attack, *big, 2)),
    }
    print(f"peak memory at batch {big[0]}: training step {memory['training step']:.0f} MiB, ", end="")
    print(
        f"attack {memory['attack']:.0f} MiB, ratio {memory['attack'] / memory['training step']:.2f} (asked: at most 1)"
    )


if __name__ == "__main__":
    main()
