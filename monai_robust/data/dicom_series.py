"""Which files of a folder make a DICOM series, and in which order."""

from __future__ import annotations

import warnings
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset as Header
from pydicom.errors import InvalidDicomError

from monai_robust.errors import BadInputError, BadSampleError

__all__ = ["DicomSeries", "read_header", "series_in_order"]

_TAGS = [
    "SeriesInstanceUID",
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "Rows",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "PhotometricInterpretation",
    "ModalityLUTSequence",
]
_SAME_DIRECTION = 1e-3
_SAME_PLACE_MM = 1e-3
_UNEVEN_SHARE = 0.05


@dataclass(frozen=True)
class DicomSeries:
    """The files of one series in spatial order.

    Args:
        files: paths, one frame each.
        headers: the header of each file, as :func:`read_header` gives it.
        step: from one slice to the next in millimetres (LPS), or None where the headers give no position.
    """

    files: list[Path]
    headers: list[Header]
    step: NDArray[np.float64] | None


def read_header(path: Path, *, force: bool = False) -> Header:
    """The few elements that decide order and grey scale; nothing that identifies a patient is read.

    Args:
        path: a DICOM file.
        force: read files without the DICOM preamble too.

    Raises:
        pydicom.errors.InvalidDicomError: the file is no DICOM file.
    """
    return dcmread(path, stop_before_pixels=True, force=force, specific_tags=list[Any](_TAGS))


def series_in_order(folder: Path, series_uid: str | None = None) -> DicomSeries:
    """Find the series in a folder and sort its slices by their position projected on the slice normal.

    Slices without a position are sorted by InstanceNumber, then by name.

    Args:
        folder: where to look; sub-folders are not searched.
        series_uid: SeriesInstanceUID to choose, needed where there are several.

    Raises:
        BadInputError: there are several series and none is chosen, or the chosen one is not there.
        BadSampleError: there is no DICOM image; slices lie in different directions, or two at one place.
    """
    found = _series_by_uid(folder)
    if not found:
        raise BadSampleError(f"folder {folder} holds no DICOM image")
    if series_uid is None and len(found) > 1:
        raise BadInputError(
            f"folder {folder} holds {len(found)} DICOM series; choose one by series_uid= ({', '.join(sorted(found))})"
        )
    uid = series_uid or next(iter(found))
    if uid not in found:
        raise BadInputError(f"folder {folder} holds no DICOM series {uid}; it has {', '.join(sorted(found))}")
    return _in_order(folder, found[uid])


def _series_by_uid(folder: Path) -> dict[str, list[tuple[Path, Header]]]:
    series: dict[str, list[tuple[Path, Header]]] = defaultdict(list)
    for path in sorted(folder.iterdir()):
        if not path.is_file():
            continue
        try:
            header = read_header(path)
        except InvalidDicomError:
            continue  # a folder may hold notes beside its slices
        if "Rows" in header:
            series[str(header.get("SeriesInstanceUID", ""))].append((path, header))
    return dict(series)


def _in_order(folder: Path, slices: list[tuple[Path, Header]]) -> DicomSeries:
    files, headers = [path for path, _ in slices], [header for _, header in slices]
    if not all(header.get("ImagePositionPatient") and header.get("ImageOrientationPatient") for header in headers):
        order = sorted(range(len(files)), key=lambda i: (int(headers[i].get("InstanceNumber") or 0), files[i].name))
        return DicomSeries([files[i] for i in order], [headers[i] for i in order], None)
    positions = np.array([header.ImagePositionPatient for header in headers], dtype=float)
    heights = positions @ _normal(folder, headers)
    order = np.argsort(heights, kind="stable").tolist()
    _check_spacing(folder, heights[order])
    step = (positions[order[-1]] - positions[order[0]]) / (len(order) - 1) if len(order) > 1 else None
    return DicomSeries([files[i] for i in order], [headers[i] for i in order], step)


def _normal(folder: Path, headers: list[Header]) -> NDArray[np.float64]:
    axes = np.array([header.ImageOrientationPatient for header in headers], dtype=float)
    if np.abs(axes - axes[0]).max() > _SAME_DIRECTION:
        raise BadSampleError(f"folder {folder} holds slices of one series in different directions; they make no volume")
    return np.cross(axes[0, :3], axes[0, 3:])


def _check_spacing(folder: Path, heights: NDArray[np.float64]) -> None:
    gaps = np.diff(heights)
    if gaps.size and gaps.min() < _SAME_PLACE_MM:
        raise BadSampleError(f"folder {folder} holds slices of one series at the same position; they make no volume")
    if gaps.size and np.ptp(gaps) > _UNEVEN_SHARE * np.median(gaps):
        warnings.warn(
            f"slices in {folder} are {gaps.min():.3g} to {gaps.max():.3g} mm apart: some may be missing, and the "
            f"affine holds the mean distance",
            stacklevel=2,
        )
