"""Pictures of a few samples, kept for the report in one ``gallery.npz`` of plain arrays.

The file holds, for every key ``clean`` or ``<perturbation>@<severity>``, an array (G, H, W) of the same G samples as
the network was shown them, and ``captions``, a JSON text: for every key a list of G captions. Nothing in it names a
sample or a patient.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_robust.errors import BadInputError
from monai_robust.evaluation.files import write_whole
from monai_robust.evaluation.table import CLEAN

__all__ = ["Caption", "Gallery", "picture_key", "read_gallery", "write_gallery"]


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
    """Pictures (G, H, W) and their captions, by key; ``clean`` is among the keys."""

    pictures: Mapping[str, NDArray[np.float32]]
    captions: Mapping[str, Sequence[Caption]]


def picture_key(perturbation: str, severity: float) -> str:
    """The key of a perturbation's pictures, such as ``pgd_l2@2.0``."""
    return CLEAN if perturbation == CLEAN else f"{perturbation}@{float(severity)!r}"


def write_gallery(
    path: str | Path,
    pictures: Mapping[tuple[str, float], ArrayLike],
    captions: Mapping[tuple[str, float], Sequence[Mapping[str, Any]]],
) -> Path:
    """Write a gallery.

    Args:
        path: the file, ``gallery.npz`` in the run's folder.
        pictures: arrays (G, H, W) by perturbation and severity, the clean ones among them.
        captions: for each of the same keys, G captions, with the fields of :class:`Caption`.

    Raises:
        BadInputError: if there is no ``clean``, or shapes and captions do not fit together.
    """
    arrays = {picture_key(*key): np.asarray(images, dtype=np.float32) for key, images in pictures.items()}
    rows = {picture_key(*key): [asdict(Caption(**row)) for row in listed] for key, listed in captions.items()}
    _check(str(path), arrays, rows)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, captions=np.array(json.dumps(rows, ensure_ascii=False)), **arrays)  # type: ignore[arg-type]
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
    except (OSError, EOFError, KeyError, TypeError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise BadInputError(f"{path} is not a gallery ({type(error).__name__}); delete it to do without one") from None
    _check(str(path), arrays, captions)
    return Gallery(arrays, captions)


def _check(path: str, arrays: Mapping[str, NDArray[np.float32]], captions: Mapping[str, Sequence[Any]]) -> None:
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
