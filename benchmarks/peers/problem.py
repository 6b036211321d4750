"""What the comparisons attack: a ResNet-18 trained on public images, and images of the test split, in [0, 1]."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from monai.networks.nets import resnet18
from monai.transforms import Compose, LoadImage, Resize, ScaleIntensityRangePercentiles
from torch import Tensor, nn

from monai_robust.attacks import PGD
from monai_robust.data import SimpleITKReader, classification_datalist

__all__ = ["Problem", "arguments", "problem"]


class Problem:
    """Images (N, 1, size, size) and labels (N,) of the test split, and a network that was trained on the others."""

    def __init__(self, network: nn.Module, images: Tensor, labels: Tensor, classes: int) -> None:
        self.network, self.images, self.labels, self.classes = network, images, labels, classes

    def accuracy(self, images: Tensor, batch: int = 32) -> float:
        """Percent of the images that the network gets right, run as it is, one batch after the other."""
        with torch.no_grad():
            logits = torch.cat([self.network(part) for part in images.split(batch)])
        return 100.0 * float((logits.argmax(dim=1) == self.labels).float().mean())


def arguments(description: str | None, **defaults: int | float) -> argparse.ArgumentParser:
    """Options that all comparisons have; ``defaults`` are whole numbers or numbers, one option each."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--dataset_dir", required=True, help="public images with an index.csv, such as covid_cxr3")
    parser.add_argument("--output_dir", default="runs/peers", help="trained networks are kept here")
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    return parser


def problem(given: argparse.Namespace, *, eps: float = 0.0, epochs: int = 6) -> Problem:
    """Images of ``given.size`` pixels, ``given.images`` of the test split, and the network, trained where none is kept.

    Training: AdamW, one cosine, batches of 32, random flips, seed 0; with ``eps``, on what three steps of L2 PGD within
    that radius make of each batch.
    """
    torch.manual_seed(0)
    data = classification_datalist(given.dataset_dir)
    network = resnet18(spatial_dims=2, n_input_channels=1, num_classes=len(data.classes), conv1_t_stride=2)
    name = f"{Path(given.dataset_dir).name}_{given.size}px_eps{eps:g}_{epochs}epochs.pt"
    kept = Path(given.output_dir) / name
    if kept.is_file():
        network.load_state_dict(torch.load(kept, weights_only=True))
    else:
        _train(network, *_loaded(data.items["train"], given.size), eps, epochs)
        kept.parent.mkdir(parents=True, exist_ok=True)
        torch.save(network.state_dict(), kept)
    test = data.items["test"]
    count = min(given.images, len(test))
    test = [test[index * len(test) // count] for index in range(count)]  # spread evenly over the list's classes
    return Problem(network.eval(), *_loaded(test, given.size), len(data.classes))


def _loaded(items: list[dict], size: int) -> tuple[Tensor, Tensor]:
    read = Compose(
        [
            LoadImage(reader=SimpleITKReader(), ensure_channel_first=True, image_only=True),
            ScaleIntensityRangePercentiles(0.5, 99.5, 0.0, 1.0, clip=True),
            Resize((size, size), mode="area"),
        ]
    )
    images = torch.stack([read(item["image"]).as_tensor() for item in items]).float()
    return images.clamp(0.0, 1.0), torch.tensor([item["label"] for item in items])


def _train(network: nn.Module, images: Tensor, labels: Tensor, eps: float, epochs: int) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    rounds = -(-len(images) // 32) * epochs
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, rounds)
    attack = PGD(eps=eps, steps=3, bounds=(0, 1)) if eps else None
    generator = torch.Generator().manual_seed(0)
    for epoch in range(epochs):
        network.train()
        for rows in torch.randperm(len(images), generator=generator).split(32):
            batch = images[rows]
            flipped = torch.rand(len(batch), generator=generator) < 0.5
            batch = torch.where(flipped[:, None, None, None], batch.flip(3), batch)
            batch = batch if attack is None else attack(network, batch, labels[rows])
            loss = nn.functional.cross_entropy(network(batch), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"trained {epoch + 1} of {epochs} epochs, last loss {loss.item():.3f}", flush=True)
