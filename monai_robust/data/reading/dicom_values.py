"""Stored values of DICOM in the units of their modality, whatever they are stored as.

Sources: PS3.3 C.7.6.3.1 (photometric interpretation, bits), C.7.5.1.1.2 (padding), C.11.1 (rescale and table).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset as Header
from pydicom.pixels import apply_modality_lut

from monai_robust.data.reading.dicom_header import numbers
from monai_robust.data.reading.files import unreadable, warn_of

__all__ = ["in_modality_units", "rescaled", "within_stored_bits"]


def in_modality_units(path: Path, header: Header, stored: NDArray[Any]) -> NDArray[Any]:
    """Rescaled or looked up, a dense structure bright, and padding dark.

    Args:
        path: the file, for messages.
        header: of the file.
        stored: (frames, rows, columns), as they were decoded.

    Raises:
        BadSampleError: the rescale or the table of the file is damaged.
    """
    inverted = header.get("PhotometricInterpretation") == "MONOCHROME1" and stored.dtype.kind in "iu"
    padding = _padding(path, header, stored) if inverted else None
    if "ModalityLUTSequence" in header and len(header.ModalityLUTSequence):
        values = _looked_up(path, header, stored, inverted)
    else:
        if inverted:
            stored = stored.dtype.type(_stored_low_plus_high(header)) - stored
        lines = [_rescale(path, part) for part in _value_groups(path, header, len(stored))]
        values = rescaled(stored, lines, header)
    return values if padding is None else _with_dark(values, padding)


def within_stored_bits(path: Path, header: Header, stored: NDArray[Any], *, lossy: bool) -> NDArray[Any]:
    """Values without the bits above ``BitsStored``, which may be overlays: decoders of compressed pixels keep them.

    Args:
        path: the file, for a warning.
        header: of the file.
        stored: as they were decoded.
        lossy: whether compression may itself have led beyond the stored bits; then they are cut to what these express.
    """
    above = 8 * stored.dtype.itemsize - int(header.get("BitsStored") or header.BitsAllocated)
    if stored.dtype.kind not in "iu" or above <= 0:
        return stored
    low, high = _stored_ends(header)
    if low <= stored.min() and stored.max() <= high:
        return stored
    if lossy:
        bits = 8 * stored.dtype.itemsize - above
        warn_of(f"image {path}", f"has values beyond its {bits} stored bits; they are taken for its ends")
        return stored.clip(low, high)
    return np.asarray((stored << above) >> above)  # of signed values, the sign is carried down


def _padding(path: Path, header: Header, stored: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Which pixels are no part of the image, or None where none is said to be."""
    value = numbers(path, header, "PixelPaddingValue", 1)
    if value is None:
        return None
    limit = numbers(path, header, "PixelPaddingRangeLimit", 1)
    low, high = sorted((float(value[0]), float((value if limit is None else limit)[0])))
    return np.asarray((low <= stored) & (stored <= high))


def _with_dark(values: NDArray[Any], padding: NDArray[np.bool_]) -> NDArray[Any]:
    """Values in which padding is no brighter than the darkest pixel of the image: it is background."""
    if padding.any() and not padding.all():
        values[padding] = np.minimum(values[padding], values[~padding].min())
    return values


def _looked_up(path: Path, header: Header, stored: NDArray[Any], inverted: bool) -> NDArray[Any]:
    try:
        values = np.asarray(apply_modality_lut(stored, header))
        if not inverted:
            return values
        entries, first, _ = header.ModalityLUTSequence[0].LUTDescriptor
        table = apply_modality_lut(np.arange(first, first + (entries or 2**16)), header)
    except Exception as error:
        raise unreadable(path, f"its modality lookup table is damaged ({error})") from error
    return np.asarray(int(table.min()) + int(table.max()) - values.astype(np.int64))


def _value_groups(path: Path, header: Header, frames: int) -> list[Header]:
    """What holds the rescale of each frame: the frame's own group, the group of all, or the header itself."""
    per_frame = header.get("PerFrameFunctionalGroupsSequence") or []
    shared = (header.get("SharedFunctionalGroupsSequence") or [Header()])[0]
    with_own = sum("PixelValueTransformationSequence" in own for own in per_frame)
    if 0 < with_own < frames:
        raise unreadable(path, f"{with_own} of its {frames} frames have a rescale of their own, the others none")
    groups: list[Header] = []
    for frame in range(frames):
        own = per_frame[frame] if frame < len(per_frame) else Header()
        found = own.get("PixelValueTransformationSequence") or shared.get("PixelValueTransformationSequence")
        groups.append(found[0] if found else header)
    return groups


def _rescale(path: Path, group: Header) -> tuple[float, float]:
    if group.get("SOPClassUID") == uid.RTDoseStorage:
        scaling = numbers(path, group, "DoseGridScaling", 1)
        return 1.0 if scaling is None else float(scaling[0]), 0.0
    slope, intercept = numbers(path, group, "RescaleSlope", 1), numbers(path, group, "RescaleIntercept", 1)
    if slope is not None and slope[0] == 0:
        raise unreadable(path, "its RescaleSlope is 0, which makes all pixels alike")
    return 1.0 if slope is None else float(slope[0]), 0.0 if intercept is None else float(intercept[0])


def rescaled(stored: NDArray[Any], lines: Sequence[tuple[float, float]], header: Header) -> NDArray[Any]:
    """``slope * stored + intercept`` for each frame, in whole numbers where all of them are whole."""
    if all(line == (1.0, 0.0) for line in lines):
        return stored
    slope, intercept = (np.array(part).reshape(-1, 1, 1) for part in zip(*lines, strict=True))
    whole = stored.dtype.kind in "iu" and (slope % 1 == 0).all() and (intercept % 1 == 0).all()
    if not whole:
        return np.asarray(stored * slope + intercept)
    reached = [float(end * a + b) for end in _stored_ends(header) for a, b in lines]
    kinds = (np.iinfo(one) for one in (np.int16, np.int32, np.int64))
    kind = next((one.dtype for one in kinds if one.min <= min(reached) and max(reached) <= one.max), None)
    if kind is None:
        return np.asarray(stored * slope + intercept)
    return np.asarray(stored.astype(kind) * slope.astype(kind) + intercept.astype(kind))


def _stored_ends(header: Header) -> tuple[int, int]:
    """The least and the greatest value that the stored bits can express."""
    bits = int(header.get("BitsStored") or header.BitsAllocated)
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if header.get("PixelRepresentation") == 1 else (0, 2**bits - 1)


def _stored_low_plus_high(header: Header) -> int:
    """The sum of the least and the greatest stored value: a value and its inverse add up to it."""
    return sum(_stored_ends(header))
