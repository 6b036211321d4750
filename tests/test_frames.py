"""Frames and pages of one file: slices of one volume, in their place, or refused."""

from __future__ import annotations

import string
from itertools import pairwise
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from dicom_files import dicom, element, slices
from monai.transforms import Compose, LoadImaged, Resized
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from monai_robust.data import CheckedDataset, SimpleITKReader, load_volume
from monai_robust.errors import BadInputError, BadSampleError

FRAMES = np.stack([np.full((4, 3), 10 * number, np.uint16) for number in range(6)])
FRAMES[:, 0, 0] += 1
NM, US, US_VOLUME = (f"1.2.840.10008.5.1.4.1.1.{kind}" for kind in ("20", "3.1", "6.2"))
SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"


def load(path: Path, **options: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    reader = SimpleITKReader(**options)
    array, meta = reader.get_data(reader.read(path))
    return array, meta["affine"]


def refused(path: Path, message: str) -> None:
    with pytest.raises(BadSampleError, match=message) as caught:
        load(path)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)


def sizes(affine: NDArray[Any]) -> list[float]:
    return [float(size) for size in np.linalg.norm(affine[:3, :3], axis=0)]


# ------------------------------------------------------------------------------------- frames without a place


@pytest.mark.parametrize(
    ("elements", "distance"),
    [
        ({"SpacingBetweenSlices": 4.0, "SliceThickness": 3.0}, 4.0),
        ({"SpacingBetweenSlices": 0.0, "SliceThickness": 3.0}, 3.0),
        ({"SliceThickness": 3.0}, 3.0),
        ({}, 1.0),
    ],
)
def test_frames_without_a_place_are_as_far_apart_as_their_header_says(
    tmp_path: Path, elements: dict[str, float], distance: float
) -> None:
    path = dicom(tmp_path / "a.dcm", FRAMES, PixelSpacing=[0.5, 0.4], **elements)
    with pytest.warns(UserWarning, match=f"frames of an image have no position.*taken as {distance:g} mm apart"):
        array, affine = load(path)
    np.testing.assert_array_equal(array[1, 1], [0, 10, 20, 30, 40, 50])
    np.testing.assert_allclose(sizes(affine), [0.4, 0.5, distance])


def test_pixel_measures_tell_the_distance_of_frames_without_a_place(tmp_path: Path) -> None:
    shared = element(PixelMeasuresSequence=[element(PixelSpacing=[0.004, 0.011], SliceThickness=0.24)])
    path = dicom(tmp_path / "a.dcm", FRAMES, SharedFunctionalGroupsSequence=[shared])
    with pytest.warns(UserWarning, match="taken as 0.24 mm apart"):
        np.testing.assert_allclose(sizes(load(path)[1]), [0.011, 0.004, 0.24])


def nuclear(path: Path, **elements: Any) -> Path:
    pointed = {"FrameIncrementPointer": [0x00540080], "SliceVector": list(range(1, 7))}
    return dicom(path, FRAMES, sop=NM, **{"Modality": "NM", "PixelSpacing": [4.8, 4.8], **pointed, **elements})


def test_slices_of_nuclear_medicine_that_go_down_are_reversed(tmp_path: Path) -> None:
    detector = element(ImagePositionPatient=[10, 20, 30], ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    for distance in (4.0, -4.0):
        path = nuclear(tmp_path / "a.dcm", SpacingBetweenSlices=distance, DetectorInformationSequence=[detector])
        array, affine = load(path)
        up = distance > 0
        np.testing.assert_array_equal(array[1, 1], [0, 10, 20, 30, 40, 50] if up else [50, 40, 30, 20, 10, 0])
        # rows point to the left, columns down: the normal is that of both, (0, 1, 0), which in RAS is (0, -1, 0)
        np.testing.assert_allclose(affine[:3, 2], [0, -4, 0], atol=1e-12)
        first = affine @ [0, 0, 0 if up else 5, 1]
        np.testing.assert_allclose(first, [-10, -20, 30, 1])


def test_slices_of_nuclear_medicine_without_a_place_are_told(tmp_path: Path) -> None:
    path = nuclear(tmp_path / "a.dcm", SpacingBetweenSlices=-4.0)
    with pytest.warns(UserWarning, match="frames of an image have no position.*4 mm apart"):
        array, affine = load(path)
    np.testing.assert_array_equal(array[1, 1], [50, 40, 30, 20, 10, 0])
    np.testing.assert_allclose(sizes(affine), [4.8, 4.8, 4])


# --------------------------------------------------------------------- frames that are no slices of one volume


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"EnergyWindowVector": [1, 1, 1, 2, 2, 2]}, "energy windows"),
        ({"DetectorVector": [1, 2, 3, 1, 2, 3]}, "detectors"),
        ({"TimeSlotVector": [1, 1, 1, 2, 2, 2], "SliceVector": [1, 2, 3, 1, 2, 3]}, "time slots"),
        ({"PhaseVector": [1, 2, 3, 4, 5, 6]}, "phases"),
        ({"RotationVector": [1, 1, 1, 2, 2, 2]}, "rotations"),
        ({"AngularViewVector": [1, 2, 3, 4, 5, 6]}, "angular views"),
    ],
)
def test_frames_of_nuclear_medicine_that_differ_in_more_than_their_place_are_refused(
    tmp_path: Path, elements: dict[str, Any], message: str
) -> None:
    refused(nuclear(tmp_path / "a.dcm", **elements), f"its 6 frames are of several {message}.*no volume")


@pytest.mark.parametrize(
    "elements",
    [
        {"FrameTime": 33.0, "FrameIncrementPointer": [0x00181063]},
        {"FrameTimeVector": [0.0, 33, 33, 33, 33, 33], "FrameIncrementPointer": [0x00181065]},
        {"FrameTime": 33.0},
    ],
)
def test_moments_of_a_film_are_no_volume(tmp_path: Path, elements: dict[str, Any]) -> None:
    refused(dicom(tmp_path / "a.dcm", FRAMES, sop=US, **elements), "its 6 frames are moments of a film.*no volume")
    one = dicom(tmp_path / "one.dcm", FRAMES[0], sop=US, **{**elements, "NumberOfFrames": 1})
    assert load(one)[0].shape == (3, 4)


def test_tiles_of_a_slide_are_no_volume(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", FRAMES, sop=SLIDE, TotalPixelMatrixColumns=9, TotalPixelMatrixRows=8)
    refused(path, "its 6 frames are tiles of a picture of 9 x 8 pixels.*no volume")


BOMB = "".join(f'<!ENTITY {one} "{f"&{other};" * 20}">' for other, one in pairwise(string.ascii_lowercase))


def described(path: Path, text: str, pages: int = 6) -> Path:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[270] = text
    first, *rest = [Image.fromarray(frame.astype(np.uint8)) for frame in FRAMES[:pages]]
    first.save(path, save_all=True, append_images=rest, tiffinfo=tags)
    return path


OME = (
    '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
    "<Image><Pixels {}/></Image></OME>"
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ImageJ=1.53\nimages=6\nchannels=2\nslices=3\nhyperstack=true\n", "its pages are 2 channels of 3 slices"),
        ("ImageJ=1.53\nimages=6\nframes=6\n", "its pages are 6 moments"),
        ("ImageJ=1.53\nimages=50\nslices=50\n", "it declares 50 images but has 6 pages"),
        (OME.format('SizeC="3" SizeZ="2" SizeT="1"'), "its pages are 3 channels of 2 slices"),
        (OME.format('SizeC="1" SizeZ="2" SizeT="3"'), "its pages are 3 moments of 2 slices"),
        (OME.format('SizeC="1" SizeZ="60" SizeT="1"'), "it declares 60 images but has 6 pages"),
    ],
)
def test_a_tiff_whose_pages_are_no_slices_of_one_volume_is_refused(tmp_path: Path, text: str, message: str) -> None:
    refused(described(tmp_path / "a.tif", text), message)


@pytest.mark.parametrize(
    "text",
    [
        "ImageJ=1.53\nimages=6\nslices=6\nspacing=2.0\n",
        f'<!DOCTYPE a [{BOMB}]><OME><Image><Pixels SizeC="&z;"/></Image></OME>',  # entities are not expanded
        OME.format('SizeC="1" SizeZ="6" SizeT="1"'),
        "a note = of somebody",
        "<OME no XML",
    ],
)
def test_a_tiff_whose_pages_are_slices_is_read(tmp_path: Path, text: str) -> None:
    np.testing.assert_array_equal(
        load(described(tmp_path / "a.tif", text))[0], np.moveaxis(FRAMES, 0, 2).swapaxes(0, 1)
    )


def test_one_page_that_stands_for_many_is_refused(tmp_path: Path) -> None:
    path = described(tmp_path / "a.tif", "ImageJ=1.53\nimages=50\nslices=50\n", pages=1)
    refused(path, "it declares 50 images but has 1 page")
    assert load(described(tmp_path / "b.tif", "ImageJ=1.53\n", pages=1))[0].shape == (3, 4)


# ----------------------------------------------------------------------------------------- ultrasound volumes


def ultrasound(path: Path, heights: list[float], orientation: bool = True) -> Path:
    groups = [element(PlanePositionVolumeSequence=[element(ImagePositionVolume=[0, 0, height])]) for height in heights]
    shared = element(PixelMeasuresSequence=[element(PixelSpacing=[0.3, 0.2])])
    if orientation:
        shared.PlaneOrientationVolumeSequence = [element(ImageOrientationVolume=[1, 0, 0, 0, 1, 0])]
    frames = np.stack([np.full((4, 3), 10 * height, np.uint16) for height in heights])
    return dicom(
        path,
        frames,
        sop=US_VOLUME,
        Modality="US",
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=groups,
    )


def test_frames_of_an_ultrasound_volume_are_sorted_by_their_place_in_it(tmp_path: Path) -> None:
    path = ultrasound(tmp_path / "a.dcm", [0, 3.5, 0.7, 2.8, 1.4, 2.1])
    with pytest.warns(UserWarning, match="lies in a frame of its own, not the patient's"):
        array, affine = load(path)
    np.testing.assert_array_equal(array[1, 1], [0, 7, 14, 21, 28, 35])
    np.testing.assert_allclose(sizes(affine), [0.2, 0.3, 0.7])


def test_an_ultrasound_volume_that_does_not_tell_its_planes_is_refused(tmp_path: Path) -> None:
    refused(ultrasound(tmp_path / "a.dcm", [0, 0.7, 1.4], orientation=False), "no ImageOrientationVolume")
    refused(ultrasound(tmp_path / "b.dcm", [0, 0.7, 0, 0.7]), "same position")


# ------------------------------------------------------------------------- a volume where a picture is wanted


def pictures(path: Path) -> CheckedDataset:
    reader = SimpleITKReader(spatial_dims=2)
    loaded = LoadImaged("image", reader=reader, ensure_channel_first=True, image_only=True)
    return CheckedDataset([{"image": str(path)}], Compose([loaded, Resized("image", (8, 8))]))


def test_a_volume_in_place_of_a_picture_is_refused_with_its_shape(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.moveaxis(FRAMES, 0, 2).astype(np.int16), np.eye(4)), tmp_path / "v.nii.gz")
    slices(tmp_path / "series")
    described(tmp_path / "pages.tif", "")
    frames = dicom(tmp_path / "frames.dcm", FRAMES, SliceThickness=1)
    shapes = {"v.nii.gz": "4 x 3 x 6", "series": "3 x 4 x 5", "pages.tif": "3 x 4 x 6", "frames.dcm": "3 x 4 x 6"}
    for name, shape in shapes.items():
        with pytest.raises(BadSampleError, match=f"{name} is a volume of {shape} voxels; a 2-D image is wanted here"):
            pictures(tmp_path / name)
    assert frames.exists()
    picture = dicom(tmp_path / "picture.dcm", FRAMES[1])
    assert pictures(picture)[0]["image"].shape == (1, 8, 8)


def test_a_picture_in_place_of_a_volume_is_refused_too(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", FRAMES[1])
    with pytest.raises(BadSampleError, match=r"a\.dcm is a 2-D image of 3 x 4 pixels; a volume is wanted here"):
        load(path, spatial_dims=3)
    with pytest.raises(BadInputError, match="spatial_dims is 4; it can be 2, 3 or None"):
        SimpleITKReader(spatial_dims=4)


# ------------------------------------------------------------------------------------------------- label maps


def test_a_label_map_whose_planes_are_stored_from_the_other_end_lies_on_its_series(tmp_path: Path) -> None:
    slices(tmp_path / "series")
    found = {}
    for name, heights in (("up", [0, 2, 4, 6, 8]), ("down", [8, 6, 4, 2, 0])):
        marks = np.zeros((5, 4, 3), np.uint8)
        for place, height in enumerate(heights):
            marks[place, 1, : 1 + height // 4] = 1
        groups = [element(PlanePositionSequence=[element(ImagePositionPatient=[0, 0, one])]) for one in heights]
        shared = element(
            PixelMeasuresSequence=[element(PixelSpacing=[0.5, 0.4], SliceThickness=2)],
            PlaneOrientationSequence=[element(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        )
        path = dicom(
            tmp_path / f"{name}.dcm",
            marks,
            sop="1.2.840.10008.5.1.4.1.1.66.4",
            SharedFunctionalGroupsSequence=[shared],
            PerFrameFunctionalGroupsSequence=groups,
        )
        found[name] = load_volume({"image": str(tmp_path / "series"), "label": str(path)}, classes=1)
        np.testing.assert_array_equal(found[name]["label"][0].sum((0, 1)), [1, 1, 2, 2, 3])
    np.testing.assert_allclose(found["down"]["label"].affine, found["up"]["label"].affine)
