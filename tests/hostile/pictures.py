"""Images: DICOM as clinics send it, everyday pictures, and volumes; the references are pydicom, Pillow and nibabel."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from PIL import Image, ImageOps
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut
from pydicom.sequence import Sequence
from pydicom.uid import (
    JPEG2000Lossless,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
)

from hostile import image_fields
from hostile.judging import Kind, difference
from hostile.text_fields import damage_header_lines
from monai_robust.data import SimpleITKReader, load_volume

__all__ = ["KINDS"]

_ROWS, _COLUMNS, _SLICES = 20, 24, 5
_REC601 = np.array([0.299, 0.587, 0.114])


def _pattern(*shape: int, high: int = 4000, seed: int = 0) -> np.ndarray:
    """Smooth, so that lossy coding keeps it, and everywhere different, so that nothing can change places unseen."""
    grid = np.add.outer(np.arange(shape[-2]) * 3.0, np.arange(shape[-1]) * 1.7)
    frames = np.arange(int(np.prod(shape[:-2], dtype=int))).reshape(*shape[:-2], 1, 1) * 7.0
    return ((grid + frames + seed) / (grid.max() + np.max(frames) + seed + 1) * high).astype(np.int32)


# DICOM


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
    stored = (_pattern(_ROWS, _COLUMNS) - 1000).astype("<i2").view("<u2")
    _save(_film(stored, "1", PixelRepresentation=1, RescaleSlope=2, RescaleIntercept=-24), folder / "film.dcm")


def _inverted(folder: Path) -> None:
    stored = _pattern(_ROWS, _COLUMNS, high=250)
    film = _film(stored, "2", 8, PhotometricInterpretation="MONOCHROME1", ImagerPixelSpacing=[0.2, 0.1], Modality="DX",
                 SOPClassUID="1.2.840.10008.5.1.4.1.1.1.1")  # fmt: skip
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
    film = _film(_pattern(_ROWS, _COLUMNS), "3", InstanceNumber=1)
    film.compress(RLELossless, generate_instance_uid=False)
    _save(film, folder / "film.dcm")


def _deflated(folder: Path) -> None:
    film = _film(_pattern(_ROWS, _COLUMNS), "4")
    film.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    _save(film, folder / "film.dcm")


def _jpeg_film(folder: Path) -> None:
    pixels, buffer = _pattern(_ROWS, _COLUMNS, high=250), io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "JPEG", quality=95)
    _encapsulated(folder, JPEGBaseline8Bit, buffer.getvalue(), pixels, 8, "5")


def _j2k_film(folder: Path) -> None:
    pixels, buffer = _pattern(_ROWS, _COLUMNS), io.BytesIO()
    Image.fromarray(pixels.astype(np.uint16)).save(buffer, "JPEG2000", irreversible=False, no_jp2=True)
    _encapsulated(folder, JPEG2000Lossless, buffer.getvalue(), pixels, 16, "6")


def _frames(folder: Path) -> None:
    _save(_film(_pattern(3, _ROWS, _COLUMNS), "7", NumberOfFrames=3), folder / "film.dcm")


def _color_film(folder: Path) -> None:
    pixels = np.stack([_pattern(_ROWS, _COLUMNS, high=250, seed=seed) for seed in (0, 40, 90)], axis=-1)
    film = _film(pixels, "8", 8, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    _save(film, folder / "film.dcm")


def _enhanced(folder: Path) -> None:
    """Frames out of spatial order, each with a rescale of its own."""
    heights = [0.0, 4.0, 2.0, 6.0]
    film = _film(_pattern(4, _ROWS, _COLUMNS), "9", NumberOfFrames=4, Modality="MR")
    film.SOPClassUID = film.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"
    del film.PixelSpacing
    film.SharedFunctionalGroupsSequence = [_item(
        PixelMeasuresSequence=_item(PixelSpacing=[0.5, 0.4], SliceThickness=2),
        PlaneOrientationSequence=_item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
    )]  # fmt: skip
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
    for index, pixels in enumerate(_pattern(_SLICES, _ROWS, _COLUMNS)):
        film = _film(pixels, f"10.{index}", ImagePositionPatient=[0, 0, 2.0 * index], InstanceNumber=_SLICES - index,
                     ImageOrientationPatient=[1, 0, 0, 0, 1, 0])  # fmt: skip
        _save(film, place / f"s{(3 * index) % _SLICES}.dcm")


def _dicom_frames(path: Path) -> tuple[np.ndarray, Dataset]:
    """(frames, rows, columns) in modality units, a dense structure bright, colour as its luminance."""
    film = dcmread(path, force=True)
    array = film.pixel_array
    if film.SamplesPerPixel == 3:
        array = array.astype(np.float64) @ _REC601
    array = array if array.ndim == 3 else array[None]
    if film.PhotometricInterpretation == "MONOCHROME1":
        array = (-1 if film.PixelRepresentation else 2**film.BitsStored - 1) - array.astype(np.int64)
    groups = film.get("PerFrameFunctionalGroupsSequence")
    if groups is None:
        return np.asarray(apply_modality_lut(array, film)), film
    if len(groups) != len(array):
        raise ValueError(f"{len(groups)} groups for {len(array)} frames")
    rescales = [group.PixelValueTransformationSequence[0] for group in groups]
    frames = [apply_modality_lut(frame, rescale) for frame, rescale in zip(array, rescales, strict=True)]
    positions = np.array([group.PlanePositionSequence[0].ImagePositionPatient for group in groups], float)
    shared = film.SharedFunctionalGroupsSequence[0]
    axes = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    heights = _heights(positions, [axes])
    film.PixelSpacing = shared.PixelMeasuresSequence[0].PixelSpacing
    return np.stack([frames[place] for place in np.argsort(heights)]), film


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


# Everyday pictures


def _picture(name: str, pixels: np.ndarray, **options: Any) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        image = Image.fromarray(pixels)
        if options.get("palette"):
            image = image.convert("P")
        exif = Image.Exif()
        if options.get("turned"):
            exif[0x0112] = 6
        more = {key: options[key] for key in ("compression", "quality") if key in options}
        image.save(folder / name, **more, **({"exif": exif} if options.get("turned") else {}))

    return write


def _pillow_reference(name: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        with Image.open(folder / name) as image:
            image.load()
            if getattr(image, "n_frames", 1) > 1:
                raise ValueError("several pictures")
            if name.endswith(".jpg") and not (folder / name).read_bytes().rstrip(b"\0").endswith(b"\xff\xd9"):
                raise ValueError("no end")
            turned = ImageOps.exif_transpose(image)
        palette = turned.mode in ("P", "PA")
        if palette:
            turned = turned.convert("RGBA" if "transparency" in turned.info or turned.mode == "PA" else "RGB")
        if turned.mode == "1":
            turned = turned.convert("L")
        if turned.mode not in ("L", "I;16", "I;16B", "I", "F", "RGB", "RGBA", "LA"):
            raise ValueError(f"mode {turned.mode}")
        values = np.asarray(turned).astype(np.float64)
        if turned.mode in ("RGBA", "LA"):
            values = values[..., :-1] * values[..., -1:] / 255
        if values.ndim == 3:
            values = values @ _REC601 if values.shape[-1] == 3 else values[..., 0]
        return {"pixels": values.T}

    return read


# Volumes

_VOLUME = _pattern(_SLICES, _ROWS, _COLUMNS).T.astype(np.int16)
_AFFINE = np.array([[-0.5, 0, 0, 10], [0, -0.4, 0, 20], [0, 0, 2.0, -30], [0, 0, 0, 1]])


def _nifti(name: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        image = nibabel.Nifti1Image(_VOLUME, _AFFINE)
        image.header.set_xyzt_units("mm")
        content = image.to_bytes()
        (folder / name).write_bytes(gzip.compress(content, mtime=0) if name.endswith("gz") else content)

    return write


def _nifti_reference(name: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        content = (folder / name).read_bytes()
        image = nibabel.Nifti1Image.from_bytes(gzip.decompress(content) if name.endswith("gz") else content)
        values = np.asanyarray(image.dataobj)
        edges = np.linalg.norm(image.affine[:3, :3], axis=0)
        if not np.isfinite(image.affine).all() or not (edges > 0).all() or np.iscomplexobj(values) or values.dtype.names:
            raise ValueError("no affine, or no grey volume")
        return {"pixels": values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values, "spacing": edges[:2]}

    return read


_META = {"MET_UCHAR": "u1", "MET_CHAR": "i1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
         "MET_FLOAT": "f4", "MET_DOUBLE": "f8"}  # fmt: skip
_NRRD = {"short": "i2", "ushort": "u2", "uchar": "u1", "double": "f8", "float": "f4", "int": "i4", "uint": "u4"}


def _meta_image(packed: bool, apart: bool) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        body = _VOLUME.T.tobytes()
        body = zlib.compress(body) if packed else body
        size = f"CompressedDataSize = {len(body)}\n" if packed else ""
        header = (
            "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
            f"CompressedData = {packed}\n{size}TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\n"
            f"ElementSpacing = 0.5 0.4 2\nDimSize = {_COLUMNS} {_ROWS} {_SLICES}\nElementType = MET_SHORT\n"
            f"ElementDataFile = {'body.raw' if apart else 'LOCAL'}\n"
        ).encode()
        (folder / ("volume.mhd" if apart else "volume.mha")).write_bytes(header + (b"" if apart else body))
        if apart:
            (folder / "body.raw").write_bytes(body)

    return write


def _meta_reference(name: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        head, mark, rest = (folder / name).read_bytes().partition(b"ElementDataFile")
        fields = dict(line.split(" = ", 1) for line in head.decode().splitlines())
        where, _, body = rest.partition(b"\n")
        file = where.removeprefix(b" = ").decode()
        if not mark or fields["ObjectType"] != "Image" or fields.get("BinaryData") != "True":
            raise ValueError("no image")
        body = body if file == "LOCAL" else _beside(folder, file)
        order = ">" if _yes(fields["BinaryDataByteOrderMSB"]) else "<"
        body = zlib.decompress(body) if _yes(fields["CompressedData"]) else body
        matrix = np.array(fields.get("TransformMatrix", "1 0 0 0 1 0 0 0 1").split(), float).reshape(3, 3)
        if not np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-3):
            raise ValueError("no directions")
        sizes = [int(size) for size in fields["DimSize"].split()]
        return _raw_volume(body, order + _META[fields["ElementType"]], sizes, int(fields["NDims"]), fields["ElementSpacing"].split())

    return read


def _yes(text: str) -> bool:
    return text[:1] in ("T", "t", "1")


def _beside(folder: Path, file: str) -> bytes:
    if Path(file).name != file:
        raise ValueError("outside the folder")
    return (folder / file).read_bytes()


def _raw_volume(body: bytes, kind: str, sizes: list[int], rank: int, spacing: list[Any]) -> Any:
    values = np.frombuffer(body, np.dtype(kind))
    edges = [float(edge) for edge in spacing]
    if rank != len(sizes) or len(edges) != rank or not all(0 < edge < np.inf for edge in edges) or min(sizes) < 1:
        raise ValueError("sizes or spacing do not fit")
    pixels = values.reshape(sizes[::-1]).T
    return {"pixels": pixels[..., 0] if rank == 3 and sizes[2] == 1 else pixels, "spacing": edges[:2]}


def _nrrd(packed: bool, apart: bool) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        body = _VOLUME.T.tobytes()
        body = gzip.compress(body, mtime=0) if packed else body
        header = (
            "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\n"
            f"sizes: {_COLUMNS} {_ROWS} {_SLICES}\nspace directions: (0.5,0,0) (0,0.4,0) (0,0,2)\n"
            f"kinds: domain domain domain\nendian: little\nencoding: {'gzip' if packed else 'raw'}\n"
            f"space origin: (0,0,0)\n{'data file: body.raw' if apart else ''}\n".rstrip("\n") + "\n"
        ).encode()
        (folder / ("volume.nhdr" if apart else "volume.nrrd")).write_bytes(header + (b"" if apart else b"\n" + body))
        if apart:
            (folder / "body.raw").write_bytes(body)

    return write


def _nrrd_reference(name: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        head, blank, body = (folder / name).read_bytes().partition(b"\n\n")
        if not head.startswith(b"NRRD000") or (not blank and name.endswith(".nrrd")):
            raise ValueError("no NRRD")
        fields = dict(line.split(": ", 1) for line in head.decode().rstrip("\n").splitlines()[1:])
        body = _beside(folder, fields["data file"]) if "data file" in fields else body
        body = {"raw": lambda part: part, "gzip": gzip.decompress}[fields["encoding"]](body)
        sizes = [int(size) for size in fields["sizes"].split()]
        kind = _NRRD[fields["type"]]
        order = {"little": "<", "big": ">"}[fields["endian"]] if kind[1] != "1" else "|"
        rows = [[float(value) for value in part.strip("()").split(",")] for part in fields["space directions"].split()]
        edges = np.linalg.norm(np.array(rows), axis=1)
        return _raw_volume(body, order + kind, sizes, int(fields["dimension"]), list(edges))

    return read


# The product


def _by_reader(name: str, spacing: bool = True) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        reader = SimpleITKReader()
        pixels, meta = reader.get_data(reader.read(folder / name))
        edges = np.linalg.norm(np.asarray(meta["affine"], float)[:2, :2], axis=0)
        return {"pixels": pixels, "spacing": edges} if spacing else {"pixels": pixels}

    return read


def _by_volume(name: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        found = load_volume({"image": str(folder / name)})
        return {"pixels": found["image"][0].numpy(), "spacing": list(found["spacing"][:2])}

    return read


_DICOM = {"film": _native, "monochrome1": _inverted, "rle": _rle, "deflated": _deflated, "jpeg": _jpeg_film,
          "jpeg2000": _j2k_film, "frames": _frames, "color": _color_film, "enhanced": _enhanced}  # fmt: skip
_DCM = {".dcm": image_fields.damage_dicom}
_GREY = _pattern(_ROWS, _COLUMNS, high=250).astype(np.uint8)
_DEEP = _pattern(_ROWS, _COLUMNS, high=60000).astype(np.uint16)
_COLORS = np.stack([_GREY, _GREY[::-1], _GREY[:, ::-1]], axis=-1)
_CLEAR = np.concatenate([_COLORS, _GREY[::-1, ::-1, None]], axis=-1)
_PICTURES = {
    "png_grey": _picture("a.png", _GREY),
    "png_deep": _picture("a.png", _DEEP),
    "png_clear": _picture("a.png", _CLEAR),
    "png_palette": _picture("a.png", _COLORS, palette=True),
    "jpeg_grey": _picture("a.jpg", _GREY, quality=95),
    "jpeg_turned": _picture("a.jpg", _COLORS, quality=95, turned=True),
    "tiff_deep": _picture("a.tif", _DEEP),
    "tiff_packed": _picture("a.tif", _COLORS, compression="tiff_lzw"),
    "tiff_palette": _picture("a.tif", _COLORS, palette=True),
    "bmp_grey": _picture("a.bmp", _GREY),
    "bmp_color": _picture("a.bmp", _COLORS),
}
_PICTURE_FIELDS = {".png": image_fields.damage_png, ".jpg": image_fields.damage_jpeg, ".tif": image_fields.damage_tiff,
                   ".bmp": image_fields.damage_bmp}  # fmt: skip
_ENDS = {"png": ".png", "jpeg": ".jpg", "tiff": ".tif", "bmp": ".bmp"}
_LINES = {".mha": damage_header_lines, ".mhd": damage_header_lines, ".nrrd": damage_header_lines, ".nhdr": damage_header_lines}
_NII = {".nii": image_fields.damage_nifti, ".nii.gz": image_fields.damage_nifti}


def _kinds() -> list[Kind]:
    size = 8 * _ROWS * _COLUMNS * _SLICES
    found = [
        Kind(f"dicom_{name}", write, ["film.dcm"], _DCM, _by_reader("film.dcm"), _dicom_reference, difference, size)
        for name, write in _DICOM.items()
    ]
    found.append(Kind("dicom_series", _series, ["series/*"], _DCM, _by_volume("series"), _series_reference, difference, size))
    for name, write in _PICTURES.items():
        file = f"a{_ENDS[name.split('_')[0]]}"
        read, reference = _by_reader(file, spacing=False), _pillow_reference(file)
        found.append(Kind(name, write, [file], _PICTURE_FIELDS, read, reference, difference, size))
    for name in ("volume.nii", "volume.nii.gz"):
        for how, read in (("read", _by_reader(name)), ("loaded", _by_volume(name))):
            kind = f"nifti_{'gz_' if name.endswith('gz') else ''}{how}"
            found.append(Kind(kind, _nifti(name), [name], _NII, read, _nifti_reference(name), difference, size))
    for kind, name, write, reference in (
        ("mha", "volume.mha", _meta_image(False, False), _meta_reference),
        ("mha_packed", "volume.mha", _meta_image(True, False), _meta_reference),
        ("mhd", "volume.mhd", _meta_image(False, True), _meta_reference),
        ("nrrd", "volume.nrrd", _nrrd(False, False), _nrrd_reference),
        ("nrrd_packed", "volume.nrrd", _nrrd(True, False), _nrrd_reference),
        ("nhdr", "volume.nhdr", _nrrd(False, True), _nrrd_reference),
    ):
        files = [name, "body.raw"] if kind in ("mhd", "nhdr") else [name]
        found.append(Kind(kind, write, files, _LINES, _by_reader(name), reference(name), difference, size))
    return found


KINDS = _kinds()
