"""What an annotation file says of a picture, before anybody has checked it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai_robust.data.lists.listed import finite_number

__all__ = ["AnnotatedImage", "AnnotatedObject", "Box", "claimed_size", "shown_path"]

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class AnnotatedObject:
    """One object as annotated.

    Args:
        place: where it stands in its file, such as ``object 3``.
        name: of its class.
        box: (xmin, ymin, xmax, ymax) in pixels, continuous: pixel i covers [i, i + 1).
        fault: what makes it unusable already as it stands in the file; then the box means nothing.
        passed_over: why it is none to be found, such as a crowd, which marks several objects at once.
    """

    place: str
    name: str
    box: Box
    fault: str = ""
    passed_over: str = ""


@dataclass(frozen=True)
class AnnotatedImage:
    """One picture as annotated.

    Args:
        image: absolute path of the picture.
        annotation: file that its objects stand in.
        sample_id: that names it in the data set.
        patient_id: whose it is, as its file has it, or None where that does not say.
        split: "train", "val", "test" or "trainval", or "" where the data set does not say.
        objects: in the file's order.
        size: pixels (in x, in y) that the file claims, if it does.
        named: name of the picture's file that the annotation has, if it is another one than that of ``image``.
        fault: what makes the whole annotation unusable.
        categories: names of all classes that the file declares, in its order.
        columns: what else the data list says of it, to group by.
        may_be_empty: whether no objects means that there are none, not that nobody has looked.
    """

    image: Path
    annotation: Path
    sample_id: str
    patient_id: Any
    split: str
    objects: tuple[AnnotatedObject, ...] = ()
    size: tuple[int, int] | None = None
    named: str = ""
    fault: str = ""
    categories: tuple[str, ...] = ()
    may_be_empty: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)


def shown_path(path: Path, root: Path) -> str:
    """A path as the data set's folder sees it: how samples are named and messages are kept short."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def claimed_size(width: Any, height: Any) -> tuple[int, int] | None:
    """The picture's size as a file claims it; None for 0, -1 or nothing, as tools write where they do not know it."""
    x, y = finite_number(width), finite_number(height)
    return (int(x), int(y)) if x is not None and y is not None and x > 0 and y > 0 else None
