"""What a checkpoint was trained with: ``training.json`` beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from monai_robust.errors import BadInputError

__all__ = ["check_record", "load_weights", "read_record", "write_record"]

_NAME = "training.json"


def write_record(output_dir: str | Path, **settings: Any) -> Path:
    """Write the settings of a training run, among them ``classes`` and ``image_size``, to ``training.json``."""
    path = Path(output_dir) / _NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    recipe = settings.get("recipe")
    if recipe is not None and not isinstance(recipe, str):
        settings["recipe"] = recipe.name
    path.write_text(json.dumps(settings, indent=2, default=str) + "\n")
    return path


def read_record(checkpoint: str | Path, default: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The settings beside a checkpoint, or ``default`` where there is not even a checkpoint.

    Raises:
        BadInputError: for a checkpoint without settings, no checkpoint and no default, or a damaged file.
    """
    path = Path(checkpoint).parent / _NAME
    if not path.is_file():
        if default is None or Path(checkpoint).is_file():
            raise BadInputError(f"{path} is missing, so nobody knows which classes {Path(checkpoint).name} tells apart")
        return dict(default)
    try:
        return dict(json.loads(path.read_text()))
    except (json.JSONDecodeError, TypeError, ValueError) as error:
        raise BadInputError(f"{path} is damaged ({error}); write it anew by training again") from error


def check_record(
    checkpoint: str | Path, *, classes: Sequence[str], image_size: int | None = None, **same: Any
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
    if list(record["classes"]) != list(classes):
        raise BadInputError(
            f"{checkpoint} tells apart {', '.join(record['classes'])}, but the data set has {', '.join(classes)}"
        )
    if image_size is not None and record["image_size"] != image_size:
        raise BadInputError(
            f"{checkpoint} was trained at image_size {record['image_size']}, not {image_size}; "
            f"add --image_size {record['image_size']}"
        )
    for name, value in same.items():
        if name in record and record[name] != value:
            raise BadInputError(
                f"{checkpoint} was trained with {name} {record[name]}, not {value}, so it may have been trained on the "
                f"test data, or have another network; add --{name} {record[name]}"
            )
    return record


def load_weights(network: nn.Module, checkpoint: str | Path) -> nn.Module:
    """``network`` with the weights of a checkpoint: a state dictionary, or one below ``network`` or ``model``.

    Raises:
        BadInputError: when the file is missing, is no checkpoint, or holds another network.
    """
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise BadInputError(f"there is no checkpoint {checkpoint}") from error
    except Exception as error:  # torch raises whatever its unpickler meets
        raise BadInputError(f"{checkpoint} cannot be read as a checkpoint of weights: {error}") from error
    try:
        network.load_state_dict(state.get("network", state.get("model", state)))
    except RuntimeError as error:
        raise BadInputError(f"{checkpoint} holds another network: {str(error).splitlines()[-1].strip()}") from error
    return network
