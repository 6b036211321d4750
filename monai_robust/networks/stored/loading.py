"""A network from the name of a file or a function."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from monai_robust.errors import BadInputError
from monai_robust.networks.stored.base import StoredModel
from monai_robust.networks.stored.function import FunctionModel, imported
from monai_robust.networks.stored.onnx_file import OnnxModel
from monai_robust.networks.stored.scripted import ScriptedModel

__all__ = ["stored_model"]

_SCRIPTS = (".ts", ".pt", ".pth")


def stored_model(
    name: str | Path,
    device: str | torch.device = "cpu",
    *,
    outputs: Sequence[str] | None = None,
    arrays: bool | None = None,
) -> StoredModel:
    """A network that is run as it is stored, for measurements and attacks.

    A TorchScript file and a function are programs: load only what you trust.

    Args:
        name: ``model.onnx`` (:class:`OnnxModel`), ``model.ts``, ``.pt`` or ``.pth`` of TorchScript
            (:class:`ScriptedModel`), or ``package.module:function`` (:class:`FunctionModel`).
        device: where it runs.
        outputs: of an ONNX model, names of the outputs that are wanted.
        arrays: of a function, whether it takes arrays of NumPy.

    Returns:
        A module whose ``differentiable`` says, once probed, whether attacks by gradient can be used.

    Raises:
        BadInputError: for a name or a file that is none of these, or an option of another kind.
    """
    text = str(name)
    suffix = Path(text).suffix.lower()
    kind = "onnx" if suffix == ".onnx" else "script" if suffix in _SCRIPTS else "function" if ":" in text else ""
    if not kind:
        raise BadInputError(
            f"the model {text} is of no known kind; give a file of ONNX (.onnx) or TorchScript "
            f"({', '.join(_SCRIPTS)}), or a function as package.module:function"
        )
    if outputs is not None and kind != "onnx":
        raise BadInputError(f"outputs are chosen of an ONNX model, and {text} is none; leave them out")
    if arrays is not None and kind != "function":
        raise BadInputError(f"arrays are for a function, and {text} is a file; leave them out")
    if kind == "onnx":
        return OnnxModel(name, device, outputs)
    return (
        ScriptedModel(name, device)
        if kind == "script"
        else FunctionModel(imported(text), device, arrays=arrays, name=text)
    )
