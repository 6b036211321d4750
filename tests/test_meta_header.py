"""Headers of MetaImage files that MetaIO would misread in silence, or that end the process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from monai_robust.data import SimpleITKReader
from monai_robust.errors import BadSampleError


def write(path: Path, packed: bool = False, axes: int = 3) -> Path:
    shape = (2, 5, 4, 3)[-axes:]
    image = sitk.GetImageFromArray(np.arange(np.prod(shape), dtype=np.int16).reshape(shape), isVector=False)
    image.SetSpacing((0.5, 0.25, 2.0, 1.5)[:axes])
    turned = np.eye(axes)
    turned[:2, :2] = [[0, -1], [1, 0]]
    image.SetDirection(turned.ravel().tolist())
    sitk.WriteImage(image, str(path), useCompression=packed)
    return path


def load(path: Path) -> np.ndarray:
    reader = SimpleITKReader()
    return reader.get_data(reader.read(path))[0]


@pytest.mark.parametrize("axes", [2, 3, 4])
@pytest.mark.parametrize("packed", [False, True])
def test_what_simpleitk_writes_is_read(packed: bool, axes: int, tmp_path: Path) -> None:
    for name in ("a.mha", "a.mhd"):
        path = write(tmp_path / name, packed, axes)
        np.testing.assert_array_equal(load(path), sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T)


@pytest.mark.parametrize(
    ("line", "damaged", "message"),
    [
        ("NDims = 3", "NDims = 4294967295", "no number of axes"),
        ("NDims = 3", "NDims = 2", "dimsize|offset|elementspacing"),
        ("MSB = False", "MSB = 1", "binarydatabyteordermsb is '1', not True or False"),
        ("CompressedData = True", "CompressedData = 1", "compresseddata is '1'"),
        ("Offset = 0 0 0", "Offset = 3", "offset is '3'; it needs 3 numbers"),
        ("ElementSpacing = 0.5 0.25 2", "ElementSpacing = -0.5 0.25 2", "must be above 0"),
        ("ElementSpacing = 0.5 0.25 2", "ElementSpacing = 0.5 nan 2", "elementspacing is"),
        ("ElementSpacing = 0.5 0.25 2", "Element\x80pacing = 0.5 0.25 2", "no name of a field"),
        ("DimSize = 3 4 5", "DimSize = 3 4 5 1", "dimsize is"),
        ("DimSize = 3 4 5", "DimSize = 3 4 0", "1 or more"),
        ("TransformMatrix = 0 1 0 -1", "TransformMatrix = 9 1 0 -1", "directions"),
        ("CompressedDataSize = ", "CompressedDataSize = 1", "CompressedDataSize says 1"),
        ("CompressedDataSize = ", "Other = ", "CompressedDataSize says nothing"),
    ],
)
def test_a_header_that_would_be_misread_is_refused(line: str, damaged: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mha", packed=True)
    content = path.read_bytes()
    assert line.encode() in content
    path.write_bytes(content.replace(line.encode(), damaged.encode("latin-1")))
    with pytest.raises(BadSampleError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["a.mha", "a.mhd"])
def test_a_line_that_makes_intensities_of_stored_values_is_applied(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name)
    stored, content = load(path), path.read_bytes()

    def with_line(slope: str, offset: str) -> None:
        fields = f"ElementToIntensityFunctionSlope = {slope}\nElementToIntensityFunctionOffset = {offset}\n"
        path.write_bytes(content.replace(b"ElementType", fields.encode() + b"ElementType"))

    with_line("2", "-1000")
    np.testing.assert_array_equal(load(path), 2.0 * stored - 1000)
    with_line("1", "0")
    assert load(path).dtype == np.int16
    for slope, offset, message in (
        ("0", "0", "Slope is 0"),
        ("1,5", "0", "functionslope is '1,5'"),
        ("1", "nan", "functionoffset is"),
    ):
        with_line(slope, offset)
        with pytest.raises(BadSampleError, match=message):
            load(path)
