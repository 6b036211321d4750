"""A series of DICOM files: one patient, one kind of image, in one order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import dicom, slices

from monai_robust.data import SimpleITKReader
from monai_robust.errors import BadSampleError


def load(path: Path) -> np.ndarray:
    reader = SimpleITKReader()
    return reader.get_data(reader.read(path))[0]


def changed(path: Path, **elements: Any) -> None:
    header = pydicom.dcmread(path)
    for keyword, value in elements.items():
        if value is None:
            delattr(header, keyword)
        else:
            setattr(header, keyword, value)
    header.save_as(path)


@pytest.mark.parametrize(
    ("all_slices", "odd", "message"),
    [
        ({"Modality": "CT"}, {"Modality": "PT"}, "its Modality is 'PT', but that of s0.dcm 'CT'"),
        ({"Units": "BQML"}, {"Units": "CNTS"}, "its Units is 'CNTS', but that of s0.dcm 'BQML'"),
        ({"RescaleType": "HU"}, {"RescaleType": "US"}, "its RescaleType is 'US', but that of s0.dcm 'HU'"),
        ({"FrameOfReferenceUID": "1.2.3"}, {"FrameOfReferenceUID": "1.2.4"}, "FrameOfReferenceUID is '1.2.4'"),
        ({"EchoTime": 10.0}, {"EchoTime": 80.0}, "its EchoTime is 80 ms, but that of s0.dcm 10 ms"),
        (
            {"RescaleSlope": 1, "RescaleIntercept": -1024},
            {"RescaleSlope": None, "RescaleIntercept": None},
            "it has no rescale, but s0.dcm has; they are in different units",
        ),
        (
            {},
            {"RescaleSlope": 2, "RescaleIntercept": 0},
            "it has no rescale, but s3.dcm has; they are in different units",
        ),
        ({}, {"PhotometricInterpretation": "MONOCHROME1"}, "its PhotometricInterpretation is 'MONOCHROME1'"),
    ],
)
def test_slices_that_do_not_belong_together_are_refused_by_the_element_that_says_so(
    tmp_path: Path, all_slices: dict[str, Any], odd: dict[str, Any], message: str
) -> None:
    files = slices(tmp_path, **all_slices)
    assert load(tmp_path).shape == (3, 4, 5)
    changed(files[3], **odd)
    with pytest.raises(BadSampleError, match=message) as caught:
        load(tmp_path)
    assert "s3.dcm" in str(caught.value)


def test_slices_of_two_patients_are_refused_without_naming_them(tmp_path: Path) -> None:
    files = slices(tmp_path, PatientID="Anna-7")
    changed(files[2], PatientID="Bert-8")
    with pytest.raises(BadSampleError, match=r"its PatientID is not that of s0\.dcm") as caught:
        load(tmp_path)
    assert "Anna" not in str(caught.value)
    assert "Bert" not in str(caught.value)


def test_what_a_slice_does_not_say_contradicts_nothing(tmp_path: Path) -> None:
    files = slices(tmp_path, PatientID="7", FrameOfReferenceUID="1.2.3", EchoTime=10.0)
    changed(files[2], PatientID=None, FrameOfReferenceUID=None)
    changed(files[3], EchoTime=10.0004)
    assert load(tmp_path).shape == (3, 4, 5)


def test_slices_without_place_and_number_are_in_the_natural_order_of_their_names(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "monai_robust")
    for number in range(1, 13):
        pixels = np.full((4, 3), number, np.uint16)
        pixels[0, 0] = 0
        dicom(tmp_path / f"IM{number}.dcm", pixels)
    with pytest.warns(UserWarning, match="slices of an image have no position: they are in the order of their names"):
        array = load(tmp_path)
    np.testing.assert_array_equal(array[1, 1], range(1, 13))
    assert str(tmp_path) in caplog.text
