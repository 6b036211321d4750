"""Stored values of DICOM: what stands above their bits, padding of inverted images, colours that are none."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import dicom
from PIL import Image
from pydicom.uid import JPEG2000, JPEG2000Lossless, RLELossless

from monai_robust.data import SimpleITKReader

PIXELS = (np.arange(40 * 30, dtype=np.uint16) * 13 % 4096).reshape(40, 30)
TWELVE = {"BitsStored": 12, "HighBit": 11}


def load(path: Path) -> np.ndarray:
    reader = SimpleITKReader()
    return reader.get_data(reader.read(path))[0]


def j2k(path: Path, stored: np.ndarray, syntax: Any = JPEG2000Lossless, **elements: Any) -> Path:
    buffer = io.BytesIO()
    Image.fromarray(stored.view(np.uint16)).save(buffer, "JPEG2000", irreversible=False, no_jp2=True)
    return dicom(path, stored, syntax=syntax, codestreams=[buffer.getvalue()], **elements)


def test_bits_above_the_stored_ones_are_no_part_of_a_value(tmp_path: Path) -> None:
    overlay = PIXELS | np.uint16(0x8000)
    np.testing.assert_array_equal(load(dicom(tmp_path / "native.dcm", overlay, **TWELVE)), PIXELS.T)
    np.testing.assert_array_equal(load(j2k(tmp_path / "j2k.dcm", overlay, **TWELVE)), PIXELS.T)
    header = pydicom.dcmread(tmp_path / "native.dcm")
    header.compress(RLELossless)
    header.save_as(tmp_path / "rle.dcm")
    np.testing.assert_array_equal(load(tmp_path / "rle.dcm"), PIXELS.T)


def test_the_sign_of_a_value_is_that_of_its_stored_bits(tmp_path: Path) -> None:
    signed = PIXELS.astype(np.int16) - 2048
    unextended = (signed.view(np.uint16) & np.uint16(0x0FFF)).view(np.int16)
    path = j2k(tmp_path / "a.dcm", unextended, PixelRepresentation=1, **TWELVE)
    np.testing.assert_array_equal(load(path), signed.T)


def test_what_lossy_compression_adds_above_the_stored_bits_is_cut_and_told(tmp_path: Path) -> None:
    over = PIXELS.copy()
    over[5, 5] = 4099
    path = j2k(tmp_path / "a.dcm", over, JPEG2000, **TWELVE)
    with pytest.warns(UserWarning, match="image has values beyond its 12 stored bits"):
        assert load(path)[5, 5] == 4095


@pytest.mark.parametrize("elements", [{"PixelPaddingValue": 0}, {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 5}])
def test_padding_of_an_inverted_image_stays_its_darkest(tmp_path: Path, elements: dict[str, int]) -> None:
    stored = PIXELS.clip(100, 4000)
    stored[:3] = elements.get("PixelPaddingRangeLimit", 0)
    path = dicom(tmp_path / "a.dcm", stored, PhotometricInterpretation="MONOCHROME1", **TWELVE, **elements)
    array = load(path)
    np.testing.assert_array_equal(array[:, 3:], 4095 - stored[3:].T)
    np.testing.assert_array_equal(array[:, :3], 95)


def test_padding_that_is_dark_already_and_padding_of_all_pixels_stay(tmp_path: Path) -> None:
    inverted = {"PhotometricInterpretation": "MONOCHROME1", **TWELVE}
    stored = PIXELS.clip(100, 4000)
    stored[:3] = 4095
    path = dicom(tmp_path / "a.dcm", stored, PixelPaddingValue=4095, **inverted)
    np.testing.assert_array_equal(load(path), 4095 - stored.T)
    blank = np.full_like(stored, 7)
    path = dicom(tmp_path / "b.dcm", blank, PixelPaddingValue=7, **inverted)
    np.testing.assert_array_equal(load(path), 4095 - blank.T)


def test_one_sample_that_calls_itself_a_colour_is_told(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", PIXELS, PhotometricInterpretation="RGB")
    with pytest.warns(UserWarning, match="image is said to be RGB, but has 1 sample a pixel: it is read as grey"):
        np.testing.assert_array_equal(load(path), PIXELS.T)
