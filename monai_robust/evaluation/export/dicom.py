"""A derived DICOM image of a source, de-identified by keeping nothing of it but what this list names.

After the Basic Application Level Confidentiality Profile of DICOM PS3.15 (Annex E, Table E.1-1): what the profile
removes, empties or replaces is not on the list, nor is anything that it does not know. Kept are attributes of geometry
and of how pixels are to be read, by value; every UID is new, and one and the same within an export where the source's
was.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import format_number_as_ds

from monai_robust.data.files.whole import writing_whole
from monai_robust.errors import BadInputError

__all__ = ["Uids", "check_burned_in", "check_kind", "write_slice"]

# Numbers that place an image or say how it was taken; a text cannot hide in them.
_NUMBERS = (
    "PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio", "SliceThickness",
    "SpacingBetweenSlices", "ImagePositionPatient", "ImageOrientationPatient", "SliceLocation", "KVP", "EchoTime",
    "RepetitionTime", "InversionTime", "FlipAngle", "MagneticFieldStrength", "EchoTrainLength",
)  # fmt: skip
# The same of the regions of an ultrasound picture, which may be all that tells the size of its pixels.
_NUMBERS_OF_REGIONS = (
    "RegionSpatialFormat", "RegionDataType", "RegionFlags", "RegionLocationMinX0", "RegionLocationMinY0",
    "RegionLocationMaxX1", "RegionLocationMaxY1", "PhysicalUnitsXDirection", "PhysicalUnitsYDirection",
    "PhysicalDeltaX", "PhysicalDeltaY", "ReferencePixelX0", "ReferencePixelY0",
)  # fmt: skip
# Codes with the values that the standard defines for them; another value is left out.
_CODES = {
    "Modality": r"CR|CT|DX|MG|MR|OPT|OT|PT|RF|US|XA|XC",
    "PatientPosition": r"(HF|FF|LF|RF|AF|PF)(P|S|DR|DL|R|L|A)?",
    "Laterality": r"[LR]",
    "ImageLaterality": r"[LRUB]",
    "ViewPosition": r"AP|PA|LL|RL|RLD|LLD|RLO|LLO|CC|MLO",
    "BodyPartExamined": r"CHEST|HEAD|SKULL|BRAIN|ABDOMEN|PELVIS|NECK|CSPINE|TSPINE|LSPINE|HEART|BREAST|HAND|KNEE|EYE",
    "PresentationIntentType": r"FOR PRESENTATION|FOR PROCESSING",
    "PixelIntensityRelationship": r"LIN|LOG|DISP",
    "ScanningSequence": r"SE|IR|GR|EP|RM",
    "SequenceVariant": r"SK|MTC|SS|TRSS|SP|MP|OSP|NONE",
    "MRAcquisitionType": r"2D|3D",
    "RescaleType": r"HU|US",
    "PatientOrientation": r"[APRLHFapr lhf]{0,3}",
}
# Type 2 of the modules of patient, study and series: there, and empty.
_EMPTY = (
    "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber",
    "Manufacturer", "PositionReferenceIndicator",
)  # fmt: skip
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_BITS = 16


class Uids:
    """New UIDs, drawn at random: one source UID has one new UID within an export, which tells nothing of it."""

    def __init__(self) -> None:
        self._known: dict[str, UID] = {}

    def of(self, *names: object) -> UID:
        key = "\x1f".join(map(str, names))
        if key not in self._known:
            self._known[key] = generate_uid()
        return self._known[key]


def check_burned_in(headers: Sequence[Dataset], case: str, allowed: bool) -> None:
    """Refuse an image in which names may be written into the pixels, unless somebody has looked.

    Raises:
        BadInputError: where the source does not say that there are none.
    """
    stated = {str(header.get("BurnedInAnnotation", "")).strip().upper() for header in headers} or {""}
    if allowed or stated == {"NO"}:
        return
    why = (
        "says that text is burned into its pixels" if "YES" in stated else "does not say whether text is burned into it"
    )
    raise BadInputError(
        f"the source of {case} {why}, which may name the patient; look at it, and give --allow_burned_in if it does not"
    )


def check_kind(headers: Sequence[Dataset], case: str) -> None:
    """Refuse a source of which no DICOM image with the same geometry can be made.

    Raises:
        BadInputError: it is no DICOM, does not say which kind of image it is, or tells its place in functional groups.
    """
    if not headers:
        raise BadInputError(f"the source of {case} is no DICOM file, of which nothing is known; use --format nifti")
    if not all(header.get("SOPClassUID") for header in headers):
        raise BadInputError(
            f"the source of {case} does not say which kind of DICOM image it is (SOPClassUID); use --format nifti"
        )
    if any(name in header for header in headers for name in _GROUPS):
        raise BadInputError(
            f"the source of {case} is an enhanced DICOM image, which tells its place in functional groups; these are "
            "not exported: use --format nifti"
        )


def write_slice(
    path: Path,
    header: Dataset,
    pixels: NDArray[np.float64],
    levels: tuple[float, float],
    *,
    case: int,
    number: int,
    description: str,
    uids: Uids,
) -> float:
    """Write one image.

    Args:
        path: of the file.
        header: of its source.
        pixels: (X, Y), in units of the file after rescale.
        levels: lowest and highest of all slices of the image.
        case: its number.
        number: of the slice, from 1.
        description: of how it was derived.
        uids: of the export.

    Returns:
        What one stored level stands for, in units of the file.
    """
    made = _numbers_of(header, _NUMBERS)
    regions = header.get("SequenceOfUltrasoundRegions") or []
    if regions:
        made.SequenceOfUltrasoundRegions = [_numbers_of(region, _NUMBERS_OF_REGIONS) for region in regions]
    for name, values in _CODES.items():
        listed = header.get(name, "")
        texts = [str(one) for one in listed] if not isinstance(listed, str) else [listed]
        if all(re.fullmatch(values, one) for one in texts) and any(texts):
            setattr(made, name, listed)
    for name in _EMPTY:
        setattr(made, name, "")
    made.Modality = made.get("Modality", "OT")
    made.PatientName = made.PatientID = f"CASE-{case}"
    made.PatientIdentityRemoved = "YES"
    made.DeidentificationMethod = "monai-robust: allow-list, after DICOM PS3.15 Table E.1-1"
    made.DeidentificationMethodCodeSequence = [
        _code("113100", "DCM", "Basic Application Confidentiality Profile"),
    ]
    made.LongitudinalTemporalInformationModified = "REMOVED"
    made.StudyInstanceUID = uids.of("study", header.get("StudyInstanceUID", ""), case)
    made.SeriesInstanceUID = uids.of("series", header.get("SeriesInstanceUID", ""), case, description)
    if "FrameOfReferenceUID" in header:
        made.FrameOfReferenceUID = uids.of("frame", header.FrameOfReferenceUID, case)
    made.SOPClassUID = header.SOPClassUID
    made.SOPInstanceUID = uids.of("instance", case, description, number)
    made.SeriesNumber, made.InstanceNumber = 1, number
    made.SeriesDescription = description[:64]
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.DerivationDescription = description
    if "ConversionType" in header:
        made.ConversionType = "SYN"
    burned = str(header.get("BurnedInAnnotation", "")).strip().upper()
    if burned in ("YES", "NO"):
        made.BurnedInAnnotation = burned
    if str(header.get("LossyImageCompression", "")) in ("00", "01"):
        made.LossyImageCompression = str(header.LossyImageCompression)
    step = _pixels(made, pixels.T, levels)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    with writing_whole(path) as file:
        made.save_as(file, enforce_file_format=True)
    return step


def _numbers_of(header: Dataset, names: Sequence[str]) -> Dataset:
    """A data set with those of some attributes that hold numbers."""
    made = Dataset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote what is no number, which can be a name
        for name in names:
            try:
                if name in header and header[name].value not in (None, "", []):
                    setattr(made, name, header[name].value)
            except (ValueError, TypeError, OverflowError):  # no number, and so perhaps a name: left out
                continue
    return made


def _pixels(made: Dataset, rows: NDArray[np.float64], levels: tuple[float, float]) -> float:
    """Put in pixels of 16 bits that reach from the lowest to the highest value."""
    low, high = levels
    slope = format_number_as_ds(max(high - low, 1e-6) / (2**_BITS - 2))
    intercept = format_number_as_ds(low)
    stored = np.rint((rows - float(intercept)) / float(slope)).clip(0, 2**_BITS - 1).astype("<u2")
    made.SamplesPerPixel = 1
    made.PhotometricInterpretation = "MONOCHROME2"  # readers here have inverted MONOCHROME1
    made.Rows, made.Columns = stored.shape
    made.BitsAllocated = made.BitsStored = _BITS
    made.HighBit, made.PixelRepresentation = _BITS - 1, 0
    made.RescaleSlope, made.RescaleIntercept = slope, intercept
    made.RescaleType = made.get("RescaleType", "US")
    made.WindowCenter = format_number_as_ds((low + high) / 2)
    made.WindowWidth = format_number_as_ds(max(high - low, 1.0))
    made.PixelData = stored.tobytes()
    return float(slope)


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code
