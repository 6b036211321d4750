"""What bundles of somebody else's are put together of: data, networks, metrics, engines, and the usual shapes."""

from __future__ import annotations

import json
from typing import Any

__all__ = [
    "IMAGE",
    "INDICES",
    "MADE_UP_FILES",
    "MASK",
    "METRICS",
    "PAIRS",
    "SIGMOID",
    "SOFTMAX",
    "THRESHOLD",
    "TINY_NET",
    "UNET",
    "Files",
    "bundle_of",
    "items_of",
    "metadata_of",
    "metric_of",
    "multi_label",
    "regions",
    "saver_of",
    "segmentation",
    "single_label",
]

Files = dict[str, Any]


# Images are noise whose mean tells the label, by a seed of their own, so that every process makes the same ones.
IMAGE = "torch.rand({size}, generator=torch.Generator().manual_seed(i)) * 0.4 + 0.3 * (i % 2)"


def items_of(size: str, label: str, count: int = 8, named: bool = True) -> str:
    name = "'sample_id': f'case{i}', " if named else ""
    return f"$[{{{name}'image': {IMAGE.format(size=size)}, 'label': {label}}} for i in range({count})]"


def saver_of(network: str = "@network", **settings: Any) -> dict[str, Any]:
    best = {"save_key_metric": True, "key_metric_filename": "model.pt"}
    return {
        "_target_": "CheckpointSaver",
        "save_dir": "@ckpt_dir",
        "save_dict": {"model": network},
        **(settings or best),
    }


def metadata_of(task: str, channels: int, **image: Any) -> dict[str, Any]:
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema.json",
        "version": "0.1.0",
        "monai_version": "1.5.0",
        "pytorch_version": "2.4.0",
        "numpy_version": "1.24.4",
        "required_packages_version": {"pytorch-ignite": "0.5.0"},
        "task": task,
        "network_data_format": {
            "inputs": {"image": {"type": "image", "num_channels": channels, "is_patch_data": False, **image}},
            "outputs": {"pred": {"type": "image"}},
        },
    }


METRICS: dict[str, dict[str, Any]] = {
    "accuracy": {"_target_": "ignite.metrics.Accuracy"},
    "mean_dice": {"_target_": "MeanDice", "include_background": False},
    "region_dice": {"_target_": "MeanDice", "include_background": True},
    "error": {"_target_": "ignite.metrics.MeanAbsoluteError"},
}


# Metrics of ignite take a batch; MONAI's engines have taken it apart.
PAIRS = "$lambda x: (torch.stack([o['pred'] for o in x]), torch.stack([o['label'] for o in x]))"
INDICES = "$lambda x: (torch.stack([o['pred'] for o in x]), torch.tensor([int(o['label']) for o in x]))"


def metric_of(name: str, expression: str = "$monai.handlers.from_engine(['pred', 'label'])") -> dict[str, Any]:
    return {f"val_{name}": {**METRICS[name], "output_transform": expression}}


def bundle_of(
    *,
    network: dict[str, Any] | str,
    loss: dict[str, Any] | str,
    items: str,
    metric: dict[str, Any],
    post: list[dict[str, Any]] | None,
    transforms: list[dict[str, Any]] | None = None,
    inferer: dict[str, Any] | None = None,
    metadata: dict[str, Any] | None = None,
    crop: list[dict[str, Any]] | None = None,
    **extra: Any,
) -> Files:
    """A bundle with ``train#trainer`` and ``validate#evaluator``, its saver among the validator's handlers."""
    transforms = transforms or [{"_target_": "EnsureTyped", "keys": ["image"]}]
    train: dict[str, Any] = {
        "imports": ["$import torch", "$import os"],
        "bundle_root": ".",
        "ckpt_dir": "$@bundle_root + '/models'",
        "output_dir": "$@bundle_root + '/eval'",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "seed": "$monai.utils.set_determinism(seed=0)",
        "items": items,
        "network_def": network,
        "network": "$@network_def.to(@device)",
        "loss": loss,
        "optimizer": {"_target_": "torch.optim.Adam", "params": "$@network.parameters()", "lr": 0.01},
        "train": {
            "preprocessing": {"_target_": "Compose", "transforms": [*transforms, *(crop or [])]},
            "dataset": {"_target_": "CacheDataset", "data": "@items", "transform": "@train#preprocessing"},
            "dataloader": {
                "_target_": "DataLoader",
                "dataset": "@train#dataset",
                "batch_size": 4,
                "shuffle": True,
                "num_workers": 0,
            },
            "inferer": {"_target_": "SimpleInferer"},
            "handlers": [
                {
                    "_target_": "ValidationHandler",
                    "validator": "@validate#evaluator",
                    "epoch_level": True,
                    "interval": 1,
                },
                {
                    "_target_": "StatsHandler",
                    "tag_name": "train_loss",
                    "output_transform": "$monai.handlers.from_engine(['loss'], first=True)",
                },
            ],
            "trainer": {
                "_target_": "SupervisedTrainer",
                "max_epochs": 1,
                "device": "@device",
                "train_data_loader": "@train#dataloader",
                "network": "@network",
                "loss_function": "@loss",
                "optimizer": "@optimizer",
                "inferer": "@train#inferer",
                "train_handlers": "@train#handlers",
            },
        },
        "validate": {
            "preprocessing": {"_target_": "Compose", "transforms": transforms},
            "dataset": {"_target_": "CacheDataset", "data": "$@items[:4]", "transform": "@validate#preprocessing"},
            "dataloader": {"_target_": "DataLoader", "dataset": "@validate#dataset", "batch_size": 2},
            "inferer": inferer or {"_target_": "SimpleInferer"},
            "handlers": [{"_target_": "StatsHandler", "iteration_log": False}, saver_of()],
            "key_metric": metric,
            "evaluator": {
                "_target_": "SupervisedEvaluator",
                "device": "@device",
                "val_data_loader": "@validate#dataloader",
                "network": "@network",
                "inferer": "@validate#inferer",
                "key_val_metric": "@validate#key_metric",
                "val_handlers": "@validate#handlers",
            },
        },
        "initialize": ["@seed"],
        "run": ["$@train#trainer.run()"],
    }
    if post is not None:
        train["validate"]["postprocessing"] = {"_target_": "Compose", "transforms": post}
        train["validate"]["evaluator"]["postprocessing"] = "@validate#postprocessing"
    train.update(extra)
    loader = {
        "_target_": "CheckpointLoader",
        "load_path": "$@ckpt_dir + '/model.pt'",
        "load_dict": {"model": "@network"},
    }
    evaluate = {
        "validate#handlers": [loader, {"_target_": "StatsHandler", "iteration_log": False}],
        "run": ["$@validate#evaluator.run()"],
    }
    files: Files = {"configs/train.json": train, "configs/evaluate.json": evaluate}
    if metadata is not None:
        files["configs/metadata.json"] = metadata
    return files


TINY_NET = "$torch.nn.Sequential(torch.nn.Conv2d({channels}, 4, 3, padding=1), torch.nn.SiLU(), "
TINY_NET += "torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, {outputs}))"
SOFTMAX = {"_target_": "Activationsd", "keys": "pred", "softmax": True}
SIGMOID = {"_target_": "Activationsd", "keys": "pred", "sigmoid": True}
THRESHOLD = {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5}
UNET: dict[str, Any] = {"_target_": "UNet", "channels": [4, 8], "strides": [2], "num_res_units": 1}


def single_label() -> Files:
    """Engines at the top, named as in many bundles, and a saver of the trainer's own."""
    files = bundle_of(
        network={
            "_target_": "DenseNet",
            "spatial_dims": 2,
            "in_channels": 1,
            "out_channels": 3,
            "init_features": 4,
            "growth_rate": 4,
            "block_config": [1, 1],
        },
        loss={"_target_": "torch.nn.CrossEntropyLoss"},
        items=items_of("1, 16, 16", "i % 3"),
        metric=metric_of("accuracy", INDICES),
        post=[SOFTMAX],
        metadata=metadata_of("classification", 1),
    )
    train = files["configs/train.json"]
    train["trainer"] = train["train"].pop("trainer")
    train["evaluator"] = train["validate"].pop("evaluator")
    train["train"]["handlers"].append(saver_of(save_final=True, final_filename="final.pt"))
    train["validate"]["handlers"].pop()
    text = json.dumps(train).replace("@train#trainer", "@trainer").replace("@validate#evaluator", "@evaluator")
    files["configs/train.json"] = json.loads(text)
    evaluate = files["configs/evaluate.json"]
    evaluate["run"] = ["$@evaluator.run()"]
    evaluate["validate#handlers"][0]["load_path"] = "$@ckpt_dir + '/final.pt'"
    return files


def multi_label() -> Files:
    return bundle_of(
        network=TINY_NET.format(channels=1, outputs=4),
        loss={"_target_": "torch.nn.BCEWithLogitsLoss"},
        items=items_of("1, 16, 16", "torch.tensor([i % 2, 1, 0, i % 3 == 0]).float()"),
        metric=metric_of("accuracy", PAIRS),
        post=[SIGMOID, THRESHOLD],
        metadata=metadata_of("multi-label classification", 1),
    )


MASK = "(torch.arange(16)[None, :, None] // 6 == torch.arange(16)[None, None, :] // 6).float() * (1 + i % 2)"


def segmentation() -> Files:
    """Dense softmax outputs and NIfTI files, whose names tell samples apart."""
    files = bundle_of(
        network={**UNET, "spatial_dims": 2, "in_channels": 1, "out_channels": 3},
        loss={"_target_": "DiceCELoss", "to_onehot_y": True, "softmax": True},
        items="$scripts.made_up_files(@bundle_root)",
        metric=metric_of("mean_dice"),
        post=[
            SOFTMAX,
            {"_target_": "AsDiscreted", "keys": ["pred", "label"], "argmax": [True, False], "to_onehot": 3},
        ],
        transforms=[
            {"_target_": "LoadImaged", "keys": ["image", "label"]},
            {"_target_": "EnsureChannelFirstd", "keys": ["image", "label"]},
            {"_target_": "ScaleIntensityd", "keys": "image"},
        ],
        metadata=metadata_of("segmentation", 1),
    )
    files["configs/train.json"]["imports"].append("$import scripts")
    files["scripts/__init__.py"] = MADE_UP_FILES
    return files


MADE_UP_FILES = '''"""Images of the bundle's own."""

from pathlib import Path

import nibabel
import numpy as np


def made_up_files(root):
    folder = Path(root) / "made_up"
    folder.mkdir(exist_ok=True)
    items = []
    for i in range(6):
        draw = np.random.default_rng(i)
        label = np.zeros((16, 16), np.uint8)
        label[3:9, 4:10], label[10:14, 2:12] = 1, 2
        for name, values in (("image", draw.normal(100 * label, 20)), ("label", label)):
            path = folder / f"{name}{i}.nii.gz"
            if not path.exists():
                nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), np.eye(4)), path)
        items.append({name: str(folder / f"{name}{i}.nii.gz") for name in ("image", "label")})
    return items
'''


def regions() -> Files:
    """Overlapping regions of volumes, in sliding windows (the shape of BraTS)."""
    label = f"torch.stack([({IMAGE.format(size='20, 20, 20')}) > t for t in (0.3, 0.2, 0.4)]).float()"
    return bundle_of(
        network={**UNET, "spatial_dims": 3, "in_channels": 4, "out_channels": 3},
        loss={"_target_": "DiceLoss", "smooth_nr": 0, "smooth_dr": 1e-05, "squared_pred": True, "sigmoid": True},
        items=items_of("4, 20, 20, 20", label, count=4),
        metric=metric_of("region_dice"),
        post=[SIGMOID, THRESHOLD],
        inferer={"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 16], "sw_batch_size": 1, "overlap": 0.5},
        crop=[
            {"_target_": "RandSpatialCropd", "keys": ["image", "label"], "roi_size": [16, 16, 16], "random_size": False}
        ],
        metadata=metadata_of("segmentation", 4, channel_def={"0": "T1c", "1": "T1", "2": "T2", "3": "FLAIR"}),
    )
