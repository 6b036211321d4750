"""Work as from within a bundle's folder, where its relative paths and its own scripts are found."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["inside"]

_OF_BUNDLES: dict[str, Path] = {}  # modules of bundles' own, and the folders they came from


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Be in a folder, whose modules come first, until the block ends.

    Modules that another bundle's folder gave, such as its ``scripts``, are imported anew where this one has its own.
    """
    before, path = Path.cwd(), list(sys.path)
    for name in [name for name, owner in _OF_BUNDLES.items() if owner != folder]:
        sys.modules.pop(name, None)
        del _OF_BUNDLES[name]
    known = set(sys.modules)
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        for name in set(sys.modules) - known:
            file = getattr(sys.modules[name], "__file__", None)
            if file and Path(file).is_relative_to(folder):
                _OF_BUNDLES[name] = folder
        os.chdir(before)
        sys.path[:] = path
