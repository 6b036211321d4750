"""Which files of a folder make a DICOM series, and in which order."""

from __future__ import annotations

import re
import stat
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset as Header

from monai_robust.data.lists.listed import is_hidden
from monai_robust.data.reading.dicom_consistency import check_same_kind, check_same_spacing
from monai_robust.data.reading.dicom_geometry import checked_orientation, spatial_order
from monai_robust.data.reading.dicom_header import numbers, parse_dicom
from monai_robust.data.reading.files import check_regular, first_bytes, format_of, size_limit, unreadable, warn_of
from monai_robust.errors import BadInputError, BadSampleError

__all__ = ["DicomSeries", "series_in_order"]

_SLICE_SUFFIXES = (".dcm", ".dicom", ".ima")
_NO_SLICES = ("DICOMDIR", "SHA256SUMS", "MD5SUMS")
_SAME_DIRECTION = 1e-3
_IMAGES_BY_OTHER_NAMES = {
    uid.SegmentationStorage,
    uid.RTDoseStorage,
    uid.ParametricMapStorage,
    uid.SurfaceSegmentationStorage,
}


@dataclass(frozen=True)
class DicomSeries:
    """The files of one series in spatial order.

    Args:
        files: paths, one frame each.
        headers: the header of each file, without its pixels.
        step: from one slice to the next in millimetres (LPS).
    """

    files: list[Path]
    headers: list[Header]
    step: NDArray[np.float64]


def series_in_order(folder: Path, series_uid: str | None = None, max_bytes: int | None = None) -> DicomSeries:
    """Find the series in a folder and sort its slices by their position projected on the slice normal.

    Slices none of which has a position are sorted by InstanceNumber, then by name, IM2 before IM10. Notes and pictures
    beside the slices, hidden files and DICOM objects that are no images do not count; what may be a slice and cannot be
    read is refused, not left out.

    Args:
        folder: where to look; sub-folders are not searched.
        series_uid: SeriesInstanceUID to choose, needed where there are several.
        max_bytes: what one file may take, see :class:`SimpleITKReader`.

    Raises:
        BadInputError: there are several series and none is chosen, or the chosen one is not there.
        BadSampleError: there is no DICOM image; a file that may be a slice cannot be read; slices lie in different
            directions, two at one place, some without a place, or do not belong together.
    """
    found = _series_by_uid(folder, size_limit(max_bytes))
    if not found:
        raise BadSampleError(f"folder {folder} holds no DICOM image")
    if series_uid is None and len(found) > 1:
        raise BadInputError(
            f"folder {folder} holds {len(found)} DICOM series; choose one by series_uid= ({', '.join(sorted(found))})"
        )
    chosen = series_uid or next(iter(found))
    if chosen not in found:
        raise BadInputError(f"folder {folder} holds no DICOM series {chosen}; it has {', '.join(sorted(found))}")
    return _in_order(folder, found[chosen])


def _series_by_uid(folder: Path, limit: int) -> dict[str, list[tuple[Path, Header]]]:
    series: dict[str, list[tuple[Path, Header]]] = defaultdict(list)
    doubtful: list[Path] = []
    for path in sorted(folder.iterdir()):
        if is_hidden(path.name) or path.name.upper() in _NO_SLICES or path.is_dir():
            continue
        named_otherwise = not path.name.lower().endswith(_SLICE_SUFFIXES) and stat.S_ISREG(path.stat().st_mode)
        if named_otherwise and (not path.stat().st_size or not _may_be_dicom(path)):
            doubtful.append(path)
            continue
        header = _image_header(path, limit)
        if header is not None:
            series[str(header.get("SeriesInstanceUID", ""))].append((path, header))
    _check_doubtful(folder, doubtful, [path for slices in series.values() for path, _ in slices])
    return dict(series)


def _may_be_dicom(path: Path) -> bool:
    """Whether a file has DICOM's mark, or none of another format and bytes that are no text."""
    head = first_bytes(path)
    try:
        kind = format_of(path, head)
    except BadSampleError:
        return False
    return kind == "DICOM" or (kind == "DICOM?" and not _is_text(head))


def _is_text(head: bytes) -> bool:
    return not any(byte < 32 and byte not in b"\t\n\r\f" for byte in head)


def _image_header(path: Path, limit: int) -> Header | None:
    """The header of a slice, or None for a DICOM object that is no image."""
    check_regular(path, limit)
    head = first_bytes(path)
    preamble = head[128:132] == b"DICM"
    header = parse_dicom(path, limit, pixels=False, preamble=preamble)
    if "Rows" in header and "Columns" in header:
        return header
    meta = getattr(header, "file_meta", None) or {}
    kind = uid.UID(str(header.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID") or ""))
    if kind in uid.UID_dictionary and "Image" not in kind.name and kind not in _IMAGES_BY_OTHER_NAMES:
        return None
    raise unreadable(path, "it is damaged, its header ends before it describes an image")


def _check_doubtful(folder: Path, doubtful: list[Path], slices: list[Path]) -> None:
    """Refuse files that are named like the slices beside them, but are none."""
    endings = {path.suffix.lower() for path in slices}
    for path in doubtful:
        # A slice that was packed or is being fetched, s5.dcm.gz; beside s5.dcm, such a name is that of a note on it.
        instead = path.stem.lower().endswith(_SLICE_SUFFIXES) and not path.with_suffix("").exists()
        like_a_slice = path.suffix.lower() in endings or path.suffix[1:].isdecimal() or instead
        if like_a_slice and (not path.stat().st_size or path.suffix):
            raise unreadable(path, f"it is named like a slice of the series in {folder.name}, but is no DICOM image")


def _in_order(folder: Path, slices: list[tuple[Path, Header]]) -> DicomSeries:
    check_same_kind(slices)
    files, headers = [path for path, _ in slices], [header for _, header in slices]
    places = [numbers(path, header, "ImagePositionPatient", 3) for path, header in slices]
    axes = [checked_orientation(path, header) for path, header in slices]
    missing = [place is None or axis is None for place, axis in zip(places, axes, strict=True)]
    if all(missing):
        check_same_spacing(slices)
        return _by_number(folder, slices)
    if any(missing):
        first = files[missing.index(True)]
        raise unreadable(first, "it has no ImagePositionPatient or orientation, but other slices of its series have")
    directions = np.array(axes)
    if np.abs(directions - directions[0]).max() > _SAME_DIRECTION:
        raise BadSampleError(f"folder {folder} holds slices of one series in different directions; they make no volume")
    check_same_spacing(slices)
    normal = np.cross(directions[0, 0], directions[0, 1])
    if len(files) == 1:
        return DicomSeries(files, headers, normal)
    order, step = spatial_order(np.array(places), normal, f"slices in {folder}", keep_descending=False)
    return DicomSeries([files[i] for i in order], [headers[i] for i in order], step)


def _by_number(folder: Path, slices: list[tuple[Path, Header]]) -> DicomSeries:
    """Order by InstanceNumber, then by name (IM2 before IM10), with the distance that the header has of slices."""
    if len(slices) == 1:
        return DicomSeries([slices[0][0]], [slices[0][1]], np.array([0.0, 0.0, 1.0]))
    given = [numbers(path, header, "InstanceNumber", 1) for path, header in slices]
    instances = [0.0 if number is None else float(number[0]) for number in given]
    order = sorted(range(len(slices)), key=lambda i: (instances[i], _natural(slices[i][0].name)))
    path, header = slices[0]
    distances = [numbers(path, header, keyword, 1) for keyword in ("SpacingBetweenSlices", "SliceThickness")]
    distance = next((float(one[0]) for one in distances if one is not None and one[0] > 0), 1.0)
    repeated = len(set(instances)) < len(instances)
    warn_of(
        f"slices in {folder}",
        f"have no position: they are in the order of their {'names' if repeated else 'instance numbers'} and taken as "
        f"{distance:g} mm apart",
    )
    return DicomSeries([slices[i][0] for i in order], [slices[i][1] for i in order], np.array([0.0, 0.0, distance]))


def _natural(name: str) -> tuple[list[str | int], str]:
    """A key that puts numbers within names in their order; text and numbers take turns."""
    parts = re.split(r"([0-9]+)", name.lower())
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name
