"""A foreign bundle in miniature: it knows nothing of monai-robust."""

from __future__ import annotations

import json
from pathlib import Path

TRAIN = {
    "imports": ["$import torch"],
    "bundle_root": ".",
    "device": "cpu",
    "dataset_dir": ".",
    "network": {
        "_target_": "monai.networks.nets.DenseNet",
        "spatial_dims": 2,
        "in_channels": 1,
        "out_channels": 3,
        "init_features": 4,
        "growth_rate": 4,
        "block_config": [1, 1],
    },
    "loss": {"_target_": "torch.nn.CrossEntropyLoss"},
    "optimizer": {"_target_": "torch.optim.SGD", "params": "$@network.parameters()", "lr": 0.01},
    "items": "$[{'image': torch.full((1, 16, 16), 0.1 + 0.05 * i), 'label': i % 3} for i in range(12)]",
    "train": {
        "dataset": {"_target_": "monai.data.Dataset", "data": "@items"},
        "dataloader": {"_target_": "monai.data.DataLoader", "dataset": "@train#dataset", "batch_size": 4},
        "inferer": {"_target_": "monai.inferers.SimpleInferer"},
        "trainer": {
            "_target_": "monai.engines.SupervisedTrainer",
            "max_epochs": 1,
            "device": "@device",
            "train_data_loader": "@train#dataloader",
            "network": "@network",
            "loss_function": "@loss",
            "optimizer": "@optimizer",
            "inferer": "@train#inferer",
        },
    },
    "initialize": ["$torch.manual_seed(0)"],
    "run": ["$@train#trainer.run()"],
}
EVALUATE = {
    "validate": {
        "dataloader": {"_target_": "monai.data.DataLoader", "dataset": "@train#dataset", "batch_size": 4},
        "inferer": {"_target_": "monai.inferers.SimpleInferer"},
        "evaluator": {
            "_target_": "monai.engines.SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@validate#dataloader",
            "network": "@network",
            "inferer": "@validate#inferer",
        },
    },
    "run": ["$@validate#evaluator.run()"],
}


def write_mini_bundle(folder: Path) -> Path:
    """Write ``configs/train.json`` and ``configs/evaluate.json`` below ``folder``."""
    configs = folder / "configs"
    configs.mkdir(parents=True, exist_ok=True)
    train = {**TRAIN, "validate": EVALUATE["validate"]}
    (configs / "train.json").write_text(json.dumps(train))
    (configs / "evaluate.json").write_text(json.dumps({"run": EVALUATE["run"]}))
    return folder
