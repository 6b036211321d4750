"""DICOM: what was decoded is what the header promises, lies where the header says, or is refused by the file's name."""

from __future__ import annotations

import gzip
import io
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import PROJECTIONS, dicom, element, enhanced, slices
from numpy.typing import NDArray
from PIL import Image
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from monai_robust.data import SimpleITKReader, landmark_datalist, load_volume
from monai_robust.errors import BadSampleError

PIXELS = (np.arange(64 * 48, dtype=np.uint16) * 13 % 997).reshape(64, 48)
SMALL = (PIXELS % 251).astype(np.uint8)


def load(path: Path, **options: Any) -> tuple[NDArray[Any], dict[str, Any]]:
    reader = SimpleITKReader(**options)
    return reader.get_data(reader.read(path))


def refused(path: Path, message: str = "cannot be read") -> str:
    with pytest.raises(BadSampleError, match=message) as caught:
        load(path)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def compressed(format_name: str, pixels: NDArray[np.uint8] = SMALL, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format_name, **options)
    content = buffer.getvalue()
    return content[content.index(b"\xff\x4f\xff\x51") :] if format_name == "JPEG2000" else content


def j2k(path: Path, stream: bytes, **elements: Any) -> Path:
    return dicom(path, SMALL, syntax=JPEG2000Lossless, codestreams=[stream], **elements)


@pytest.mark.parametrize(
    "changes",
    [
        {"PixelData": PIXELS.tobytes()[:3000]},
        {"PixelData": b""},
        {"PixelData": PIXELS.tobytes() + bytes(4)},
        {"Rows": 1024},
        {"Rows": 32},
        {"Columns": 47},
        {"NumberOfFrames": 3},
        {"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31},
        {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7},
        {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0},
    ],
)
def test_pixel_data_of_another_length_than_the_header_says_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    np.testing.assert_array_equal(load(dicom(tmp_path / "whole.dcm", PIXELS))[0], PIXELS.T)
    said = refused(dicom(tmp_path / "odd.dcm", PIXELS, **changes), "it is damaged, its pixel data are")
    assert "bytes" in said


def test_one_byte_that_makes_the_length_even_is_no_fault(tmp_path: Path) -> None:
    odd = np.arange(15, dtype=np.uint8).reshape(3, 5)
    np.testing.assert_array_equal(load(dicom(tmp_path / "a.dcm", odd, PixelData=odd.tobytes() + b"\0"))[0], odd.T)


@pytest.mark.parametrize("share", [0.2, 0.6, 0.99])
@pytest.mark.parametrize(("format_name", "syntax"), [("JPEG2000", JPEG2000Lossless), ("JPEG", JPEGBaseline8Bit)])
def test_a_compressed_frame_that_is_cut_off_is_refused(
    tmp_path: Path, format_name: str, syntax: Any, share: float
) -> None:
    stream = compressed(format_name)
    whole, _ = load(dicom(tmp_path / "whole.dcm", SMALL, syntax=syntax, codestreams=[stream]))
    np.testing.assert_array_equal(whole, np.asarray(Image.open(io.BytesIO(stream))).T)
    cut = dicom(tmp_path / "cut.dcm", SMALL, syntax=syntax, codestreams=[stream[: int(len(stream) * share)]])
    refused(cut, "damaged: a JPEG")


def test_a_codestream_that_asks_for_another_size_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    stream = bytearray(compressed("JPEG2000"))
    huge = stream.copy()
    huge[8:16] = (60_000).to_bytes(4, "big") * 2
    refused(j2k(tmp_path / "huge.dcm", bytes(huge)), "JPEG 2000 codestream|compressed frame has 60000 x 60000")
    tiny_tiles = stream.copy()
    tiny_tiles[24:32] = (1).to_bytes(4, "big") * 2
    refused(j2k(tmp_path / "tiles.dcm", bytes(tiny_tiles)), "cannot hold 3072 tiles")
    refused(j2k(tmp_path / "both.dcm", bytes(huge), Rows=60_000, Columns=60_000), "its header asks for 3433 MiB")


def test_compressed_frames_must_be_as_many_as_the_header_says(tmp_path: Path) -> None:
    stream = compressed("JPEG2000")
    refused(j2k(tmp_path / "few.dcm", stream, NumberOfFrames=2), "damaged|NumberOfFrames is 2")
    path = dicom(tmp_path / "many.dcm", SMALL, syntax=JPEG2000Lossless, codestreams=[stream, stream])
    refused(path, "NumberOfFrames is 1, but it holds 2")


def test_run_length_encoded_pixels_that_are_cut_off_are_refused(tmp_path: Path) -> None:
    path = dicom(tmp_path / "whole.dcm", PIXELS)
    header = pydicom.dcmread(path)
    header.compress(RLELossless)
    header.save_as(path)
    np.testing.assert_array_equal(load(path)[0], PIXELS.T)
    content = path.read_bytes()
    (tmp_path / "cut.dcm").write_bytes(content[: len(content) // 2])
    refused(tmp_path / "cut.dcm")


def test_a_damaged_deflated_stream_is_refused(tmp_path: Path) -> None:
    path = dicom(tmp_path / "whole.dcm", PIXELS, syntax=DeflatedExplicitVRLittleEndian)
    np.testing.assert_array_equal(load(path)[0], PIXELS.T)
    content = path.read_bytes()
    for number, damaged in enumerate((content[: len(content) * 2 // 3], content[:400] + b"\xff" * 8 + content[408:])):
        cut = tmp_path / f"cut{number}.dcm"
        cut.write_bytes(damaged)
        refused(cut, "deflated data are damaged")
    start = 144 + pydicom.dcmread(path).file_meta.FileMetaInformationGroupLength
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = tmp_path / "bomb.dcm"
    bomb.write_bytes(content[:start] + deflate.compress(bytes(2**24)) + deflate.flush())
    with pytest.raises(BadSampleError, match=r"bomb\.dcm cannot be read: its deflated data take more than"):
        load(bomb, max_bytes=2**20)


@pytest.mark.parametrize("modality", PROJECTIONS)
@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"PixelSpacing": [0.2, 0.1]}, (0.1, 0.2)),
        ({"ImagerPixelSpacing": [0.2, 0.1]}, (0.1, 0.2)),
        ({"PixelSpacing": [0.09, 0.08], "ImagerPixelSpacing": [0.1, 0.1]}, (0.08, 0.09)),
        ({"NominalScannedPixelSpacing": [0.3, 0.4]}, (0.4, 0.3)),
        ({"PixelSpacing": [0, 0], "ImagerPixelSpacing": [0.1, 0.1]}, (0.1, 0.1)),
        ({}, (1.0, 1.0)),
    ],
)
def test_the_spacing_of_radiographs_is_that_of_the_patient_where_both_stand(
    tmp_path: Path, modality: str, tags: dict[str, Any], expected: tuple[float, float]
) -> None:
    for name in ("a", "b", "c"):
        dicom(tmp_path / f"{name}.dcm", PIXELS, sop=PROJECTIONS[modality], Modality=modality, **tags)
    np.testing.assert_allclose(load(tmp_path / "a.dcm")[1]["affine"], np.diag([-expected[0], -expected[1], 1]))
    rows = [f"{name}.dcm,10,20,{split}" for name, split in (("a", "train"), ("b", "val"), ("c", "test"))]
    (tmp_path / "landmarks.csv").write_text("\n".join(["file,a_x,a_y,split", *rows]))
    if tags:
        found = landmark_datalist(tmp_path).items["train"][0]["spacing"]
        np.testing.assert_allclose(found, expected)


def test_frames_are_sorted_by_position_with_the_spacing_of_their_pixel_measures(tmp_path: Path) -> None:
    volume = load_volume({"image": str(enhanced(tmp_path / "a.dcm", [0, 10, 2, 8, 4, 6]))})
    np.testing.assert_allclose(volume["image"][0, 1, 1], [0, 20, 40, 60, 80, 100])
    np.testing.assert_allclose(volume["spacing"], (0.4, 0.5, 2.0), rtol=1e-6)
    np.testing.assert_allclose(volume["image"].affine[:3, 3], 0)


def test_frames_that_go_down_keep_their_order_and_their_place(tmp_path: Path) -> None:
    array, meta = load(enhanced(tmp_path / "a.dcm", [6, 4, 2]))
    np.testing.assert_array_equal(array[1, 1], [60, 40, 20])
    np.testing.assert_allclose(meta["affine"] @ [0, 0, 2, 1], [0, 0, 2, 1])


def test_two_time_points_are_refused_and_missing_frames_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "monai_robust")
    refused(enhanced(tmp_path / "two.dcm", [0, 2, 4, 0, 2, 4]), "same position")
    with pytest.warns(UserWarning, match=r"^frames of an image are 2 to 4 mm apart"):
        load(enhanced(tmp_path / "gap.dcm", [0, 2, 4, 8, 10, 12]))
    assert [record.levelname for record in caplog.records if "gap.dcm" in record.getMessage()] == ["DEBUG"]


def test_each_frame_is_rescaled_by_its_own_values(tmp_path: Path) -> None:
    path = enhanced(tmp_path / "a.dcm", [0, 2, 4])
    header = pydicom.dcmread(path)
    for number, frame in enumerate(header.PerFrameFunctionalGroupsSequence):
        frame.PixelValueTransformationSequence = [
            element(RescaleSlope=number + 0.5, RescaleIntercept=-number, RescaleType="US")
        ]
    header.save_as(path)
    np.testing.assert_allclose(load(path)[0][1, 1], [0, 20 * 1.5 - 1, 40 * 2.5 - 2])


def test_frames_of_several_directions_or_without_a_place_are_refused(tmp_path: Path) -> None:
    path = enhanced(tmp_path / "a.dcm", [0, 2, 4])
    header = pydicom.dcmread(path)
    turned = element(ImageOrientationPatient=[0, 1, 0, 0, 0, 1])
    header.PerFrameFunctionalGroupsSequence[1].PlaneOrientationSequence = [turned]
    header.save_as(tmp_path / "turned.dcm")
    refused(tmp_path / "turned.dcm", "different directions")
    header = pydicom.dcmread(path)
    del header.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence
    header.save_as(tmp_path / "placeless.dcm")
    refused(tmp_path / "placeless.dcm", "frame 3 has no ImagePositionPatient")


@pytest.mark.parametrize("text", [r"0,5\0,5", r"nan\0.5", "0.5", r"-0.5\0.5"])
def test_numbers_that_are_none_are_refused_by_their_keyword(tmp_path: Path, text: str) -> None:
    path = dicom(tmp_path / "a.dcm", PIXELS, PixelSpacing=[0.12345, 0.12345])
    old = rb"0.12345\0.12345"
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, text.encode().ljust(len(old))))
    refused(path, "its PixelSpacing is")


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("empty", lambda content: b""),
        ("cut in its header", lambda content: content[:300]),
        ("cut in its pixels", lambda content: content[:-5]),
        ("text", lambda content: b"no image"),
        ("zeros", lambda content: bytes(len(content))),
    ],
)
@pytest.mark.parametrize("suffix", [".dcm", ".001"])
def test_a_slice_that_cannot_be_read_is_not_left_out_of_its_series(
    tmp_path: Path, name: str, damage: Any, suffix: str
) -> None:
    files = [path.rename(path.with_suffix(suffix)) for path in slices(tmp_path / "series")]
    files[-1].write_bytes(damage(files[-1].read_bytes()))
    with pytest.raises(BadSampleError, match=files[-1].name):
        load_volume({"image": str(tmp_path / "series")})


def test_a_packed_slice_is_not_left_out_of_its_series_and_a_note_beside_one_is(tmp_path: Path) -> None:
    files = slices(tmp_path / "series")
    note = files[-1].with_name(files[-1].name + ".txt")
    note.write_text("checked")
    whole, _ = load(tmp_path / "series")
    assert whole.shape[-1] == len(files)
    note.unlink()
    files[-1].with_name(files[-1].name + ".gz").write_bytes(gzip.compress(files[-1].read_bytes()))
    files[-1].unlink()
    with pytest.raises(BadSampleError, match=rf"{files[-1].name}\.gz cannot be read: it is named like a slice"):
        load(tmp_path / "series")


def test_slices_without_preamble_are_read(tmp_path: Path) -> None:
    files = slices(tmp_path / "series")
    whole, meta = load(tmp_path / "series")
    files[-1].write_bytes(files[-1].read_bytes()[132:])
    np.testing.assert_array_equal(load(tmp_path / "series")[0], whole)
    for path in files:
        header = pydicom.dcmread(path, force=True)
        header.file_meta = pydicom.dataset.FileMetaDataset()
        buffer = DicomBytesIO()
        buffer.is_little_endian = buffer.is_implicit_VR = True
        write_dataset(buffer, header)
        path.write_bytes(buffer.getvalue())
    array, found = load(tmp_path / "series")
    np.testing.assert_array_equal(array, whole)
    np.testing.assert_array_equal(found["affine"], meta["affine"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ImagePositionPatient": [0, 0, float("nan")]}, "ImagePositionPatient"),
        ({"ImagePositionPatient": None}, "it has no ImagePositionPatient or orientation"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "two directions at right angles"),
        ({"PixelSpacing": [0.5, 0.5]}, "its pixel spacing is 0.5 x 0.5 mm, but that of s0.dcm 0.4 x 0.5"),
        ({"Rows": 3, "PixelData": bytes(18)}, "has shape"),
    ],
)
def test_a_slice_of_another_kind_than_its_series_is_named(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    files = slices(tmp_path)
    header = pydicom.dcmread(files[2])
    for keyword, value in changes.items():
        setattr(header, keyword, value)
    header.save_as(files[2])
    with pytest.raises(BadSampleError, match=message) as caught:
        load(tmp_path)
    assert "s2.dcm" in str(caught.value)


def test_notes_hidden_files_and_objects_that_are_no_images_may_lie_beside_slices(tmp_path: Path) -> None:
    files = slices(tmp_path)
    (tmp_path / "notes.txt").write_text("five slices")
    (tmp_path / "README").write_text("five slices")
    (tmp_path / "._s0.dcm").write_bytes(b"\0\5\x16\7" + bytes(60))
    Image.fromarray(SMALL).save(tmp_path / "preview.png")
    plan = pydicom.dcmread(files[0])
    plan.file_meta.MediaStorageSOPClassUID = plan.SOPClassUID = pydicom.uid.RTPlanStorage
    for keyword in ("Rows", "Columns", "PixelData"):
        delattr(plan, keyword)
    plan.save_as(tmp_path / "plan.dcm")
    assert load(tmp_path)[0].shape == (3, 4, 5)


def test_slices_without_any_place_are_in_the_order_of_their_numbers_and_that_is_said(tmp_path: Path) -> None:
    slices(tmp_path, ImagePositionPatient=None, ImageOrientationPatient=None, SliceThickness=3)
    with pytest.warns(UserWarning, match="have no position: they are in the order of their instance numbers"):
        array, meta = load(tmp_path)
    np.testing.assert_array_equal(array[1, 1], [0, 10, 20, 30, 40])
    np.testing.assert_allclose(np.linalg.norm(meta["affine"][:3, :3], axis=0), [0.4, 0.5, 3])


def test_warnings_of_the_parser_name_the_file(tmp_path: Path) -> None:
    path = dicom(tmp_path / "odd.dcm", PIXELS)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"1.2.3\0", b"1.x.3\0"))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        load(path)
    assert all("odd.dcm" in str(one.message) for one in heard if "UID" in str(one.message))


def test_signed_and_unsigned_values_are_inverted_over_their_stored_range(tmp_path: Path) -> None:
    for values in (PIXELS, PIXELS.astype(np.int16) - 300, SMALL):
        path = dicom(tmp_path / "a.dcm", values, PhotometricInterpretation="MONOCHROME1")
        ends = np.iinfo(values.dtype)
        np.testing.assert_array_equal(load(path)[0], (ends.max + ends.min - values.astype(int)).T)


def test_the_dose_of_a_radiotherapy_grid_is_scaled_and_lies_at_its_offsets(tmp_path: Path) -> None:
    grid = np.stack([PIXELS, PIXELS * 2])
    path = dicom(
        tmp_path / "dose.dcm",
        grid,
        sop="1.2.840.10008.5.1.4.1.1.481.2",
        DoseGridScaling=0.001,
        GridFrameOffsetVector=[0.0, 2.5],
        PixelSpacing=[2.0, 2.0],
    )
    array, meta = load(path)
    np.testing.assert_allclose(array, grid.T * 0.001)
    np.testing.assert_allclose(np.abs(np.diag(meta["affine"])), [2, 2, 2.5, 1])


def test_pixels_whose_syntax_is_not_told_are_refused(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", PIXELS)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"\x02\x00\x10\x00UI", b"\x02\x00\x11\x00UI", 1))
    refused(path)
