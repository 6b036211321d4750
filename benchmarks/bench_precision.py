"""What attack steps in bfloat16 cost in robustness: AUC_robust of two trainings by ``sat`` that differ in nothing else.

python benchmarks/bench_precision.py [--epochs 4] [--batches 40] [--features 8]

Phantom hippocampus volumes, validation slices, PGD-10 in float32 at radii 1, 2 and 4 for both. One seed: a difference
of a few hundredths is within what another seed would change.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from common import machine
from monai.data import DataLoader
from monai.engines import SupervisedTrainer
from monai.losses import DiceCELoss

from monai_robust.attacks import PGD
from monai_robust.data import ForegroundBatchSampler, SliceDataset, segmentation_datalist, write_hippocampus_phantoms
from monai_robust.engines import RobustUpdate
from monai_robust.losses import DeepSupervised
from monai_robust.metrics import auc_robust, average_dice_index
from monai_robust.planning import (
    Plan,
    data_set_plan,
    planned_augmentation,
    planned_network,
    planned_volume_transform,
)
from monai_robust.tasks import Segmentation

RADII = (0.0, 1.0, 2.0, 4.0)


def trained(given: argparse.Namespace, data: Any, plan: Plan, precision: str | None) -> tuple[torch.nn.Module, float]:
    """A network trained by ``sat``, and the processor seconds that took."""
    torch.manual_seed(0)
    slices = SliceDataset(
        data.items["train"],
        slice_axis=plan.slice_axis,
        classes=len(plan.classes),
        transform=planned_volume_transform(plan),
        random=planned_augmentation(plan, strength=0.0).set_random_state(0),
    )
    network = planned_network(plan, features=given.features)
    attack = PGD(eps=2.0, steps=5, task=Segmentation(), precision=precision)
    loss = DiceCELoss(to_onehot_y=True, softmax=True, batch=True, include_background=False)
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=given.epochs,
        train_data_loader=DataLoader(slices, batch_sampler=ForegroundBatchSampler(slices.items, 40, given.batches)),
        network=network,
        optimizer=torch.optim.AdamW(network.parameters(), lr=2e-3),
        loss_function=DeepSupervised(loss),
        iteration_update=RobustUpdate("sat", attack, task=Segmentation()),
        decollate=False,
    )
    start = time.process_time()
    trainer.run()
    return network.eval(), time.process_time() - start


def dice_over_radii(network: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> list[float]:
    """ADI at each of RADII."""
    task, found = Segmentation(), []
    for radius in RADII:
        inputs = PGD(eps=radius, steps=10, task=task)(network, images, labels) if radius else images
        with torch.no_grad():
            counts = task.counts(network(inputs), labels)
        found.append(average_dice_index(*counts).mean)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("epochs", 4), ("batches", 40), ("features", 8)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        data = segmentation_datalist(write_hippocampus_phantoms(Path(folder) / "volumes", cases=24))
        plan = data_set_plan(data)
        shown = SliceDataset(
            data.items["val"],
            slice_axis=plan.slice_axis,
            classes=2,
            transform=planned_volume_transform(plan),
            random=planned_augmentation(plan, strength=0.0).set_random_state(1),
            keep="foreground",
        )
        samples = [shown[index] for index in range(len(shown))]
        images, labels = (torch.stack([sample[key] for sample in samples]) for key in ("image", "label"))
        for precision in (None, "bfloat16"):
            network, seconds = trained(given, data, plan, precision)
            dice = dice_over_radii(network, images, labels)
            levels = ", ".join(f"{radius:g}: {value:.3f}" for radius, value in zip(RADII, dice, strict=True))
            area = auc_robust(RADII, dice)
            print(f"{precision or 'float32':9} {seconds:6.1f} s of training, ADI {levels}, AUC_robust {area:.3f}")


if __name__ == "__main__":
    main()
