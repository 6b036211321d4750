"""Lengths are millimetres, whatever unit a file has them in; what tells no length, or two, is warned of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from dicom_files import dicom, element

from monai_robust.data import SimpleITKReader
from monai_robust.data.reading import file_header
from monai_robust.errors import BadSampleError

VOLUME = (np.arange(6 * 5 * 4, dtype=np.int16) * 7 % 101).reshape(6, 5, 4)
SIZES = (0.5, 0.25, 2.0)
AFFINE = np.diag([*SIZES, 1.0])
US = "1.2.840.10008.5.1.4.1.1.6.1"


def spacing(path: Path) -> list[float]:
    reader = SimpleITKReader()
    affine = reader.get_data(reader.read(path))[1]["affine"]
    return [float(size) for size in np.linalg.norm(affine[:3, :3], axis=0)]


def nifti(path: Path, **header: Any) -> Path:
    """A file whose qform and sform are one, in millimetres, unless ``header`` says otherwise."""
    image = nib.Nifti1Image(VOLUME, AFFINE)
    image.set_qform(header.get("qform", AFFINE), header.get("qform_code", 1))
    image.set_sform(header.get("sform", AFFINE), header.get("sform_code", 1))
    image.header.set_xyzt_units(header.get("units", "mm"))
    nib.save(image, path)
    return path


def changed(path: Path, old: bytes, new: bytes) -> Path:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    return path


def itk(path: Path) -> Path:
    image = sitk.GetImageFromArray(VOLUME.T)
    image.SetSpacing(SIZES)
    image.SetOrigin((1.0, 2.0, 3.0))
    sitk.WriteImage(image, str(path))
    return path


def bare_nrrd(path: Path, line: bytes = b"") -> Path:
    """A file without space directions, and with ``line`` in their place."""
    head, gap, voxels = itk(path).read_bytes().partition(b"\n\n")
    lines = [one for one in head.split(b"\n") if not one.startswith((b"space", b"kinds"))]
    path.write_bytes(b"\n".join([*lines, line] if line else lines) + gap + voxels)
    return path


# ------------------------------------------------------------------------------------------------------- units


@pytest.mark.parametrize(("units", "factor"), [("meter", 1e3), ("mm", 1.0), ("micron", 1e-3), ("unknown", 1.0)])
def test_nifti_is_in_millimetres_whatever_its_units(tmp_path: Path, units: str, factor: float) -> None:
    path = nifti(tmp_path / "a.nii.gz", units=units)
    np.testing.assert_allclose(spacing(path), np.array(SIZES) * factor, rtol=1e-6)
    np.testing.assert_allclose(file_header(path).spacing, np.array(SIZES[:2]) * factor, rtol=1e-6)


def test_a_nifti_origin_has_the_units_of_its_voxels(tmp_path: Path) -> None:
    affine = AFFINE.copy()
    affine[:3, 3] = [10, 20, 30]
    reader = SimpleITKReader()
    path = nifti(tmp_path / "a.nii", units="micron", qform=affine, sform=affine)
    np.testing.assert_allclose(reader.get_data(reader.read(path))[1]["affine"][:3, 3], [0.01, 0.02, 0.03], rtol=1e-6)


@pytest.mark.parametrize(("units", "factor"), [("um", 1e-3), ("mm", 1.0), ("cm", 10.0)])
def test_metaimage_is_in_millimetres_whatever_its_units(tmp_path: Path, units: str, factor: float) -> None:
    path = changed(itk(tmp_path / "a.mha"), b"ElementSpacing", f"DistanceUnits = {units}\nElementSpacing".encode())
    np.testing.assert_allclose(spacing(path), np.array(SIZES) * factor)
    np.testing.assert_allclose(file_header(path).spacing, np.array(SIZES[:2]) * factor)


@pytest.mark.parametrize(
    ("units", "factor"),
    [('"um" "um" "um"', 1e-3), ('"µm" "µm" "µm"', 1e-3), ('"mm" "mm" "mm"', 1.0), ('"m" "m" "m"', 1e3)],
)
def test_nrrd_is_in_millimetres_whatever_its_units(tmp_path: Path, units: str, factor: float) -> None:
    path = changed(itk(tmp_path / "a.nrrd"), b"encoding:", f"space units: {units}\nencoding:".encode())
    np.testing.assert_allclose(spacing(path), np.array(SIZES) * factor)
    np.testing.assert_allclose(file_header(path).spacing, np.array(SIZES[:2]) * factor)


def test_units_of_the_axes_of_a_nrrd_count_where_its_space_has_none(tmp_path: Path) -> None:
    path = bare_nrrd(tmp_path / "a.nrrd", b'spacings: 500 250 2000\nunits: "um" "um" "um"')
    np.testing.assert_allclose(spacing(path), SIZES)


def test_units_that_are_none_are_taken_for_millimetres_and_told(tmp_path: Path) -> None:
    path = changed(itk(tmp_path / "a.nrrd"), b"encoding:", b'space units: "px" "px" "px"\nencoding:')
    with pytest.warns(UserWarning, match="image has lengths in 'px', which is no unit known here: they are taken for"):
        assert spacing(path) == list(SIZES)
    path = changed(itk(tmp_path / "a.mha"), b"ElementSpacing", b"DistanceUnits = inch\nElementSpacing")
    with pytest.warns(UserWarning, match="lengths in 'inch'"):
        assert spacing(path) == list(SIZES)


def test_different_units_of_the_axes_of_a_nrrd_are_refused(tmp_path: Path) -> None:
    path = changed(itk(tmp_path / "a.nrrd"), b"encoding:", b'space units: "um" "um" "mm"\nencoding:')
    with pytest.raises(BadSampleError, match=r"a\.nrrd cannot be read: its axes have different units, mm and um"):
        spacing(path)


# -------------------------------------------------------------------------------------------------- ultrasound


def region(**changes: Any) -> Any:
    sizes = {"PhysicalDeltaX": 0.02, "PhysicalDeltaY": 0.03, "PhysicalUnitsXDirection": 3, "PhysicalUnitsYDirection": 3}
    place = {"RegionLocationMinX0": 0, "RegionLocationMinY0": 0, "RegionLocationMaxX1": 7, "RegionLocationMaxY1": 5}
    return element(**{**sizes, **place, "RegionSpatialFormat": 1, **changes})


@pytest.mark.parametrize(
    ("regions", "expected"),
    [
        ([region()], (0.2, 0.3)),
        ([region(), region(RegionLocationMinX0=2)], (0.2, 0.3)),
        ([region(PhysicalDeltaX=-0.02)], (0.2, 0.3)),
        ([region(), region(PhysicalDeltaX=0.05)], None),
        ([region(), region(PhysicalUnitsXDirection=4, RegionSpatialFormat=3)], None),
        ([region(PhysicalDeltaX=0.0)], None),
    ],
)
def test_the_regions_of_an_ultrasound_picture_tell_its_spacing_where_they_agree(
    tmp_path: Path, regions: list[Any], expected: tuple[float, float] | None
) -> None:
    path = dicom(tmp_path / "a.dcm", VOLUME[0], sop=US, Modality="US", SequenceOfUltrasoundRegions=regions)
    assert file_header(path).spacing == (None if expected is None else pytest.approx(expected))
    assert spacing(path)[:2] == pytest.approx(expected or (1.0, 1.0))


def test_pixels_that_are_not_square_are_told_where_no_spacing_is_known(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", VOLUME[0], PixelAspectRatio=[2, 1])
    with pytest.warns(UserWarning, match=r"image has pixels that are not square \(PixelAspectRatio 2:1\)"):
        assert spacing(path)[:2] == [1, 1]


# ------------------------------------------------------------------------------------- two lengths, or none


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"qform": np.diag([1.0, 1, 3, 1])}, "its qform has voxels of 1 x 1 x 3 mm.*sform.*0.5 x 0.25 x 2 mm"),
        ({"qform": np.diag([-0.5, 0.25, 2, 1])}, "its qform and its sform have axes in other directions"),
        ({"qform_code": 0, "sform": np.diag([1.0, 1, 2, 1])}, "its pixdim.*0.5 x 0.25 x 2 mm.*sform.*1 x 1 x 2 mm"),
        ({"qform_code": 0, "sform_code": 0}, "neither its qform nor its sform.*0.5 x 0.25 x 2 mm"),
    ],
)
def test_what_a_nifti_header_says_twice_or_not_at_all_is_told(
    tmp_path: Path, header: dict[str, Any], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "monai_robust")
    with pytest.warns(UserWarning, match=message):
        found = spacing(nifti(tmp_path / "a.nii.gz", **header))
    taken = header.get("sform", AFFINE)
    np.testing.assert_allclose(found, np.diag(taken)[:3], rtol=1e-6)
    assert "a.nii.gz" in caplog.text


@pytest.mark.filterwarnings("error::UserWarning:monai_robust")
def test_rounding_is_no_contradiction_in_a_nifti_header(tmp_path: Path) -> None:
    turn = np.deg2rad(20)
    affine = AFFINE.copy()
    affine[:2, :2] = [[0.5 * np.cos(turn), -0.25 * np.sin(turn)], [0.5 * np.sin(turn), 0.25 * np.cos(turn)]]
    rounded = affine.round(4)
    spacing(nifti(tmp_path / "a.nii", qform=affine, sform=rounded))
    spacing(nifti(tmp_path / "b.nii"))
    spacing(nifti(tmp_path / "c.nii", sform_code=0))


@pytest.mark.parametrize(
    "line",
    [b"", b"spacings: 0.5 0.25 nan", b"space dimension: 3\nspace directions: none (0,0.25,0) (0,0,2)"],
)
def test_a_nrrd_axis_without_a_length_is_taken_as_a_millimetre_and_told(tmp_path: Path, line: bytes) -> None:
    with pytest.warns(UserWarning, match="image tells no spacing of some axis: it is taken as 1 mm"):
        assert 1.0 in spacing(bare_nrrd(tmp_path / "a.nrrd", line))


def test_a_metaimage_without_spacing_is_told(tmp_path: Path) -> None:
    path = changed(itk(tmp_path / "a.mha"), b"ElementSpacing = 0.5 0.25 2\n", b"")
    with pytest.warns(UserWarning, match="image tells no spacing of some axis: it is taken as 1 mm"):
        assert spacing(path) == [1, 1, 1]


@pytest.mark.filterwarnings("error::UserWarning:monai_robust")
@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
def test_channels_need_no_length(tmp_path: Path, name: str) -> None:
    image = sitk.GetImageFromArray(np.stack([VOLUME.T] * 3, axis=-1), isVector=True)
    image.SetSpacing(SIZES)
    sitk.WriteImage(image, str(tmp_path / name))
    np.testing.assert_allclose(spacing(tmp_path / name), SIZES)


def test_axes_of_length_one_beyond_the_third_are_none(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii")
    content = bytearray(path.read_bytes())
    content[40:56] = np.array([7, 6, 5, 4, 1, 1, 1, 1], "<i2").tobytes()
    path.write_bytes(content)
    reader = SimpleITKReader()
    np.testing.assert_array_equal(reader.get_data(reader.read(path))[0], VOLUME)
    assert file_header(path).size == (6, 5, 4)
