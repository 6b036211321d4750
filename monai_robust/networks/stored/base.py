"""What every network has that comes from a file or a function."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from monai_robust.errors import BadInputError
from monai_robust.networks.gradients import missing_gradient

__all__ = ["StoredModel", "existing_file", "files_digest"]

_CHUNK = 1 << 20


class StoredModel(nn.Module):
    """A network that is run as it is stored: it can be attacked and measured wherever a network can, not trained.

    Args:
        source: the file or the function, in words for messages.
        digest: SHA-256 of what it was made from, 32 bytes. As the buffer ``sha256`` it is part of the state, so that a
            record of the weights tells models apart that have none which PyTorch can see.

    Attributes:
        source: as given.
        differentiable: whether attacks by gradient can be used; None until :meth:`probe` or a measurement has found
            out by a backward pass.
    """

    sha256: Tensor

    def __init__(self, source: str, digest: bytes) -> None:
        super().__init__()
        self.source = source
        self.differentiable: bool | None = None
        self.register_buffer("sha256", torch.frombuffer(bytearray(digest), dtype=torch.uint8))

    def probe(self, inputs: Tensor) -> bool:
        """Find out by one backward pass, for ``inputs`` (B, C, *spatial), whether the model is ``differentiable``."""
        self.differentiable = missing_gradient(self, inputs) is None
        return self.differentiable

    def extra_repr(self) -> str:
        return f"{self.source}, differentiable={self.differentiable}"


def existing_file(path: str | Path) -> Path:
    """The path, if a file is there.

    Raises:
        BadInputError: if not.
    """
    if not Path(path).is_file():
        raise BadInputError(f"there is no model {path}; name a file of ONNX (.onnx) or TorchScript (.ts, .pt, .pth)")
    return Path(path)


def files_digest(paths: Iterable[Path]) -> bytes:
    """SHA-256 of what some files hold, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    return digest.digest()
