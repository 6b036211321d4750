"""Networks that are a Python function."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.networks.stored.base import StoredModel, files_digest
from monai_robust.networks.structures import leaves, mapped

__all__ = ["FunctionModel", "imported"]


class FunctionModel(StoredModel):
    """A Python function of images, and be it one that asks a server.

    Args:
        function: called with images (B, C, *spatial), a floating tensor or array; answers with tensors or arrays
            (B, ...), one or several in lists, tuples or dictionaries.
        device: where a function that is a ``torch.nn.Module`` runs; tensors are given where they are.
        arrays: give arrays of NumPy, single or double precision as the images are, instead of tensors; by default if
            the function's first parameter is annotated as one. Then there is no gradient.
        name: what messages call it.

    Raises:
        BadInputError: for something that cannot be called with images.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        device: str | torch.device = "cpu",
        *,
        arrays: bool | None = None,
        name: str | None = None,
    ) -> None:
        if not callable(function) or inspect.isclass(function):
            what = "a class" if inspect.isclass(function) else type(function).__name__
            raise BadInputError(f"{name or function!r} is {what}; name a function that is called with images")
        known = name or str(getattr(function, "__qualname__", type(function).__name__))
        super().__init__(known, _digest(function, known))
        self.function = function
        self.arrays = _takes_arrays(function) if arrays is None else bool(arrays)
        self.to(device)

    def forward(self, images: Tensor) -> Any:
        """What the function answers to ``images`` (B, C, *spatial), as tensors on their device.

        Raises:
            BadInputError: for an answer that is not one for each image.
        """
        plain = images.as_tensor() if isinstance(images, MetaTensor) else images
        answer = self.function(plain.detach().cpu().numpy().copy() if self.arrays else plain)
        outputs = mapped(lambda part: _as_tensor(part, plain.device), answer)
        if not _has_rows(outputs, len(plain)):
            first = next((part for part in leaves(outputs) if isinstance(part, Tensor)), None)
            what = type(answer).__name__ if first is None else f"values of shape {tuple(first.shape)}"
            raise BadInputError(
                f"{self.source} answers {len(plain)} images by {what}; it must return tensors or arrays with a row for "
                "each image, or a list with a dictionary for each"
            )
        return outputs


def imported(name: str) -> Callable[..., Any]:
    """The function ``package.module:function``, also of a module in the working directory.

    Raises:
        BadInputError: for a module or a name in it that is not there.
    """
    module_name, _, path = name.partition(":")
    if str(Path.cwd()) not in sys.path and "" not in sys.path:
        sys.path.append(str(Path.cwd()))  # as for ``python -m``; it stays, for what the module imports later
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError) as error:  # a ValueError for an empty part of the name
        raise BadInputError(
            f"the module {module_name!r} of {name} cannot be imported: {error}; give package.module:function, "
            "importable from the working directory"
        ) from error
    try:
        found: Any = module
        for part in path.split("."):
            found = getattr(found, part)
    except AttributeError:
        raise BadInputError(f"the module {module_name!r} has no {path!r}; give package.module:function") from None
    return found


def _has_rows(outputs: Any, size: int) -> bool:
    """Whether outputs have an entry for each image: detections in a list of dictionaries, others in tensors."""
    if isinstance(outputs, (list, tuple)) and len(outputs) == size and all(isinstance(one, Mapping) for one in outputs):
        return True
    first = next((part for part in leaves(outputs) if isinstance(part, Tensor)), None)
    return first is not None and first.ndim > 0 and len(first) == size


def _as_tensor(value: Any, device: torch.device) -> Any:
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biuf":
        return torch.as_tensor(np.array(value, order="C"), device=device)
    return value.to(device) if isinstance(value, Tensor) else value


def _takes_arrays(function: Callable[..., Any]) -> bool:
    """Whether the first parameter is annotated as an array of NumPy."""
    try:
        first = next(iter(inspect.signature(function).parameters.values()), None)
    except (TypeError, ValueError):  # some functions written in C tell nothing
        return False
    return first is not None and "ndarray" in str(first.annotation).lower()


def _digest(function: Callable[..., Any], name: str) -> bytes:
    """Of the file that the function is written in, and its name; what it loads itself is not known."""
    own = inspect.unwrap(function)
    own = own if inspect.isroutine(own) else type(own)
    try:
        file = inspect.getsourcefile(own)
    except TypeError:  # built in
        file = None
    written = files_digest([Path(file)]) if file is not None and Path(file).is_file() else b""
    return hashlib.sha256(written + name.encode()).digest()
