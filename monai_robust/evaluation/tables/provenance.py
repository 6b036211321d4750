"""Where the numbers of a measurement come from: weights, versions, machine and time, as they stand in ``run.json``."""

from __future__ import annotations

import hashlib
import os
import platform
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn

from monai_robust.errors import BadInputError

__all__ = ["checkpoint_record", "machine", "now", "versions", "weights_digest"]


def checkpoint_record(checkpoint: str | Path | None) -> dict[str, str] | None:
    """Name and SHA-256 of the file that weights came from.

    Raises:
        BadInputError: when there is no such file.
    """
    if checkpoint is None:
        return None
    path = Path(checkpoint)
    if not path.is_file():
        raise BadInputError(f"there is no checkpoint {path}; name the file that the network's weights came from")
    return {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def weights_digest(network: nn.Module) -> str:
    """SHA-256 of a network's state, names and values."""
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Of the libraries that numbers depend on."""
    return {name: version(name) for name in ("monai", "torch", "pytorch-ignite", "numpy", "monai-robust")}


def machine(device: torch.device) -> str:
    """Architecture, cores and kind of device; no name."""
    return f"{platform.machine()}, {os.cpu_count()} cores, {device.type}"


def now() -> str:
    """The time, in UTC to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
