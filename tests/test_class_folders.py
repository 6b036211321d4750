"""Class folders: which of their files are images, links to folders, and folders without images."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

from monai_robust.data import classification_datalist, images_below, volumes_below
from monai_robust.errors import BadInputError


def picture(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((np.arange(80) + value).astype(np.uint8).reshape(8, 10)).save(path)
    return path


def film(path: Path, preamble: bool = True) -> Path:
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = ComputedRadiographyImageStorage
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID = generate_uid()
    header.Rows, header.Columns, header.SamplesPerPixel = 8, 10, 1
    header.PhotometricInterpretation, header.PixelRepresentation = "MONOCHROME2", 0
    header.BitsAllocated = header.BitsStored = 8
    header.HighBit = 7
    header.PixelData = bytes(range(80))
    header["PixelData"].VR = "OB"
    header.save_as(path, enforce_file_format=True)
    if not preamble:
        path.write_bytes(path.read_bytes()[132:])
    return path


def class_folders(root: Path, count: int = 12) -> Path:
    for number in range(count):
        picture(root / "ab"[number % 2] / f"{number}.png", number)
    return root


def listed(root: Path) -> list[str]:
    found = classification_datalist(root)
    return sorted(Path(item["image"]).relative_to(root).as_posix() for part in found.items.values() for item in part)


def test_images_are_known_by_their_content_where_their_name_does_not_tell(tmp_path: Path) -> None:
    root = class_folders(tmp_path)
    before = listed(root)
    film(root / "a" / "1.2.840.113619.2.5.0")
    film(root / "a" / "IM0")
    film(root / "b" / "NP0", preamble=False)
    shutil.copy(picture(tmp_path / "x.jpg"), root / "b" / "x.jfif")
    assert set(listed(root)) - set(before) == {"a/1.2.840.113619.2.5.0", "a/IM0", "b/NP0", "b/x.jfif"}


def test_other_files_are_left_out_with_a_word_and_texts_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = class_folders(tmp_path)
    before = listed(root)
    for name in ("notes.txt", "a.csv", "a.json", "a.XML", ".DS_Store", "Thumbs.db"):
        (root / "a" / name).write_text("nothing")
    (root / "a" / "v.mhd").write_text("ObjectType = Image\n")
    (root / "a" / "v.raw").write_bytes(bytes(8))
    assert listed(root) == sorted([*before, "a/v.mhd"])
    assert not caplog.messages
    for name in ("y.webp", "z.webp", "w.gif"):
        Image.new("L", (8, 8)).save(root / "a" / name)
    np.save(root / "b" / "w.npy", np.zeros(4))
    assert listed(root) == sorted([*before, "a/v.mhd"])
    (said,) = caplog.messages
    assert said.startswith(f"4 files in class folders of {root} are no images that are read, and are left out")
    assert "2 of .webp" in said


def test_a_class_folder_without_an_image_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (class_folders(tmp_path) / "c").mkdir()
    assert classification_datalist(tmp_path).classes == ("a", "b")
    assert caplog.messages == [f"folders of {tmp_path} without an image, of which no class or sample comes: c"]


def test_folders_of_files_that_are_no_images_are_refused_with_their_number(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("L", (8, 8)).save(tmp_path / name / "x.webp")
    with pytest.raises(BadInputError, match=r"no samples found in .*; 2 files in its folders are no images that"):
        classification_datalist(tmp_path)


def test_links_to_folders_are_followed_and_end(tmp_path: Path) -> None:
    root, elsewhere = class_folders(tmp_path / "set"), tmp_path / "elsewhere"
    for number in range(3):
        picture(elsewhere / "deep" / f"e{number}.png", 50 + number)
    before = listed(root)
    (root / "a" / "linked").symlink_to(elsewhere)
    (elsewhere / "deep" / "above").symlink_to(elsewhere)
    new = [f"a/linked/deep/e{number}.png" for number in range(3)]
    assert listed(root) == sorted([*before, *new])
    assert [item["sample_id"] for item in images_below(root)] == sorted([*before, *new])


def test_links_to_folders_with_volumes_are_followed(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "set", tmp_path / "elsewhere"
    (elsewhere / "series").mkdir(parents=True)
    film(elsewhere / "series" / "1.dcm")
    (elsewhere / "a.nii.gz").touch()
    root.mkdir()
    (root / "linked").symlink_to(elsewhere)
    (elsewhere / "again").symlink_to(root)
    assert [item["case_id"] for item in volumes_below(root)] == ["linked/a", "linked/series"]
