"""Whether the slices of a DICOM series belong together: archives mix what makes no volume under one UID."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset as Header

from monai_robust.data.reading.dicom_geometry import pixel_spacing
from monai_robust.data.reading.dicom_header import numbers
from monai_robust.data.reading.files import unreadable
from monai_robust.errors import BadSampleError

__all__ = ["check_same_kind", "check_same_spacing"]

_SAME_SPACING = 1e-3
_SAME_ECHO = 1e-2
_WORDS = ("Modality", "Units", "RescaleType", "FrameOfReferenceUID", "PhotometricInterpretation")
_Slices = Sequence[tuple[Path, Header]]


def check_same_kind(slices: _Slices) -> None:
    """Refuse slices of several patients, modalities, units, frames of reference or echoes, or only some with a rescale.

    What a slice does not say contradicts nothing, but of a rescale that others have it is another unit.

    Args:
        slices: files and their headers.

    Raises:
        BadSampleError: names the element and two files with their values, but none that identifies a patient.
    """
    _check_patient(slices)
    for keyword in _WORDS:
        _check_words(slices, keyword)
    _check_echo(slices)
    _check_rescale(slices)


def check_same_spacing(slices: _Slices) -> None:
    """Refuse slices whose pixels differ in size.

    Raises:
        BadSampleError: names two files with their spacing.
    """
    first_path, first_header = slices[0]
    expected = pixel_spacing(first_path, first_header)
    for path, header in slices[1:]:
        found = pixel_spacing(path, header)
        same = (
            found is expected if found is None or expected is None else np.allclose(found, expected, rtol=_SAME_SPACING)
        )
        if not same:
            raise unreadable(
                path, f"its pixel spacing is {_shown(found)} mm, but that of {first_path.name} {_shown(expected)}"
            )


def _check_patient(slices: _Slices) -> None:
    told = [(path, _word(header, "PatientID")) for path, header in slices if _word(header, "PatientID")]
    odd = next((path for path, value in told if value != told[0][1]), None)
    if odd is not None:
        raise unreadable(odd, f"its PatientID is not that of {told[0][0].name}; they make no volume")


def _check_words(slices: _Slices, keyword: str) -> None:
    told = [(path, _word(header, keyword)) for path, header in slices if _word(header, keyword)]
    odd = next(((path, value) for path, value in told if value != told[0][1]), None)
    if odd is not None:
        raise unreadable(odd[0], f"its {keyword} is {odd[1]!r}, but that of {told[0][0].name} {told[0][1]!r}")


def _word(header: Header, keyword: str) -> str:
    """The text of an element; of colours none, which are all read as RGB."""
    value = str(header.get(keyword) or "").strip()
    return "" if keyword == "PhotometricInterpretation" and not value.startswith("MONOCHROME") else value


def _check_echo(slices: _Slices) -> None:
    found = [(path, _echo(path, header)) for path, header in slices]
    told = [(path, time) for path, time in found if time is not None]
    odd = next(((path, time) for path, time in told if not np.isclose(time, told[0][1], rtol=_SAME_ECHO)), None)
    if odd is not None:
        raise unreadable(odd[0], f"its EchoTime is {odd[1]:g} ms, but that of {told[0][0].name} {told[0][1]:g} ms")


def _echo(path: Path, header: Header) -> float | None:
    """The echo time; None also where it is no number, for no pixel depends on it."""
    try:
        time = numbers(path, header, "EchoTime", 1)
    except BadSampleError:
        return None
    return None if time is None else float(time[0])


def _check_rescale(slices: _Slices) -> None:
    bare = next((path for path, header in slices if _rescale(path, header) is None), None)
    scaled = next((path for path, header in slices if _rescale(path, header) not in (None, (1.0, 0.0))), None)
    if bare is not None and scaled is not None:
        raise unreadable(bare, f"it has no rescale, but {scaled.name} has; they are in different units")


def _rescale(path: Path, header: Header) -> tuple[float, float] | str | None:
    """Slope and intercept, or that there is a table; None where there is neither."""
    if header.get("ModalityLUTSequence"):
        return "table"
    slope, intercept = (numbers(path, header, keyword, 1) for keyword in ("RescaleSlope", "RescaleIntercept"))
    if slope is None and intercept is None:
        return None
    return (1.0 if slope is None else float(slope[0]), 0.0 if intercept is None else float(intercept[0]))


def _shown(spacing: NDArray[np.float64] | None) -> str:
    return "unknown" if spacing is None else f"{spacing[0]:g} x {spacing[1]:g}"
