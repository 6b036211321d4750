"""Where the pixels of DICOM files lie in the patient: spacing, directions, and the order of slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset as Header

from monai_robust.data.reading.dicom_header import numbers
from monai_robust.data.reading.files import unreadable, warn_of
from monai_robust.errors import BadSampleError

__all__ = ["UNEVEN_SHARE", "checked_orientation", "frame_axes", "pixel_spacing", "spatial_order", "warn_of_aspect"]

UNEVEN_SHARE = 0.05
"""By how much of their median distances between slices may differ."""

_SAME_PLACE_MM = 1e-3
_SAME_LENGTH = 1e-3
_CENTIMETRES = 3  # code of PhysicalUnitsXDirection
_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")


def pixel_spacing(path: Path, header: Header) -> NDArray[np.float64] | None:
    """Millimetres from column to column (x) and from row to row (y), or None where the header gives none.

    ``PixelSpacing`` wins: where a projection radiograph has ``ImagerPixelSpacing`` beside it, that is the detector's,
    and ``PixelSpacing`` is calibrated to the patient (DICOM PS3.3 10.7.1.3). Of an ultrasound picture without one, its
    regions tell, if they agree.

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
    return _spacing_of_regions(path, header)


def _spacing_of_regions(path: Path, header: Header) -> NDArray[np.float64] | None:
    """What the regions of an ultrasound picture (PS3.3 C.8.5.5) say, if all are in centimetres and agree."""
    found = [_of_region(path, region) for region in header.get("SequenceOfUltrasoundRegions") or []]
    known = [spacing for spacing in found if spacing is not None]
    agree = 0 < len(known) == len(found) and np.allclose(known, known[0], rtol=_SAME_LENGTH)
    return known[0] if agree else None


def _of_region(path: Path, region: Header) -> NDArray[np.float64] | None:
    """Millimetres in x and y; None for a region that is no picture of lengths, such as one of Doppler."""
    if any(region.get(f"PhysicalUnits{axis}Direction") != _CENTIMETRES for axis in "XY"):
        return None
    x, y = (numbers(path, region, f"PhysicalDelta{axis}", 1) for axis in "XY")
    if x is None or y is None or not x[0] or not y[0]:
        return None
    return 10 * np.abs(np.array([x[0], y[0]]))  # below 0 where the region counts the other way


def warn_of_aspect(path: Path, header: Header) -> None:
    """Say that pixels are taken for square which are not, where the header has their aspect and no length."""
    if pixel_spacing(path, header) is not None:
        return
    aspect = numbers(path, header, "PixelAspectRatio", 2)  # height to width
    if aspect is not None and aspect[0] != aspect[1]:
        shown = f"{aspect[0]:g}:{aspect[1]:g}"
        warn_of(
            f"image {path}", f"has pixels that are not square (PixelAspectRatio {shown}), which are taken as 1 x 1 mm"
        )


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


def frame_axes(path: Path, header: Header, place: Header, distance: float = 1.0) -> NDArray[np.float64]:
    """(3, 3) millimetres (LPS) for one step along x, y and z; z is the normal, of the given length.

    Args:
        path: the file.
        header: what holds its pixel spacing.
        place: what holds its ``ImageOrientationPatient``.
        distance: of its frames, in millimetres.
    """
    orientation = checked_orientation(path, place)
    rows, columns = np.eye(3)[:2] if orientation is None else orientation
    spacing = pixel_spacing(path, header)
    x, y = (1.0, 1.0) if spacing is None else spacing
    return np.stack([rows * x, columns * y, np.cross(rows, columns) * distance], axis=1)


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
    if np.ptp(gaps) > UNEVEN_SHARE * np.median(gaps):
        apart = f"{gaps.min():.3g} to {gaps.max():.3g} mm apart"
        warn_of(name, f"are {apart}: some may be missing, and the affine holds the mean distance")
    aside = places[order] - places[order[0]] - np.arange(len(order))[:, None] * step
    aside -= np.outer(aside @ normal, normal)
    farthest = float(np.linalg.norm(aside, axis=1).max())
    if farthest > max(UNEVEN_SHARE * np.median(gaps), 0.1):
        warn_of(name, f"do not lie on one line, up to {farthest:.3g} mm apart from it")
    return order, step
