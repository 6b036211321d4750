"""Pictures of a few samples, kept for the report in one ``gallery.npz`` of plain arrays.

The file holds, for every key ``clean`` or ``<perturbation>@<severity>``, an array (G, H, W) of the same G samples as
the network was shown them, and ``captions``, a JSON text: for every key a list of G captions. Of a segmentation it also
holds label maps (G, H, W): ``mask_truth``, and for every key ``mask_<key>``, what the network predicted. Nothing in it
names a sample or a patient.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_robust.data.files import write_whole
from monai_robust.errors import BadInputError
from monai_robust.evaluation.table import CLEAN

__all__ = ["Caption", "Gallery", "picture_key", "read_gallery", "write_gallery"]

Pictures = NDArray[Any] | Sequence[NDArray[Any]]

MASK = "mask_"
TRUTH = "mask_truth"


@dataclass(frozen=True)
class Caption:
    """What a picture shows and what the network made of it.

    Attributes:
        label: the true class, or whatever stands for the truth.
        prediction: what the network predicted.
        confidence: probability the network gave its prediction, 0 to 1; None where there is none.
    """

    label: str
    prediction: str
    confidence: float | None = None


@dataclass(frozen=True, eq=False)
class Gallery:
    """Pictures of G samples by key; ``clean`` is among the keys.

    Attributes:
        pictures: (G, H, W) by key.
        captions: G captions by key.
        masks: predicted label maps (G, H, W) by key; empty where the task has none.
        truth: true label maps (G, H, W), if any.
    """

    pictures: Mapping[str, NDArray[np.float32]]
    captions: Mapping[str, Sequence[Caption]]
    masks: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    truth: NDArray[np.uint8] | None = None


def picture_key(perturbation: str, severity: float) -> str:
    """The key of a perturbation's pictures, such as ``pgd_l2@2.0``."""
    return CLEAN if perturbation == CLEAN else f"{perturbation}@{float(severity)!r}"


def write_gallery(
    path: str | Path,
    pictures: Mapping[tuple[str, float], Pictures],
    captions: Mapping[tuple[str, float], Sequence[Mapping[str, Any]]],
    masks: Mapping[tuple[str, float], Pictures] | None = None,
    truth: Pictures | None = None,
) -> Path:
    """Write a gallery.

    Pictures of different sizes are padded, at the bottom and to the right, by the least value of their clean picture,
    and label maps by 0.

    Args:
        path: the file, ``gallery.npz`` in the run's folder.
        pictures: G pictures (H, W) by perturbation and severity, the clean ones among them.
        captions: for each of the same keys, G captions, with the fields of :class:`Caption`.
        masks: for each of the same keys, G predicted label maps (H, W), if the task has any.
        truth: G true label maps (H, W), if the task has any.

    Raises:
        BadInputError: if there is no ``clean``, or shapes, captions and label maps do not fit together.
    """
    clean = [np.asarray(image) for image in pictures.get((CLEAN, 0.0), [])]
    edges = [float(image.min()) for image in clean]
    arrays = {picture_key(*key): _stacked(images, edges).astype(np.float32) for key, images in pictures.items()}
    rows = {picture_key(*key): [asdict(Caption(**row)) for row in listed] for key, listed in captions.items()}
    maps = {MASK + picture_key(*key): _stacked(images).astype(np.uint8) for key, images in (masks or {}).items()}
    if truth is not None:
        maps[TRUTH] = _stacked(truth).astype(np.uint8)
    _check(str(path), arrays, rows, maps)
    buffer = io.BytesIO()
    everything: Any = {"captions": np.array(json.dumps(rows, ensure_ascii=False)), **arrays, **maps}
    np.savez_compressed(buffer, **everything)
    return write_whole(path, buffer.getvalue())


def read_gallery(path: str | Path) -> Gallery:
    """Read a gallery.

    Raises:
        BadInputError: if the file is none.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        rows = json.loads(str(arrays.pop("captions")))
        captions = {key: [Caption(**row) for row in listed] for key, listed in rows.items()}
        maps = {key: arrays.pop(key) for key in list(arrays) if key.startswith(MASK) and key not in captions}
    except (OSError, EOFError, KeyError, TypeError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise BadInputError(f"{path} is not a gallery ({type(error).__name__}); delete it to do without one") from None
    _check(str(path), arrays, captions, maps)
    truth = maps.pop(TRUTH, None)
    return Gallery(arrays, captions, {key.removeprefix(MASK): images for key, images in maps.items()}, truth)


def _stacked(images: Pictures, edges: Sequence[float] | None = None) -> NDArray[Any]:
    """(G, H, W) of pictures (H, W), padded to the size of the largest."""
    parts = [np.asarray(image) for image in images]
    if len({part.shape for part in parts}) < 2 or any(part.ndim != 2 for part in parts):
        return np.asarray(images)
    height, width = np.max([part.shape for part in parts], axis=0)
    found = np.zeros((len(parts), height, width), dtype=parts[0].dtype)
    for index, part in enumerate(parts):
        found[index] = edges[index] if edges else 0
        found[index, : part.shape[0], : part.shape[1]] = part
    return found


def _check(
    path: str,
    arrays: Mapping[str, NDArray[np.float32]],
    captions: Mapping[str, Sequence[Any]],
    maps: Mapping[str, NDArray[np.uint8]],
) -> None:
    if CLEAN not in arrays or arrays.keys() != captions.keys():
        raise BadInputError(
            f"{path}: a gallery needs pictures of {CLEAN!r} and captions for every key, no more, no less"
        )
    shape = arrays[CLEAN].shape
    for key, images in arrays.items():
        if images.shape != shape or images.ndim != 3 or len(captions[key]) != len(images):
            raise BadInputError(
                f"{path}: {key} has pictures of shape {images.shape} and {len(captions[key])} captions; "
                f"all keys need pictures (G, H, W) of one shape, {shape} here, and G captions"
            )
    if not maps:
        return
    if maps.keys() != {TRUTH, *(MASK + key for key in arrays)}:
        raise BadInputError(f"{path}: label maps must be there of the truth and for every key, or not at all")
    for name, found in maps.items():
        if found.shape != shape:
            raise BadInputError(f"{path}: {name} has shape {found.shape}, but the pictures have {shape}")
