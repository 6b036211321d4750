"""A plan as a file that a person reads and edits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from monai_robust.data.files.schemas import one_line
from monai_robust.data.files.side_files import read_yaml
from monai_robust.data.files.whole import write_whole
from monai_robust.errors import BadInputError
from monai_robust.planning.fingerprint import Intensities
from monai_robust.planning.plan import Plan
from monai_robust.scalars import is_number, is_whole

__all__ = ["read_plan", "write_plan"]

_HEADING = """\
# A plan for segmentation in 2-D slices, made by nnU-Net's rules. Every value may be edited; what cannot work is refused
# when the plan is read. Sizes are in the order of the volume's axes, without the slice axis.
"""

_LARGEST = 2**20  # of a whole number; more pixels, slices or channels fit into no memory

_COMMENTS = {
    "orientation": "where the volume's axes 0, 1 and 2 point to in the patient; volumes stored otherwise are turned",
    "slice_axis": "axis of the volume (0, 1 or 2) across which slices are cut",
    "spacing": "mm of a pixel; slices are resampled to it",
    "patch": "pixels of a training sample and of a window of inference; multiples of the product of the strides",
    "batch_size": "slices in a batch",
    "features": "channels of each stage, from full resolution to the bottleneck",
    "kernels": "convolution kernel of each stage; odd numbers",
    "strides": "downsampling on entering each stage; the first is [1, 1]",
    "head_weights": "weight in the loss of each output, from full resolution downwards; one value: no deep supervision",
    "modality": "name of each input channel",
    "normalisation": "of each input channel: zscore (by each volume) or ct (clip to low and high, then mean and std)",
    "nonzero_only": "zscore looks at voxels that are not zero, and leaves the others 0",
    "intensities": "of each input channel, in the training data's foreground (low, high: 0.5th and 99.5th percentile)",
    "classes": "names of the foreground classes, labels 1, 2, ...",
    "rotation": "largest angle of augmentation, degrees",
    "scale": "smallest and largest factor of augmentation; above 1 objects become smaller",
    "mirror_axes": "axes of the slice (0, 1) to mirror in training and at test time",
}


def write_plan(plan: Plan, path: str | Path) -> Path:
    """Write a plan as YAML with a comment on every value; :func:`read_plan` reads it."""
    parts = [_HEADING]
    for name, value in asdict(plan).items():
        parts.append(f"\n# {_COMMENTS[name]}\n{name}: {_in_a_line(value)}\n")
    return write_whole(path, "".join(parts).encode())  # several processes may write the same plan at once


def read_plan(path: str | Path) -> Plan:
    """Read a plan that :func:`write_plan` wrote and a person may have edited.

    Raises:
        BadInputError: when the file is missing or no YAML, or for a value that is missing, unknown or cannot work.
    """
    path = Path(path)
    values = read_yaml(path, "plan")
    if not isinstance(values, dict):
        raise BadInputError(f"{path} holds no plan, which is a list of names with a value each")
    try:
        return _plan(values)
    except BadInputError as error:
        raise BadInputError(f"{path}: {error}") from error


def _in_a_line(value: Any) -> str:
    text = yaml.safe_dump(
        _plain(value), default_flow_style=True, sort_keys=False, width=float("inf"), allow_unicode=True
    )
    return text.removesuffix("...\n").strip()  # YAML ends a single value with dots


def _plain(value: Any) -> Any:
    """Lists in place of tuples, which YAML would mark as Python's."""
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return value


def _plan(values: Mapping[Any, Any]) -> Plan:
    names = [field.name for field in fields(Plan)]
    missing = [name for name in names if name not in values]
    for name in values:
        if name not in names:
            close = get_close_matches(str(name), names, n=1)
            raise BadInputError(f"{name!s:.60} is no value of a plan" + (f"; is it {close[0]}?" if close else ""))
    if missing == ["orientation"]:
        raise BadInputError(
            "orientation is missing, as in plans of older versions; add where the axes of the volumes that it was made "
            "for point to (nibabel.aff2axcodes tells it of a file's affine), such as orientation: RAS"
        )
    if missing:
        raise BadInputError(f"{', '.join(missing)} is missing")
    return Plan(**{name: _READERS[name](name, values[name]) for name in names})


def _whole(name: str, value: Any) -> int:
    if not is_whole(value) or abs(value) > _LARGEST:
        raise BadInputError(f"{name} has {_shown(value)}; it takes whole numbers up to {_LARGEST}")
    return value


def _number(name: str, value: Any) -> float:
    if not is_number(value):
        raise BadInputError(f"{name} has {_shown(value)}; it takes numbers")
    return float(value)


def _shown(value: Any) -> str:
    try:
        return f"{value!r:.60}"
    except ValueError:  # an integer of more digits than Python writes
        return "a number without end"


def _switch(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise BadInputError(f"{name} is {_shown(value)}; it is true or false")
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value or not one_line(value):
        raise BadInputError(f"{name} has {_shown(value)}; it takes names (in quotes, where they look like numbers)")
    return value


def _intensities(name: str, value: Any) -> Intensities:
    names = [field.name for field in fields(Intensities)]
    if not isinstance(value, dict) or set(value) != set(names):
        raise BadInputError(f"{name} has {_shown(value)}; each channel takes {', '.join(names)}")
    return Intensities(**{key: _number(name, value[key]) for key in names})


def _list_of(reader: Callable[[str, Any], Any]) -> Callable[[str, Any], tuple[Any, ...]]:
    def read(name: str, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise BadInputError(f"{name} has {_shown(value)} where a list in square brackets is needed")
        return tuple(reader(name, part) for part in value)

    return read


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "orientation": _text,
    "slice_axis": _whole,
    "spacing": _list_of(_number),
    "patch": _list_of(_whole),
    "batch_size": _whole,
    "features": _list_of(_whole),
    "kernels": _list_of(_list_of(_whole)),
    "strides": _list_of(_list_of(_whole)),
    "head_weights": _list_of(_number),
    "modality": _list_of(_text),
    "normalisation": _list_of(_text),
    "nonzero_only": _switch,
    "intensities": _list_of(_intensities),
    "classes": _list_of(_text),
    "rotation": _number,
    "scale": _list_of(_number),
    "mirror_axes": _list_of(_whole),
}
