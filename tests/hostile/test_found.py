"""What damaged files showed first, each as a case of its own."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from pydicom import dcmread

from hostile.annotations import KINDS as ANNOTATIONS
from hostile.dicom import KINDS as DICOM
from hostile.lists import KINDS as LISTS
from monai_robust.data import detection_datalist
from monai_robust.errors import BadInputError, BadSampleError
from monai_robust.evaluation.tables.sanity_file import CHECKS, Finding, Sanity, read_sanity, write_sanity


def test_a_frame_without_the_rescale_that_others_have_is_refused(tmp_path: Path) -> None:
    kind = next(kind for kind in DICOM if kind.name == "dicom_enhanced")
    kind.write(tmp_path)
    kind.read(tmp_path)
    film = dcmread(tmp_path / "film.dcm")
    del film.PerFrameFunctionalGroupsSequence[2].PixelValueTransformationSequence
    film.save_as(tmp_path / "film.dcm")
    with pytest.raises(BadSampleError, match=r"film\.dcm.*3 of its 4 frames have a rescale of their own"):
        kind.read(tmp_path)


@pytest.mark.parametrize("other", ["holdout", "", None])
def test_a_picture_of_another_split_is_left_out_with_a_word(
    other: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    next(kind for kind in ANNOTATIONS if kind.name == "list_coco").write(tmp_path)
    content = json.loads((tmp_path / "coco.json").read_text())
    content["images"][0]["split"] = other
    (tmp_path / "coco.json").write_text(json.dumps(content))
    with caplog.at_level(logging.WARNING):
        found = detection_datalist(tmp_path, datalist="coco.json")
    assert "p0.png" not in [Path(item["image"]).name for items in found.items.values() for item in items]
    assert "1 pictures of" in caplog.text


def test_findings_are_read_as_they_were_written(tmp_path: Path) -> None:
    sanity = Sanity(4, [Finding("pgd_l2", next(iter(CHECKS)), "pass", "4 of 4", {"share": 1.0})])
    write_sanity(tmp_path, sanity)
    assert read_sanity(tmp_path) == sanity


def test_colour_that_calls_itself_grey_is_refused(tmp_path: Path) -> None:
    kind = next(kind for kind in DICOM if kind.name == "dicom_color")
    kind.write(tmp_path)
    film = dcmread(tmp_path / "film.dcm")
    film.PhotometricInterpretation = "MONOCHROME1"
    film.save_as(tmp_path / "film.dcm")
    with pytest.raises(BadSampleError, match=r"film\.dcm.*MONOCHROME1.*3 samples"):
        kind.read(tmp_path)


@pytest.mark.parametrize("odd", [False, ["a"], {}])
def test_a_patient_without_a_name_is_refused(odd: object, tmp_path: Path) -> None:
    kind = next(kind for kind in LISTS if kind.name == "list_class_json")
    kind.write(tmp_path)
    content = json.loads((tmp_path / "datalist.json").read_text())
    content["training"][0]["patient_id"] = odd
    (tmp_path / "datalist.json").write_text(json.dumps(content))
    with pytest.raises(BadInputError, match=r"datalist\.json has the patient_id"):
        kind.read(tmp_path)
