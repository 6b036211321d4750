"""Label maps as DICOM Segmentation objects of series as archives hand them out, and what a full disk leaves of one."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import enhanced, slices
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from monai_robust.data import VolumeGrid, write_dicom_seg, write_label_map
from monai_robust.errors import BadInputError

pytest.importorskip("highdicom")

LABELS = np.zeros((3, 4, 5), np.uint8)
LABELS[2, 2:, 1:4] = 1
OF_SERIES: dict[str, Any] = {"StudyInstanceUID": "1.2.9", "FrameOfReferenceUID": "1.2.8"}


def without_preamble(path: Path) -> None:
    header = pydicom.dcmread(path)
    del header.file_meta
    content = DicomBytesIO()
    content.is_little_endian = content.is_implicit_VR = True
    write_dataset(content, header)
    path.write_bytes(content.getvalue())


@pytest.mark.parametrize("preamble", [True, False])
def test_a_dicom_seg_is_made_of_a_series_that_says_nothing_of_its_patient(tmp_path: Path, preamble: bool) -> None:
    for path in slices(tmp_path / "series", **OF_SERIES):
        if not preamble:
            without_preamble(path)
    written = pydicom.dcmread(write_dicom_seg(LABELS, tmp_path / "series", ["a"], tmp_path / "seg.dcm"))
    assert written.StudyInstanceUID == "1.2.9"
    assert (written.PatientID, written.StudyDate) == ("", "")
    assert written.pixel_array.sum() == LABELS.sum()


@pytest.mark.parametrize(
    "keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID", "PixelSpacing"]
)
@pytest.mark.parametrize("empty", [True, False])
def test_a_series_that_a_dicom_seg_cannot_refer_to_is_refused(tmp_path: Path, keyword: str, empty: bool) -> None:
    for path in slices(tmp_path / "series", **OF_SERIES):
        header = pydicom.dcmread(path)
        header[keyword].value = None
        if not empty:
            del header[keyword]
        header.save_as(path)
    with pytest.raises(BadInputError, match=rf"s0\.dcm has no {keyword}, which a SEG must refer to"):
        write_dicom_seg(LABELS, tmp_path / "series", ["a"], tmp_path / "seg.dcm")
    assert not (tmp_path / "seg.dcm").exists()


def test_a_dicom_seg_of_a_file_of_frames_is_refused(tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    file = enhanced(tmp_path / "series" / "frames.dcm", [0, 2, 4, 6, 8])
    with pytest.raises(BadInputError, match=r"made of the folder of a series, and .*frames\.dcm is a file"):
        write_dicom_seg(LABELS, file, ["a"], tmp_path / "seg.dcm")
    with pytest.raises(BadInputError, match=r"one frame a file, and .*frames\.dcm has 5"):
        write_dicom_seg(LABELS, tmp_path / "series", ["a"], tmp_path / "seg.dcm")


@pytest.mark.parametrize("charset", [None, "ISO_IR 100"])
def test_classes_of_a_dicom_seg_keep_their_names_in_any_script(tmp_path: Path, charset: str | None) -> None:
    slices(tmp_path / "series", **OF_SERIES, SpecificCharacterSet=charset, PatientName="M\xfcller^A")
    path = write_dicom_seg(LABELS, tmp_path / "series", ["\u6d77\u9a6c", "H\xf6cker"], tmp_path / "seg.dcm")
    written = pydicom.dcmread(path)
    assert [segment.SegmentLabel for segment in written.SegmentSequence] == ["\u6d77\u9a6c", "H\xf6cker"]
    assert written.SpecificCharacterSet == "ISO_IR 192"
    assert str(written.PatientName) == "M\xfcller^A"
    for name in ("a\\b", " ", "a\nb"):
        with pytest.raises(BadInputError, match="has a name that DICOM cannot hold"):
            write_dicom_seg(LABELS, tmp_path / "series", [name], path)
    with pytest.raises(BadInputError, match="no class is named"):
        write_dicom_seg(LABELS, tmp_path / "series", [], path)
    assert len(pydicom.dcmread(path).SegmentSequence) == 2


@pytest.mark.parametrize("name", ["labels.nii.gz", "labels.nii", "labels.dcm"])
def test_a_label_map_that_a_full_disk_cut_off_does_not_take_the_place_of_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name.endswith(".dcm"):
        slices(tmp_path / "series", **OF_SERIES)

    def write() -> Path:
        if name.endswith(".dcm"):
            return write_dicom_seg(LABELS, tmp_path / "series", ["a"], tmp_path / name)
        return write_label_map(LABELS, VolumeGrid(LABELS.shape, np.eye(4)), tmp_path / name)

    before = write().read_bytes()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadInputError, match=rf"{name} cannot be written: No space left"):
        write()
    assert (tmp_path / name).read_bytes() == before
    assert not list(tmp_path.glob(".*"))
