"""Checkpoints that are written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.handlers.checkpoint import BaseSaveHandler

from monai_robust.data.files.whole import writing_whole

__all__ = ["WholeFiles"]


class WholeFiles(BaseSaveHandler):
    """A save handler for ``ignite.handlers.Checkpoint`` that writes each file whole or not at all.

    Ignite removes the oldest checkpoint before it writes the next one; here it goes only when that one is written.

    Args:
        folder: where the files go.
        filename: one name for all of them, each taking the place of the last; by default ignite's.
    """

    def __init__(self, folder: str | Path, filename: str | None = None) -> None:
        self.dirname = Path(folder).expanduser()
        self.filename = filename
        self._leaving: list[str] = []

    def __call__(self, checkpoint: Mapping[str, Any], filename: str, metadata: Mapping[str, Any] | None = None) -> None:
        if idist.get_rank() > 0:
            return
        filename = self.filename or filename
        with writing_whole(self.dirname / filename) as file:
            torch.save(checkpoint, file)
        for name in self._leaving:
            if name != filename:
                (self.dirname / name).unlink(missing_ok=True)
        self._leaving = []

    def remove(self, filename: str) -> None:
        """Remove a file as soon as the next one is written."""
        self._leaving.append(self.filename or filename)
