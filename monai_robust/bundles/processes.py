"""A bundle's run in the several processes that ``torchrun`` starts."""

from __future__ import annotations

import os

import ignite.distributed as idist
import torch
from torch import distributed

from monai_robust.errors import BadInputError

__all__ = ["end_processes", "first_process", "process_device", "start_processes"]


def process_device() -> str:
    """The GPU of this process, or ``cpu`` on a machine without.

    Raises:
        BadInputError: in a process that ``torchrun`` did not start.
    """
    _require_torchrun()
    return f"cuda:{os.environ['LOCAL_RANK']}" if torch.cuda.is_available() else "cpu"


def start_processes(device: str | torch.device) -> None:
    """Let the processes meet: through NCCL where each has a GPU, else through gloo.

    Args:
        device: of this process.

    Raises:
        BadInputError: in a process that ``torchrun`` did not start.
    """
    _require_torchrun()
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu:
        torch.cuda.set_device(torch.device(device))
    distributed.init_process_group(backend="nccl" if on_gpu else "gloo")


def end_processes() -> None:
    """Part after :func:`start_processes`."""
    distributed.destroy_process_group()


def first_process() -> bool:
    """Whether this process is the one that writes files and tells how far a run is; a single one is."""
    return idist.get_rank() == 0


def _require_torchrun() -> None:
    if "LOCAL_RANK" not in os.environ:
        raise BadInputError(
            "this configuration is for several processes; start it by torchrun --nproc_per_node=2 -m monai.bundle run"
        )
