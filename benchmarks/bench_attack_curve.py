"""A curve over eight radii: one search against a loop over radii, in time, accuracy and memory.

python benchmarks/bench_attack_curve.py [--samples 48] [--image-size 48] [--batch 16] [--steps 20] [--rounds 1]

The network learns in a few seconds where a bright spot lies in noise. The loop attacks every sample at every radius
with all steps. Memory: how much a process's peak grows in a search, against a training step at the same batch.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import torch
from common import Action, machine, medians, network, peak_megabytes
from torch import Tensor, nn

from monai_robust.attacks import PGD, attack_curve

Data = tuple[Tensor, Tensor]
MEMORY = (128, 64)  # batch and pixels, at which activations outweigh what a process needs anyway


def spots(samples: int, size: int, seed: int) -> Data:
    """Noise with a spot in the left, middle or right third, which is the label."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(samples) % 3
    place = torch.linspace(-1, 1, size)
    columns = (labels[:, None] - 1) * 0.6 + 0.1 * torch.randn(samples, 1, generator=generator)
    rows = 0.3 * torch.randn(samples, 1, generator=generator)
    near = [(-((place - middle) ** 2) / 0.05).exp() for middle in (rows, columns)]
    spot = near[0][:, :, None] * near[1][:, None, :]
    noise = torch.rand(samples, size, size, generator=generator)
    return (0.6 * noise + 0.3 * spot)[:, None], labels


def trained(size: int, batch: int) -> nn.Module:
    """The bundle's network after 60 steps."""
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for step in range(60):
        training_step(model, optimizer, spots(batch, size, step + 1))
    return model.eval()


def training_step(model: nn.Module, optimizer: torch.optim.Optimizer, data: Data) -> None:
    optimizer.zero_grad()
    nn.functional.cross_entropy(model.train()(data[0]), data[1]).backward()
    optimizer.step()


def radii_of(model: nn.Module, data: Data) -> list[float]:
    """Eight radii between the smallest and the largest that breaks a sample, as a coarse search sees them."""
    coarse = [0.02 * 1.6**power for power in range(14)]
    distance = attack_curve(model, *data, coarse, attack=PGD(steps=10, bounds=(0, 1))).distance
    found = distance[(distance > 0) & distance.isfinite()]
    low, high = torch.quantile(found, torch.tensor([0.05, 0.95])).tolist()
    return [low * (high / low) ** (index / 7) for index in range(8)]


def loop(model: nn.Module, data: Data, radii: list[float], steps: int, batch: int) -> list[float]:
    attack, curve = PGD(steps=steps, bounds=(0, 1)), []
    for radius in radii:
        right = 0
        for inputs, labels in zip(*(part.split(batch) for part in data), strict=True):
            with torch.no_grad():
                adversarial = attack(model, inputs, labels, radius)
                right += int((model(adversarial).argmax(dim=1) == labels).sum())
        curve.append(right / len(data[0]))
    return curve


def search(model: nn.Module, data: Data, radii: list[float], steps: int, batch: int) -> list[float]:
    attack = PGD(steps=steps, bounds=(0, 1))
    return attack_curve(model, *data, radii, attack=attack, batch_size=batch).standing().tolist()


def prepared(what: str, batch: int, size: int) -> Action:
    """A search over a block of four batches, or a training step of one batch."""
    model, data = network().eval(), spots(4 * batch, size, 0)
    if what == "search":
        return partial(search, model, data, [0.1, 0.2], 3, batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    return partial(training_step, model, optimizer, (data[0][:batch], data[1][:batch]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    defaults = {"samples": 48, "image-size": 48, "batch": 16, "steps": 20, "rounds": 1, "threads": 1}
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model, data = trained(given.image_size, given.batch), spots(given.samples, given.image_size, 0)
    radii = radii_of(model, data)
    arguments = (model, data, radii, given.steps, given.batch)
    curves: dict[str, list[float]] = {}

    def kept(name: str, measure: Callable[..., list[float]]) -> None:
        curves[name] = measure(*arguments)

    seconds = medians({"loop": partial(kept, "loop", loop), "search": partial(kept, "search", search)}, given.rounds)
    print(machine())
    print(f"radii {', '.join(f'{radius:.3g}' for radius in radii)}; {given.samples} samples, PGD-{given.steps}")
    for name, curve in curves.items():
        print(f"{name:6} {seconds[name]:7.1f} s, accuracy {', '.join(f'{100 * share:.1f}' for share in curve)}")
    above = max(100 * (ours - theirs) for ours, theirs in zip(curves["search"], curves["loop"], strict=True))
    print(f"loop / search: {seconds['loop'] / seconds['search']:.2f}; search above loop by {above:.2f} points at most")
    memory = {what: peak_megabytes(partial(prepared, what, *MEMORY)) for what in ("search", "training step")}
    ratio = memory["search"] / memory["training step"]
    print(f"memory, batch {MEMORY[0]}: {ratio:.2f} of a training step (asked: at most 1)")


if __name__ == "__main__":
    main()
