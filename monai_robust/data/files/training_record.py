"""What a checkpoint was trained with: ``training.json`` beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

from monai_robust.data.files.schemas import Count, Name, Positive, Rule, fields_of, shown
from monai_robust.data.files.side_files import read_object
from monai_robust.data.files.whole import write_whole
from monai_robust.errors import BadInputError

__all__ = ["check_record", "read_record", "write_record"]

_NAME = "training.json"
_Pixels = Annotated[int, Rule("a whole number from 1 to 65536", lambda value: 1 <= value <= 2**16)]
_Index = Annotated[int, Rule("a whole number from 0 on", lambda value: value >= 0)]
_Names = Annotated[list[Name], Rule("a list of different names", lambda names: 0 < len(names) == len(set(names)))]


class _Record(TypedDict, total=False):
    """What the settings that are read again must be: some go into a bundle's configuration, where a text could run."""

    classes: _Names
    recipe: Name | None
    seed: int | None
    split_seed: _Index | None
    fold: _Index | None
    image_size: _Pixels | list[_Pixels] | None
    features: Count | list[Count] | None
    backbone: Literal["resnet10", "resnet18", "resnet34"]
    anchor_shapes: list[list[Positive]]
    heatmap: Literal["bce", "dice"]
    radius: Positive


def write_record(output_dir: str | Path, **settings: Any) -> Path:
    """Write the settings of a training run, among them ``classes`` and ``image_size``, to ``training.json``."""
    recipe = settings.get("recipe")
    if recipe is not None and not isinstance(recipe, str):
        settings["recipe"] = recipe.name
    return write_whole(Path(output_dir) / _NAME, f"{json.dumps(settings, indent=2, default=str)}\n".encode())


def read_record(checkpoint: str | Path, default: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The settings beside a checkpoint, or ``default`` where there is not even a checkpoint.

    A file must say all that ``default`` says. Every setting that is read again is of its kind: what a network is made
    from is numbers and names of ours, and nothing that a configuration would run.

    Raises:
        BadInputError: for a checkpoint without settings, no checkpoint and no default, a damaged file, or a setting of
            another kind.
    """
    path = Path(checkpoint).parent / _NAME
    if not path.exists():
        if default is None or Path(checkpoint).is_file():
            raise BadInputError(f"{path} is missing, so nobody knows which classes {Path(checkpoint).name} tells apart")
        return dict(default)
    try:
        record = read_object(path, "record of a training")
    except BadInputError as error:
        raise BadInputError(f"{path} is damaged ({error}); write it anew by training again") from None
    _check_present(record, default or (), path)
    return fields_of(_Record, record, str(path))


def check_record(
    checkpoint: str | Path, *, classes: Sequence[str], image_size: Any = None, **same: Any
) -> dict[str, Any]:
    """The settings beside a checkpoint, refused where they contradict the data at hand.

    Args:
        checkpoint: the weights, with ``training.json`` beside them.
        classes: names of the data set's classes.
        image_size: of the data to come, where the network was trained for one.
        **same: further settings that must be those of the training, such as ``split_seed`` and ``fold``: another
            split would test on training images.

    Raises:
        BadInputError: when checkpoint or settings are missing, or one of them is another.
    """
    if not Path(checkpoint).is_file():
        raise BadInputError(f"there is no checkpoint {checkpoint}; train one first, or name one with --checkpoint")
    record = read_record(checkpoint)
    _check_present(record, ["classes", *(["image_size"] if image_size is not None else [])], Path(checkpoint))
    if list(record["classes"]) != list(classes):
        theirs, ours = ", ".join(record["classes"][:20]), ", ".join(classes[:20])
        raise BadInputError(f"{checkpoint} tells apart {theirs}, but the data set has {ours}")
    if image_size is not None and record["image_size"] != image_size:
        trained = record["image_size"]
        raise BadInputError(
            f"{checkpoint} was trained at image_size {trained}, not {image_size}; add --image_size {trained}"
        )
    for name, value in same.items():
        if name in record and record[name] != value:
            trained = shown(record[name])
            raise BadInputError(
                f"{checkpoint} was trained with {name} {trained}, not {value}, so it may have been trained on the "
                f"test data, or have another network; add --{name} {trained}"
            )
    return record


def _check_present(record: Mapping[str, Any], names: Iterable[str], path: Path) -> None:
    missing = next((name for name in names if name not in record), None)
    if missing is not None:
        raise BadInputError(
            f"{path.with_name(_NAME)}: field {missing!r} is missing; take the file that the training wrote"
        )
