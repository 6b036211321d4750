"""Pictures of a few samples, kept for the report in one ``gallery.npz`` of plain arrays.

The file holds, for every key ``clean`` or ``<perturbation>@<severity>``, an array (G, H, W) of the same G samples as
the network was shown them, and ``captions``, a JSON text: for every key a list of G captions. Of a segmentation it also
holds label maps (G, H, W): ``mask_truth``, and for every key ``mask_<key>``, what the network predicted. Nothing in it
names a sample or a patient.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from monai_robust.data.files.schemas import Rule, checked, one_line, shown
from monai_robust.data.files.side_files import as_number, parse_json, regular_file
from monai_robust.data.files.whole import write_whole
from monai_robust.errors import BadInputError
from monai_robust.evaluation.tables.npz import plain_arrays
from monai_robust.evaluation.tables.schema import CLEAN

__all__ = ["Caption", "Gallery", "picture_key", "read_gallery", "spread", "write_gallery"]

Pictures = NDArray[Any] | Sequence[NDArray[Any]]

LARGEST = 2**30
"""Bytes of a gallery, packed or unpacked."""
MOST = 8
"""Samples of a gallery that a report shows."""
MASK = "mask_"
TRUTH = "mask_truth"


_Text = Annotated[str, Rule("a text in one line", lambda text: one_line(text) and len(text) < 10_000)]


@dataclass(frozen=True)
class Caption:
    """What a picture shows and what the network made of it.

    Attributes:
        label: the true class, or whatever stands for the truth.
        prediction: what the network predicted.
        confidence: probability the network gave its prediction, 0 to 1; None where there is none.
    """

    label: _Text
    prediction: _Text
    confidence: Annotated[float, Rule("a number from 0 to 1", lambda share: -1e-6 <= share <= 1 + 1e-6)] | None = None


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


def spread(gallery: Gallery, most: int = MOST) -> Gallery:
    """The gallery itself, or, of more than ``most`` samples, that many, evenly spread from the first to the last."""
    count = len(gallery.captions[CLEAN])
    if count <= most:
        return gallery
    places = np.unique(np.linspace(0, count - 1, most).round().astype(int))
    return Gallery(
        {key: images[places] for key, images in gallery.pictures.items()},
        {key: [listed[place] for place in places] for key, listed in gallery.captions.items()},
        {key: labels[places] for key, labels in gallery.masks.items()},
        None if gallery.truth is None else gallery.truth[places],
    )


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
    path = regular_file(path, "gallery", LARGEST)
    try:
        arrays = plain_arrays(path, LARGEST)
        text = arrays.pop("captions", np.array("null"))
        rows = parse_json(str(text) if text.ndim == 0 and text.dtype.kind == "U" else "null", "its captions")
        captions = checked(dict[str, list[Caption]], rows, "its captions", "captions")
    except BadInputError as error:
        raise BadInputError(f"{path} is not a gallery: {error}; delete it to do without one") from None
    except Exception as error:  # zipfile, zlib and numpy raise many kinds for damaged files
        raise BadInputError(f"{path} is not a gallery ({type(error).__name__}); delete it to do without one") from None
    maps = {key: arrays.pop(key) for key in list(arrays) if key.startswith(MASK) and key not in captions}
    _check(str(path), arrays, captions, maps)
    _check_values(str(path), arrays, maps)
    truth = maps.pop(TRUTH, None)
    return Gallery(arrays, captions, {key.removeprefix(MASK): images for key, images in maps.items()}, truth)


def _check_values(path: str, arrays: Mapping[str, NDArray[Any]], maps: Mapping[str, NDArray[Any]]) -> None:
    for key, images in arrays.items():
        name, at, severity = key.partition("@")
        value = as_number(severity) if at else 0.0
        if not name or value is None or not math.isfinite(value) or (key != CLEAN and not at):
            raise BadInputError(f"{path}: {shown(key)} is no key of pictures, such as {CLEAN} or pgd_l2@2.0")
        if images.dtype.kind not in "fiu" or not np.isfinite(images).all():
            raise BadInputError(f"{path}: the pictures {shown(key)} must be finite numbers")
    for key, labels in maps.items():
        if labels.dtype.kind not in "iu":
            raise BadInputError(f"{path}: the label maps {shown(key)} must be whole numbers")


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
    if 0 in shape:
        raise BadInputError(f"{path} holds pictures of shape {shape}, which is nothing to show")
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
