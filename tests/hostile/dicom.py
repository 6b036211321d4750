"""DICOM as clinics send it; the reference is pydicom."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    RLELossless,
)

from hostile.image_fields import damage_dicom
from hostile.judging import Kind, difference
from monai_robust.data import SimpleITKReader, load_volume

__all__ = ["COLUMNS", "KINDS", "ROWS", "SLICES", "by_reader", "by_volume", "pattern"]

ROWS, COLUMNS, SLICES = 20, 24, 5
_REC601 = np.array([0.299, 0.587, 0.114])


def pattern(*shape: int, high: int = 4000, seed: int = 0) -> np.ndarray:
    """Smooth, so that lossy coding keeps it, and everywhere different, so that nothing can change places unseen."""
    grid = np.add.outer(np.arange(shape[-2]) * 3.0, np.arange(shape[-1]) * 1.7)
    frames = np.arange(int(np.prod(shape[:-2], dtype=int))).reshape(*shape[:-2], 1, 1) * 7.0
    return ((grid + frames + seed) / (grid.max() + np.max(frames) + seed + 1) * high).astype(np.int32)


def _film(pixels: np.ndarray, uid: str, bits: int = 16, **elements: Any) -> Dataset:
    film = Dataset()
    film.file_meta = FileMetaDataset()
    film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    film.SOPClassUID = film.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    film.SOPInstanceUID = film.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.3680043.8.498.{uid}"
    film.SeriesInstanceUID, film.StudyInstanceUID, film.Modality = "1.2.3.4", "1.2.3", "CT"
    film.PatientID, film.PatientName = "somebody", "Some^Body"
    film.Rows, film.Columns = pixels.shape[-2:] if elements.get("SamplesPerPixel", 1) == 1 else pixels.shape[-3:-1]
    film.SamplesPerPixel, film.PhotometricInterpretation = 1, "MONOCHROME2"
    film.BitsAllocated, film.BitsStored, film.HighBit, film.PixelRepresentation = bits, bits, bits - 1, 0
    film.PixelSpacing = [0.5, 0.4]
    for name, value in elements.items():
        setattr(film, name, value)
    film.PixelData = pixels.astype("<u2" if bits == 16 else "u1").tobytes()
    film["PixelData"].VR = "OW" if bits == 16 else "OB"
    return film


def _save(film: Dataset, path: Path) -> None:
    film.save_as(path, enforce_file_format=True)


def _native(folder: Path) -> None:
    stored = (pattern(ROWS, COLUMNS) - 1000).astype("<i2").view("<u2")
    _save(_film(stored, "1", PixelRepresentation=1, RescaleSlope=2, RescaleIntercept=-24), folder / "film.dcm")


def _inverted(folder: Path) -> None:
    stored = pattern(ROWS, COLUMNS, high=250)
    film = _film(
        stored,
        "2",
        8,
        PhotometricInterpretation="MONOCHROME1",
        ImagerPixelSpacing=[0.2, 0.1],
        Modality="DX",
        SOPClassUID="1.2.840.10008.5.1.4.1.1.1.1",
    )
    film.file_meta.MediaStorageSOPClassUID = film.SOPClassUID
    _save(film, folder / "film.dcm")


def _encapsulated(folder: Path, syntax: str, content: bytes, pixels: np.ndarray, bits: int, uid: str) -> None:
    film = _film(pixels, uid, bits)
    film.file_meta.TransferSyntaxUID = syntax
    film.PixelData = encapsulate([content])
    film["PixelData"].VR = "OB"
    film["PixelData"].is_undefined_length = True
    _save(film, folder / "film.dcm")


def _rle(folder: Path) -> None:
    film = _film(pattern(ROWS, COLUMNS), "3", InstanceNumber=1)
    film.compress(RLELossless, generate_instance_uid=False)
    _save(film, folder / "film.dcm")


def _deflated(folder: Path) -> None:
    film = _film(pattern(ROWS, COLUMNS), "4")
    film.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    _save(film, folder / "film.dcm")


def _jpeg_film(folder: Path) -> None:
    pixels, buffer = pattern(ROWS, COLUMNS, high=250), io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "JPEG", quality=95)
    _encapsulated(folder, JPEGBaseline8Bit, buffer.getvalue(), pixels, 8, "5")


def _j2k_film(folder: Path) -> None:
    pixels, buffer = pattern(ROWS, COLUMNS), io.BytesIO()
    Image.fromarray(pixels.astype(np.uint16)).save(buffer, "JPEG2000", irreversible=False, no_jp2=True)
    _encapsulated(folder, JPEG2000Lossless, buffer.getvalue(), pixels, 16, "6")


def _frames(folder: Path) -> None:
    _save(_film(pattern(3, ROWS, COLUMNS), "7", NumberOfFrames=3), folder / "film.dcm")


def _color_film(folder: Path) -> None:
    pixels = np.stack([pattern(ROWS, COLUMNS, high=250, seed=seed) for seed in (0, 40, 90)], axis=-1)
    film = _film(pixels, "8", 8, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    _save(film, folder / "film.dcm")


def _enhanced(folder: Path) -> None:
    """Frames out of spatial order, each with a rescale of its own."""
    heights = [0.0, 4.0, 2.0, 6.0]
    film = _film(pattern(4, ROWS, COLUMNS), "9", NumberOfFrames=4, Modality="MR")
    film.SOPClassUID = film.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"
    del film.PixelSpacing
    film.SharedFunctionalGroupsSequence = [
        _item(
            PixelMeasuresSequence=_item(PixelSpacing=[0.5, 0.4], SliceThickness=2),
            PlaneOrientationSequence=_item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
        )
    ]
    film.PerFrameFunctionalGroupsSequence = [
        _item(
            PlanePositionSequence=_item(ImagePositionPatient=[0, 0, height]),
            PixelValueTransformationSequence=_item(RescaleSlope=1 + height, RescaleIntercept=-5, RescaleType="US"),
            FrameContentSequence=_item(DimensionIndexValues=[1, place + 1]),
        )
        for place, height in enumerate(heights)
    ]
    _save(film, folder / "film.dcm")


def _item(**elements: Any) -> Dataset:
    item = Dataset()
    for name, value in elements.items():
        setattr(item, name, Sequence([value]) if isinstance(value, Dataset) else value)
    return item


def _series(folder: Path) -> None:
    place = folder / "series"
    place.mkdir()
    for index, pixels in enumerate(pattern(SLICES, ROWS, COLUMNS)):
        film = _film(
            pixels,
            f"10.{index}",
            ImagePositionPatient=[0, 0, 2.0 * index],
            InstanceNumber=SLICES - index,
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        )
        _save(film, place / f"s{(3 * index) % SLICES}.dcm")


def _dicom_frames(path: Path) -> tuple[np.ndarray, Dataset]:
    """(frames, rows, columns) in modality units, a dense structure bright, colour as its luminance."""
    film = dcmread(path, force=True)
    if "TransferSyntaxUID" not in film.file_meta:
        film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian  # as it was read
    if film.file_meta.TransferSyntaxUID == JPEGLosslessSV1:
        film.file_meta.TransferSyntaxUID = JPEGBaseline8Bit  # which Pillow decodes whatever the header says
    array = film.pixel_array
    if film.SamplesPerPixel == 3:
        if film.PhotometricInterpretation.startswith("MONOCHROME"):
            raise ValueError("colour that calls itself grey")
        array = array.astype(np.float64) @ _REC601
    array = array if array.ndim == 3 else array[None]
    if film.PhotometricInterpretation == "MONOCHROME1":
        array = (-1 if film.PixelRepresentation else 2**film.BitsStored - 1) - array.astype(np.int64)
    groups = film.get("PerFrameFunctionalGroupsSequence")
    if groups is None:
        return array if film.SamplesPerPixel == 3 else _rescaled(array, film), film
    if len(groups) != len(array):
        raise ValueError(f"{len(groups)} groups for {len(array)} frames")
    rescales = [group.PixelValueTransformationSequence[0] for group in groups]
    frames = [_rescaled(frame, rescale) for frame, rescale in zip(array, rescales, strict=True)]
    positions = np.array([group.PlanePositionSequence[0].ImagePositionPatient for group in groups], float)
    shared = film.SharedFunctionalGroupsSequence[0]
    axes = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    heights = _heights(positions, [axes])
    film.PixelSpacing = shared.PixelMeasuresSequence[0].PixelSpacing
    return np.stack([frames[place] for place in np.argsort(heights)]), film


def _rescaled(array: np.ndarray, film: Dataset) -> np.ndarray:
    """Where only one of slope and intercept is there, pydicom would apply neither."""
    if "RescaleSlope" not in film and "RescaleIntercept" not in film:
        return array
    slope, intercept = (
        usual if film.get(name) in (None, "") else float(film[name].value)
        for name, usual in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0))
    )
    if not (np.isfinite([slope, intercept]).all() and slope):
        raise ValueError("no rescale")
    return np.asarray(array * slope + intercept)


def _heights(positions: np.ndarray, axes: list[np.ndarray]) -> np.ndarray:
    if not np.isfinite(positions).all() or np.abs(np.array(axes) - axes[0]).max() > 1e-3:
        raise ValueError("positions or directions make no volume")
    rows, columns = axes[0][:3], axes[0][3:]
    if abs(rows @ columns) > 1e-3 or not np.allclose([rows @ rows, columns @ columns], 1, atol=1e-3):
        raise ValueError("no directions")
    heights = positions @ np.cross(rows, columns)
    if len(heights) > 1 and np.diff(np.sort(heights)).min() < 1e-3:
        raise ValueError("two at one place")
    return heights


def _plane_spacing(film: Dataset) -> list[float]:
    """mm in x and y; without any, 1."""
    values = film.get("PixelSpacing") or film.get("ImagerPixelSpacing") or [1.0, 1.0]
    rows, columns = (float(value) for value in values)
    if not (0 < rows < np.inf and 0 < columns < np.inf):
        raise ValueError("no spacing")
    return [columns, rows]


def _dicom_reference(folder: Path) -> Any:
    frames, film = _dicom_frames(folder / "film.dcm")
    pixels = np.moveaxis(frames, 0, -1).swapaxes(0, 1)
    return {"pixels": pixels[..., 0] if pixels.shape[-1] == 1 else pixels, "spacing": _plane_spacing(film)}


def _series_reference(folder: Path) -> Any:
    read = [_dicom_frames(path) for path in sorted((folder / "series").iterdir())]
    films = [film for _, film in read]
    if len({film.SeriesInstanceUID for film in films}) > 1 or len({tuple(_plane_spacing(film)) for film in films}) > 1:
        raise ValueError("several series, or spacings")
    axes = [np.array(film.ImageOrientationPatient, float) for film in films]
    heights = _heights(np.array([film.ImagePositionPatient for film in films], float), axes)
    frames = np.concatenate([read[place][0] for place in np.argsort(heights)])
    return {"pixels": np.moveaxis(frames, 0, -1).swapaxes(0, 1), "spacing": _plane_spacing(films[0])}


# The product


def by_reader(name: str, spacing: bool = True) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        reader = SimpleITKReader()
        pixels, meta = reader.get_data(reader.read(folder / name))
        edges = np.linalg.norm(np.asarray(meta["affine"], float)[:-1, :2], axis=0)
        return {"pixels": pixels, "spacing": edges} if spacing else {"pixels": pixels}

    return read


def by_volume(name: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        found = load_volume({"image": str(folder / name)})
        return {"pixels": found["image"][0].numpy(), "spacing": list(found["spacing"][:2])}

    return read


_DICOM = {
    "film": _native,
    "monochrome1": _inverted,
    "rle": _rle,
    "deflated": _deflated,
    "jpeg": _jpeg_film,
    "jpeg2000": _j2k_film,
    "frames": _frames,
    "color": _color_film,
    "enhanced": _enhanced,
}
_DCM = {".dcm": damage_dicom}
_SIZE = 8 * ROWS * COLUMNS * SLICES
KINDS = [
    Kind(f"dicom_{name}", write, ["film.dcm"], _DCM, by_reader("film.dcm"), _dicom_reference, difference, _SIZE)
    for name, write in _DICOM.items()
]
KINDS.append(
    Kind("dicom_series", _series, ["series/*"], _DCM, by_volume("series"), _series_reference, difference, _SIZE)
)
