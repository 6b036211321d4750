"""Bundles of each shape that somebody else might have written, in the manner of MONAI's model zoo: they know nothing
of monai-robust, and train on made-up data.

``SHAPES`` has a function for each that returns the files of a bundle; :func:`write_bundle` writes them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foreign_detection import nodules, pictures, torchvision_needed

__all__ = ["SHAPES", "Shape", "write_bundle"]

_Files = dict[str, Any]


@dataclass(frozen=True)
class Shape:
    """A kind of bundle.

    Attributes:
        what: describes it.
        files: makes its files, by their paths: dictionaries become JSON, text is written as it is.
        refused: a part of the sentence that refuses it, or None where it works.
        finds: a part of what its outputs are described by.
    """

    what: str
    files: Callable[[], _Files]
    refused: str | None = None
    finds: str = ""


def write_bundle(name: str, folder: Path) -> Path:
    """Write the files of a shape into ``folder``."""
    for path, content in SHAPES[name].files().items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content if isinstance(content, str) else json.dumps(content, indent=1))
    return folder


# Images are noise whose mean tells the label, by a seed of their own, so that every process makes the same ones.
_IMAGE = "torch.rand({size}, generator=torch.Generator().manual_seed(i)) * 0.4 + 0.3 * (i % 2)"


def _items(size: str, label: str, count: int = 8, named: bool = True) -> str:
    name = "'sample_id': f'case{i}', " if named else ""
    return f"$[{{{name}'image': {_IMAGE.format(size=size)}, 'label': {label}}} for i in range({count})]"


def _saver(network: str = "@network", **settings: Any) -> dict[str, Any]:
    best = {"save_key_metric": True, "key_metric_filename": "model.pt"}
    return {
        "_target_": "CheckpointSaver",
        "save_dir": "@ckpt_dir",
        "save_dict": {"model": network},
        **(settings or best),
    }


def _metadata(task: str, channels: int, **image: Any) -> dict[str, Any]:
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


_METRICS: dict[str, dict[str, Any]] = {
    "accuracy": {"_target_": "ignite.metrics.Accuracy"},
    "mean_dice": {"_target_": "MeanDice", "include_background": False},
    "region_dice": {"_target_": "MeanDice", "include_background": True},
    "error": {"_target_": "ignite.metrics.MeanAbsoluteError"},
}


# Metrics of ignite take a batch; MONAI's engines have taken it apart.
_PAIRS = "$lambda x: (torch.stack([o['pred'] for o in x]), torch.stack([o['label'] for o in x]))"
_INDICES = "$lambda x: (torch.stack([o['pred'] for o in x]), torch.tensor([int(o['label']) for o in x]))"


def _metric(name: str, expression: str = "$monai.handlers.from_engine(['pred', 'label'])") -> dict[str, Any]:
    return {f"val_{name}": {**_METRICS[name], "output_transform": expression}}


def _bundle(
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
) -> _Files:
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
            "handlers": [{"_target_": "StatsHandler", "iteration_log": False}, _saver()],
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
    files: _Files = {"configs/train.json": train, "configs/evaluate.json": evaluate}
    if metadata is not None:
        files["configs/metadata.json"] = metadata
    return files


_TINY_NET = "$torch.nn.Sequential(torch.nn.Conv2d({channels}, 4, 3, padding=1), torch.nn.SiLU(), "
_TINY_NET += "torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, {outputs}))"
_SOFTMAX = {"_target_": "Activationsd", "keys": "pred", "softmax": True}
_SIGMOID = {"_target_": "Activationsd", "keys": "pred", "sigmoid": True}
_THRESHOLD = {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5}
_UNET: dict[str, Any] = {"_target_": "UNet", "channels": [4, 8], "strides": [2], "num_res_units": 1}


def _single_label() -> _Files:
    """Engines at the top, named as in many bundles, and a saver of the trainer's own."""
    files = _bundle(
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
        items=_items("1, 16, 16", "i % 3"),
        metric=_metric("accuracy", _INDICES),
        post=[_SOFTMAX],
        metadata=_metadata("classification", 1),
    )
    train = files["configs/train.json"]
    train["trainer"] = train["train"].pop("trainer")
    train["evaluator"] = train["validate"].pop("evaluator")
    train["train"]["handlers"].append(_saver(save_final=True, final_filename="final.pt"))
    train["validate"]["handlers"].pop()
    text = json.dumps(train).replace("@train#trainer", "@trainer").replace("@validate#evaluator", "@evaluator")
    files["configs/train.json"] = json.loads(text)
    evaluate = files["configs/evaluate.json"]
    evaluate["run"] = ["$@evaluator.run()"]
    evaluate["validate#handlers"][0]["load_path"] = "$@ckpt_dir + '/final.pt'"
    return files


def _multi_label() -> _Files:
    return _bundle(
        network=_TINY_NET.format(channels=1, outputs=4),
        loss={"_target_": "torch.nn.BCEWithLogitsLoss"},
        items=_items("1, 16, 16", "torch.tensor([i % 2, 1, 0, i % 3 == 0]).float()"),
        metric=_metric("accuracy", _PAIRS),
        post=[_SIGMOID, _THRESHOLD],
        metadata=_metadata("multi-label classification", 1),
    )


def _one_logit() -> _Files:
    return _bundle(
        network=_TINY_NET.format(channels=3, outputs=1),
        loss={"_target_": "torch.nn.BCEWithLogitsLoss"},
        items=_items("3, 16, 16", "torch.tensor([float(i % 2)])"),
        metric=_metric("accuracy", _PAIRS),
        post=[_SIGMOID, _THRESHOLD],
        metadata=_metadata("classification", 3),
    )


_MASK = "(torch.arange(16)[None, :, None] // 6 == torch.arange(16)[None, None, :] // 6).float() * (1 + i % 2)"


def _segmentation() -> _Files:
    """Dense softmax outputs and NIfTI files, whose names tell samples apart."""
    files = _bundle(
        network={**_UNET, "spatial_dims": 2, "in_channels": 1, "out_channels": 3},
        loss={"_target_": "DiceCELoss", "to_onehot_y": True, "softmax": True},
        items="$scripts.made_up_files(@bundle_root)",
        metric=_metric("mean_dice"),
        post=[
            _SOFTMAX,
            {"_target_": "AsDiscreted", "keys": ["pred", "label"], "argmax": [True, False], "to_onehot": 3},
        ],
        transforms=[
            {"_target_": "LoadImaged", "keys": ["image", "label"]},
            {"_target_": "EnsureChannelFirstd", "keys": ["image", "label"]},
            {"_target_": "ScaleIntensityd", "keys": "image"},
        ],
        metadata=_metadata("segmentation", 1),
    )
    files["configs/train.json"]["imports"].append("$import scripts")
    files["scripts/__init__.py"] = _MADE_UP_FILES
    return files


_MADE_UP_FILES = '''"""Images of the bundle's own."""

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


def _one_hot_in_validation() -> _Files:
    """Training labels are maps of classes, those of validation have a channel for each class."""
    files = _bundle(
        network={**_UNET, "spatial_dims": 2, "in_channels": 1, "out_channels": 3},
        loss={"_target_": "DiceCELoss", "to_onehot_y": True, "softmax": True},
        items=_items("1, 16, 16", _MASK),
        metric=_metric("mean_dice"),
        post=[_SOFTMAX, {"_target_": "AsDiscreted", "keys": "pred", "argmax": True, "to_onehot": 3}],
        metadata=_metadata("segmentation", 1),
    )
    validate = files["configs/train.json"]["validate"]
    one_hot = {"_target_": "AsDiscreted", "keys": "label", "to_onehot": 3}
    validate["preprocessing"]["transforms"] = [*validate["preprocessing"]["transforms"], one_hot]
    return files


def _one_hot_in_training() -> _Files:
    """Training labels have a channel for each class, those of validation are maps of classes."""
    files = _one_hot_in_validation()
    train = files["configs/train.json"]
    train["loss"].pop("to_onehot_y")
    one_hot = train["validate"]["preprocessing"]["transforms"].pop()
    train["train"]["preprocessing"]["transforms"] = [*train["train"]["preprocessing"]["transforms"], one_hot]
    both = {"_target_": "AsDiscreted", "keys": ["pred", "label"], "argmax": [True, False], "to_onehot": 3}
    train["validate"]["postprocessing"]["transforms"][-1] = both
    return files


def _listed_labels() -> _Files:
    """Several labels of an image in a list, each with a part of the outputs and of the loss."""
    files = _bundle(
        network=_TINY_NET.format(channels=1, outputs=4),
        loss="$lambda pred, y: torch.nn.functional.cross_entropy(pred[:, :3], y[0])"
        " + torch.nn.functional.mse_loss(pred[:, 3], y[1])",
        items=_items("1, 16, 16", "[i % 3, torch.tensor(0.1 * i)]"),
        metric={
            "val_accuracy": {
                **_METRICS["accuracy"],
                "output_transform": "$lambda x: (torch.stack([o['pred'][:3] for o in x]),"
                " torch.tensor([int(o['label'][0]) for o in x]))",
            }
        },
        post=None,
        metadata=_metadata("classification", 1),
        prepare="$lambda batch, device, non_blocking, **more:"
        " (batch['image'].to(device), [one.to(device) for one in batch['label']])",
    )
    train = files["configs/train.json"]
    for engine in (train["train"]["trainer"], train["validate"]["evaluator"]):
        engine["prepare_batch"] = "@prepare"
    return files


def _lost_metadata() -> _Files:
    """Nothing in a batch says which file an image came from."""
    files = _segmentation()
    train = files["configs/train.json"]
    forget = {"_target_": "EnsureTyped", "keys": ["image", "label"], "track_meta": False}
    train["train"]["preprocessing"]["transforms"].append(forget)
    return files


def _nameless() -> _Files:
    """Images of a data set that has no list of them."""
    files = _multi_label()
    train = files["configs/train.json"]
    train["train"]["dataset"] = {"_target_": "scripts.images.Images", "count": 8}
    train["validate"]["dataset"] = {"_target_": "scripts.images.Images", "count": 4}
    for part in ("items", "train#preprocessing", "validate#preprocessing"):
        place, _, key = part.rpartition("#")
        del (train[place] if place else train)[key]
    files["scripts/__init__.py"] = ""
    files["scripts/images.py"] = (
        "import torch\n\n\n"
        "class Images(torch.utils.data.Dataset):\n"
        "    def __init__(self, count):\n"
        "        self.images = torch.rand(count, 1, 16, 16, generator=torch.Generator().manual_seed(0))\n\n"
        "    def __len__(self):\n"
        "        return len(self.images)\n\n"
        "    def __getitem__(self, i):\n"
        "        return {'image': self.images[i], 'label': torch.tensor([i % 2, 1, 0, i % 3 == 0]).float()}\n"
    )
    return files


def _regions() -> _Files:
    """Overlapping regions of volumes, in sliding windows (the shape of BraTS)."""
    label = f"torch.stack([({_IMAGE.format(size='20, 20, 20')}) > t for t in (0.3, 0.2, 0.4)]).float()"
    return _bundle(
        network={**_UNET, "spatial_dims": 3, "in_channels": 4, "out_channels": 3},
        loss={"_target_": "DiceLoss", "smooth_nr": 0, "smooth_dr": 1e-05, "squared_pred": True, "sigmoid": True},
        items=_items("4, 20, 20, 20", label, count=4),
        metric=_metric("region_dice"),
        post=[_SIGMOID, _THRESHOLD],
        inferer={"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 16], "sw_batch_size": 1, "overlap": 0.5},
        crop=[
            {"_target_": "RandSpatialCropd", "keys": ["image", "label"], "roi_size": [16, 16, 16], "random_size": False}
        ],
        metadata=_metadata("segmentation", 4, channel_def={"0": "T1c", "1": "T1", "2": "T2", "3": "FLAIR"}),
    )


def _deep_supervision() -> _Files:
    label = _MASK.replace("16", "32").replace("// 6", "// 12").replace("(1 + i % 2)", "1")
    return _bundle(
        network={
            "_target_": "DynUNet",
            "spatial_dims": 2,
            "in_channels": 1,
            "out_channels": 2,
            "kernel_size": [3, 3, 3],
            "strides": [1, 2, 2],
            "upsample_kernel_size": [2, 2],
            "filters": [4, 8, 8],
            "deep_supervision": True,
            "deep_supr_num": 1,
        },
        loss="$lambda pred, y: @base_loss(list(torch.unbind(pred, dim=1)), y)",
        items=_items("1, 32, 32", label),
        metric=_metric("mean_dice"),
        post=[
            {"_target_": "AsDiscreted", "keys": ["pred", "label"], "argmax": [True, False], "to_onehot": 2},
        ],
        metadata=_metadata("segmentation", 1),
        base_loss={
            "_target_": "DeepSupervisionLoss",
            "loss": {"_target_": "DiceCELoss", "to_onehot_y": True, "softmax": True},
        },
    )


def _regression() -> _Files:
    return _bundle(
        network=_TINY_NET.format(channels=1, outputs=2),
        loss={"_target_": "torch.nn.MSELoss"},
        items=_items("1, 16, 16", "torch.tensor([0.1 * i, 1.0])"),
        metric=_metric("error", _PAIRS),
        post=None,
        metadata=_metadata("regression", 1),
    )


def _dense_numbers() -> _Files:
    """A map of distances, as in the estimation of depth."""
    return _bundle(
        network={**_UNET, "spatial_dims": 2, "in_channels": 3, "out_channels": 1},
        loss={"_target_": "torch.nn.L1Loss"},
        items=_items("3, 16, 16", _IMAGE.format(size="1, 16, 16")),
        metric=_metric("error", _PAIRS),
        post=None,
        metadata=_metadata("depth estimation", 3),
    )


def _several_processes() -> _Files:
    """A configuration for several GPUs as the zoo writes them, of processes that talk through gloo."""
    files = _multi_label()
    files["configs/multi_gpu_train.json"] = {
        "device": "$torch.device('cuda', dist.get_rank()) if torch.cuda.is_available() else torch.device('cpu')",
        "network": {
            "_target_": "torch.nn.parallel.DistributedDataParallel",
            "module": "$@network_def.to(@device)",
            "device_ids": "$[@device] if torch.cuda.is_available() else None",
        },
        "train#sampler": {
            "_target_": "DistributedSampler",
            "dataset": "@train#dataset",
            "even_divisible": True,
            "shuffle": True,
        },
        "train#dataloader#sampler": "@train#sampler",
        "train#dataloader#shuffle": False,
        "train#trainer#train_handlers": "$@train#handlers[: -1 if dist.get_rank() > 0 else None]",
        "validate#sampler": {
            "_target_": "DistributedSampler",
            "dataset": "@validate#dataset",
            "even_divisible": False,
            "shuffle": False,
        },
        "validate#dataloader#sampler": "@validate#sampler",
        "validate#evaluator#val_handlers": "$None if dist.get_rank() > 0 else @validate#handlers",
        "initialize": [
            "$import torch.distributed as dist",
            "$dist.is_initialized() or dist.init_process_group(backend='gloo')",
            "@seed",
        ],
        "run": ["$@train#trainer.run()"],
        "finalize": ["$dist.is_initialized() and dist.destroy_process_group()"],
    }
    return files


def _own_trainer() -> _Files:
    """A trainer class of the bundle's own that changes nothing in an iteration, and a run id of old bundles."""
    files = _multi_label()
    train = files["configs/train.json"]
    train["train"]["trainer"]["_target_"] = "scripts.trainer.LoggingTrainer"
    train["training"] = train.pop("run")
    evaluate = files["configs/evaluate.json"]
    evaluate["evaluating"] = evaluate.pop("run")
    files["scripts/__init__.py"] = ""
    files["scripts/trainer.py"] = (
        "from monai.engines import SupervisedTrainer\n\n\n"
        "class LoggingTrainer(SupervisedTrainer):\n"
        "    def run(self):\n"
        "        print('training begins')\n"
        "        super().run()\n"
    )
    return files


def _no_evaluation_file() -> _Files:
    """Validation in training alone, and no metadata."""
    files = _multi_label()
    del files["configs/evaluate.json"], files["configs/metadata.json"]
    return files


def _own_iteration() -> _Files:
    files = _multi_label()
    files["configs/train.json"]["train"]["trainer"]["iteration_update"] = {"_target_": "scripts.update.TwoSteps"}
    files["scripts/__init__.py"] = ""
    files["scripts/update.py"] = (
        "class TwoSteps:\n"
        "    def __call__(self, engine, batchdata):\n"
        "        engine._iteration(engine, batchdata)\n"
        "        return engine._iteration(engine, batchdata)\n"
    )
    return files


def _clipped() -> _Files:
    """A trainer class with an iteration of its own, which clips gradients, that a recipe can be put around."""
    files = _own_trainer()
    files["scripts/trainer.py"] = _CLIPPED
    return files


_CLIPPED = '''"""A trainer of the bundle's own."""

import torch
from monai.engines import IterationEvents, SupervisedTrainer


class LoggingTrainer(SupervisedTrainer):
    def _iteration(self, engine, batchdata):
        inputs, targets = engine.prepare_batch(batchdata, engine.state.device, engine.non_blocking)
        engine.state.output = {"image": inputs, "label": targets}
        engine.network.train()
        engine.optimizer.zero_grad()
        engine.state.output["pred"] = engine.inferer(inputs, engine.network)
        engine.state.output["loss"] = engine.loss_function(engine.state.output["pred"], targets)
        engine.state.output["loss"].backward()
        torch.nn.utils.clip_grad_norm_(engine.network.parameters(), 0.1)
        engine.optimizer.step()
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output
'''


def _own_iteration_method() -> _Files:
    files = _own_trainer()
    files["scripts/trainer.py"] += "\n    def _iteration(self, engine, batchdata):\n        raise NotImplementedError\n"
    return files


def _gan() -> _Files:
    files = _multi_label()
    train = files["configs/train.json"]
    train["train"]["trainer"] = {
        "_target_": "GanTrainer",
        "device": "@device",
        "max_epochs": 1,
        "train_data_loader": "@train#dataloader",
        "g_network": "@network",
        "g_optimizer": "@optimizer",
        "g_loss_function": "@loss",
        "d_network": "@network",
        "d_optimizer": "@optimizer",
        "d_loss_function": "@loss",
    }
    return files


def _diffusion() -> _Files:
    files = _dense_numbers()
    files["configs/train.json"]["train"]["trainer"]["prepare_batch"] = {
        "_target_": "monai.engines.DiffusionPrepareBatch",
        "num_train_timesteps": 10,
    }
    return files


def _registration() -> _Files:
    files = _dense_numbers()
    files["configs/train.json"]["network_def"] = {
        "_target_": "GlobalNet",
        "image_size": [16, 16],
        "spatial_dims": 2,
        "in_channels": 2,
        "num_channel_initial": 4,
        "depth": 1,
    }
    return files


def _interactive() -> _Files:
    """Clicks are simulated while it trains (the shape of DeepEdit)."""
    files = _segmentation()
    train = files["configs/train.json"]
    train["train"]["trainer"]["iteration_update"] = {
        "_target_": "monai.apps.deepedit.interaction.Interaction",
        "deepgrow_probability": 0.5,
        "transforms": [],
        "click_probability_key": "probability",
        "train": True,
    }
    return files


def _guided() -> _Files:
    """A second channel that holds clicks of a user, made by the pipeline and no part of the image."""
    mask = _MASK.replace("(1 + i % 2)", "1")
    files = _bundle(
        network={**_UNET, "spatial_dims": 2, "in_channels": 2, "out_channels": 2},
        loss={"_target_": "DiceCELoss", "to_onehot_y": True, "softmax": True},
        items=_items("1, 16, 16", mask),
        metric=_metric("mean_dice"),
        post=[{"_target_": "AsDiscreted", "keys": ["pred", "label"], "argmax": [True, False], "to_onehot": 2}],
        transforms=[
            {"_target_": "EnsureTyped", "keys": ["image", "label"]},
            {"_target_": "CopyItemsd", "keys": "label", "names": "clicks"},
            {"_target_": "ConcatItemsd", "keys": ["image", "clicks"], "name": "image"},
        ],
        metadata=_metadata("segmentation", 2, channel_def={"0": "image", "1": "clicks"}),
    )
    return files


def _dictionary() -> _Files:
    """A network with several branches, whose outputs are a dictionary."""
    files = _bundle(
        network={"_target_": "scripts.branches.Branches"},
        loss={"_target_": "scripts.branches.BranchLoss"},
        items=_items("1, 16, 16", _MASK.replace("(1 + i % 2)", "1")),
        metric=_metric("region_dice"),
        post=[
            {"_target_": "Lambdad", "keys": "pred", "func": "$lambda x: (x['mask'] > 0).float()"},
        ],
        metadata=_metadata("segmentation", 1),
    )
    files["scripts/__init__.py"] = ""
    files["scripts/branches.py"] = (
        "import torch\n\n\n"
        "class Branches(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.shared = torch.nn.Conv2d(1, 4, 3, padding=1)\n"
        "        self.mask = torch.nn.Conv2d(4, 1, 1)\n"
        "        self.distance = torch.nn.Conv2d(4, 2, 1)\n\n"
        "    def forward(self, x):\n"
        "        shared = torch.relu(self.shared(x))\n"
        "        return {'mask': self.mask(shared), 'distance': self.distance(shared)}\n\n\n"
        "class BranchLoss(torch.nn.Module):\n"
        "    def forward(self, outputs, label):\n"
        "        mask = torch.nn.functional.binary_cross_entropy_with_logits(outputs['mask'], label)\n"
        "        return mask + (outputs['distance'] - label).abs().mean()\n"
    )
    return files


def _no_detector() -> _Files:
    """A trainer that is none of MONAI's supervised ones, and calls no detector."""
    files = _multi_label()
    files["configs/train.json"]["train"]["trainer"]["_target_"] = "scripts.trainer.OwnTrainer"
    files["scripts/__init__.py"] = ""
    files["scripts/trainer.py"] = (
        "from monai.engines import Trainer\n\n\n"
        "class OwnTrainer(Trainer):\n"
        "    def _iteration(self, engine, batchdata):\n"
        "        raise NotImplementedError\n"
    )
    return files


SHAPES: dict[str, Shape] = {
    "single_label": Shape(
        "classification, one label; engines called `trainer` and `evaluator`", _single_label, finds="3 classes"
    ),
    "multi_label": Shape("classification, independent labels (sigmoid)", _multi_label, finds="4 independent labels"),
    "several_processes": Shape(
        "a configuration for several GPUs (`multi_gpu_train`)", _several_processes, finds="4 independent labels"
    ),
    "one_logit": Shape("classification, one logit", _one_logit, finds="one logit"),
    "segmentation": Shape("2-D segmentation, dense softmax; NIfTI files", _segmentation, finds="3 classes"),
    "one_hot_in_validation": Shape(
        "labels of classes in training, one-hot in validation", _one_hot_in_validation, finds="3 classes"
    ),
    "one_hot_in_training": Shape(
        "labels one-hot in training, of classes in validation", _one_hot_in_training, finds="3 classes"
    ),
    "listed_labels": Shape("several labels of an image in a list", _listed_labels, finds="of shape (4,)"),
    "lost_metadata": Shape("files whose names are lost in preprocessing", _lost_metadata, finds="3 classes"),
    "nameless": Shape("images of a data set without any list of them", _nameless, finds="4 independent labels"),
    "regions": Shape("3-D overlapping regions (BraTS), sliding windows", _regions, finds="3 regions"),
    "deep_supervision": Shape("deep supervision (DynUNet)", _deep_supervision, finds="2 resolutions"),
    "regression": Shape("regression of numbers", _regression, finds="2 numbers"),
    "dense_numbers": Shape("a number for every pixel (depth)", _dense_numbers, finds="1 number for every pixel"),
    "own_trainer": Shape("a subclass of SupervisedTrainer; `training`, not `run`", _own_trainer, finds="4 independent"),
    "clipped": Shape("a trainer class whose `_iteration` takes its loss once", _clipped, finds="4 independent"),
    "no_evaluation_file": Shape(
        "validation in training alone; no metadata", _no_evaluation_file, finds="4 independent"
    ),
    "dictionary": Shape("dictionary outputs, a loss of the bundle's own", _dictionary, finds="a dictionary"),
    "guided": Shape("clicks in a channel beside the image", _guided, finds="2 classes"),
    "own_iteration": Shape("an `iteration_update` of its own", _own_iteration, refused="has an iteration of its own"),
    "own_iteration_method": Shape(
        "a trainer class whose `_iteration` takes no loss", _own_iteration_method, refused="which defines _iteration"
    ),
    "gan": Shape("two networks against each other (GAN)", _gan, refused="networks against each other"),
    "diffusion": Shape("a diffusion model", _diffusion, refused="generative model"),
    "registration": Shape("registration of images", _registration, refused="registers images"),
    "interactive": Shape("interactive segmentation (DeepEdit)", _interactive, refused="interaction.Interaction"),
    "nodules": Shape(
        "3-D detection (RetinaNet) by engines of its own, on crops, in windows", nodules, finds="boxes with labels"
    ),
    "pictures": Shape("2-D detection; the trainer's network is a detector", pictures, finds="boxes with labels"),
    "torchvision": Shape(
        "a detector on torchvision, where that is not", torchvision_needed, refused="pip install torchvision"
    ),
    "no_detector": Shape("a trainer of its own kind, without a detector", _no_detector, refused="OwnTrainer"),
}
