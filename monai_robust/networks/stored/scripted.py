"""Networks of TorchScript files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from monai_robust.errors import BadInputError, in_one_line
from monai_robust.networks.stored.base import StoredModel, existing_file, files_digest

__all__ = ["ScriptedModel"]


class ScriptedModel(StoredModel):
    """A network saved by ``torch.jit.save``: scripted, traced or frozen, also by MONAI's ``ckpt_export``.

    Where its operations have derivatives, it is attacked by gradient as any network. The file is a program: load only
    what you trust.

    Args:
        path: the file.
        device: where it runs.

    Raises:
        BadInputError: for a file that is not there or holds something else, such as weights alone.
    """

    def __init__(self, path: str | Path, device: str | torch.device = "cpu") -> None:
        path = existing_file(path)
        super().__init__(path.name, files_digest([path]))
        try:
            self.network = torch.jit.load(str(path), map_location=device)
        except RuntimeError as error:
            raise BadInputError(
                f"{path} cannot be read as TorchScript ({in_one_line(error, 120)}); save the network by torch.jit.save "
                "or by monai.bundle ckpt_export, or give weights alone as the checkpoint of a bundle"
            ) from error
        self.to(device)

    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        return self.network(*arguments, **keywords)
