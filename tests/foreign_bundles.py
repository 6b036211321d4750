"""Bundles of each shape that somebody else might have written, in the manner of MONAI's model zoo: they know nothing
of monai-robust, and train on made-up data.

``SHAPES`` has a function for each that returns the files of a bundle; :func:`write_bundle` writes them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from foreign_detection import nodules, pictures, torchvision_needed
from foreign_parts import (
    IMAGE,
    MASK,
    METRICS,
    PAIRS,
    SIGMOID,
    SOFTMAX,
    THRESHOLD,
    TINY_NET,
    UNET,
    Files,
    bundle_of,
    items_of,
    metadata_of,
    metric_of,
    multi_label,
    regions,
    segmentation,
    single_label,
)
from foreign_pipelines import (
    aged,
    arrays,
    bags,
    behind_macros,
    by_slices,
    compiled,
    grid_patches,
    heads,
    ignites_checkpoints,
    in_place,
    rotating_cache,
    script_alone,
    without_metric,
)

__all__ = ["SHAPES", "Shape", "write_bundle"]


@dataclass(frozen=True)
class Shape:
    """A kind of bundle.

    Attributes:
        what: describes it.
        files: makes its files, by their paths: dictionaries become JSON, text and bytes are written as they are.
        refused: a part of the sentence that refuses it, or None where it works.
        finds: a part of what its outputs are described by.
    """

    what: str
    files: Callable[[], Files]
    refused: str | None = None
    finds: str = ""


def write_bundle(name: str, folder: Path) -> Path:
    """Write the files of a shape into ``folder``."""
    for path, content in SHAPES[name].files().items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            target.write_bytes(content)
        else:
            target.write_text(content if isinstance(content, str) else json.dumps(content, indent=1))
    return folder


def _one_logit() -> Files:
    return bundle_of(
        network=TINY_NET.format(channels=3, outputs=1),
        loss={"_target_": "torch.nn.BCEWithLogitsLoss"},
        items=items_of("3, 16, 16", "torch.tensor([float(i % 2)])"),
        metric=metric_of("accuracy", PAIRS),
        post=[SIGMOID, THRESHOLD],
        metadata=metadata_of("classification", 3),
    )


def _one_hot_in_validation() -> Files:
    """Training labels are maps of classes, those of validation have a channel for each class."""
    files = bundle_of(
        network={**UNET, "spatial_dims": 2, "in_channels": 1, "out_channels": 3},
        loss={"_target_": "DiceCELoss", "to_onehot_y": True, "softmax": True},
        items=items_of("1, 16, 16", MASK),
        metric=metric_of("mean_dice"),
        post=[SOFTMAX, {"_target_": "AsDiscreted", "keys": "pred", "argmax": True, "to_onehot": 3}],
        metadata=metadata_of("segmentation", 1),
    )
    validate = files["configs/train.json"]["validate"]
    one_hot = {"_target_": "AsDiscreted", "keys": "label", "to_onehot": 3}
    validate["preprocessing"]["transforms"] = [*validate["preprocessing"]["transforms"], one_hot]
    return files


def _one_hot_in_training() -> Files:
    """Training labels have a channel for each class, those of validation are maps of classes."""
    files = _one_hot_in_validation()
    train = files["configs/train.json"]
    train["loss"].pop("to_onehot_y")
    one_hot = train["validate"]["preprocessing"]["transforms"].pop()
    train["train"]["preprocessing"]["transforms"] = [*train["train"]["preprocessing"]["transforms"], one_hot]
    both = {"_target_": "AsDiscreted", "keys": ["pred", "label"], "argmax": [True, False], "to_onehot": 3}
    train["validate"]["postprocessing"]["transforms"][-1] = both
    return files


def _listed_labels() -> Files:
    """Several labels of an image in a list, each with a part of the outputs and of the loss."""
    files = bundle_of(
        network=TINY_NET.format(channels=1, outputs=4),
        loss="$lambda pred, y: torch.nn.functional.cross_entropy(pred[:, :3], y[0])"
        " + torch.nn.functional.mse_loss(pred[:, 3], y[1])",
        items=items_of("1, 16, 16", "[i % 3, torch.tensor(0.1 * i)]"),
        metric={
            "val_accuracy": {
                **METRICS["accuracy"],
                "output_transform": "$lambda x: (torch.stack([o['pred'][:3] for o in x]),"
                " torch.tensor([int(o['label'][0]) for o in x]))",
            }
        },
        post=None,
        metadata=metadata_of("classification", 1),
        prepare="$lambda batch, device, non_blocking, **more:"
        " (batch['image'].to(device), [one.to(device) for one in batch['label']])",
    )
    train = files["configs/train.json"]
    for engine in (train["train"]["trainer"], train["validate"]["evaluator"]):
        engine["prepare_batch"] = "@prepare"
    return files


def _lost_metadata() -> Files:
    """Nothing in a batch says which file an image came from."""
    files = segmentation()
    train = files["configs/train.json"]
    forget = {"_target_": "EnsureTyped", "keys": ["image", "label"], "track_meta": False}
    train["train"]["preprocessing"]["transforms"].append(forget)
    return files


def _nameless() -> Files:
    """Images of a data set that has no list of them."""
    files = multi_label()
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


def _deep_supervision() -> Files:
    label = MASK.replace("16", "32").replace("// 6", "// 12").replace("(1 + i % 2)", "1")
    return bundle_of(
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
        items=items_of("1, 32, 32", label),
        metric=metric_of("mean_dice"),
        post=[
            {"_target_": "AsDiscreted", "keys": ["pred", "label"], "argmax": [True, False], "to_onehot": 2},
        ],
        metadata=metadata_of("segmentation", 1),
        base_loss={
            "_target_": "DeepSupervisionLoss",
            "loss": {"_target_": "DiceCELoss", "to_onehot_y": True, "softmax": True},
        },
    )


def _regression() -> Files:
    return bundle_of(
        network=TINY_NET.format(channels=1, outputs=2),
        loss={"_target_": "torch.nn.MSELoss"},
        items=items_of("1, 16, 16", "torch.tensor([0.1 * i, 1.0])"),
        metric=metric_of("error", PAIRS),
        post=None,
        metadata=metadata_of("regression", 1),
    )


def _dense_numbers() -> Files:
    """A map of distances, as in the estimation of depth."""
    return bundle_of(
        network={**UNET, "spatial_dims": 2, "in_channels": 3, "out_channels": 1},
        loss={"_target_": "torch.nn.L1Loss"},
        items=items_of("3, 16, 16", IMAGE.format(size="1, 16, 16")),
        metric=metric_of("error", PAIRS),
        post=None,
        metadata=metadata_of("depth estimation", 3),
    )


def _several_processes() -> Files:
    """A configuration for several GPUs as the zoo writes them, of processes that talk through gloo."""
    files = multi_label()
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


def _own_trainer() -> Files:
    """A trainer class of the bundle's own that changes nothing in an iteration, and a run id of old bundles."""
    files = multi_label()
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


def _no_evaluation_file() -> Files:
    """Validation in training alone, and no metadata."""
    files = multi_label()
    del files["configs/evaluate.json"], files["configs/metadata.json"]
    return files


def _own_iteration() -> Files:
    files = multi_label()
    files["configs/train.json"]["train"]["trainer"]["iteration_update"] = {"_target_": "scripts.update.TwoSteps"}
    files["scripts/__init__.py"] = ""
    files["scripts/update.py"] = (
        "class TwoSteps:\n"
        "    def __call__(self, engine, batchdata):\n"
        "        engine._iteration(engine, batchdata)\n"
        "        return engine._iteration(engine, batchdata)\n"
    )
    return files


def _clipped() -> Files:
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


def _own_iteration_method() -> Files:
    files = _own_trainer()
    files["scripts/trainer.py"] += "\n    def _iteration(self, engine, batchdata):\n        raise NotImplementedError\n"
    return files


def _gan() -> Files:
    files = multi_label()
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


def _diffusion() -> Files:
    files = _dense_numbers()
    files["configs/train.json"]["train"]["trainer"]["prepare_batch"] = {
        "_target_": "monai.engines.DiffusionPrepareBatch",
        "num_train_timesteps": 10,
    }
    return files


def _registration() -> Files:
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


def _interactive() -> Files:
    """Clicks are simulated while it trains (the shape of DeepEdit)."""
    files = segmentation()
    train = files["configs/train.json"]
    train["train"]["trainer"]["iteration_update"] = {
        "_target_": "monai.apps.deepedit.interaction.Interaction",
        "deepgrow_probability": 0.5,
        "transforms": [],
        "click_probability_key": "probability",
        "train": True,
    }
    return files


def _guided() -> Files:
    """A second channel that holds clicks of a user, made by the pipeline and no part of the image."""
    mask = MASK.replace("(1 + i % 2)", "1")
    files = bundle_of(
        network={**UNET, "spatial_dims": 2, "in_channels": 2, "out_channels": 2},
        loss={"_target_": "DiceCELoss", "to_onehot_y": True, "softmax": True},
        items=items_of("1, 16, 16", mask),
        metric=metric_of("mean_dice"),
        post=[{"_target_": "AsDiscreted", "keys": ["pred", "label"], "argmax": [True, False], "to_onehot": 2}],
        transforms=[
            {"_target_": "EnsureTyped", "keys": ["image", "label"]},
            {"_target_": "CopyItemsd", "keys": "label", "names": "clicks"},
            {"_target_": "ConcatItemsd", "keys": ["image", "clicks"], "name": "image"},
        ],
        metadata=metadata_of("segmentation", 2, channel_def={"0": "image", "1": "clicks"}),
    )
    return files


def _dictionary() -> Files:
    """A network with several branches, whose outputs are a dictionary."""
    files = bundle_of(
        network={"_target_": "scripts.branches.Branches"},
        loss={"_target_": "scripts.branches.BranchLoss"},
        items=items_of("1, 16, 16", MASK.replace("(1 + i % 2)", "1")),
        metric=metric_of("region_dice"),
        post=[
            {"_target_": "Lambdad", "keys": "pred", "func": "$lambda x: (x['mask'] > 0).float()"},
        ],
        metadata=metadata_of("segmentation", 1),
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


def _no_detector() -> Files:
    """A trainer that is none of MONAI's supervised ones, and calls no detector."""
    files = multi_label()
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
        "classification, one label; engines called `trainer` and `evaluator`", single_label, finds="3 classes"
    ),
    "multi_label": Shape("classification, independent labels (sigmoid)", multi_label, finds="4 independent labels"),
    "several_processes": Shape(
        "a configuration for several GPUs (`multi_gpu_train`)", _several_processes, finds="4 independent labels"
    ),
    "one_logit": Shape("classification, one logit", _one_logit, finds="one logit"),
    "segmentation": Shape("2-D segmentation, dense softmax; NIfTI files", segmentation, finds="3 classes"),
    "one_hot_in_validation": Shape(
        "labels of classes in training, one-hot in validation", _one_hot_in_validation, finds="3 classes"
    ),
    "one_hot_in_training": Shape(
        "labels one-hot in training, of classes in validation", _one_hot_in_training, finds="3 classes"
    ),
    "listed_labels": Shape("several labels of an image in a list", _listed_labels, finds="of shape (4,)"),
    "lost_metadata": Shape("files whose names are lost in preprocessing", _lost_metadata, finds="3 classes"),
    "nameless": Shape("images of a data set without any list of them", _nameless, finds="4 independent labels"),
    "regions": Shape("3-D overlapping regions (BraTS), sliding windows", regions, finds="3 regions"),
    "deep_supervision": Shape("deep supervision (DynUNet)", _deep_supervision, finds="2 heads"),
    "regression": Shape("regression of numbers", _regression, finds="2 numbers"),
    "dense_numbers": Shape("a number for every pixel (depth)", _dense_numbers, finds="1 number for every pixel"),
    "own_trainer": Shape("a subclass of SupervisedTrainer; `training`, not `run`", _own_trainer, finds="4 independent"),
    "clipped": Shape("a trainer class whose `_iteration` takes its loss once", _clipped, finds="4 independent"),
    "no_evaluation_file": Shape(
        "validation in training alone; no metadata", _no_evaluation_file, finds="4 independent"
    ),
    "dictionary": Shape("dictionary outputs, a loss of the bundle's own", _dictionary, finds="a dictionary"),
    "guided": Shape("clicks in a channel beside the image", _guided, finds="2 classes"),
    "macros": Shape("engines behind macros, nested transforms", behind_macros, finds="3 classes"),
    "in_place": Shape("loaders within the engines, a function as loss", in_place, finds="3 classes"),
    "by_slices": Shape("a network of slices, through volumes by SliceInferer", by_slices, finds="3 regions"),
    "grid_patches": Shape("patches of a grid, one after the other (GridPatchDataset)", grid_patches, finds="3 classes"),
    "bags": Shape("bags of patches with one label (RandGridPatch)", bags, finds="one logit"),
    "rotating_cache": Shape("a cache whose samples change (SmartCacheDataset)", rotating_cache, finds="4 independent"),
    "arrays": Shape("files in lists, no dictionaries (ArrayDataset)", arrays, finds="3 classes"),
    "without_metric": Shape("no metric, images as a list of files", without_metric, finds="3 classes"),
    "aged": Shape("a network that takes the patient's age, too", aged, finds="4 independent labels"),
    "compiled": Shape("`compile: true`, checkpoints of several objects", compiled, finds="4 independent labels"),
    "heads": Shape("a main and an auxiliary output as a tuple", heads, finds="3 classes"),
    "script_alone": Shape("an evaluation of TorchScript, nothing is trained", script_alone, finds="3 classes"),
    "ignite": Shape("checkpoints by ignite's own handler", ignites_checkpoints, finds="4 independent labels"),
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
