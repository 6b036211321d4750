"""Pictures and volumes: equal to what Pillow and nibabel read, or refused by the file's name, whoever reads them."""

from __future__ import annotations

import bz2
import gzip
import os
import socket
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from dicom_files import dicom, slices
from monai.transforms import LoadImaged
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin
from pydicom.uid import DeflatedExplicitVRLittleEndian

from monai_robust.data import (
    CheckedDataset,
    SimpleITKReader,
    images_below,
    landmark_datalist,
    load_volume,
)
from monai_robust.data.reading import file_header
from monai_robust.errors import BadInputError, BadSampleError

GREY = (np.add.outer(np.arange(40) * 3, np.arange(56)) % 251).astype(np.uint8)
COLOR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)
VOLUME = (np.arange(6 * 5 * 4, dtype=np.int16) * 7 % 101).reshape(6, 5, 4)
AFFINE = np.array([[-1.0, 0, 0, 3], [0, 2, 0, -4], [0, 0, 3, 5], [0, 0, 0, 1]])


def load(path: Path, **options: Any) -> tuple[NDArray[Any], dict[str, Any]]:
    reader = SimpleITKReader(**options)
    return reader.get_data(reader.read(path))


def refused(path: Path, message: str = "cannot be read", **options: Any) -> None:
    with pytest.raises(BadSampleError, match=message) as caught:
        load(path, **options)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)


def picture(path: Path, pixels: NDArray[Any] = GREY, **options: Any) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def nifti(path: Path, values: NDArray[Any] = VOLUME, affine: NDArray[Any] = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(values, affine), path)
    return path


def itk(path: Path, compressed: bool = False) -> Path:
    image = sitk.GetImageFromArray(VOLUME.T)
    image.SetSpacing((1.0, 2.0, 3.0))
    sitk.WriteImage(image, str(path), useCompression=compressed)
    return path


def patched(path: Path, offset: int, layout: str, *values: Any) -> Path:
    content = bytearray(path.read_bytes())
    struct.pack_into(layout, content, offset, *values)
    path.write_bytes(content)
    return path


WRITERS: dict[str, Callable[[Path], Path]] = {
    "a.png": picture,
    "a.jpg": picture,
    "a.bmp": picture,
    "a.tif": picture,
    "lzw.tif": lambda path: picture(path, compression="tiff_lzw"),
    "deflate.tif": lambda path: picture(path, compression="tiff_adobe_deflate"),
    "color.png": lambda path: picture(path, COLOR),
    "color.jpg": lambda path: picture(path, COLOR, progressive=True),
    "a.nii": nifti,
    "a.nii.gz": nifti,
    "a.mha": itk,
    "packed.mha": lambda path: itk(path, compressed=True),
    "a.nrrd": itk,
    "packed.nrrd": lambda path: itk(path, compressed=True),
    "a.dcm": lambda path: dicom(path, GREY),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_is_cut_off_anywhere_is_refused_by_name(tmp_path: Path, name: str) -> None:
    content = WRITERS[name](tmp_path / name).read_bytes()
    load(tmp_path / name)
    cut = tmp_path / f"cut_{name}"
    for kept in (0, 3, 40, len(content) // 3, len(content) // 2, len(content) * 9 // 10, len(content) - 2):
        cut.write_bytes(content[:kept])
        refused(cut)


@pytest.mark.parametrize("name", ["a.png", "a.nii.gz", "packed.nrrd", "packed.mha"])
def test_a_changed_byte_fails_the_checksum(tmp_path: Path, name: str) -> None:
    content = bytearray(WRITERS[name](tmp_path / name).read_bytes())
    damaged = tmp_path / f"b_{name}"
    for place in (len(content) * 2 // 3, len(content) - 14 if name == "a.png" else len(content) - 3):
        damaged.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        refused(damaged)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mha", "a.nrrd"])
def test_a_volume_with_more_voxels_than_its_header_says_is_refused(tmp_path: Path, name: str) -> None:
    path = WRITERS[name](tmp_path / name)
    content = gzip.decompress(path.read_bytes()) if name.endswith("gz") else path.read_bytes()
    content = content.replace(b"6 5 4", b"6 5 3") + (bytes(10) if "nii" in name else b"")
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    refused(path, "longer than")


CALLERS = {
    "reader": lambda path: load(path),
    "load_volume": lambda path: load_volume({"image": str(path)}),
    "CheckedDataset": lambda path: CheckedDataset(
        [{"image": str(path)}], LoadImaged("image", reader=SimpleITKReader(), image_only=True)
    ),
    "stacked": lambda path: load([path, path]),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("name", ["a.png", "a.nii.gz", "a.nrrd", "a.mha", "a.dcm", "nosuffix"])
def test_every_caller_refuses_what_is_no_whole_file_in_one_line(tmp_path: Path, name: str, caller: str) -> None:
    path = tmp_path / name
    for make in (lambda: os.mkfifo(path), lambda: path.write_bytes(b""), lambda: path.write_bytes(b"no image\n"), None):
        if make is not None:
            make()
        with pytest.raises(BadSampleError, match=path.name) as caught:
            CALLERS[caller](path)
        assert "\n" not in str(caught.value)
        path.unlink(missing_ok=True)


def test_pipes_sockets_and_devices_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    refused(tmp_path / "pipe.png", "it is a pipe, not a file")
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(tmp_path / "s.png"))
        refused(tmp_path / "s.png", "it is a socket")
    (tmp_path / "zero.dcm").symlink_to("/dev/zero")
    refused(tmp_path / "zero.dcm", "it is a device")
    (tmp_path / "loop.png").symlink_to("loop.png")
    refused(tmp_path / "loop.png")
    refused(tmp_path / ("x" * 300 + ".png"))
    slices(tmp_path / "series")
    os.mkfifo(tmp_path / "series" / "s9.dcm")
    with pytest.raises(BadSampleError, match=r"s9\.dcm cannot be read: it is a pipe"):
        load(tmp_path / "series")


def test_data_lists_refuse_or_leave_out_pipes_and_damaged_pictures(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(4)]
    for name in names[:3]:
        picture(tmp_path / name)
    (tmp_path / names[3]).write_bytes((tmp_path / names[0]).read_bytes()[:20])
    splits = ["train", "val", "test", "train"]
    (tmp_path / "landmarks.csv").write_text(
        "file,a_x,a_y,split\n" + "\n".join(f"{name},3,4,{split}" for name, split in zip(names, splits, strict=True))
    )
    with pytest.raises(BadSampleError, match=r"3\.png cannot be read"):
        landmark_datalist(tmp_path)
    (tmp_path / names[3]).unlink()
    os.mkfifo(tmp_path / names[3])
    with pytest.raises(BadSampleError, match=r"3\.png cannot be read: it is a pipe"):
        landmark_datalist(tmp_path)
    items = [{"image": str(tmp_path / name), "sample_id": name} for name in names]
    found = CheckedDataset(items, LoadImaged("image", reader=SimpleITKReader(), image_only=True), on_bad_sample="skip")
    assert [one["sample_id"] for one in found.skipped] == ["3.png"]


# ---------------------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_pictures_stand_upright_as_their_exif_orientation_has_it(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"tiffinfo": {274: orientation}} if suffix == "tif" else {"exif": exif}
    array, _ = load(picture(tmp_path / f"a.{suffix}", **options))
    turns: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.T,
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].T,
        8: lambda a: np.rot90(a),
    }
    expected = turns[orientation](GREY).T
    assert array.shape == expected.shape
    assert np.abs(array.astype(int) - expected).max() <= (12 if suffix == "jpg" else 0)
    assert file_size(tmp_path / f"a.{suffix}") == array.shape


def file_size(path: Path) -> tuple[int, ...]:
    return file_header(path).size


def test_pictures_in_which_white_is_zero_are_turned_to_black_is_zero(tmp_path: Path) -> None:
    for name, pixels, top in (("8.tif", GREY, 255), ("16.tif", GREY.astype(np.uint16) * 257, 65535)):
        path = picture(tmp_path / name, pixels)
        content = path.read_bytes()
        tag = struct.pack("<HHII", 262, 3, 1, 1)
        assert tag in content
        path.write_bytes(content.replace(tag, struct.pack("<HHII", 262, 3, 1, 0)))
        np.testing.assert_array_equal(load(path)[0], (top - pixels).T)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_depth_is_kept(tmp_path: Path, suffix: str) -> None:
    deep = np.arange(600, dtype=np.uint16).reshape(20, 30) * 109
    np.testing.assert_array_equal(load(picture(tmp_path / f"a.{suffix}", deep))[0], deep.T)
    color = np.stack([deep, deep[::-1], deep[:, ::-1]], axis=-1)
    sitk.WriteImage(sitk.GetImageFromArray(color, isVector=True), str(tmp_path / f"color.{suffix}"))
    np.testing.assert_array_equal(load(tmp_path / f"color.{suffix}", color="keep")[0], color.swapaxes(0, 1))


def test_numbers_of_floating_and_32_bit_tiff_are_kept(tmp_path: Path) -> None:
    values = (GREY / 250).astype(np.float32)
    np.testing.assert_array_equal(load(picture(tmp_path / "f.tif", values))[0], values.T)
    whole = GREY.astype(np.uint32) + 2**31
    sitk.WriteImage(sitk.GetImageFromArray(whole), str(tmp_path / "u.tif"))
    np.testing.assert_array_equal(load(tmp_path / "u.tif")[0], whole.T)
    values[3, 4] = np.nan
    assert np.isnan(load(picture(tmp_path / "n.tif", values))[0]).sum() == 1


@pytest.mark.parametrize("dtype", ["int16", "float64"])
def test_a_nifti_file_of_another_byte_order_becomes_a_tensor_of_its_own_type(tmp_path: Path, dtype: str) -> None:
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.dtype(dtype).newbyteorder(">"))
    nib.save(nib.Nifti1Image(VOLUME.astype(dtype), AFFINE, header), tmp_path / "a.nii")
    assert (tmp_path / "a.nii").read_bytes()[:4] == (348).to_bytes(4, "big")
    image = LoadImaged("image", reader=SimpleITKReader(), dtype=None)({"image": tmp_path / "a.nii"})["image"]
    assert str(image.dtype) == f"torch.{dtype}"
    np.testing.assert_array_equal(image.numpy(), VOLUME)


def test_signed_bytes_of_a_tiff_keep_their_sign(tmp_path: Path) -> None:
    whole = np.arange(-100, 100, dtype=np.int8).reshape(10, 20)
    sitk.WriteImage(sitk.GetImageFromArray(whole), str(tmp_path / "s.tif"))
    np.testing.assert_array_equal(load(tmp_path / "s.tif")[0], whole.T)
    for name, pixels, tags in (("w.tif", GREY, {262: 0}), ("rgb.tif", np.stack([GREY] * 3, axis=-1), {})):
        refused(picture(tmp_path / name, pixels, tiffinfo={339: 2, **tags}), "this kind of TIFF is not supported")


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_palettes_become_the_colours_they_stand_for(tmp_path: Path, suffix: str) -> None:
    indexed = Image.fromarray(COLOR).quantize(60)
    indexed.save(tmp_path / f"a.{suffix}")
    array, _ = load(tmp_path / f"a.{suffix}", color="rgb")
    np.testing.assert_array_equal(array, np.asarray(indexed.convert("RGB")).swapaxes(0, 1))
    assert array.dtype == np.uint8


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_grey_with_alpha_is_composited_on_black(tmp_path: Path, suffix: str) -> None:
    pixels = np.stack([np.full((4, 6), 100, np.uint8), np.arange(24, dtype=np.uint8).reshape(4, 6) * 10], axis=-1)
    Image.fromarray(pixels, "LA").save(tmp_path / f"a.{suffix}")
    expected = pixels[..., 0] * (pixels[..., 1] / 255)
    np.testing.assert_allclose(load(tmp_path / f"a.{suffix}")[0], expected.T, atol=1e-4)


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_becomes_the_colour_that_pillow_shows(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(COLOR).convert("CMYK").save(tmp_path / f"a.{suffix}")
    expected = np.asarray(Image.open(tmp_path / f"a.{suffix}").convert("RGB"))
    np.testing.assert_array_equal(load(tmp_path / f"a.{suffix}", color="rgb")[0], expected.swapaxes(0, 1))


def test_pages_of_a_tiff_are_the_slices_of_a_volume_if_they_are_alike(tmp_path: Path) -> None:
    pages = [Image.fromarray(GREY), Image.fromarray(255 - GREY), Image.fromarray(GREY // 2)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    array, meta = load(tmp_path / "a.tif")
    np.testing.assert_array_equal(array, np.stack([GREY, 255 - GREY, GREY // 2]).transpose(2, 1, 0))
    assert meta["affine"].shape == (4, 4)
    pages[0].save(tmp_path / "b.tif", save_all=True, append_images=[Image.fromarray(GREY[:9])])
    refused(tmp_path / "b.tif", "its 2 pages differ")


def test_parts_of_a_tiff_beyond_its_end_are_refused(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.tif")
    with Image.open(path) as opened:
        assert isinstance(opened, TiffImagePlugin.TiffImageFile)
        (offset,) = opened.tag_v2[273]
    content = path.read_bytes()
    path.write_bytes(content.replace(struct.pack("<I", offset), struct.pack("<I", len(content) - 100), 1))
    refused(path)


def test_other_formats_are_not_called_damaged(tmp_path: Path) -> None:
    picture(tmp_path / "a.gif")
    (tmp_path / "a.gif").rename(tmp_path / "b.png")
    for name, head in (("b.png", b""), ("c.png", b"%PDF-1.7 "), ("d.png", b"PK\x03\x04 ")):
        if head:
            (tmp_path / name).write_bytes(head * 100)
        with pytest.raises(BadSampleError, match=r"it is a .*; formats read are DICOM, PNG") as caught:
            load(tmp_path / name)
        assert "damaged" not in str(caught.value)


def test_a_picture_under_another_suffix_is_read_by_its_content(tmp_path: Path) -> None:
    np.testing.assert_array_equal(load(picture(tmp_path / "a.png").rename(tmp_path / "a.jpg"))[0], GREY.T)


# ----------------------------------------------------------------------------------------------------- volumes


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
@pytest.mark.parametrize("kind", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_nifti_is_read_as_nibabel_has_it(tmp_path: Path, suffix: str, kind: str) -> None:
    path = nifti(tmp_path / f"a.{suffix}", VOLUME.astype(kind))
    array, meta = load(path)
    np.testing.assert_array_equal(array, VOLUME)
    np.testing.assert_allclose(meta["affine"], AFFINE)
    image = nib.load(path)
    image.header.set_slope_inter(0.5, -3)
    path = tmp_path / f"scaled.{suffix}"
    nib.save(image, path)
    np.testing.assert_allclose(load(path)[0], np.asanyarray(nib.load(path).dataobj))
    np.testing.assert_allclose(load_volume({"image": str(path)})["image"][0], np.asanyarray(nib.load(path).dataobj))


@pytest.mark.parametrize("suffix", ["nii.gz", "nrrd", "mha"])
def test_voxels_that_are_not_numbers_are_seen(tmp_path: Path, suffix: str) -> None:
    values = VOLUME.astype(np.float32)
    values[1, 2, 3] = np.nan
    path = tmp_path / f"a.{suffix}"
    if suffix == "nii.gz":
        nifti(path, values)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(values.T), str(path))
    assert np.isnan(load(path)[0]).sum() == 1
    load_image = LoadImaged("image", reader=SimpleITKReader(), image_only=True)
    with pytest.raises(BadSampleError, match="NaN or infinite"):
        CheckedDataset([{"image": str(path)}], load_image)
    with pytest.raises(BadSampleError, match="1 of its 120 voxels are NaN"):
        load_volume({"image": str(path)})


def test_complex_voxels_are_refused_and_coloured_ones_are_channels(tmp_path: Path) -> None:
    refused(nifti(tmp_path / "c.nii", VOLUME.astype(np.complex64)), "complex numbers, which are not supported")
    color = np.zeros((6, 5, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    color["R"], color["G"], color["B"] = VOLUME, VOLUME // 2, 7
    path = nifti(tmp_path / "rgb.nii.gz", color)
    array, _ = load(path, color="keep")
    np.testing.assert_array_equal(array, np.stack([VOLUME, VOLUME // 2, np.full_like(VOLUME, 7)], axis=-1))
    with pytest.raises(BadSampleError, match="with 3 volumes"):
        load_volume({"image": str(path)})


@pytest.mark.parametrize(
    ("affine", "message"),
    [(np.diag([1.0, 1, 0, 1]), "cannot be inverted"), (np.diag([1.0, np.nan, 1, 1]), "is not finite")],
)
def test_an_affine_without_inverse_is_refused(tmp_path: Path, affine: NDArray[Any], message: str) -> None:
    path = nifti(tmp_path / "a.nii")
    for row, place in enumerate((280, 296, 312)):
        patched(path, place, "<4f", *affine[row])
    refused(path, message)


def test_an_affine_may_be_in_micrometres(tmp_path: Path) -> None:
    affine = np.diag([1e-4, 1e-4, 1e-5, 1])
    np.testing.assert_allclose(load(nifti(tmp_path / "a.nii", affine=affine))[1]["affine"], affine, rtol=1e-6)


def test_a_nifti_header_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    for name, offset, layout, value in (
        ("bitpix", 72, "<h", 8),
        ("offset", 108, "<f", 100.0),
        ("rank", 40, "<h", 1),
        ("size", 42, "<h", 32000),
        ("negative", 42, "<h", -6),
        ("magic", 344, "<4s", b"ni1\0"),
        ("datatype", 70, "<h", 1792),
    ):
        refused(patched(nifti(tmp_path / f"{name}.nii"), offset, layout, value))


@pytest.mark.parametrize("named", ["/etc/hostname", "../outside.raw", "sub/../../outside.raw", "LIST", "a%d.raw"])
@pytest.mark.parametrize("suffix", ["mhd", "nhdr"])
def test_a_header_does_not_read_files_outside_its_folder(tmp_path: Path, suffix: str, named: str) -> None:
    (tmp_path / "outside.raw").write_bytes(VOLUME.tobytes())
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    path = itk(folder / f"a.{suffix}")
    array, _ = load(path)
    np.testing.assert_array_equal(array, VOLUME)
    text = path.read_text()
    own = next(line for line in text.splitlines() if line.lower().startswith(("elementdatafile", "data file")))
    path.write_text(text.replace(own, own.replace(own.split()[-1], named)))
    refused(path, "outside its folder|several files, which is not supported")


@pytest.mark.parametrize("suffix", ["mhd", "nhdr"])
def test_the_file_that_a_header_names_may_be_missing_cut_or_a_pipe_or_a_link_outwards(
    tmp_path: Path, suffix: str
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    path = itk(folder / f"a.{suffix}")
    (raw,) = [one for one in folder.iterdir() if one != path]
    content = raw.read_bytes()
    raw.write_bytes(content[:-4])
    refused(path, "is damaged")
    raw.unlink()
    refused(path, "does not exist")
    os.mkfifo(raw)
    with pytest.raises(BadSampleError, match="it is a pipe"):
        load(path)
    raw.unlink()
    (tmp_path / "outside").write_bytes(content)
    raw.symlink_to(tmp_path / "outside")
    refused(path, "outside its folder")


def test_every_encoding_of_nrrd_is_read_or_refused(tmp_path: Path) -> None:
    for name, data, fine in (
        ("raw", VOLUME.T.tobytes(), True),
        ("gzip", gzip.compress(VOLUME.T.tobytes()), True),
        ("bzip2", bz2.compress(VOLUME.T.tobytes()), None),
        ("ascii", " ".join(map(str, VOLUME.T.ravel())).encode(), False),
        ("hex", VOLUME.T.tobytes().hex().encode(), False),
    ):
        header = f"NRRD0004\ntype: short\ndimension: 3\nsizes: 6 5 4\nendian: little\nencoding: {name}\n\n"
        path = tmp_path / f"{name}.nrrd"
        path.write_bytes(header.encode() + data)
        if fine is False:
            refused(path, "text are not supported")
        elif fine:
            np.testing.assert_array_equal(load(path)[0], VOLUME)


# ------------------------------------------------------------------------------------------------------ memory


def test_a_header_that_asks_for_more_than_is_allowed_is_refused_before_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "huge.png").write_bytes(png + picture(tmp_path / "a.png").read_bytes()[33:])
    refused(tmp_path / "huge.png", "asks for 3433 MiB, more than the 2048 MiB allowed")
    gz = nifti(tmp_path / "huge.nii.gz")
    content = bytearray(gzip.decompress(gz.read_bytes()))
    struct.pack_into("<3h", content, 42, 2000, 2000, 2000)
    gz.write_bytes(gzip.compress(bytes(content)))
    refused(gz, "asks for 15259 MiB")
    mha = itk(tmp_path / "huge.mha")
    mha.write_bytes(mha.read_bytes().replace(b"6 5 4", b"60000 50000 4"))
    refused(mha, "asks for")
    for name in WRITERS:
        path = WRITERS[name](tmp_path / f"b_{name}")
        refused(path, "more than the 0 MiB allowed", max_bytes=100)
        monkeypatch.setenv("MONAI_ROBUST_MAX_IMAGE_BYTES", "100")
        refused(path, "MONAI_ROBUST_MAX_IMAGE_BYTES sets the limit")
        load(path, max_bytes=10**6)
        monkeypatch.delenv("MONAI_ROBUST_MAX_IMAGE_BYTES")
    with pytest.raises(BadInputError, match="max_bytes is '-1'"):
        SimpleITKReader(max_bytes=-1)
    monkeypatch.setenv("MONAI_ROBUST_MAX_IMAGE_BYTES", "much")
    with pytest.raises(BadInputError, match="MONAI_ROBUST_MAX_IMAGE_BYTES is 'much'"):
        load(tmp_path / "a.png")


def test_memory_of_one_file_is_at_most_four_times_its_decoded_size(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 255, (1500, 2000), np.uint8)
    volume = np.random.default_rng(1).integers(0, 255, (150, 200, 100)).astype(np.int16)
    color = np.stack([grey] * 3, axis=-1)
    for make in (
        lambda: dicom(tmp_path / "a.dcm", grey.astype(np.uint16), RescaleSlope=0.5, RescaleIntercept=1),
        lambda: dicom(tmp_path / "d.dcm", grey.astype(np.uint16), syntax=DeflatedExplicitVRLittleEndian),
        lambda: picture(tmp_path / "a.png", color),
        lambda: picture(tmp_path / "a.tif", grey),
        lambda: nifti(tmp_path / "a.nii.gz", volume),
        lambda: nifti(tmp_path / "a.nii", volume),
    ):
        path = make()
        tracemalloc.start()
        array, _ = load(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= 4 * array.nbytes + 2**20, f"{path.name}: {peak / array.nbytes:.1f} times"


def test_a_tiff_with_more_rows_than_strips_is_refused(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.tif")
    content = path.read_bytes()
    tag = struct.pack("<HHII", 257, 4, 1, 40)
    assert tag in content
    path.write_bytes(content.replace(tag, struct.pack("<HHII", 257, 4, 1, 40_000)))
    refused(path)


def test_depths_other_than_eight_bits_are_refused_where_only_those_can_be_used(tmp_path: Path) -> None:
    load(picture(tmp_path / "8.png"), eight_bit=True)
    for name, pixels in (("16.png", GREY.astype(np.uint16) * 257), ("f.tif", (GREY / 255).astype(np.float32))):
        refused(picture(tmp_path / name, pixels), "must be saved with 8 bits each", eight_bit=True)


def test_folders_list_pipes_and_dead_links_but_nothing_hidden(tmp_path: Path) -> None:
    (tmp_path / ".cache").mkdir()
    (tmp_path / "sub").mkdir()
    picture(tmp_path / ".cache" / "a.png")
    picture(tmp_path / "sub" / "a.png")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dead.png").symlink_to("nowhere.png")
    assert [item["sample_id"] for item in images_below(tmp_path)] == ["dead.png", "pipe", "sub/a.png"]
    for name in ("pipe", "dead.png"):
        refused(tmp_path / name, "it is a pipe|does not exist")
