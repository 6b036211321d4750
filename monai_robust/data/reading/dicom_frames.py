"""Frames of one DICOM file: whether they are slices of one volume, in which order, and how far apart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset as Header

from monai_robust.data.reading.dicom_geometry import UNEVEN_SHARE, frame_axes, spatial_order
from monai_robust.data.reading.dicom_header import numbers
from monai_robust.data.reading.files import unreadable, warn_of
from monai_robust.errors import BadSampleError

__all__ = ["Stack", "check_one_volume", "stack_of_frames"]

_SAME_DIRECTION = 1e-3
_TIMES = {0x00181063, 0x00181065, 0x00200100}  # FrameTime, FrameTimeVector, TemporalPositionIdentifier
_VECTORS = {
    "EnergyWindowVector": "energy windows",
    "DetectorVector": "detectors",
    "PhaseVector": "phases",
    "RotationVector": "rotations",
    "RRIntervalVector": "R-R intervals",
    "TimeSlotVector": "time slots",
    "TimeSliceVector": "time slices",
    "AngularViewVector": "angular views",
    "PageNumberVector": "pages",
    "FramePrimaryAngleVector": "angles",
}
"""Elements that number each frame; of nuclear medicine (PS3.3 C.8.4.8), and of multi-frame secondary captures."""


class _Plane(NamedTuple):
    """Where a frame's functional groups have its place."""

    position_sequence: str
    position: str
    orientation_sequence: str
    orientation: str


_PLANES = (
    _Plane("PlanePositionSequence", "ImagePositionPatient", "PlaneOrientationSequence", "ImageOrientationPatient"),
    _Plane(  # of ultrasound, in the frame of the transducer's volume
        "PlanePositionVolumeSequence",
        "ImagePositionVolume",
        "PlaneOrientationVolumeSequence",
        "ImageOrientationVolume",
    ),
)


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


def check_one_volume(path: Path, header: Header, frames: int) -> None:
    """Refuse frames that are not the slices of one volume, as far as the header tells without their places.

    Raises:
        BadSampleError: they are of several energy windows, detectors, moments or angles, or tiles of a slide.
    """
    if frames == 1:
        return
    matrix = [int(header.get(f"TotalPixelMatrix{name}") or 0) for name in ("Columns", "Rows")]
    if matrix[0] > int(header.Columns) or matrix[1] > int(header.Rows):
        raise _no_volume(path, frames, f"tiles of a picture of {matrix[0]} x {matrix[1]} pixels")
    for keyword, name in _VECTORS.items():
        found = np.unique(header.get(keyword) or [])
        if len(found) > 1:
            raise _no_volume(path, frames, f"of several {name} ({keyword})")
    if _is_film(header):
        raise _no_volume(path, frames, "moments of a film")


def _no_volume(path: Path, frames: int, what: str) -> BadSampleError:
    return unreadable(
        path, f"its {frames} frames are {what}, which make no volume; save what is wanted as a file of its own"
    )


def _is_film(header: Header) -> bool:
    """Whether frames without places follow each other in time."""
    groups = header.get("PerFrameFunctionalGroupsSequence") or []
    if any(plane.position_sequence in groups[0] for plane in _PLANES if len(groups)):
        return False
    pointed = {int(tag) for tag in np.atleast_1d(header.get("FrameIncrementPointer") or [])}
    if pointed:
        return bool(_TIMES & pointed)
    return any(np.any(header.get(keyword) or 0) for keyword in ("FrameTime", "FrameTimeVector"))


def stack_of_frames(path: Path, header: Header, frames: int) -> Stack:
    """Order and place of the frames of one file.

    Frames with positions, in the patient or in an ultrasound volume, are sorted along the normal unless they are in
    order already, from whichever end. Others keep their order, but those of nuclear medicine that are stacked against
    the normal are reversed; their distance is what the header has of one, or 1 mm, and that they have no place is
    warned of.

    Raises:
        BadSampleError: the frames are no slices of one volume, some lack a position, several are at one place, or they
            lie in different directions.
    """
    check_one_volume(path, header, frames)
    groups = header.get("PerFrameFunctionalGroupsSequence") or []
    shared = (header.get("SharedFunctionalGroupsSequence") or [Header()])[0]
    if groups and len(groups) != frames:
        raise unreadable(path, f"its NumberOfFrames is {frames}, but its header describes {len(groups)} frames")
    plane = next((one for one in _PLANES if any(one.position_sequence in group for group in groups)), _PLANES[0])
    positions = [_of_group(path, one, Header(), plane.position_sequence, plane.position, 3) for one in groups]
    known = [position for position in positions if position is not None]
    if not known:
        return _unplaced(path, header, shared, frames)
    if len(known) < len(positions):
        missing = next(number for number, position in enumerate(positions, 1) if position is None)
        raise unreadable(path, f"its frame {missing} has no {plane.position}, but others have one")
    axes = frame_axes(path, header, _common_orientation(path, groups, shared, plane))
    places = np.array(known)
    if plane is not _PLANES[0]:
        warn_of(
            f"image {path}", "lies in a frame of its own, not the patient's: its affine does not tell which way is up"
        )
    if frames == 1:
        return Stack(None, axes, places[0])
    order, step = spatial_order(places, axes[:, 2], f"frames of {path}")
    axes[:, 2] = step
    return Stack(order, axes, places[order[0]])


def _common_orientation(path: Path, groups: list[Header], shared: Header, plane: _Plane) -> Header:
    """What holds the directions that all frames have, as ``ImageOrientationPatient``."""
    where = [_of_group(path, one, shared, plane.orientation_sequence, plane.orientation, 6) for one in groups]
    if any(one is None for one in where):
        raise unreadable(path, f"its frames have positions, but no {plane.orientation}")
    if np.abs(np.array(where) - where[0]).max() > _SAME_DIRECTION:
        raise unreadable(path, "its frames lie in different directions; they make no volume")
    oriented = Header()
    oriented.ImageOrientationPatient = [float(value) for value in np.asarray(where[0])]
    return oriented


def _of_group(
    path: Path, group: Header, shared: Header, sequence: str, keyword: str, count: int
) -> NDArray[np.float64] | None:
    found = group.get(sequence) or shared.get(sequence)
    return numbers(path, found[0], keyword, count) if found else None


def _unplaced(path: Path, header: Header, shared: Header, frames: int) -> Stack:
    """Frames of which the file tells at most where the first lies."""
    first = _first_place(header)
    origin = numbers(path, first, "ImagePositionPatient", 3)
    distance, source = _distance(path, header, shared, frames)
    axes = frame_axes(path, header, first, abs(distance))
    is_grid, is_nuclear = source == "GridFrameOffsetVector", header.get("Modality") == "NM"
    is_reversed = distance < 0 and is_nuclear  # for other modalities, below 0 means nothing
    if distance < 0 and is_grid:
        axes[:, 2] *= -1
    known = origin is not None and numbers(path, first, "ImageOrientationPatient", 6) is not None
    is_told = is_grid or (source == "SpacingBetweenSlices" and (distance > 0 or is_nuclear))
    if frames > 1 and not (known and is_told):
        order = "the reversed order" if is_reversed else "the order"
        warn_of(
            f"frames of {path}",
            f"have no position of their own: they are in {order} of the file and taken as {abs(distance):g} mm apart",
        )
    origin = np.zeros(3) if origin is None else origin
    if not is_reversed:
        return Stack(None, axes, origin)
    return Stack(list(range(frames))[::-1], axes, origin - (frames - 1) * axes[:, 2] if known else origin)


def _first_place(header: Header) -> Header:
    """What holds the place of the first frame: the header, or of nuclear medicine its detector."""
    detectors = header.get("DetectorInformationSequence") or []
    if "ImagePositionPatient" not in header and len(detectors) and "ImagePositionPatient" in detectors[0]:
        return detectors[0]
    return header


def _distance(path: Path, header: Header, shared: Header, frames: int) -> tuple[float, str]:
    """Millimetres from frame to frame, below 0 against the normal, and the element that tells it; 1 where none does."""
    offsets = numbers(path, header, "GridFrameOffsetVector", frames) if frames > 1 else None
    if offsets is not None:
        gaps = np.diff(offsets)
        if np.ptp(gaps) > UNEVEN_SHARE * abs(float(np.median(gaps))) or not gaps.all():
            raise unreadable(path, f"its frames are {gaps.min():g} to {gaps.max():g} mm apart; they make no volume")
        return float(gaps.mean()), "GridFrameOffsetVector"
    measures = shared.get("PixelMeasuresSequence") or [Header()]
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        for group in (measures[0], header):
            found = numbers(path, group, keyword, 1)
            if found is not None and found[0]:
                return float(found[0]), keyword
    return 1.0, ""
