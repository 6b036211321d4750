"""Several processes that measure together, as ``torchrun`` starts them; one process alone is the common case.

They talk through gloo, whatever the network runs on: what they exchange is small, and the others wait for hours while
the first one puts tables together and checks attacks. A process that meets an error ends with it at once, flushing its
parts; the others notice where they wait next, or are ended by ``torchrun``.
"""

from __future__ import annotations

import atexit
import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from monai_robust.errors import BadInputError

__all__ = ["Processes", "local_device"]

_LONGEST = timedelta(days=30)


def local_device(device: str | torch.device) -> torch.device:
    """``device``, where ``cuda`` without a number means this process' own GPU."""
    found = torch.device(device)
    own = os.environ.get("LOCAL_RANK")
    if found.type != "cuda" or found.index is not None or own is None:
        return found
    return torch.device("cuda", int(own) % max(torch.cuda.device_count(), 1))


@dataclass(frozen=True)
class Processes:
    """The processes of a measurement.

    Attributes:
        rank: number of this one, from 0.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1
    group: Any = None

    @classmethod
    def joined(cls) -> Processes:
        """Those of the process group that this process is in, or that ``torchrun`` asks for by the environment."""
        if dist.is_available() and not dist.is_initialized() and int(os.environ.get("WORLD_SIZE", "1")) > 1:
            dist.init_process_group("gloo", timeout=_LONGEST)
            atexit.register(_leave)
        if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
            return cls()
        # of our own, since the default one may end the others' waiting after some minutes
        group = dist.new_group(backend="gloo", timeout=_LONGEST)
        return cls(dist.get_rank(), dist.get_world_size(), group)

    @property
    def first(self) -> bool:
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes are here.

        Raises:
            BadInputError: when another one has ended.
        """
        self.any(False)

    def any(self, own: bool) -> bool:
        """Whether something is so in any process; all of them wait for the answer.

        Raises:
            BadInputError: when another one has ended.
        """
        if self.count == 1:
            return own
        found = torch.tensor(int(own))
        try:
            dist.all_reduce(found, op=dist.ReduceOp.MAX, group=self.group)
        except RuntimeError as error:
            raise BadInputError(
                f"process {self.rank} cannot go on, since another process of this measurement has ended; its own "
                "message says why"
            ) from error
        return bool(found.item())


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
