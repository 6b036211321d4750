"""Largest components only, for the classes where validation says that it helps."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.metrics import compute_dice
from scipy import ndimage
from torch import Tensor

from monai_robust.data.files.schemas import checked
from monai_robust.data.files.side_files import read_object
from monai_robust.data.files.whole import write_whole
from monai_robust.errors import BadInputError

__all__ = ["apply_postprocessing", "choose_postprocessing", "read_postprocessing", "write_postprocessing"]


def choose_postprocessing(predictions: Iterable[Any], labels: Iterable[Any], classes: Sequence[str]) -> dict[str, bool]:
    """Ask validation data for which classes to keep the largest connected component alone.

    A class is chosen where that raises its mean Dice over the volumes; volumes without the class in prediction and
    label are left out of the mean.

    Source: Isensee et al. 2021 (nnU-Net), supplementary note 6; its test of all classes as one object is left out.

    Args:
        predictions: label maps (*spatial) or (1, *spatial) of the validation volumes, read once, one at a time.
        labels: the true ones, in the same order.
        classes: names of the foreground classes, in the order of their labels 1, 2, ...

    Returns:
        For each class, whether to keep its largest component alone.

    Raises:
        BadInputError: for no volume, or predictions and labels of other numbers or shapes.
    """
    gains: dict[str, list[float]] = {name: [] for name in classes}
    count = -1
    try:
        for count, (prediction, label) in enumerate(zip(predictions, labels, strict=True)):
            found, truth = _array(prediction), _array(label)
            if found.shape != truth.shape:
                raise BadInputError(f"volume {count + 1}: prediction of shape {found.shape}, label of {truth.shape}")
            for index, name in enumerate(classes, start=1):
                gains[name] += _gain(found == index, truth == index)
    except BadInputError:
        raise
    except ValueError as error:  # zip's
        raise BadInputError("postprocessing needs as many predictions as labels") from error
    if count < 0:
        raise BadInputError("postprocessing is chosen on validation volumes, and there are none")
    return {name: bool(values) and float(np.mean(values)) > 0 for name, values in gains.items()}


def apply_postprocessing(label_map: Tensor, choice: Mapping[str, bool]) -> Tensor:
    """The label map with all but the largest component of each chosen class set to background.

    Voxels are connected through faces, edges and corners; of two components of one size the first one stays.

    Args:
        label_map: (*spatial) or (1, *spatial), class indices.
        choice: for each class in the order of labels 1, 2, ..., whether to do so.

    Returns:
        A new tensor of the same shape, type and device.
    """
    result = label_map.clone()
    values = _array(label_map)
    for index, (_, chosen) in enumerate(choice.items(), start=1):
        if not chosen:
            continue
        mask = values == index
        dropped = torch.from_numpy(mask & ~_largest(mask)).reshape(result.shape).to(result.device)
        result[dropped] = 0
    return result


def write_postprocessing(choice: Mapping[str, bool], path: str | Path) -> Path:
    """Write a choice as JSON, ``{class: whether only its largest component stays}``."""
    return write_whole(Path(path), (json.dumps(dict(choice), indent=2) + "\n").encode())


def read_postprocessing(path: str | Path, classes: Sequence[str]) -> dict[str, bool]:
    """Read a choice that :func:`write_postprocessing` wrote, in the order of ``classes``.

    Raises:
        BadInputError: when the file is missing or damaged, or is about other classes.
    """
    found = read_object(path, "choice of postprocessing")
    choice: dict[str, bool] = checked(dict[str, bool], found, str(path), "choice")
    if set(choice) != set(classes):
        raise BadInputError(f"{path} is about {', '.join(choice)}, but the classes are {', '.join(classes)}")
    return {name: choice[name] for name in classes}


def _array(label_map: Any) -> np.ndarray:
    """(*spatial) from (*spatial) or (1, *spatial); a slice of one row is no volume."""
    values = torch.as_tensor(label_map).detach().cpu().as_subclass(Tensor).numpy()
    return values[0] if values.ndim in (3, 4) and len(values) == 1 else values


def _largest(mask: np.ndarray) -> np.ndarray:
    components, count = ndimage.label(mask, structure=np.ones((3,) * mask.ndim))
    if count < 2:
        return mask
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    return np.asarray(components == sizes.argmax())


def _gain(found: np.ndarray, truth: np.ndarray) -> list[float]:
    """By how much the largest component alone has a better Dice; nothing where neither holds the class."""
    if not found.any() and not truth.any():
        return []
    masks = torch.from_numpy(np.stack([_largest(found), found]))[:, None]
    kept, given = compute_dice(masks.double(), torch.from_numpy(truth)[None, None].expand_as(masks), ignore_empty=False)
    return [float(kept - given)]
