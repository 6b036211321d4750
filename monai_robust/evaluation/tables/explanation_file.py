"""What a network looked at, kept for the report in one ``explanation.npz`` of plain arrays.

Nothing in it names a sample or a patient. Pictures are upright, rows first; of volumes one slice.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_robust.data.files.side_files import parse_json, regular_file
from monai_robust.data.files.whole import write_whole
from monai_robust.errors import BadInputError
from monai_robust.evaluation.tables.npz import plain_arrays

__all__ = ["EXPLANATION", "KINDS", "METHODS", "Embedding", "Explained", "read_explanation", "write_explanation"]

EXPLANATION = "explanation.npz"
METHODS = {"gradient": "Input gradient", "smoothgrad": "SmoothGrad", "gradcam": "Grad-CAM"}
KINDS = ("training", "test", "adversarial")
_LARGEST = 2**28
_VERSION = 1


@dataclass(frozen=True, eq=False)
class Embedding:
    """Features of M samples in a plane.

    Attributes:
        places: (M, 2).
        kinds: (M,) index into :data:`KINDS`.
        labels: (M,) true classes; of several findings the most probable one that is present, -1 where none is.
        predictions: (M,) what the network says.
    """

    places: NDArray[np.float64]
    kinds: NDArray[np.int64]
    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Explained:
    """N samples, clean and under an attack; the second axis, where it has length 2, is clean and adversarial.

    Attributes:
        attack: its name in the outcomes table.
        radius: of the attack.
        images: (N, 2, H, W).
        labels: (N,) true classes; of several findings the most probable one that is present, -1 where none is; empty
            in segmentation.
        predictions: (N, 2) predicted classes; empty in segmentation.
        maps: saliency by method, (N, 2, H, W).
        correlation: by method, (N,) rank correlation of the whole maps; NaN where one is constant.
        overlap: by method, (N,) overlap of the top 10 %.
        masks: of segmentation (N, 3, H, W): truth, prediction, and prediction under the attack.
        moved: of segmentation (N,), Dice of the two predictions, all classes together; NaN where both are empty.
        embedding: of classification.
        notes: sentences about what could not be had.
    """

    attack: str
    radius: float
    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]
    maps: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    correlation: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    overlap: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    masks: NDArray[np.uint8] | None = None
    moved: NDArray[np.float64] | None = None
    embedding: Embedding | None = None
    notes: tuple[str, ...] = ()


def write_explanation(path: str | Path, found: Explained) -> Path:
    """Write it.

    Args:
        path: the file, ``explanation.npz`` in the run's folder.
        found: what was measured.
    """
    about = {"version": _VERSION, "attack": found.attack, "radius": found.radius, "notes": list(found.notes)}
    arrays: dict[str, Any] = {
        "about": np.array(json.dumps(about)),
        "images": found.images.astype(np.float16),
        "labels": found.labels,
        "predictions": found.predictions,
    }
    for name, maps in found.maps.items():
        peaks = np.abs(maps).max(axis=(1, 2, 3), keepdims=True)
        arrays[f"map_{name}"] = (maps / np.where(peaks > 0, peaks, 1)).astype(np.float16)
        arrays[f"correlation_{name}"] = found.correlation[name]
        arrays[f"overlap_{name}"] = found.overlap[name]
    if found.masks is not None and found.moved is not None:
        arrays |= {"masks": found.masks, "moved": found.moved}
    if found.embedding is not None:
        own = found.embedding
        arrays |= {
            "places": own.places,
            "kinds": own.kinds,
            "place_labels": own.labels,
            "place_predictions": own.predictions,
        }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return write_whole(path, buffer.getvalue())


def read_explanation(folder: str | Path) -> Explained | None:
    """Read it from a run's folder; None where there is none.

    Raises:
        BadInputError: if the file is damaged or holds something else.
    """
    path = Path(folder) / EXPLANATION
    if not path.exists():
        return None
    path = regular_file(path, "explanation", _LARGEST)
    try:
        arrays = plain_arrays(path, _LARGEST)
        about = parse_json(str(arrays.pop("about", np.array("null"))), "its description")
        found = _explained(about, arrays)
    except BadInputError as error:
        raise BadInputError(f"{path} is no explanation: {error}; delete it to do without one") from None
    except Exception as error:  # zipfile, zlib and numpy raise many kinds for damaged files
        reason = type(error).__name__
        raise BadInputError(f"{path} is no explanation ({reason}); delete it to do without one") from None
    return found


def _explained(about: Any, arrays: Mapping[str, NDArray[Any]]) -> Explained:
    if not isinstance(about, dict) or about.get("version") != _VERSION:
        raise BadInputError(f"its version is not {_VERSION}")
    images = _shaped(arrays, "images", (None, 2, None, None))
    count, _, height, width = images.shape
    methods = [name for name in METHODS if f"map_{name}" in arrays]
    masks = _shaped(arrays, "masks", (count, 3, height, width)) if "masks" in arrays else None
    embedding = None
    if "places" in arrays:
        places = _shaped(arrays, "places", (None, 2))
        names = ("kinds", "place_labels", "place_predictions")
        kinds, labels, predictions = (_shaped(arrays, name, (len(places),)).astype(np.int64) for name in names)
        if not np.isin(kinds, range(len(KINDS))).all():
            raise BadInputError("kinds holds what is none")
        embedding = Embedding(places.astype(np.float64), kinds, labels, predictions)
    labels = _shaped(arrays, "labels", (None,)).astype(np.int64)
    return Explained(
        attack=str(about["attack"]),
        radius=float(about["radius"]),
        images=images.astype(np.float32),
        labels=labels,
        predictions=_shaped(arrays, "predictions", (len(labels), 2)).astype(np.int64),
        maps={n: _shaped(arrays, f"map_{n}", (count, 2, height, width)).astype(np.float32) for n in methods},
        correlation={n: _shaped(arrays, f"correlation_{n}", (count,), True).astype(np.float64) for n in methods},
        overlap={n: _shaped(arrays, f"overlap_{n}", (count,), True).astype(np.float64) for n in methods},
        masks=None if masks is None else masks.astype(np.uint8),
        moved=None if masks is None else _shaped(arrays, "moved", (count,), True).astype(np.float64),
        embedding=embedding,
        notes=tuple(str(note) for note in about.get("notes", [])),
    )


def _shaped(
    arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int | None, ...], missing: bool = False
) -> NDArray[Any]:
    """The array of a name, of this shape; NaN is allowed where ``missing``."""
    found = arrays.get(name)
    if found is None:
        raise BadInputError(f"it has no {name}")
    fits = len(found.shape) == len(shape) and all(
        want in (None, has) for want, has in zip(shape, found.shape, strict=True)
    )
    if not fits or found.dtype.kind not in "fiu" or np.isinf(found).any() or (np.isnan(found).any() and not missing):
        raise BadInputError(f"{name} is not what it must be, numbers of shape {shape}")
    return found
