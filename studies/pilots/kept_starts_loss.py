"""How much of what 20 attack steps raise the loss by do few steps reach, from the image and from a kept start?

    python studies/pilots/kept_starts_loss.py DATASET_DIR [--still] [--image_size 64] [--eps 1.0] [--epochs 6]

Trains the classifier of fast_training_results.sh by SAT with 2 steps. In the last two epochs attacks of 1, 2
and 3 steps with kept starts of their own run beside it; every fourth batch of the last epoch is measured. ``--still``
trains without the random shifts, rotations and scalings of the bundle.
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import torch
from ignite.engine import Events
from monai.bundle import ConfigParser
from monai.engines import SupervisedTrainer

from monai_robust.attacks import PGD
from monai_robust.engines import KeptStarts

BUNDLE = "bundles/chest_xray_classification"


def bundle_trainer(options: argparse.Namespace) -> SupervisedTrainer:
    """The bundle's own trainer, without handlers."""
    parser = ConfigParser()
    parser.read_config([f"{BUNDLE}/configs/train.yaml", "studies/pilots/fast_training.yaml"])
    settings = {"bundle_root": BUNDLE, "recipe": "sat", "device": "cpu", "dataset_dir": options.dataset_dir}
    settings |= {"image_size": options.image_size, "epochs": options.epochs, "train#trainer#train_handlers": []}
    settings |= {"robust#attack#eps": options.eps, "robust#attack#steps": 2}
    for key, value in settings.items():
        parser[key] = value
    if options.still:
        parser["train#dataset#random"] = None
    torch.manual_seed(0)
    return parser.get_parsed_content("train#trainer")


class Comparison:
    """The mean loss that attacks reach on the batches of a training, before it trains on them."""

    def __init__(self, eps: float) -> None:
        self.eps = eps
        self.kept = {steps: KeptStarts() for steps in (1, 2, 3)}
        self.losses: dict[str, list[float]] = defaultdict(list)

    def __call__(self, engine: SupervisedTrainer) -> None:
        if engine.state.epoch < engine.state.max_epochs - 1:
            return
        batch = engine.state.batch
        image, label = batch["image"], torch.as_tensor(batch["label"])
        measured = engine.state.epoch == engine.state.max_epochs and engine.state.iteration % 4 == 0
        for steps, starts in self.kept.items():
            attack = PGD(eps=self.eps, steps=steps, bounds=(0, 1))
            start = starts.begin(batch, image, attack)
            adversarial = attack(engine.network, image, label, start=start)
            starts.keep(batch, image, adversarial, attack)
            if measured and start is not None:
                self.note(f"kept start, {steps} steps", engine.network, adversarial, label)
                self.note(f"start kept by {steps} steps, alone", engine.network, (image + start).clamp(0, 1), label)
        for steps in (0, 1, 2, 3, 5, 20) if measured else ():
            attack = PGD(eps=self.eps, steps=max(steps, 1), bounds=(0, 1))
            inputs = attack(engine.network, image, label) if steps else image
            self.note(f"{steps} steps", engine.network, inputs, label)

    def note(self, name: str, network: torch.nn.Module, inputs: torch.Tensor, label: torch.Tensor) -> None:
        network.eval()
        with torch.no_grad():
            self.losses[name].append(torch.nn.functional.cross_entropy(network(inputs), label).item())

    def show(self) -> None:
        mean = {name: sum(values) / len(values) for name, values in self.losses.items()}
        clean, most = mean["0 steps"], mean["20 steps"]
        for name, value in mean.items():
            print(f"{name:30s} loss {value:.3f}, {100 * (value - clean) / (most - clean):5.1f} % of 20 steps' rise")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("dataset_dir")
    arguments.add_argument("--still", action="store_true")
    arguments.add_argument("--image_size", type=int, default=64)
    arguments.add_argument("--eps", type=float, default=1.0)
    arguments.add_argument("--epochs", type=int, default=6)
    given = arguments.parse_args()
    trainer, comparison = bundle_trainer(given), Comparison(given.eps)
    trainer.add_event_handler(Events.ITERATION_STARTED, comparison)
    trainer.run()
    comparison.show()
