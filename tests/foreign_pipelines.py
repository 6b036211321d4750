"""Bundles of somebody else's that do not differ in what they learn, but in how they read, run, and save it."""

from __future__ import annotations

import io
from typing import Any

import torch
from foreign_parts import Files, items_of, multi_label, regions, saver_of, segmentation, single_label
from monai.networks.nets import UNet

__all__ = [
    "aged",
    "arrays",
    "bags",
    "behind_macros",
    "by_slices",
    "compiled",
    "grid_patches",
    "heads",
    "ignites_checkpoints",
    "in_place",
    "rotating_cache",
    "script_alone",
    "without_metric",
]

_TRAIN, _EVALUATE = "configs/train.json", "configs/evaluate.json"


def behind_macros() -> Files:
    """Engines are macros that name another file, transforms are nested."""
    files = segmentation()
    train = files[_TRAIN]
    parts = {"trainer": train["train"]["trainer"], "evaluator": train["validate"]["evaluator"]}
    files["configs/engines.json"] = parts
    train["train"]["trainer"] = "%configs/engines.json#trainer"
    train["validate"]["evaluator"] = "%configs/engines.json#evaluator"
    read = train["train"]["preprocessing"]["transforms"]
    flips = {"_target_": "RandFlipd", "keys": ["image", "label"], "prob": 0.5}
    either = {"_target_": "OneOf", "transforms": [flips, {**flips, "_target_": "RandRotate90d"}]}
    inner = [{"_target_": "Compose", "transforms": read[:2]}, {"_target_": "Compose", "transforms": [read[2], either]}]
    train["train"]["preprocessing"] = {"_target_": "Compose", "transforms": inner}
    after = train["validate"]["postprocessing"]["transforms"]
    stages = [{"_target_": "Compose", "transforms": after[:1]}, {"_target_": "Compose", "transforms": after[1:]}]
    train["validate"]["postprocessing"] = {"_target_": "Compose", "transforms": stages}
    return files


def in_place() -> Files:
    """Loaders, inferers and handlers stand within the engines, and the loss is a function."""
    files = segmentation()
    train = files[_TRAIN]
    train["loss"] = "$lambda pred, label: torch.nn.functional.cross_entropy(pred, label[:, 0].long())"
    for part, engine, kind in (("train", "trainer", "train"), ("validate", "evaluator", "val")):
        own, data = train[part], "@items" if part == "train" else "$@items[:4]"
        dataset = {"_target_": "Dataset", "data": data, "transform": own.pop("preprocessing")}
        own[engine][f"{kind}_data_loader"] = {**own.pop("dataloader"), "dataset": dataset}
        own[engine][f"{kind}_handlers"] = own.pop("handlers")
        own[engine]["inferer"] = own.pop("inferer")
        del own["dataset"]
    (loader, _) = files[_EVALUATE].pop("validate#handlers")
    files[_EVALUATE]["validate#evaluator#val_handlers"] = [loader]
    return files


def by_slices() -> Files:
    """A network of slices, which goes through volumes by SliceInferer."""
    files = regions()
    train = files[_TRAIN]
    train["network_def"]["spatial_dims"] = 2
    crop = train["train"]["preprocessing"]["transforms"]
    crop[-1]["roi_size"] = [16, 16, 1]
    crop.append({"_target_": "SqueezeDimd", "keys": ["image", "label"], "dim": -1})
    slices = {"_target_": "SliceInferer", "roi_size": [20, 20], "spatial_dim": 2, "sw_batch_size": 2}
    train["validate"]["inferer"] = slices
    return files


def grid_patches() -> Files:
    """Trained on the patches of a grid, which come one after the other."""
    files = segmentation()
    train = files[_TRAIN]["train"]
    patches = {"_target_": "PatchIterd", "keys": ["image", "label"], "patch_size": [8, 8], "mode": "constant"}
    grid = {"_target_": "GridPatchDataset", "with_coordinates": False, "patch_iter": patches}
    train["dataset"] = {**grid, "data": {**train["dataset"]}}
    del train["dataloader"]["shuffle"]
    return files


def bags() -> Files:
    """Bags of patches with one label, as of a slide in pathology: images have an axis more."""
    files = multi_label()
    train = files[_TRAIN]
    train["items"] = items_of("3, 16, 16", "torch.tensor([float(i % 2)])")
    train["network_def"] = {"_target_": "scripts.bags.Attention"}
    some = {"_target_": "RandGridPatchd", "keys": "image", "patch_size": [8, 8], "num_patches": 3, "sort_fn": "min"}
    every = {"_target_": "GridPatchd", "keys": "image", "patch_size": [8, 8]}
    for part, patches in (("train", some), ("validate", every)):
        read = train[part]["preprocessing"]["transforms"]
        train[part]["preprocessing"] = {"_target_": "Compose", "transforms": [*read, patches]}
    files["scripts/__init__.py"] = ""
    files["scripts/bags.py"] = _BAGS
    return files


_BAGS = '''"""Attention over the patches of a bag."""

import torch


class Attention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        pooled = torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
        self.features = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.SiLU(), *pooled)
        self.attention = torch.nn.Linear(4, 1)
        self.last = torch.nn.Linear(4, 1)

    def forward(self, bags):
        features = self.features(bags.flatten(0, 1)).reshape(*bags.shape[:2], -1)
        return self.last((self.attention(features).softmax(1) * features).sum(1))
'''


def rotating_cache() -> Files:
    """A cache that exchanges its samples after every epoch."""
    files = multi_label()
    train = files[_TRAIN]["train"]
    train["dataset"] |= {"_target_": "SmartCacheDataset", "cache_num": 4, "replace_rate": 0.5}
    train["handlers"].insert(0, {"_target_": "SmartCacheHandler", "smartcacher": "@train#dataset"})
    return files


def arrays() -> Files:
    """Files in two lists, no dictionaries."""
    files = segmentation()
    train = files[_TRAIN]
    train["pairs"] = train.pop("items")
    load: list[Any] = [{"_target_": "LoadImage", "image_only": True}, {"_target_": "EnsureChannelFirst"}]
    scaled = {"_target_": "Compose", "transforms": [*load, {"_target_": "ScaleIntensity"}]}
    for part in ("train", "validate"):
        del train[part]["preprocessing"]
        train[part]["dataset"] = {
            "_target_": "ArrayDataset",
            "img": "$[one['image'] for one in @pairs]",
            "img_transform": scaled,
            "seg": "$[one['label'] for one in @pairs]",
            "seg_transform": {"_target_": "Compose", "transforms": load},
        }
    return files


def aged() -> Files:
    """The network takes the patient's age beside the image."""
    files = multi_label()
    train = files[_TRAIN]
    train["network_def"] = {"_target_": "scripts.aged.Aged"}
    train["items"] = train["items"].replace("'label':", "'age': torch.tensor([0.1 * i]), 'label':")
    for engine in (train["train"]["trainer"], train["validate"]["evaluator"]):
        engine["prepare_batch"] = {"_target_": "monai.engines.PrepareBatchExtraInput", "extra_keys": "age"}
    files["scripts/__init__.py"] = ""
    files["scripts/aged.py"] = _AGED
    return files


_AGED = '''"""A network of an image and an age."""

import torch


class Aged(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(1, 3, 3)
        self.last = torch.nn.Linear(4, 4)

    def forward(self, images, age):
        return self.last(torch.cat([self.first(images).mean((2, 3)), age], 1))
'''


def compiled() -> Files:
    """Engines that compile their network, and a checkpoint of several objects under names of their own."""
    files = multi_label()
    train = files[_TRAIN]
    for engine in (train["train"]["trainer"], train["validate"]["evaluator"]):
        engine |= {"compile": True, "compile_kwargs": {"backend": "eager"}}
    rates = {"_target_": "torch.optim.lr_scheduler.StepLR", "optimizer": "@optimizer", "step_size": 10}
    train["lr_scheduler"] = rates
    several = {"net": "@network", "optimizer": "@optimizer", "scheduler": "@lr_scheduler"}
    train["validate"]["handlers"][-1]["save_dict"] = several
    files[_EVALUATE]["validate#handlers"][0]["load_dict"] = {"net": "@network"}
    return files


def heads() -> Files:
    """A main and an auxiliary output as a tuple, in evaluation too, where postprocessing takes the main one."""
    files = segmentation()
    train = files[_TRAIN]
    train["network_def"] = {"_target_": "scripts.heads.TwoHeads"}
    train["loss"] = {"_target_": "scripts.heads.BothHeads"}
    main = {"_target_": "Lambdad", "keys": "pred", "func": "$lambda heads: heads[0]"}
    train["validate"]["postprocessing"]["transforms"].insert(0, main)
    files["scripts/heads.py"] = _HEADS
    return files


_HEADS = '''"""A network with two heads, and their loss."""

import torch
from monai.losses import DiceCELoss
from monai.networks.nets import UNet


class TwoHeads(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.main = UNet(2, 1, 3, [4, 8], [2])
        self.auxiliary = torch.nn.Conv2d(1, 3, 3, padding=1)

    def forward(self, images):
        return self.main(images), self.auxiliary(images)


class BothHeads(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.each = DiceCELoss(to_onehot_y=True, softmax=True)

    def forward(self, outputs, label):
        main, auxiliary = outputs
        return self.each(main, label) + 0.4 * self.each(auxiliary, label)
'''


def script_alone() -> Files:
    """Nothing is trained: the network is a file of TorchScript, and an evaluation has its labels."""
    files = segmentation()
    config = files.pop(_TRAIN)
    for name in ("train", "optimizer"):
        del config[name]
    config["network_def"] = "$torch.jit.load(@bundle_root + '/models/model.ts')"
    config["validate"]["handlers"] = [{"_target_": "StatsHandler", "iteration_log": False}]
    config["run"] = ["$@validate#evaluator.run()"]
    files[_EVALUATE] = config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        written = io.BytesIO()
        torch.jit.save(torch.jit.script(UNet(2, 1, 3, [4, 8], [2]).eval()), written)
    files["models/model.ts"] = written.getvalue()
    return files


def ignites_checkpoints() -> Files:
    """Checkpoints by a class of the bundle's own upon ignite's."""
    files = multi_label()
    train = files[_TRAIN]
    train["imports"].append("$import scripts")
    train["validate"]["handlers"].pop()
    several = {"model": "@network", "optimizer": "@optimizer"}
    train["train"]["handlers"].append({"_target_": "scripts.Saver", "to_save": several, "dirname": "@ckpt_dir"})
    files["scripts/__init__.py"] = _IGNITE
    files[_EVALUATE]["validate#handlers"][0]["load_path"] = "$@ckpt_dir + '/best_checkpoint_2.pt'"
    return files


_IGNITE = '''"""Checkpoints of the bundle's own."""

from ignite.engine import Events
from ignite.handlers import Checkpoint, DiskSaver


class Saver(Checkpoint):
    def __init__(self, to_save, dirname):
        super().__init__(to_save, DiskSaver(dirname, require_empty=False), filename_prefix="best", n_saved=1)

    def attach(self, engine):
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)
'''


def without_metric() -> Files:
    """No metric of any kind; the trainer's saver keeps the last epoch. Images are the files of a list."""
    files = single_label()
    train = files[_TRAIN]
    del train["validate"]["key_metric"], train["evaluator"]["key_val_metric"], train["items"]
    train["imports"].append("$import scripts")
    train["files"] = "$[one['image'] for one in scripts.made_up_files(@bundle_root)]"
    files["scripts/__init__.py"] = segmentation()["scripts/__init__.py"]
    read = {"_target_": "Compose", "transforms": [{"_target_": "EnsureChannelFirst"}, {"_target_": "ScaleIntensity"}]}
    labels = "$[i % 3 for i in range(len(@files))]"
    for part in ("train", "validate"):
        train[part]["preprocessing"] = read
        data = {"image_files": "@files", "labels": labels, "transform": f"@{part}#preprocessing"}
        train[part]["dataset"] = {"_target_": "ImageDataset", **data}
    train["train"]["handlers"][-1] = saver_of(save_interval=1, n_saved=1)
    files[_EVALUATE]["validate#handlers"][0]["load_path"] = "$@ckpt_dir + '/model_epoch=1.pt'"
    return files
