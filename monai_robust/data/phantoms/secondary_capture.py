"""One grey image as a DICOM Secondary Capture object whose bytes depend on its content alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

__all__ = ["write_secondary_capture"]

_BITS = 12
_DATE = "20000101"


def write_secondary_capture(
    path: Path,
    pixels: NDArray[np.uint16],
    *,
    inverted: bool,
    patient_id: str,
    acquisition: int,
    scanner: str,
    entropy: Sequence[str],
) -> None:
    """Write one fictitious radiograph.

    Args:
        path: of the file.
        pixels: stored values of 12 bit, ``(rows, columns)``.
        inverted: the values are to be shown inverted (``MONOCHROME1``).
        patient_id: fictitious identifier.
        acquisition: number of the film of this patient, from 1.
        scanner: name of the simulated device.
        entropy: texts that together identify the image; its UIDs are derived from them.
    """
    dataset = Dataset()
    _describe_patient_and_study(dataset, patient_id, entropy)
    _describe_series(dataset, acquisition, scanner, entropy)
    _describe_image(dataset, pixels, inverted)
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[*entropy, "instance"])
    dataset.InstanceNumber = acquisition
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path, enforce_file_format=True)


def _describe_patient_and_study(dataset: Dataset, patient_id: str, entropy: Sequence[str]) -> None:
    dataset.PatientName = f"Phantom^{patient_id}"
    dataset.PatientID = patient_id
    dataset.PatientBirthDate = ""
    dataset.PatientSex = ""
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=[entropy[0], patient_id, "study"])
    dataset.StudyDate = _DATE
    dataset.StudyTime = "000000"
    dataset.StudyID = "1"
    dataset.AccessionNumber = ""
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = "Synthetic chest phantom, no patient"


def _describe_series(dataset: Dataset, acquisition: int, scanner: str, entropy: Sequence[str]) -> None:
    dataset.Modality = "DX"
    dataset.ConversionType = "SYN"
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=[*entropy, "series"])
    dataset.SeriesNumber = acquisition
    dataset.Laterality = ""
    dataset.BodyPartExamined = "CHEST"
    dataset.SecondaryCaptureDeviceManufacturer = "monai-robust"
    dataset.SecondaryCaptureDeviceManufacturerModelName = scanner


def _describe_image(dataset: Dataset, pixels: NDArray[np.uint16], inverted: bool) -> None:
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.PatientOrientation = ["L", "F"]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated = 16
    dataset.BitsStored = _BITS
    dataset.HighBit = _BITS - 1
    dataset.PixelRepresentation = 0
    dataset.RescaleIntercept = "0"
    dataset.RescaleSlope = "1"
    dataset.RescaleType = "US"
    dataset.WindowCenter = str(2 ** (_BITS - 1))
    dataset.WindowWidth = str(2**_BITS)
    dataset.PixelData = pixels.astype("<u2").tobytes()
