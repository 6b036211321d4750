"""What runs around a network that MONAI lacks."""

from __future__ import annotations

from monai_robust.networks.landmark_unet import landmark_unet
from monai_robust.networks.postprocessing import (
    apply_postprocessing,
    choose_postprocessing,
    read_postprocessing,
    write_postprocessing,
)
from monai_robust.networks.pyramid import ResNetPyramid
from monai_robust.networks.retinanet import retinanet
from monai_robust.networks.small_classifiers import CBRLargeT, SmallResNet
from monai_robust.networks.stored import FunctionModel, OnnxModel, ScriptedModel, StoredModel, stored_model
from monai_robust.networks.vgg16 import VGG16

__all__ = [
    "VGG16",
    "CBRLargeT",
    "FunctionModel",
    "OnnxModel",
    "ResNetPyramid",
    "ScriptedModel",
    "SmallResNet",
    "StoredModel",
    "apply_postprocessing",
    "choose_postprocessing",
    "landmark_unet",
    "read_postprocessing",
    "retinanet",
    "stored_model",
    "write_postprocessing",
]
