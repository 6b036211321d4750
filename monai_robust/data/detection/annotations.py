"""What an annotation file says of a picture, before anybody has checked it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_robust.data.splits import SPLITS

__all__ = ["AnnotatedImage", "AnnotatedObject", "Box", "claimed_size", "number", "shown_path", "split_of"]

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class AnnotatedObject:
    """One object as annotated.

    Args:
        place: where it stands in its file, such as ``object 3``.
        name: of its class.
        box: (xmin, ymin, xmax, ymax) in pixels, continuous: pixel i covers [i, i + 1).
        fault: what makes it unusable already as it stands in the file; then the box means nothing.
    """

    place: str
    name: str
    box: Box
    fault: str = ""


@dataclass(frozen=True)
class AnnotatedImage:
    """One picture as annotated.

    Args:
        image: absolute path of the picture.
        annotation: file that its objects stand in.
        sample_id: that names it in the data set.
        patient_id: whose it is.
        split: "train", "val" or "test", or "" where the data set does not say.
        objects: in the file's order.
        size: pixels (in x, in y) that the file claims, if it does.
        fault: what makes the whole annotation unusable.
        may_be_empty: whether no objects means that there are none, not that nobody has looked.
    """

    image: Path
    annotation: Path
    sample_id: str
    patient_id: str
    split: str
    objects: tuple[AnnotatedObject, ...] = ()
    size: tuple[int, int] | None = None
    fault: str = ""
    may_be_empty: bool = False


def split_of(name: str) -> str:
    """The split that a name begins with ("train2017", "training", "valid"), or nothing."""
    return next((split for split in SPLITS if name.strip().lower().startswith(split)), "")


def shown_path(path: Path, root: Path) -> str:
    """A path as the data set's folder sees it: how samples are named and messages are kept short."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def number(value: Any) -> float | None:
    """A finite number, also written as text, or None."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def claimed_size(width: Any, height: Any) -> tuple[int, int] | None:
    """The picture's size as a file claims it; 0 or nothing where a tool did not know."""
    x, y = number(width), number(height)
    return (int(x), int(y)) if x and y else None
