"""The reader: every sample file, against pydicom where pydicom can decode it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from monai.transforms import Compose, LoadImaged
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from monai_robust.data import SimpleITKReader
from monai_robust.errors import BadInputError, BadSampleError, user_error

LOSSLESS = [
    "ct_implicit_le",
    "ct_explicit_be",
    "ct_deflated",
    "ct_rle",
    "ct_jpeg_lossless",
    "ct_jpegls_lossless",
    "ct_jpeg2000_lossless",
]


@pytest.fixture(scope="module")
def samples() -> Path:
    folder = Path(__file__).resolve().parents[2] / "shared" / "data" / "dicom_samples"
    if not folder.is_dir():
        pytest.skip("the DICOM samples are not beside the checkout")
    return folder


def load(path: Path, **options: Any) -> tuple[NDArray[Any], dict[str, Any]]:
    reader = SimpleITKReader(**options)
    return reader.get_data(reader.read(path))


def write_dicom(path: Path, pixels: NDArray[Any], **elements: Any) -> Path:
    """A small DICOM file; ``elements`` override what it says."""
    dataset = Dataset()
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.PatientName = "Secret^Name"
    dataset.PatientID = "secret-id"
    dataset.SeriesInstanceUID = "1.2.3"
    dataset.Modality = "CT"
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.PixelData = pixels.astype("<u2").tobytes()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_slices(folder: Path, heights: list[float], uid: str = "1.2.3", **elements: Any) -> None:
    """One 2 x 3 slice per height, whose pixels all hold its place in the list, named against the order of heights."""
    for place, height in enumerate(heights):
        write_dicom(
            folder / f"{uid}_{len(heights) - place}.dcm",
            np.full((2, 3), place),
            SeriesInstanceUID=uid,
            InstanceNumber=len(heights) - place,
            PixelSpacing=[2.0, 0.5],
            **{
                "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
                "ImagePositionPatient": [10.0, 20.0, height],
                "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
                **elements,
            },
        )


@pytest.mark.real_data
def test_all_sample_files_are_read_but_broken_ones_films_and_tiles(samples: Path) -> None:
    with (samples / "index.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["series"] == "single"]
    readable = 0
    for row in rows:
        path = samples / row["file"]
        if path.name.startswith(("BAD", "NOPIX", "mr_16frame", "sm_tiled")):
            with pytest.raises(BadSampleError, match=path.name):
                load(path)
            continue
        array, meta = load(path)
        frames = int(row["frames"])
        expected = (int(row["columns"]), int(row["rows"])) + ((frames,) if frames > 1 else ())
        assert array.shape == expected, path.name
        assert meta["affine"].shape == (len(expected) + 1,) * 2
        assert abs(np.linalg.det(meta["affine"])) > 0
        readable += 1
    assert readable == 31


@pytest.mark.real_data
@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_transfer_syntaxes_give_identical_pixels(samples: Path, name: str) -> None:
    reference, _ = load(samples / "files" / "ct_explicit_le.dcm")
    array, _ = load(samples / "files" / f"{name}.dcm")
    np.testing.assert_array_equal(array, reference)


@pytest.mark.real_data
def test_rescale_is_applied_as_pydicom_has_it(samples: Path) -> None:
    path = samples / "files" / "ct_explicit_le.dcm"
    array, _ = load(path)
    np.testing.assert_array_equal(array, pydicom.dcmread(path).pixel_array.T.astype(int) - 1024)


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["cr_chest_monochrome1", "dx_monochrome1_8bit"])
def test_monochrome1_is_inverted_over_its_stored_range(samples: Path, name: str) -> None:
    path = samples / "files" / f"{name}.dcm"
    header = pydicom.dcmread(path)
    array, _ = load(path)
    np.testing.assert_array_equal(array, 2**header.BitsStored - 1 - header.pixel_array.T.astype(int))


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["mr_enhanced_10frame", "mr_enhanced_10frame_rle"])
def test_frames_of_a_multi_frame_file_stay_in_order_on_the_last_axis(samples: Path, name: str) -> None:
    path = samples / "files" / f"{name}.dcm"
    array, _ = load(path)
    np.testing.assert_array_equal(array, np.transpose(pydicom.dcmread(path).pixel_array, (2, 1, 0)))


@pytest.mark.real_data
def test_one_bit_segmentations_hold_zero_and_one(samples: Path) -> None:
    path = samples / "files" / "seg_liver_1bit_3frame.dcm"
    array, _ = load(path)
    np.testing.assert_array_equal(array, np.transpose(pydicom.dcmread(path).pixel_array, (2, 1, 0)))


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "slices"), [("series_ct_chest_cptac", 16), ("series_mr_t1post", 24)])
def test_a_series_folder_is_sorted_by_position_with_the_affine_of_its_headers(
    samples: Path, name: str, slices: int
) -> None:
    headers = [pydicom.dcmread(path) for path in (samples / name).glob("*.dcm")]
    normal = np.cross(headers[0].ImageOrientationPatient[:3], headers[0].ImageOrientationPatient[3:])
    headers.sort(key=lambda header: float(np.dot(header.ImagePositionPatient, normal)))
    array, meta = load(samples / name)
    assert array.shape == (headers[0].Columns, headers[0].Rows, slices)
    for place in (0, 5, slices - 1):
        header = headers[place]
        pixels = header.pixel_array.T * float(header.get("RescaleSlope", 1)) + float(header.get("RescaleIntercept", 0))
        np.testing.assert_array_equal(array[:, :, place], pixels)
        lps = np.array([-1, -1, 1]) * (meta["affine"] @ [0, 0, place, 1])[:3]
        np.testing.assert_allclose(lps, np.array(header.ImagePositionPatient, float), atol=0.01)


@pytest.mark.real_data
def test_colour_becomes_its_rec601_luminance_or_is_kept(samples: Path) -> None:
    path = samples / "files" / "us_palette_color_rle_2frame.dcm"
    kept, meta = load(path, color="keep")
    assert kept.shape == (800, 600, 2, 3)
    assert meta["original_channel_dim"] == -1
    grey, meta = load(path)
    assert np.isnan(meta["original_channel_dim"])
    np.testing.assert_allclose(grey, kept @ np.array([0.299, 0.587, 0.114]), atol=1e-3)


@pytest.mark.real_data
def test_a_radiograph_loads_as_one_channel_by_instance_or_dotted_name(samples: Path) -> None:
    path = samples / "files" / "dx_monochrome1_8bit.dcm"
    for reader in (SimpleITKReader(), "monai_robust.data.reading.reader.SimpleITKReader"):
        load_image = LoadImaged("image", reader=reader, ensure_channel_first=True, image_only=True)
        image = load_image({"image": str(path)})["image"]
        assert image.shape == (1, 211, 169)
        assert image.meta["filename_or_obj"] == str(path)


@pytest.mark.real_data
def test_a_broken_file_is_refused_by_name_through_a_pipeline_without_falling_back(samples: Path) -> None:
    pipeline = Compose([LoadImaged("image", reader=SimpleITKReader(), image_only=True)])
    with pytest.raises(RuntimeError) as caught:
        pipeline({"image": str(samples / "files" / "BAD_mr_truncated_pixels.dcm")})
    known = user_error(caught.value)
    assert isinstance(known, BadSampleError)
    assert "BAD_mr_truncated_pixels.dcm" in str(known)


def test_slices_are_sorted_by_position_whatever_their_names_and_numbers(tmp_path: Path) -> None:
    write_slices(tmp_path, [5.0, -4.0, 2.0, -1.0])
    array, meta = load(tmp_path)
    np.testing.assert_array_equal(array[0, 0], [1, 3, 2, 0])
    np.testing.assert_allclose(meta["affine"], [[-0.5, 0, 0, -10], [0, -2, 0, -20], [0, 0, 3, -4], [0, 0, 0, 1]])


def test_two_series_in_one_folder_are_refused_and_each_can_be_chosen(tmp_path: Path) -> None:
    write_slices(tmp_path, [0.0, 1.0], uid="1.2.3")
    write_slices(tmp_path, [0.0, 1.0, 2.0], uid="1.2.4")
    with pytest.raises(BadInputError, match=r"2 DICOM series; choose one by series_uid= \(1.2.3, 1.2.4\)"):
        load(tmp_path)
    assert load(tmp_path, series_uid="1.2.3")[0].shape == (3, 2, 2)
    assert load(tmp_path, series_uid="1.2.4")[0].shape == (3, 2, 3)
    with pytest.raises(BadInputError, match=r"no DICOM series 9.9; it has 1.2.3, 1.2.4"):
        load(tmp_path, series_uid="9.9")


def test_slices_at_one_place_or_of_two_directions_are_refused(tmp_path: Path) -> None:
    write_slices(tmp_path, [0.0, 1.0, 1.0])
    with pytest.raises(BadSampleError, match="same position"):
        load(tmp_path)
    write_slices(tmp_path, [0.0, 1.0, 2.0])
    write_dicom(
        tmp_path / "localizer.dcm",
        np.ones((2, 3)),
        ImagePositionPatient=[0, 0, 0],
        ImageOrientationPatient=[0, 1, 0, 0, 0, 1],
    )
    with pytest.raises(BadSampleError, match="different directions"):
        load(tmp_path)


def test_a_missing_slice_is_warned_of(tmp_path: Path) -> None:
    write_slices(tmp_path, [0.0, 1.0, 3.0, 4.0])
    with pytest.warns(UserWarning, match="1 to 2 mm apart"):
        load(tmp_path)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(BadSampleError, match="holds no DICOM image"):
        load(tmp_path)


def test_rescale_differing_from_slice_to_slice_is_applied_to_each(tmp_path: Path) -> None:
    for place, slope in enumerate([1.0, 0.5]):
        write_dicom(
            tmp_path / f"{place}.dcm",
            np.full((2, 3), 10),
            SOPClassUID="1.2.840.10008.5.1.4.1.1.2",
            ImagePositionPatient=[0, 0, place],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            RescaleSlope=slope,
            RescaleIntercept=0,
        )
    np.testing.assert_array_equal(load(tmp_path)[0][0, 0], [10.0, 5.0])


@pytest.mark.parametrize(("photometric", "expected"), [("MONOCHROME2", [0, 100, 300]), ("MONOCHROME1", [300, 200, 0])])
def test_a_modality_lookup_table_is_applied_before_the_inversion(
    tmp_path: Path, photometric: str, expected: list[int]
) -> None:
    table = Dataset()
    table.LUTDescriptor = [4, 0, 16]
    table.ModalityLUTType = "US"
    table.add_new(0x00283006, "OW", np.array([0, 100, 150, 300], "<u2").tobytes())
    path = write_dicom(
        tmp_path / "lut.dcm",
        np.array([[0, 1, 3]]),
        PhotometricInterpretation=photometric,
        ModalityLUTSequence=[table],
    )
    np.testing.assert_array_equal(load(path)[0][:, 0], expected)


def test_metadata_holds_nothing_that_identifies_a_patient(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", np.array([[0, 1, 3]]))
    _, meta = load(path)
    assert {str(key) for key in meta} == {
        "affine",
        "original_affine",
        "space",
        "spatial_shape",
        "original_channel_dim",
        "filename_or_obj",
    }
    image = LoadImaged("image", reader=SimpleITKReader(), image_only=True)({"image": str(path)})["image"]
    assert "secret" not in str(image.meta).lower()


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "bmp"])
def test_grey_pictures_agree_with_pillow(tmp_path: Path, suffix: str) -> None:
    pixels = (np.add.outer(np.arange(20), np.arange(30)) * 4).astype(np.uint8)
    path = tmp_path / f"picture.{suffix}"
    Image.fromarray(pixels).save(path)
    array, meta = load(path)
    np.testing.assert_array_equal(array, np.asarray(Image.open(path)).T)
    np.testing.assert_array_equal(meta["affine"], np.diag([-1, -1, 1]))


def test_sixteen_bit_png_keeps_its_depth(tmp_path: Path) -> None:
    pixels = np.arange(600, dtype=np.uint16).reshape(20, 30) * 100
    Image.fromarray(pixels).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(load(tmp_path / "deep.png")[0], pixels.T)


def test_a_transparent_picture_is_composited_on_black(tmp_path: Path) -> None:
    pixels = np.full((4, 5, 4), 200, np.uint8)
    pixels[:, :2, 3] = 0
    pixels[:, 2:, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "transparent.png")
    np.testing.assert_allclose(load(tmp_path / "transparent.png")[0][:, 0], [0, 0, 200, 200, 200], atol=1e-3)


@pytest.mark.parametrize("suffix", ["nii.gz", "mha", "nrrd"])
def test_volumes_keep_axes_and_affine_as_nibabel_has_them(tmp_path: Path, suffix: str) -> None:
    rotation = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    affine = np.eye(4)
    affine[:3, :3] = rotation * [1.0, 2.0, 3.0]
    affine[:3, 3] = [10, -20, 30]
    values = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    nib.save(nib.Nifti1Image(values, affine), tmp_path / "reference.nii.gz")
    path = tmp_path / f"volume.{suffix}"
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "reference.nii.gz")), str(path))
    array, meta = load(path)
    np.testing.assert_array_equal(array, values)
    np.testing.assert_allclose(meta["affine"], affine, atol=1e-5)


def test_a_single_slice_volume_becomes_two_dimensional(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4, 1)
    nib.save(nib.Nifti1Image(values, np.diag([0.5, 2.0, 7.0, 1.0])), tmp_path / "flat.nii.gz")
    array, meta = load(tmp_path / "flat.nii.gz")
    np.testing.assert_array_equal(array, values[:, :, 0])
    np.testing.assert_allclose(np.abs(meta["affine"]), np.diag([0.5, 2.0, 1.0]))


def test_a_time_series_carries_its_time_as_channels(tmp_path: Path) -> None:
    values = np.arange(120, dtype=np.float32).reshape(3, 4, 5, 2)
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "time.nii.gz")
    image = LoadImaged("image", reader=SimpleITKReader(), ensure_channel_first=True)(
        {"image": str(tmp_path / "time.nii.gz")}
    )["image"]
    np.testing.assert_array_equal(image.numpy(), np.moveaxis(values, -1, 0))


def test_several_files_are_stacked_as_channels_if_they_fit(tmp_path: Path) -> None:
    for name, shape in (("a", (4, 5)), ("b", (4, 5)), ("c", (4, 6))):
        Image.fromarray(np.full(shape, ord(name), np.uint8)).save(tmp_path / f"{name}.png")
    reader = SimpleITKReader()
    array, meta = reader.get_data(reader.read([tmp_path / "a.png", tmp_path / "b.png"]))
    np.testing.assert_array_equal(array[:, 0, 0], [ord("a"), ord("b")])
    assert meta["original_channel_dim"] == 0
    with pytest.raises(BadSampleError, match=r"c\.png has shape \(6, 4\)"):
        reader.get_data(reader.read([tmp_path / "a.png", tmp_path / "c.png"]))


def test_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(BadSampleError, match=r"text\.png cannot be read"):
        load(tmp_path / "text.png")
    with pytest.raises(BadSampleError, match=r"gone\.png does not exist"):
        load(tmp_path / "gone.png")


def test_an_unknown_colour_mode_is_refused() -> None:
    with pytest.raises(BadInputError, match="one of 'luminance', 'rgb', 'keep'"):
        SimpleITKReader(color="cmyk")


def test_suffixes_say_which_files_the_reader_takes(tmp_path: Path) -> None:
    reader = SimpleITKReader()
    assert reader.verify_suffix([tmp_path, "a.DCM", "b.nii.gz", "IM0001"])
    assert not reader.verify_suffix("a.npy")
