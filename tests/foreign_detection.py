"""Detection bundles that somebody else might have written, in the manner of MONAI's lung nodule detection: a detector
that is called with images and targets, and engines of the bundle's own. They train on made-up boxes."""

from __future__ import annotations

import copy
from typing import Any

__all__ = ["nodules", "pictures", "torchvision_needed"]

_DATA = '''"""Made-up images with bright boxes in them, and where they are."""

import torch


def made_up_items(count, size):
    items = []
    for i in range(count):
        draw = torch.Generator().manual_seed(i)
        sides = torch.tensor([(i % 2) * 8 + size[0], *size[1:]])
        image = 0.2 * torch.rand(1, *sides.tolist(), generator=draw)
        boxes, labels = [], []
        for j in range(1 + i % 2):
            low = (torch.rand(len(size), generator=draw) * (sides - 8)).int()
            box = torch.cat([low, low + 8])
            image[(0, *(slice(a, b) for a, b in zip(low.tolist(), (low + 8).tolist())))] += 0.6
            boxes.append(box.float())
            labels.append(0)
        told = {"box": torch.stack(boxes), "label": torch.tensor(labels)}
        items.append({"sample_id": f"case{i}", "image": image, **told})
    return items
'''

_NETWORK = '''"""A small RetinaNet that does without torchvision."""

import torch
from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
from torch import nn


class Levels(nn.Module):
    out_channels = 8

    def __init__(self, dims):
        super().__init__()
        conv = nn.Conv2d if dims == 2 else nn.Conv3d
        norm = nn.BatchNorm2d if dims == 2 else nn.BatchNorm3d
        self.fine = nn.Sequential(conv(1, 8, 5, stride=4, padding=2), norm(8), nn.ReLU())
        self.coarse = nn.Sequential(conv(8, 8, 3, stride=2, padding=1), nn.ReLU())

    def forward(self, images):
        fine = self.fine(images)
        return [fine, self.coarse(fine)]


class Detector(RetinaNetDetector):
    """Matches by ATSS without asking whether torchvision is there."""

    def compute_anchor_matched_idxs(self, anchors, targets, num_anchor_locs_per_level):
        matched = []
        for own, target in zip(anchors, targets):
            boxes = target[self.target_box_key]
            if len(boxes):
                _, index = self.proposal_matcher(
                    boxes.to(own.device), own, num_anchor_locs_per_level, self.num_anchors_per_loc
                )
            else:
                index = torch.full((len(own),), -1, dtype=torch.long, device=own.device)
            matched.append(index)
        return matched
'''

_TRAINER = '''"""Trains a detector."""

import torch
from monai.engines import IterationEvents, Trainer


def crops(batchdata, device=None, non_blocking=False, **kwargs):
    rows = [one for item in batchdata for one in item]
    images = [one["image"].to(device) for one in rows]
    return images, [{"label": one["label"].to(device), "box": one["box"].to(device)} for one in rows]


class DetectionTrainer(Trainer):
    def __init__(self, device, max_epochs, train_data_loader, detector, optimizer, train_handlers=None, amp=False,
                 iteration_update=None):
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            data_loader=train_data_loader,
            prepare_batch=crops,
            iteration_update=iteration_update,
            handlers=train_handlers,
            amp=amp,
        )
        self.detector = detector
        self.optimizer = optimizer

    def _iteration(self, engine, batchdata):
        images, targets = engine.prepare_batch(batchdata, engine.state.device, engine.non_blocking)
        engine.state.output = {"image": images, "label": targets}
        engine.detector.train()
        engine.optimizer.zero_grad()
        losses = engine.detector(images, targets)
        engine.state.output |= losses
        engine.state.output["loss"] = losses[engine.detector.cls_key] + 0.5 * losses[engine.detector.box_reg_key]
        engine.fire_event(IterationEvents.LOSS_COMPLETED)
        engine.state.output["loss"].backward()
        torch.nn.utils.clip_grad_norm_(engine.detector.parameters(), 10.0)
        engine.optimizer.step()
        return engine.state.output
'''

_EVALUATOR = '''"""Evaluates a detector."""

import numpy as np
from monai.engines import Evaluator, IterationEvents


def images_of(batchdata, device=None, non_blocking=False, **kwargs):
    images = [one["image"].to(device) for one in batchdata]
    return images, [{"label": one["label"].to(device), "box": one["box"].to(device)} for one in batchdata]


class DetectionEvaluator(Evaluator):
    def __init__(self, device, val_data_loader, detector, key_val_metric=None, val_handlers=None,
                 iteration_update=None):
        super().__init__(
            device=device,
            val_data_loader=val_data_loader,
            prepare_batch=images_of,
            iteration_update=iteration_update,
            key_val_metric=key_val_metric,
            val_handlers=val_handlers,
        )
        self.detector = detector

    def _iteration(self, engine, batchdata):
        images, targets = engine.prepare_batch(batchdata, engine.state.device, engine.non_blocking)
        engine.state.output = {"image": images, "label": targets}
        window = np.prod(engine.detector.inferer.roi_size)
        large = any(image[0].numel() >= window for image in images)
        with engine.mode(engine.detector):
            engine.state.output["pred"] = engine.detector(images, use_inferer=large)
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output

    def _register_decollate(self):
        @self.on(IterationEvents.MODEL_COMPLETED)
        def one_by_one(engine):
            output = engine.state.output
            engine.state.output = [{key: output[key][i] for key in output} for i in range(len(output["image"]))]
'''

_METRIC = '''"""The mean average precision of an epoch."""

from ignite.metrics import Metric
from monai.apps.detection.metrics.coco import COCOMetric
from monai.apps.detection.metrics.matching import matching_batch
from monai.data.box_utils import box_iou


class MeanPrecision(Metric):
    def __init__(self, classes, output_transform):
        self.coco = COCOMetric(classes=classes, iou_list=[0.1], max_detection=[100])
        super().__init__(output_transform=output_transform)

    def reset(self):
        self.found, self.true = [], []

    def update(self, output):
        self.found += output[0]
        self.true += output[1]

    def compute(self):
        def listed(rows, key):
            return [one[key].detach().cpu().numpy() for one in rows]

        matched = matching_batch(
            iou_fn=box_iou,
            iou_thresholds=self.coco.iou_thresholds,
            pred_boxes=listed(self.found, "box"),
            pred_classes=listed(self.found, "label"),
            pred_scores=listed(self.found, "label_scores"),
            gt_boxes=listed(self.true, "box"),
            gt_classes=listed(self.true, "label"),
        )
        values = list(self.coco(matched)[0].values())
        return float(sum(values) / len(values))
'''


def nodules() -> dict[str, Any]:
    """3-D, trained on crops, evaluated by sliding windows; a trainer that is none of MONAI's supervised ones."""
    return {
        "configs/train.json": _train(3),
        "configs/evaluate.json": _EVALUATE,
        "scripts/__init__.py": "",
        "scripts/data.py": _DATA,
        "scripts/networks.py": _NETWORK,
        "scripts/trainer.py": _TRAINER,
        "scripts/evaluator.py": _EVALUATOR,
        "scripts/metric.py": _METRIC,
    }


def pictures() -> dict[str, Any]:
    """2-D; a supervised trainer whose network is the detector, and MONAI's evaluator with an inferer for detectors."""
    files = nodules()
    train = _train(2)
    train["train"]["trainer"]["_target_"] = "scripts.trainer.SupervisedDetection"
    train["train"]["trainer"]["network"] = train["train"]["trainer"].pop("detector")
    train["train"]["trainer"]["prepare_batch"] = "$evaluating.images_of"
    train["train"]["trainer"]["loss_function"] = "$lambda losses, targets: sum(losses.values())"
    train["validate"]["evaluator"] |= {
        "_target_": "SupervisedEvaluator",
        "network": "@network",
        "prepare_batch": "$evaluating.images_of",
        "inferer": {"_target_": "scripts.trainer.DetectionInferer", "detector": "@detector"},
        "decollate": False,
    }
    del train["validate"]["evaluator"]["detector"]
    return {
        **files,
        "configs/train.json": train,
        "scripts/trainer.py": _SUPERVISED,
    }


_SUPERVISED = '''"""Trains a detector as a supervised network, and evaluates one."""

from monai.engines import IterationEvents, SupervisedTrainer
from monai.inferers import Inferer


class SupervisedDetection(SupervisedTrainer):
    def _iteration(self, engine, batchdata):
        images, targets = engine.prepare_batch(batchdata, engine.state.device, engine.non_blocking)
        engine.state.output = {"image": images, "label": targets}
        engine.network.train()
        engine.optimizer.zero_grad()
        losses = engine.network(images, targets=targets)
        engine.state.output["loss"] = losses["classification"] + losses["box_regression"]
        engine.fire_event(IterationEvents.LOSS_COMPLETED)
        engine.state.output["loss"].backward()
        engine.optimizer.step()
        return engine.state.output


class DetectionInferer(Inferer):
    def __init__(self, detector):
        super().__init__()
        self.detector = detector

    def __call__(self, inputs, network, *args, **kwargs):
        self.detector.network = network
        self.detector.training = network.training
        return self.detector(inputs)
'''


def torchvision_needed() -> dict[str, Any]:
    """MONAI's own feature extractor, which is torchvision's."""
    files = nodules()
    train = copy.deepcopy(files["configs/train.json"])
    train["backbone"] = "$monai.networks.nets.resnet10(spatial_dims=3, n_input_channels=1)"
    train["feature_extractor"] = (
        "$monai.apps.detection.networks.retinanet_network.resnet_fpn_feature_extractor("
        "@backbone, 3, False, [1, 2], None)"
    )
    return {**files, "configs/train.json": train}


def _train(dims: int) -> dict[str, Any]:
    window = [16] * dims
    crop = {
        "_target_": "RandCropBoxByPosNegLabeld",
        "image_keys": "image",
        "box_keys": "box",
        "label_keys": "label",
        "spatial_size": window,
        "whole_box": True,
        "num_samples": 2,
        "pos": 1,
        "neg": 1,
    }
    typed = [
        {"_target_": "EnsureTyped", "keys": ["image", "box"]},
        {"_target_": "EnsureTyped", "keys": "label", "dtype": "$torch.long"},
    ]
    random = [crop] if dims == 3 else []
    return {
        "imports": [
            "$import torch",
            "$import monai.apps.detection",
            "$import scripts.data as data",
            "$import scripts.evaluator as evaluating",
        ],
        "bundle_root": ".",
        "ckpt_dir": "$@bundle_root + '/models'",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "items": f"$data.made_up_items(6, {[24, *window[1:]]})",
        "anchor_generator": {
            "_target_": "monai.apps.detection.utils.anchor_utils.AnchorGeneratorWithAnchorShape",
            "feature_map_scales": [1, 2],
            "base_anchor_shapes": [[8] * dims, [6] * dims],
        },
        "feature_extractor": {"_target_": "scripts.networks.Levels", "dims": dims},
        "network_def": {
            "_target_": "monai.apps.detection.networks.retinanet_network.RetinaNet",
            "spatial_dims": dims,
            "num_classes": 1,
            "num_anchors": 2,
            "feature_extractor": "@feature_extractor",
            "size_divisible": [8] * dims,
        },
        "network": "$@network_def.to(@device)",
        "detector": {
            "_target_": "scripts.networks.Detector",
            "network": "@network",
            "anchor_generator": "@anchor_generator",
        },
        "detector_ops": [
            "$@detector.set_atss_matcher(num_candidates=4, center_in_gt=False)",
            "$@detector.set_hard_negative_sampler("
            "batch_size_per_image=32, positive_fraction=0.3, pool_size=4, min_neg=4)",
            "$@detector.set_target_keys(box_key='box', label_key='label')",
            "$@detector.set_box_selector_parameters(score_thresh=0.02, nms_thresh=0.22, detections_per_img=20)",
            f"$@detector.set_sliding_window_inferer(roi_size={window}, overlap=0.25, sw_batch_size=1)",
        ],
        "optimizer": {"_target_": "torch.optim.SGD", "params": "$@detector.network.parameters()", "lr": 0.01},
        "train": {
            "preprocessing": {"_target_": "Compose", "transforms": [*typed, *random]},
            "dataset": {"_target_": "Dataset", "data": "@items", "transform": "@train#preprocessing"},
            "dataloader": {
                "_target_": "DataLoader",
                "dataset": "@train#dataset",
                "batch_size": 2,
                "shuffle": True,
                "num_workers": 0,
                "collate_fn": "$monai.data.utils.no_collation",
            },
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
                    "output_transform": "$lambda x: x['loss'].item()",
                },
            ],
            "trainer": {
                "_target_": "scripts.trainer.DetectionTrainer",
                "_requires_": "@detector_ops",
                "max_epochs": 1,
                "device": "@device",
                "train_data_loader": "@train#dataloader",
                "detector": "@detector",
                "optimizer": "@optimizer",
                "train_handlers": "@train#handlers",
            },
        },
        "validate": {
            "preprocessing": {"_target_": "Compose", "transforms": typed},
            "dataset": {"_target_": "Dataset", "data": "$@items[:3]", "transform": "@validate#preprocessing"},
            "dataloader": {
                "_target_": "DataLoader",
                "dataset": "@validate#dataset",
                "batch_size": 1,
                "collate_fn": "$monai.data.utils.no_collation",
            },
            "handlers": [
                {"_target_": "StatsHandler", "iteration_log": False},
                {
                    "_target_": "CheckpointSaver",
                    "save_dir": "@ckpt_dir",
                    "save_dict": {"model": "@network"},
                    "save_key_metric": True,
                    "key_metric_filename": "model.pt",
                },
            ],
            "key_metric": {
                "val_coco": {
                    "_target_": "scripts.metric.MeanPrecision",
                    "classes": ["nodule"],
                    "output_transform": "$monai.handlers.from_engine(['pred', 'label'])",
                }
            },
            "evaluator": {
                "_target_": "scripts.evaluator.DetectionEvaluator",
                "_requires_": "@detector_ops",
                "device": "@device",
                "val_data_loader": "@validate#dataloader",
                "detector": "@detector",
                "key_val_metric": "@validate#key_metric",
                "val_handlers": "@validate#handlers",
            },
        },
        "initialize": ["$monai.utils.set_determinism(seed=0)"],
        "run": ["$@train#trainer.run()"],
    }


_EVALUATE = {
    "validate#handlers": [
        {
            "_target_": "CheckpointLoader",
            "load_path": "$@ckpt_dir + '/model.pt'",
            "load_dict": {"model": "@network"},
        },
        {"_target_": "StatsHandler", "iteration_log": False},
    ],
    "run": ["$@validate#evaluator.run()"],
}
