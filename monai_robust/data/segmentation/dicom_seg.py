"""Writing a label map as a DICOM Segmentation object; needs the optional package highdicom."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset as Header
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid
from torch import Tensor

from monai_robust import __version__
from monai_robust.data.files.whole import writing_whole
from monai_robust.data.reading.dicom_header import whole_number
from monai_robust.data.reading.dicom_series import DicomSeries, series_in_order
from monai_robust.data.reading.files import reason_of
from monai_robust.data.segmentation.writing import checked_label_map
from monai_robust.errors import BadInputError

__all__ = ["write_dicom_seg"]

_PRIVATE_SCHEME = "99MONAIROBUST"
_UTF_8 = "ISO_IR 192"
_LONGEST_NAME = 64
_NEEDED = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
)  # fmt: skip
# Of patient and study: in every object, and empty where nobody knows (type 2), as after de-identification.
_MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime",
    "AccessionNumber", "SliceThickness",
)  # fmt: skip


def write_dicom_seg(
    labels: NDArray[np.integer[Any]] | Tensor,
    series: str | PathLike[str],
    classes: Sequence[str],
    path: str | PathLike[str],
    *,
    series_uid: str | None = None,
    class_codes: Mapping[str, tuple[str, str, str]] | None = None,
) -> Path:
    """Write a label map as a DICOM SEG, one binary segment for each class, that refers to the slices it was made of.

    Patient and study are those of the series, as in every object that belongs to it; what the series does not say of
    them, as after de-identification, is empty.

    Args:
        labels: (x, y, z): columns, rows and slices of the series in the order :class:`SimpleITKReader` reads them.
        series: folder of the DICOM series that was segmented.
        classes: names of the foreground classes, in the order of their labels 1, 2, ...
        path: to write.
        series_uid: SeriesInstanceUID that was segmented, where the folder holds several.
        class_codes: for class names the code ``(value, scheme, meaning)`` of the anatomical structure, such as
            ``("5366008", "SCT", "Hippocampus")``; a class without one gets a private code with its name as meaning.

    Returns:
        The path.

    Raises:
        BadInputError: highdicom is not installed, the label map does not fit the series or the classes, a class has a
            name that DICOM cannot hold, or the slices lack what the object must refer to, such as their UIDs.
        BadSampleError: the folder holds no DICOM image.
    """
    highdicom = _highdicom()
    _check_names(classes)
    folder = Path(series).expanduser()
    if folder.is_file():
        raise BadInputError(f"a DICOM SEG is made of the folder of a series, and {folder} is a file; leave it at NIfTI")
    sources = _sources(series_in_order(folder, series_uid))
    values = checked_label_map(labels, (int(sources[0].Columns), int(sources[0].Rows), len(sources)))
    if values.max() > len(classes):
        raise BadInputError(f"the label map holds {values.max()}, but there are only {len(classes)} classes")
    descriptions = [_segment(highdicom, number, name, class_codes or {}) for number, name in enumerate(classes, 1)]
    try:
        segmentation = highdicom.seg.Segmentation(
            source_images=sources,
            pixel_array=np.ascontiguousarray(values.T),
            segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=descriptions,
            series_instance_uid=generate_uid(),
            series_number=_free_series_number(sources),
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer="monai-robust",
            manufacturer_model_name="monai-robust",
            software_versions=__version__,
            device_serial_number="0",
            **({} if all(map(str.isascii, classes)) else {"specific_character_set": _UTF_8}),
        )
    except (AttributeError, LookupError, TypeError, ValueError) as error:  # of a header that it cannot work with
        raise BadInputError(f"no DICOM SEG can be made of the series in {folder}: {reason_of(error)}") from error
    target = Path(path).expanduser()
    with writing_whole(target) as file:
        segmentation.save_as(file)
    return target


def _check_names(classes: Sequence[str]) -> None:
    """Refuse no classes, and names that DICOM would take for none or for several."""
    if not classes:
        raise BadInputError("a DICOM SEG has a segment for each class, and no class is named")
    odd = next((name for name in classes if not name.strip() or "\\" in name or not name.isprintable()), None)
    if odd is not None:
        raise BadInputError(f"the class {odd!r} has a name that DICOM cannot hold; it needs text without backslashes")


def _sources(series: DicomSeries) -> list[Header]:
    """The headers of the slices, each with all that a segmentation takes from it.

    Raises:
        BadInputError: one has several frames, or lacks what a segmentation must refer to.
    """
    sources = []
    for path, header in zip(series.files, series.headers, strict=True):
        if whole_number(path, header, "NumberOfFrames", 1) > 1:
            raise BadInputError(
                f"a DICOM SEG is made of a series of one frame a file, and {path} has {header.NumberOfFrames}; leave "
                "it at NIfTI"
            )
        missing = next((keyword for keyword in _NEEDED if not header.get(keyword)), None)
        if missing is not None:
            raise BadInputError(
                f"no DICOM SEG can be made of the series in {path.parent}: {path.name} has no {missing}, which a SEG "
                "must refer to; a NIfTI label map needs none"
            )
        whole = copy.copy(header)
        for keyword in _MAY_BE_EMPTY:
            if keyword not in whole:
                setattr(whole, keyword, None)
        sources.append(whole)
    return sources


def _highdicom() -> ModuleType:
    try:
        importlib.import_module("highdicom.seg")
        return importlib.import_module("highdicom")
    except ImportError as error:
        raise BadInputError(
            "writing DICOM SEG needs the package highdicom, which is not installed; pip install highdicom adds it, "
            "and a NIfTI label map needs nothing more"
        ) from error


def _segment(highdicom: ModuleType, number: int, name: str, class_codes: Mapping[str, tuple[str, str, str]]) -> Any:
    code = class_codes.get(name, (f"class-{number}", _PRIVATE_SCHEME, name[:_LONGEST_NAME]))
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=name[:_LONGEST_NAME],
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=Code(*code),
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name="monai-robust", version=__version__, family=codes.DCM.ArtificialIntelligence
        ),
    )


def _free_series_number(sources: Sequence[Header]) -> int:
    """A number that the study's scanner hardly gave to one of its own series."""
    return 1000 + int(sources[0].get("SeriesNumber") or 0)
