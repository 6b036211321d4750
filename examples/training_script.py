"""A MONAI training script as many have one: a classifier of films, trained in the usual way.

    python examples/training_script.py --dataset_dir films [--output_dir trained] [--epochs 10]

``dataset_dir`` holds class folders, or ``index.csv``; where it does not exist, phantom films are written there.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from ignite.metrics import Accuracy
from monai.data import CacheDataset, DataLoader
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import CheckpointSaver, StatsHandler, ValidationHandler, from_engine
from monai.inferers import SimpleInferer
from monai.networks.nets import resnet10
from monai.transforms import Compose, EnsureTyped, LoadImaged, Resized, ScaleIntensityRangePercentilesd
from monai.utils import set_determinism

from monai_robust.data import SimpleITKReader, classification_datalist, write_radiograph_phantoms

PREPROCESSING = Compose(
    [
        LoadImaged("image", reader=SimpleITKReader(), ensure_channel_first=True, image_only=True),
        ScaleIntensityRangePercentilesd("image", 0.5, 99.5, 0.0, 1.0, clip=True),
        Resized("image", (32, 32), mode="area"),
        EnsureTyped("image", dtype=torch.float32, track_meta=False),
    ]
)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--dataset_dir", type=Path, default=Path("films"))
    options.add_argument("--output_dir", type=Path, default=Path("trained"))
    options.add_argument("--epochs", type=int, default=10)
    given = options.parse_args()
    set_determinism(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not given.dataset_dir.is_dir():
        write_radiograph_phantoms(given.dataset_dir, patients=48, size=64, contrast=0.5)
    films = classification_datalist(given.dataset_dir)
    data = {split: CacheDataset(items, PREPROCESSING, progress=False) for split, items in films.items.items()}
    network = resnet10(spatial_dims=2, n_input_channels=1, num_classes=len(films.classes), conv1_t_stride=2).to(device)
    evaluator = SupervisedEvaluator(
        device=device,
        val_data_loader=DataLoader(data["val"], batch_size=16),
        network=network,
        inferer=SimpleInferer(),
        key_val_metric={"val_accuracy": Accuracy(output_transform=from_engine(["pred", "label"]))},
        decollate=False,
    )
    trainer = SupervisedTrainer(
        device=device,
        max_epochs=given.epochs,
        train_data_loader=DataLoader(data["train"], batch_size=16, shuffle=True),
        network=network,
        optimizer=torch.optim.AdamW(network.parameters(), lr=2e-3),
        loss_function=torch.nn.CrossEntropyLoss(),
        inferer=SimpleInferer(),
        train_handlers=[
            ValidationHandler(1, evaluator),
            CheckpointSaver(str(given.output_dir), {"network": network}, save_final=True, final_filename="model.pt"),
            StatsHandler(iteration_log=False, output_transform=from_engine(["loss"], first=True)),
        ],
        decollate=False,
    )
    trainer.run()
    print(f"validation accuracy {evaluator.state.metrics['val_accuracy']:.3f}, weights in {given.output_dir}/model.pt")


if __name__ == "__main__":
    main()
