"""Paths as people type them; without torch, so that a command line can read them at once."""

from __future__ import annotations

import os

__all__ = ["with_home"]


def with_home(path: str) -> str:
    """A path with the home folder for ``~/``, which a shell leaves as it is behind ``--output_dir=``."""
    return os.path.expanduser(path) if path.startswith("~/") else path
