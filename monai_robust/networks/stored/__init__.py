"""Networks that come from a file or a function: ONNX, TorchScript, Python."""

from __future__ import annotations

from monai_robust.networks.stored.base import StoredModel
from monai_robust.networks.stored.function import FunctionModel
from monai_robust.networks.stored.loading import stored_model
from monai_robust.networks.stored.onnx_file import OnnxModel
from monai_robust.networks.stored.scripted import ScriptedModel

__all__ = ["FunctionModel", "OnnxModel", "ScriptedModel", "StoredModel", "stored_model"]
