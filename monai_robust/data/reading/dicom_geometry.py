"""Where the pixels of a DICOM file lie in the patient: spacing, position and order of its frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset as Header

from monai_robust.data.reading.dicom_header import numbers
from monai_robust.data.reading.files import unreadable, warn_of
from monai_robust.errors import BadSampleError

__all__ = ["Stack", "checked_orientation", "frame_axes", "pixel_spacing", "spatial_order", "stack_of_frames"]

_SAME_DIRECTION = 1e-3
_SAME_PLACE_MM = 1e-3
_UNEVEN_SHARE = 0.05
_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
_TIMES = {0x00181063, 0x00181065, 0x00200100}  # FrameTime, FrameTimeVector, TemporalPositionIdentifier


@dataclass(frozen=True)
class Stack:
    """The frames of a file in spatial order.

    Args:
        order: indices of the frames, or None where they stay as they are.
        axes: (3, 3), columns: millimetres (LPS) for one step along x, y, z.
        origin: (3,), millimetres (LPS) of the first voxel.
    """

    order: list[int] | None
    axes: NDArray[np.float64]
    origin: NDArray[np.float64]


def pixel_spacing(path: Path, header: Header) -> NDArray[np.float64] | None:
    """Millimetres from column to column (x) and from row to row (y), or None where the header gives none.

    ``PixelSpacing`` wins: where a projection radiograph has ``ImagerPixelSpacing`` beside it, that is the detector's,
    and ``PixelSpacing`` is calibrated to the patient (DICOM PS3.3 10.7.1.3).

    Raises:
        BadSampleError: it is not two numbers above 0.
    """
    groups = [header]
    for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        measures = [one.PixelMeasuresSequence[0] for one in header.get(name) or [] if one.get("PixelMeasuresSequence")]
        groups = measures[:1] + groups
        found = {tuple(value) for one in measures if (value := numbers(path, one, "PixelSpacing", 2)) is not None}
        if len(found) > 1:
            raise unreadable(path, f"its frames differ in their PixelSpacing: {sorted(found)[:2]}")
    for group in groups:
        for keyword in _SPACINGS:
            value = numbers(path, group, keyword, 2)
            if value is None or not value.any():  # some devices write 0 where they do not know it
                continue
            if not (value > 0).all():
                raise unreadable(path, f"its {keyword} is {value[0]:g} x {value[1]:g} mm; it must be above 0")
            return value[::-1]
    return None


def checked_orientation(path: Path, header: Header) -> NDArray[np.float64] | None:
    """The directions of rows and columns, (2, 3), or None where the header gives none.

    Raises:
        BadSampleError: they are no unit vectors at right angles.
    """
    found = numbers(path, header, "ImageOrientationPatient", 6)
    if found is None:
        return None
    axes = found.reshape(2, 3)
    if np.abs(axes @ axes.T - np.eye(2)).max() > 0.01:
        raise unreadable(path, f"its ImageOrientationPatient {found.tolist()} is not two directions at right angles")
    return axes


def frame_axes(path: Path, header: Header, thickness: float = 1.0) -> NDArray[np.float64]:
    """(3, 3) millimetres (LPS) for one step along x, y and z; z is the normal, of the given length."""
    orientation = checked_orientation(path, header)
    rows, columns = np.eye(3)[:2] if orientation is None else orientation
    spacing = pixel_spacing(path, header)
    x, y = (1.0, 1.0) if spacing is None else spacing
    return np.stack([rows * x, columns * y, np.cross(rows, columns) * thickness], axis=1)


def stack_of_frames(path: Path, header: Header, frames: int) -> Stack:
    """Order and place of the frames of one file.

    Frames with positions are sorted along the normal unless they are in order already, from whichever end. Others
    keep their order, and their distance is what the header has of one in millimetres, or 1.

    Raises:
        BadSampleError: some frames lack a position, several are at one place, or they lie in different directions.
    """
    groups = header.get("PerFrameFunctionalGroupsSequence") or []
    shared = (header.get("SharedFunctionalGroupsSequence") or [Header()])[0]
    if groups and len(groups) != frames:
        raise unreadable(path, f"its NumberOfFrames is {frames}, but its header describes {len(groups)} frames")
    positions = [_of_group(path, one, Header(), "PlanePositionSequence", "ImagePositionPatient", 3) for one in groups]
    known = [position for position in positions if position is not None]
    if not known:
        return _unplaced(path, header, shared, frames)
    if len(known) < len(positions):
        missing = next(number for number, position in enumerate(positions, 1) if position is None)
        raise unreadable(path, f"its frame {missing} has no ImagePositionPatient, but others have one")
    where = [_of_group(path, one, shared, "PlaneOrientationSequence", "ImageOrientationPatient", 6) for one in groups]
    if any(one is None for one in where):
        raise unreadable(path, "its frames have positions, but no ImageOrientationPatient")
    if np.abs(np.array(where) - where[0]).max() > _SAME_DIRECTION:
        raise unreadable(path, "its frames lie in different directions; they make no volume")
    oriented = Header()
    oriented.ImageOrientationPatient = [float(value) for value in np.asarray(where[0])]
    axes = frame_axes(path, oriented)
    spacing = pixel_spacing(path, header)
    axes[:, :2] *= 1.0 if spacing is None else spacing
    places = np.array(known)
    if frames == 1:
        return Stack(None, axes, places[0])
    order, step = spatial_order(places, axes[:, 2], f"frames of {path}")
    axes[:, 2] = step
    return Stack(order, axes, places[order[0]])


def spatial_order(
    places: NDArray[np.float64], normal: NDArray[np.float64], name: str, *, keep_descending: bool = True
) -> tuple[list[int], NDArray[np.float64]]:
    """Sort slices by their position along the normal, and say so where they are not evenly placed.

    Args:
        places: (n, 3), of n slices, 2 or more.
        normal: of the slices, of length 1.
        name: what the slices are of, for messages.
        keep_descending: leave slices alone that go down along the normal, one after the other.

    Returns:
        The order, and the mean step from one slice to the next, (3,), in millimetres.

    Raises:
        BadSampleError: two slices are at one place.
    """
    heights = places @ normal
    gaps = np.diff(heights)
    order = np.argsort(heights, kind="stable").tolist()
    if keep_descending and (gaps < 0).all():
        order = list(range(len(places)))
    gaps = np.abs(np.diff(heights[order]))
    if gaps.min() < _SAME_PLACE_MM:
        raise BadSampleError(f"{name} are at the same position (time points, echoes or segments); they make no volume")
    step = (places[order[-1]] - places[order[0]]) / (len(order) - 1)
    if np.ptp(gaps) > _UNEVEN_SHARE * np.median(gaps):
        apart = f"{gaps.min():.3g} to {gaps.max():.3g} mm apart"
        warn_of(name, f"are {apart}: some may be missing, and the affine holds the mean distance")
    aside = places[order] - places[order[0]] - np.arange(len(order))[:, None] * step
    aside -= np.outer(aside @ normal, normal)
    farthest = float(np.linalg.norm(aside, axis=1).max())
    if farthest > max(_UNEVEN_SHARE * np.median(gaps), 0.1):
        warn_of(name, f"do not lie on one line, up to {farthest:.3g} mm apart from it")
    return order, step


def _of_group(
    path: Path, group: Header, shared: Header, sequence: str, keyword: str, count: int
) -> NDArray[np.float64] | None:
    found = group.get(sequence) or shared.get(sequence)
    return numbers(path, found[0], keyword, count) if found else None


def _unplaced(path: Path, header: Header, shared: Header, frames: int) -> Stack:
    origin = numbers(path, header, "ImagePositionPatient", 3)
    axes = frame_axes(path, header, _distance(path, header, shared, frames))
    return Stack(None, axes, np.zeros(3) if origin is None else origin)


def _distance(path: Path, header: Header, shared: Header, frames: int) -> float:
    """Millimetres from frame to frame, 1 where frames are not slices or their distance is not told."""
    offsets = numbers(path, header, "GridFrameOffsetVector", frames) if frames > 1 else None
    if offsets is not None:
        gaps = np.diff(offsets)
        if np.ptp(gaps) > _UNEVEN_SHARE * abs(float(np.median(gaps))) or not gaps.all():
            raise unreadable(path, f"its frames are {gaps.min():g} to {gaps.max():g} mm apart; they make no volume")
        return float(gaps.mean())
    pointers = header.get("FrameIncrementPointer") or []
    if _TIMES & {int(tag) for tag in np.atleast_1d(pointers)}:
        return 1.0
    measures = shared.get("PixelMeasuresSequence") or [Header()]
    for group in (measures[0], header):
        found = numbers(path, group, "SpacingBetweenSlices", 1)
        if found is not None and found[0] > 0:
            return float(found[0])
    return 1.0
