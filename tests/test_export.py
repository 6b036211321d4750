"""Exported cases: on the grid of their source, changed within the radius, marked as derived, and naming nobody."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 (so named by everybody)
import torch
from conftest import TinyNet
from monai.data import CacheDataset, DataLoader
from monai.engines import SupervisedEvaluator
from monai.transforms import Compose, LoadImaged, ScaleIntensityRanged
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from test_measure import measurement

from monai_robust.attacks import PGD
from monai_robust.data import SimpleITKReader, classification_datalist
from monai_robust.data.reading import file_header
from monai_robust.errors import BadInputError
from monai_robust.evaluation import AttackSweep, CleanSweep, Measurement
from monai_robust.evaluation.export import export_cases
from monai_robust.evaluation.export.dicom import Uids
from monai_robust.evaluation.export.exporting import _write_dicom
from monai_robust.evaluation.export.source import Source, in_file_units, named_file, source_files
from monai_robust.evaluation.tables.cases import read_input, read_numbers

NAMES = (
    "SMITHERS^JOHN",
    "ID4711-SECRET",
    "St Elsewhere",
    "19570314",
    "20240229",
    "1.2.826.999.1",
    "PRIVATEWORDS",
    "Dr Who",
)
RADIUS = 0.5
SIZE = 24
SCALE, OFFSET = 1 / 2000, 0.5  # of HU from -1000 to 1000


def write_film(path: Path, seed: int, *, burned: str | None = "NO") -> None:
    """A CT image of a patient who is named in many places."""
    image = Dataset()
    image.SOPClassUID = pydicom.uid.CTImageStorage
    for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(image, name, f"1.2.826.999.1.{seed + 1}.{len(name)}")
    image.PatientName, image.PatientID, image.PatientBirthDate = "SMITHERS^JOHN", "ID4711-SECRET", "19570314"
    image.InstitutionName, image.StudyDate, image.StudyTime = "St Elsewhere", "20240229", "111213"
    image.ReferringPhysicianName = image.OperatorsName = "Dr Who"
    image.Modality, image.BodyPartExamined, image.PatientPosition = "CT", "SMITHERS", "HFS"
    image.ProtocolName = image.ImageComments = image.SeriesDescription = "PRIVATEWORDS"
    image.ImageType = ["ORIGINAL", "PRIMARY", "SMITHERS"]
    nested = Dataset()
    nested.ReferencedSOPInstanceUID, nested.PatientID = "1.2.826.999.1.77", "ID4711-SECRET"
    image.SourceImageSequence = DicomSequence([nested])
    image.private_block(0x0011, "PRIVATEWORDS", create=True).add_new(1, "LO", "SMITHERS^JOHN")
    if burned is not None:
        image.BurnedInAnnotation = burned
    image.PixelSpacing, image.SliceThickness = [0.7, 0.5], 2.5
    image.KVP = "1234567"
    image.add_new(0x00180081, "LO", "SMITHERS^JOHN")  # the echo time
    image.ImagePositionPatient = [-12.5, 30.25, 100.0 + seed]
    image.ImageOrientationPatient = [1, 0, 0, 0, 0.6, -0.8]
    image.Rows = image.Columns = SIZE
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation = 15, 1
    image.RescaleSlope, image.RescaleIntercept, image.RescaleType = "2", "-1000", "HU"
    image.WindowCenter, image.WindowWidth = "40", "400"
    pixels = np.random.default_rng(seed).integers(0, 1000, (SIZE, SIZE))
    image.PixelData = pixels.astype("<i2").tobytes()
    image.file_meta = pydicom.dataset.FileMetaDataset()
    image.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save_as(path, enforce_file_format=True)
    path.write_bytes(path.read_bytes().replace(b"1234567 ", b"SMITHERS"))  # text where a number belongs


class Scaled:
    """The films of a data list, in a window from -1000 to 1000 HU."""

    def __init__(self, folder: Path) -> None:
        self.items = classification_datalist(folder).items["test"]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, place: int) -> dict[str, Any]:
        reader = SimpleITKReader()
        array = reader.get_data(reader.read(self.items[place]["image"]))[0]
        return {**self.items[place], "image": torch.as_tensor(array, dtype=torch.float32)[None] * SCALE + OFFSET}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for place in range(12):
        split, label = ("train", "val", "test")[place % 3], "ab"[place // 3 % 2]
        write_film(folder / split / label / f"SMITHERS-{place}.dcm", place)
    return folder


@pytest.fixture(scope="module")
def run(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return measurement(
        tmp_path_factory.mktemp("export") / "run",
        network=TinyNet(2),
        dataset=Scaled(films),
        perturbations=[CleanSweep(), AttackSweep(PGD(norm="l2", steps=2, bounds=(0, 1)), [RADIUS], faithful=True)],
        classes=["a", "b"],
        groups=[],
        cases=3,
        case_inputs=2,
    ).run()


@pytest.fixture(scope="module")
def dicom(run: Path, films: Path) -> Path:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        export_cases(run, [1], run.parent / "told", dataset_dir=films)
    assert not any("SMITHERS" in str(one.message) for one in told)
    return export_cases(run, [1, 2], run.parent / "dicom", dataset_dir=films)[0].path


def source_of(run: Path, films: Path, case: int) -> Path:
    return source_files("classification", films)[read_numbers(run)[case]]


def test_nothing_of_the_patient_stands_anywhere_in_the_files(run: Path, films: Path, dicom: Path) -> None:
    export_cases(run, [1], run.parent / "nifti", dataset_dir=films, format="nifti")
    files = [*dicom.parent.iterdir(), *(run.parent / "nifti").iterdir()]
    assert len(files) == 3
    for file in files:
        content = nib.load(file).to_bytes() if file.suffix == ".gz" else file.read_bytes()
        for name in NAMES:
            assert name.encode() not in content, (file.name, name)
            assert name.casefold() not in file.name.casefold()
        assert b"smithers" not in content.lower()
    assert all(name.encode() in source_of(run, films, 1).read_bytes() for name in NAMES)  # they could have been found


def test_an_export_lies_where_its_source_does(run: Path, films: Path, dicom: Path) -> None:
    made, source = (sitk.ReadImage(str(path)) for path in (dicom, source_of(run, films, 1)))
    for name in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(made, name)() == pytest.approx(getattr(source, name)()), name
    volume = export_cases(run, [1], run.parent / "placed", dataset_dir=films, format="nifti")[0]
    affine = nib.load(volume.path).affine
    np.testing.assert_allclose(affine, Source.read(source_of(run, films, 1), "it").affine, atol=1e-5)
    np.testing.assert_allclose(affine[:3, 3], np.array([-1, -1, 1]) * source.GetOrigin(), atol=1e-4)


@pytest.mark.parametrize("format", ["dicom", "nifti"])
def test_pixels_are_those_that_the_network_was_given(run: Path, films: Path, format: Any) -> None:
    for one in export_cases(run, [1, 2], run.parent / f"pixels-{format}", dataset_dir=films, format=format):
        source = Source.read(source_of(run, films, one.case), "it").array
        if format == "dicom":
            found = sitk.GetArrayFromImage(sitk.ReadImage(str(one.path))).transpose(2, 1, 0).astype(float)
        else:
            found = np.asarray(nib.load(one.path).dataobj, dtype=float)
        given = read_input(run, one.case, "pgd_l2", RADIUS)[0]
        np.testing.assert_allclose(found[..., 0] * SCALE + OFFSET, given, atol=one.step * SCALE + 1e-6)
        change = np.linalg.norm((found - source) * SCALE)
        assert 0.5 * RADIUS < change <= RADIUS + one.step * SCALE * SIZE
        assert one.change == pytest.approx(np.abs(found - source).max(), abs=one.step + 1e-3)
        assert one.step < 0.1


def test_an_export_says_what_it_is(run: Path, films: Path, dicom: Path) -> None:
    image = pydicom.dcmread(dicom)
    assert list(image.ImageType) == ["DERIVED", "SECONDARY"]
    assert "PGD (L2), radius 0.5" in image.DerivationDescription
    assert (image.PatientIdentityRemoved, image.PatientName, image.PatientBirthDate) == ("YES", "CASE-1", "")
    assert image.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
    assert image.LongitudinalTemporalInformationModified == "REMOVED"
    assert not [one for one in image if one.tag.is_private]
    assert "SourceImageSequence" not in image
    assert (image.Modality, image.PatientPosition, image.SliceThickness) == ("CT", "HFS", 2.5)
    # their values were none that the standard has
    assert not {"BodyPartExamined", "KVP", "EchoTime"} & set(image.dir())
    assert image.BurnedInAnnotation == "NO"
    assert image.SOPInstanceUID == image.file_meta.MediaStorageSOPInstanceUID
    again = export_cases(run, [1], run.parent / "again", dataset_dir=films)[0].path
    assert pydicom.dcmread(again).SOPInstanceUID != image.SOPInstanceUID


def test_slices_of_a_series_stay_together(tmp_path: Path) -> None:
    for place in range(3):
        write_film(tmp_path / "series" / f"{place}.dcm", place)
        header = pydicom.dcmread(tmp_path / "series" / f"{place}.dcm")
        header.SeriesInstanceUID = header.StudyInstanceUID = header.FrameOfReferenceUID = "1.2.826.999.1.5"
        header.ImagePositionPatient = [0, 0.8 * 2.5 * place, 0.6 * 2.5 * place]
        header.save_as(tmp_path / "series" / f"{place}.dcm")
    source = Source.read(tmp_path / "series", "case 1")
    (tmp_path / "out").mkdir()
    for left in ("0003.dcm", "0004.dcm", "notes.txt"):  # of an earlier export of a longer series, and the reader's own
        (tmp_path / "out" / left).write_bytes(b"earlier")
    path, _ = _write_dicom(tmp_path / "out", source, source.array + 10, 1, "Moved", Uids())
    assert sorted(one.name for one in path.iterdir()) == ["0001.dcm", "0002.dcm", "0003.dcm", "notes.txt"]
    (path / "notes.txt").unlink()
    made = Source.read(path, "case 1")
    np.testing.assert_allclose(made.array, source.array + 10, atol=0.05)
    np.testing.assert_allclose(made.affine, source.affine, atol=1e-4)
    headers = [pydicom.dcmread(one) for one in sorted(path.iterdir())]
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        assert len({one[name].value for one in headers}) == 1
    assert len({one.SOPInstanceUID for one in headers}) == 3


def test_the_size_of_pixels_that_only_regions_of_ultrasound_tell_is_kept(tmp_path: Path) -> None:
    write_film(tmp_path / "film.dcm", 0)
    header = pydicom.dcmread(tmp_path / "film.dcm")
    del header.PixelSpacing
    header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = pydicom.uid.UltrasoundImageStorage
    region = Dataset()
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.02, 0.03
    region.RegionSpatialFormat, region.TransducerData = 1, "SMITHERS"
    header.SequenceOfUltrasoundRegions = DicomSequence([region])
    header.save_as(tmp_path / "film.dcm")
    source = Source.read(tmp_path / "film.dcm", "case 1")
    path, _ = _write_dicom(tmp_path / "out", source, source.array, 1, "As it was", Uids())
    assert file_header(path).spacing == pytest.approx((0.2, 0.3))
    assert b"SMITHERS" not in path.read_bytes()


def test_a_source_without_preamble_is_read_as_the_reader_reads_it(tmp_path: Path) -> None:
    write_film(tmp_path / "film.dcm", 1)
    whole = Source.read(tmp_path / "film.dcm", "case 1")
    (tmp_path / "bare.dcm").write_bytes((tmp_path / "film.dcm").read_bytes()[132:])
    bare = Source.read(tmp_path / "bare.dcm", "case 1")
    np.testing.assert_array_equal(bare.array, whole.array)
    assert bare.headers[0].PixelSpacing == whole.headers[0].PixelSpacing


def test_sources_whose_geometry_could_not_be_kept_are_refused(run: Path, films: Path, tmp_path: Path) -> None:
    path = source_of(run, films, 1)
    before = path.read_bytes()
    changes = {
        "does not say which kind of DICOM image": lambda header: header.pop("SOPClassUID"),
        "is an enhanced DICOM image": lambda header: setattr(header, "SharedFunctionalGroupsSequence", [Dataset()]),
    }
    try:
        for words, change in changes.items():
            header = pydicom.dcmread(path)
            change(header)
            header.save_as(path)
            with pytest.raises(BadInputError, match=f"case 1 {words}.*--format nifti"):
                export_cases(run, [1], tmp_path / "out", dataset_dir=films)
            assert not (tmp_path / "out").exists()
            assert export_cases(run, [1], tmp_path / "nifti", dataset_dir=films, format="nifti")
            path.write_bytes(before)
    finally:
        path.write_bytes(before)


@pytest.mark.parametrize(
    ("burned", "words"), [("YES", "says that text is burned"), (None, "does not say whether text")]
)
def test_text_in_the_pixels_must_be_looked_at(
    run: Path, films: Path, tmp_path: Path, burned: str | None, words: str
) -> None:
    path = source_of(run, films, 1)
    before = path.read_bytes()
    write_film(path, int(path.stem.split("-")[1]), burned=burned)
    try:
        with pytest.raises(BadInputError, match=f"case 1 {words}.*--allow_burned_in"):
            export_cases(run, [1], tmp_path / "out", dataset_dir=films)
        with pytest.raises(BadInputError, match="burned"):
            export_cases(run, [1], tmp_path / "out", dataset_dir=films, format="nifti")
        assert not (tmp_path / "out").exists()
        made = export_cases(run, [1], tmp_path / "out", dataset_dir=films, allow_burned_in=True)[0]
        assert pydicom.dcmread(made.path).get("BurnedInAnnotation") == burned
    finally:
        path.write_bytes(before)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cases": [3]}, "case_inputs 3 or more"),
        ({"cases": [9]}, "no case 9"),
        ({"cases": []}, "no case was named"),
        ({"severity": 0.7}, "at the severities 0.5, not 0.7"),
        ({"perturbation": "bim_l2"}, "clean"),
        ({"format": "png"}, "dicom"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    run: Path, films: Path, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    arguments: dict[str, Any] = {"cases": [1], "dataset_dir": films, **changes}
    with pytest.raises(BadInputError, match=words):
        export_cases(run, arguments.pop("cases"), tmp_path / "out", **arguments)


def test_preprocessing_that_cannot_be_undone_is_refused() -> None:
    generator = np.random.default_rng(0)
    source = Source(generator.normal(0, 100, (8, 6, 1)), np.eye(4))
    clean = source.array[None, ..., 0].astype(np.float32)
    with pytest.raises(BadInputError, match="4 × 6 pixels, its file 8 × 6"):
        in_file_units(source, clean[:, :4], clean[:, :4], "case 1")
    for other in (clean[:, ::-1], clean**3, -clean):
        with pytest.raises(BadInputError, match="no linear function"):
            in_file_units(source, other, other, "case 1")
    window = (clean.clip(-80, 80) / 160).astype(np.float32)
    found = in_file_units(source, window, window + np.float32(0.01), "case 1")
    np.testing.assert_allclose(found, source.array + 1.6, atol=1e-3)


def test_samples_of_an_evaluator_are_found_by_their_files(films: Path, tmp_path: Path) -> None:
    load = Compose(
        [
            LoadImaged("image", reader=SimpleITKReader, image_only=True, ensure_channel_first=True),
            ScaleIntensityRanged("image", -1000, 1000, 0, 1),
        ]
    )
    items = [{"image": str(file), "label": i % 2} for i, file in enumerate(sorted((films / "test").rglob("*.dcm")))]
    loader = DataLoader(CacheDataset(items, load, progress=False), batch_size=2)
    torch.manual_seed(0)
    evaluator = SupervisedEvaluator(torch.device("cpu"), loader, TinyNet(2))
    sweeps = [CleanSweep(), AttackSweep(PGD(norm="l2", steps=2, bounds=(0, 1)), [RADIUS, 0.1], faithful=True)]
    kept = {"cases": 2, "case_inputs": 2, "sanity_samples": 0, "progress": False}
    run = Measurement.of(evaluator, sweeps, tmp_path / "run", **kept).run()
    more: dict[str, Any] = {"format": "nifti", "allow_burned_in": True}
    made = export_cases(run, [1, 2], tmp_path / "out", dataset_dir=films / "test", **more)
    assert [one.change > 0 for one in made] == [True, True]
    assert [one.path.name for one in made] == [f"case-{case}_pgd_l2_{RADIUS}.nii.gz" for case in (1, 2)]
    with pytest.raises(BadInputError, match=r"case 1 is not called by a file below .*no data list can be made of it"):
        export_cases(run, [1], tmp_path / "other", dataset_dir=tmp_path, **more)


@pytest.mark.parametrize("sample_id", ["", "../a.nii", "/etc/hostname", "b.nii"])
def test_a_name_that_leads_elsewhere_is_no_file_of_a_data_set(tmp_path: Path, sample_id: str) -> None:
    (tmp_path / "a.nii").touch()
    (tmp_path / "films").mkdir()
    assert named_file(sample_id, tmp_path / "films") is None
    assert named_file("a.nii", tmp_path) == tmp_path / "a.nii"
