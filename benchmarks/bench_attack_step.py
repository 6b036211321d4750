"""A PGD step against its floor (one forward and one input-only backward pass), and an attack's memory.

python benchmarks/bench_attack_step.py [--task classification] [--rounds 9] [--batch 32] [--size 64] [--steps 7]

The floor includes the loss: cross-entropy for classification; for landmarks and detection the task's own terms, with
discs, anchors and matching, which do not depend on the pixels, made once beforehand.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from common import Action, batch, machine, medians, network, peak_megabytes
from monai.apps.detection.utils.anchor_utils import AnchorGeneratorWithAnchorShape
from torch import Tensor

from monai_robust.attacks import PGD
from monai_robust.losses import DetectionLoss, LandmarkLoss
from monai_robust.networks import landmark_unet, retinanet
from monai_robust.tasks import Classification, Detection, Landmarks, Task
from monai_robust.tasks.base import total

Problem = tuple[torch.nn.Module, Tensor, Any, Task]


def classification(size: int, image_size: int) -> Problem:
    """ResNet-18, one channel."""
    return network(), *batch(size, image_size), Classification()


def landmarks(size: int, image_size: int) -> Problem:
    """U-Net for 19 landmarks, as in the bundle."""
    inputs, _ = batch(size, image_size)
    points = image_size * torch.rand(size, 19, 2, generator=torch.Generator().manual_seed(1))
    return landmark_unet(19), inputs, points, Landmarks(LandmarkLoss(radius=6.0, heatmap="bce"))


def detection(size: int, image_size: int) -> Problem:
    """RetinaNet with a ResNet-18 pyramid and 15 boxes an image, as in the bundle."""
    generator = torch.Generator().manual_seed(1)
    corners = 0.8 * image_size * torch.rand(size, 15, 2, generator=generator)
    labels = torch.randint(3, (size, 15, 1), generator=generator).float()
    targets = torch.cat([corners, corners + 0.15 * image_size, labels], dim=2)
    anchors = AnchorGeneratorWithAnchorShape((1, 2, 4), ((10, 10), (14, 14), (20, 20)))
    model = retinanet(3, spatial_dims=2, in_channels=3, backbone="resnet18", features=64, anchors=3)
    inputs = torch.rand(size, 3, image_size, image_size, generator=generator)
    return model, inputs, targets, Detection(DetectionLoss(anchors=anchors, strides=(4, 8, 16)))


TASKS: dict[str, Callable[[int, int], Problem]] = {
    "classification": classification,
    "landmarks": landmarks,
    "detection": detection,
}


def floor(task_name: str, size: int, image_size: int, steps: int) -> Action:
    """``steps`` times one forward and one input-only backward pass, written with nothing around them."""
    model, inputs, targets, task = TASKS[task_name](size, image_size)
    model.eval().requires_grad_(False)

    def cross_entropy(outputs: Any) -> Tensor:
        return torch.nn.functional.cross_entropy(outputs, targets, reduction="sum")

    def run() -> None:
        prepared = task.prepared(inputs, targets)
        for _ in range(steps):
            leaf = inputs.clone().requires_grad_(True)
            outputs = model(leaf)
            plain = task_name == "classification"
            torch.autograd.grad(cross_entropy(outputs) if plain else total(task.terms(outputs, prepared)).sum(), leaf)

    return run


def attack(task_name: str, size: int, image_size: int, steps: int) -> Action:
    """The same number of steps of PGD."""
    model, inputs, targets, task = TASKS[task_name](size, image_size)
    pgd = PGD(eps=0.5, steps=steps, bounds=(0, 1), task=task)
    return lambda: pgd(model, inputs, targets)


def training_step(task_name: str, size: int, image_size: int) -> Action:
    """One ordinary training step."""
    model, inputs, targets, task = TASKS[task_name](size, image_size)
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def run() -> None:
        optimizer.zero_grad()
        total(task.terms(model(inputs), targets)).mean().backward()
        optimizer.step()

    return run


class Prepared:
    """A preparation that a child process can be handed."""

    def __init__(self, function, *arguments) -> None:  # type: ignore[no-untyped-def]
        self.function, self.arguments = function, arguments

    def __call__(self) -> Action:
        return self.function(*self.arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", choices=list(TASKS), default="classification")
    for name, value in (("rounds", 9), ("batch", 32), ("size", 64), ("steps", 7)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    print(machine())
    shape = given.task, given.batch, given.size
    seconds = medians({"floor": floor(*shape, given.steps), "PGD": attack(*shape, given.steps)}, given.rounds)
    print(f"{given.task}, batch {given.batch}, {given.size} x {given.size} px, {given.steps} steps, float32")
    print(f"floor    {1e3 * seconds['floor'] / given.steps:8.1f} ms a step")
    print(f"PGD      {1e3 * seconds['PGD'] / given.steps:8.1f} ms a step")
    print(f"ratio    {seconds['PGD'] / seconds['floor']:8.3f}   (asked: at most 1.05)")
    big = given.task, 4 * given.batch, given.size  # so that activations outweigh what a process takes anyway
    memory = {
        "training step": peak_megabytes(Prepared(training_step, *big)),
        "attack": peak_megabytes(Prepared(attack, *big, 2)),
    }
    print(f"peak memory at batch {big[1]}: training step {memory['training step']:.0f} MiB, ", end="")
    print(
        f"attack {memory['attack']:.0f} MiB, ratio {memory['attack'] / memory['training step']:.2f} (asked: at most 1)"
    )


if __name__ == "__main__":
    main()
