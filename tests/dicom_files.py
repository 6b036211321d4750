"""Small DICOM files, made by hand, for tests of reading."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

CT, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4.1"
PROJECTIONS = {
    "CR": "1.2.840.10008.5.1.4.1.1.1",
    "DX": "1.2.840.10008.5.1.4.1.1.1.1",
    "MG": "1.2.840.10008.5.1.4.1.1.1.2",
    "XA": "1.2.840.10008.5.1.4.1.1.12.1",
    "RF": "1.2.840.10008.5.1.4.1.1.12.2",
}


def dicom(
    path: Path,
    pixels: NDArray[Any],
    *,
    sop: str = CT,
    syntax: UID = ExplicitVRLittleEndian,
    codestreams: Sequence[bytes] | None = None,
    **elements: Any,
) -> Path:
    """Write (rows, columns) or (frames, rows, columns) of 8 or 16 bits; ``elements`` override what the header says."""
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = syntax
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = UID(sop)
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID = generate_uid()
    header.SeriesInstanceUID, header.Modality = "1.2.3", "OT"
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.Rows, header.Columns = pixels.shape[-2:]
    bits = pixels.dtype.itemsize * 8
    header.BitsAllocated, header.BitsStored, header.HighBit = bits, bits, bits - 1
    header.PixelRepresentation = int(pixels.dtype.kind == "i")
    if pixels.ndim == 3:
        header.NumberOfFrames = len(pixels)
    header.PixelData = pixels.tobytes() if codestreams is None else encapsulate(list(codestreams))
    for keyword, value in elements.items():
        setattr(header, keyword, value)
    header["PixelData"].VR = "OB" if bits == 8 or codestreams else "OW"
    header.save_as(path, enforce_file_format=True)
    return path


def enhanced(path: Path, heights: Sequence[float], **shared_elements: Any) -> Path:
    """An enhanced multi-frame file, 4 rows x 3 columns, 0.5 x 0.4 mm; each frame holds 10 times its height in mm."""
    frames = np.stack([np.full((4, 3), 10 * height, np.uint16) for height in heights])
    frames[:, 0, 0] += 1
    groups = []
    for number, height in enumerate(heights, 1):
        frame = Dataset()
        frame.PlanePositionSequence = [element(ImagePositionPatient=[0, 0, float(height)])]
        frame.FrameContentSequence = [element(DimensionIndexValues=[1, number])]
        groups.append(frame)
    shared = Dataset()
    shared.PixelMeasuresSequence = [element(PixelSpacing=[0.5, 0.4], SliceThickness=2)]
    shared.PlaneOrientationSequence = [element(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]
    for keyword, value in shared_elements.items():
        setattr(shared, keyword, value)
    return dicom(
        path,
        frames,
        sop=ENHANCED_MR,
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=groups,
    )


def element(**elements: Any) -> Dataset:
    """An item of a sequence."""
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def slices(folder: Path, count: int = 5, **elements: Any) -> list[Path]:
    """A series of ``count`` slices, 2 mm apart, each of which holds its number times 10."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for number in range(count):
        pixels = np.full((4, 3), 10 * number, np.int16)
        pixels[0, 0] += 1
        place = {
            "InstanceNumber": number + 1,
            "ImagePositionPatient": [0.0, 0.0, 2.0 * number],
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "PixelSpacing": [0.5, 0.4],
            **elements,
        }
        found.append(dicom(folder / f"s{number}.dcm", pixels, **place))
    return found
