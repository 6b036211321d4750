"""Writing a label map as a DICOM Segmentation object; needs the optional package highdicom."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset as Header
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid
from torch import Tensor

from monai_robust import __version__
from monai_robust.data.reading.dicom_series import series_in_order
from monai_robust.data.segmentation.writing import checked_label_map
from monai_robust.errors import BadInputError, writing

__all__ = ["write_dicom_seg"]

_PRIVATE_SCHEME = "99MONAIROBUST"


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

    Patient and study are those of the series, as in every object that belongs to it.

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
        BadInputError: highdicom is not installed, or the label map does not fit the series or the classes.
        BadSampleError: the folder holds no DICOM image.
    """
    highdicom = _highdicom()
    found = series_in_order(Path(series).expanduser(), series_uid)
    sources = [dcmread(file, stop_before_pixels=True) for file in found.files]
    values = checked_label_map(labels, (int(sources[0].Columns), int(sources[0].Rows), len(sources)))
    if values.max() > len(classes):
        raise BadInputError(f"the label map holds {values.max()}, but there are only {len(classes)} classes")
    segmentation = highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=np.ascontiguousarray(values.T),
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _segment(highdicom, number, name, class_codes or {}) for number, name in enumerate(classes, 1)
        ],
        series_instance_uid=generate_uid(),
        series_number=_free_series_number(sources),
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="monai-robust",
        manufacturer_model_name="monai-robust",
        software_versions=__version__,
        device_serial_number="0",
    )
    target = Path(path).expanduser()
    target.parent.mkdir(parents=True, exist_ok=True)
    with writing(target):
        segmentation.save_as(target)
    return target


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
    code = class_codes.get(name, (f"class-{number}", _PRIVATE_SCHEME, name[:64]))
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=name[:64],
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
