"""A training step of ``sat`` against its floor: k * (forward + input backward) + one step on a doubled batch.

python benchmarks/bench_training_step.py [--rounds 9] [--batch 32] [--size 64] [--steps 7]
"""

from __future__ import annotations

import argparse

import torch
from bench_attack_step import floor, training_step
from common import Action, batch, machine, medians, network
from monai.engines import SupervisedTrainer

from monai_robust.attacks import PGD
from monai_robust.engines import RobustUpdate


def sat_iteration(size: int, image_size: int, steps: int) -> Action:
    """One iteration of MONAI's trainer by the recipe ``sat``."""
    model = network()
    inputs, targets = batch(size, image_size)
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=[{"image": inputs, "label": targets}],
        network=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.01),
        loss_function=torch.nn.CrossEntropyLoss(),
        iteration_update=RobustUpdate("sat", PGD(eps=0.5, steps=steps, bounds=(0, 1))),
        decollate=False,
    )
    trainer.run()
    update = RobustUpdate("sat", PGD(eps=0.5, steps=steps, bounds=(0, 1)))
    return lambda: update(trainer, {"image": inputs, "label": targets})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("rounds", 9), ("batch", 32), ("size", 64), ("steps", 7)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    print(machine())
    parts = {
        "attack floor": floor(given.batch, given.size, given.steps),
        "doubled batch": training_step(2 * given.batch, given.size),
        "sat": sat_iteration(given.batch, given.size, given.steps),
    }
    seconds = medians(parts, given.rounds)
    least = seconds["attack floor"] + seconds["doubled batch"]
    print(f"ResNet-18, batch {given.batch}, {given.size} x {given.size} px, {given.steps} attack steps, float32")
    print(f"floor    {1e3 * least:8.1f} ms an iteration")
    print(f"sat      {1e3 * seconds['sat']:8.1f} ms an iteration")
    print(f"ratio    {seconds['sat'] / least:8.3f}   (asked: at most 1.05)")


if __name__ == "__main__":
    main()
