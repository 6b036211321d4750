"""An epoch of ``amat`` against one of ``sat`` with the same attack, and bfloat16 attack steps against float32.

python benchmarks/bench_margins.py [--rounds 7] [--batch 40] [--steps 20] [--features 8] [--iterations 3]

Attacks in both have the same radii, one for each sample, so that only what margins cost is compared. ``path`` refines
from the iterates of an attack that starts at the clean sample; ``bisection`` from a start on the sphere, with every
margin crossing its threshold, the most expensive case.
"""

from __future__ import annotations

import argparse

import torch
from common import Action, machine, medians
from monai.engines import SupervisedTrainer
from monai.losses import DiceCELoss
from monai.networks.nets import DynUNet

from monai_robust.attacks import PGD
from monai_robust.engines import RobustUpdate
from monai_robust.handlers import AdaptiveMargins, WarmupRadius
from monai_robust.losses import DeepSupervised
from monai_robust.tasks import Segmentation

CROSSING = {"dice": 0.5, "cross_entropy": 0.5}


def epoch(given: argparse.Namespace, recipe: str, start: bool | str = False, precision: str | None = None) -> Action:
    """One epoch of a training by ``recipe`` on random slices of 40 x 56 pixels."""
    torch.manual_seed(0)
    features = [given.features * 2**stage for stage in range(4)]
    network = DynUNet(2, 1, 3, [3] * 4, [1, 2, 2, 2], [2] * 3, filters=features, deep_supervision=True, deep_supr_num=1)
    batches = [
        {
            "image": torch.randn(given.batch, 1, 40, 56),
            "label": torch.randint(0, 3, (given.batch, 1, 40, 56)),
            "sample_id": [f"{index}/{place}" for place in range(given.batch)],
        }
        for index in range(given.iterations)
    ]
    task = Segmentation()
    attack = PGD(eps=2.0, steps=given.steps, random_start=start, task=task, precision=precision)
    radii = AdaptiveMargins(2.0, CROSSING, cap=2.0) if recipe == "amat" else WarmupRadius(2.0, 1e-6)
    loss = DiceCELoss(to_onehot_y=True, softmax=True, batch=True, include_background=False)
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=batches,
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.0),
        loss_function=DeepSupervised(loss),
        iteration_update=RobustUpdate(recipe, attack, task=task, margins=radii),
        train_handlers=[radii],
        decollate=False,
    )

    def run() -> None:
        trainer.state.epoch = trainer.state.iteration = 0
        trainer.state.max_epochs = 1
        trainer.run()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("rounds", 7), ("batch", 40), ("steps", 20), ("features", 8), ("iterations", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    print(machine())
    seconds = medians(
        {
            "sat": epoch(given, "sat"),
            "amat": epoch(given, "amat"),
            "sat_sphere": epoch(given, "sat", "sphere"),
            "amat_bisection": epoch(given, "amat", "sphere"),
            "sat_bfloat16": epoch(given, "sat", precision="bfloat16"),
        },
        given.rounds,
    )
    print(f"DynUNet, {given.features} features, batch {given.batch}, 40 x 56 px, {given.steps} attack steps")
    print(f"amat / sat, refining from the path    {seconds['amat'] / seconds['sat']:.3f}   (asked: at most 1.03)")
    bisection = seconds["amat_bisection"] / seconds["sat_sphere"]
    print(f"amat / sat, refining by bisection     {bisection:.3f}   (asked: at most 1.17)")
    print(f"sat, bfloat16 / float32 attack steps  {seconds['sat_bfloat16'] / seconds['sat']:.3f}")


if __name__ == "__main__":
    main()
