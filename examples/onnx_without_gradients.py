"""An ONNX model attacked without gradients, measured and reported.

    python examples/onnx_without_gradients.py [--output_dir onnx_example] [--patients 90] [--epochs 10] [--queries 60]

Writes phantom radiographs, trains a small classifier on them and exports it to ONNX, for the sake of a model of which
nothing is known but its answers. Then the file is attacked by Square, tried on corruptions, and reported on, as a model
of your own would be: from ``measure`` on. Needs monai-robust[onnx]; takes less than a minute.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from monai.data import DataLoader
from monai.networks.nets import resnet10
from monai.transforms import Compose, EnsureTyped, LoadImaged, Resized, ScaleIntensityRangePercentilesd

from monai_robust.attacks import Square
from monai_robust.data import CheckedDataset, SimpleITKReader, classification_datalist, write_radiograph_phantoms
from monai_robust.evaluation import AttackSweep, CleanSweep, CorruptionSweep, Measurement, write_report
from monai_robust.networks import stored_model
from monai_robust.tasks import Classification

PREPROCESSING = Compose(
    [
        LoadImaged("image", reader=SimpleITKReader(), ensure_channel_first=True, image_only=True),
        ScaleIntensityRangePercentilesd("image", 0.5, 99.5, 0.0, 1.0, clip=True),
        Resized("image", (32, 32), mode="area"),
        EnsureTyped("image", dtype=torch.float32, track_meta=False),
    ]
)


def exported(films: CheckedDataset, classes: int, epochs: int, path: Path) -> Path:
    """Train a classifier and write it as ONNX, for any number of films at a time."""
    torch.manual_seed(0)
    network = resnet10(spatial_dims=2, n_input_channels=1, num_classes=classes, conv1_t_stride=2)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    for _ in range(epochs):
        for batch in DataLoader(films, batch_size=16, shuffle=True):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(batch["image"]), batch["label"]).backward()
            optimizer.step()
    example, names = torch.rand(2, 1, 32, 32), {"input_names": ["films"], "output_names": ["logits"]}
    torch.onnx.export(network.eval(), (example,), path, dynamo=False, dynamic_axes={"films": {0: "batch"}}, **names)
    return path


def measure(model: Path, films: CheckedDataset, classes: list[str], queries: int, folder: Path) -> Path:
    """Measure a model by its answers alone."""
    network = stored_model(model)
    attack = Square(norm="linf", bounds=(0.0, 1.0), queries=queries)
    measurement = Measurement(
        network,
        films,
        task=Classification(),
        perturbations=[
            CleanSweep(),
            AttackSweep(attack, radii=[0.01, 0.02, 0.04]),
            CorruptionSweep("gaussian", [0.01, 0.04]),
            CorruptionSweep("contrast_low", [0.7, 0.5]),
        ],
        output_dir=folder,
        name=model.stem,
        classes=classes,
        checkpoint=model,
        sanity_samples=8,
    )
    return measurement.run()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--output_dir", type=Path, default=Path("onnx_example"))
    options.add_argument("--patients", type=int, default=90)
    options.add_argument("--epochs", type=int, default=10)
    options.add_argument("--queries", type=int, default=60)
    given = options.parse_args()
    given.output_dir.mkdir(parents=True, exist_ok=True)
    phantoms = given.output_dir / "phantoms"
    if not phantoms.is_dir():
        write_radiograph_phantoms(phantoms, patients=given.patients, size=96, contrast=0.5)
    data = classification_datalist(phantoms)
    train, test = (CheckedDataset(data.items[split], PREPROCESSING, name=split) for split in ("train", "test"))
    model = exported(train, len(data.classes), given.epochs, given.output_dir / "classifier.onnx")
    run = measure(model, test, list(data.classes), given.queries, given.output_dir / "measured")
    print(f"report: {write_report([run], given.output_dir / 'report.html')}")


if __name__ == "__main__":
    main()
