"""Config overlays: YAML files that make any bundle train robustly, or be evaluated under attack.

``python -m monai_robust.overlays`` rewrites the shipped recipe overlays from the table of recipes; ``fast.yaml`` is
written by hand. To name a file asks for neither torch nor MONAI, which take seconds to load.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from monai_robust.errors import BadInputError

__all__ = ["overlay_names", "overlay_path"]

_FOLDER = Path(__file__).parent


def overlay_names() -> tuple[str, ...]:
    """Names of the shipped overlays: one for each recipe, ``fast``, which goes after one of those, and ``attack``."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def overlay_path(name: str) -> Path:
    """Path of a shipped overlay.

    Raises:
        BadInputError: when there is none of that name.
    """
    if name not in overlay_names():
        close = get_close_matches(name, overlay_names(), n=1)
        meant = f"did you mean {close[0]}? " if close else ""
        raise BadInputError(f"there is no overlay {name!r}; {meant}there are {', '.join(overlay_names())}")
    return _FOLDER / f"{name}.yaml"
