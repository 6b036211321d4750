"""Everyday pictures and volumes; the references are Pillow, nibabel, and small readers of MetaImage and NRRD."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from PIL import Image, ImageOps

from hostile import image_fields
from hostile.dicom import COLUMNS, ROWS, SLICES, by_reader, by_volume, pattern
from hostile.judging import Kind, difference
from hostile.text_fields import damage_header_lines

__all__ = ["KINDS"]

_REC601 = np.array([0.299, 0.587, 0.114])
_MILLIMETRES = {1: 1e3, 2: 1.0, 3: 1e-3}  # codes of NIfTI for metre, millimetre and micrometre

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

_VOLUME = pattern(SLICES, ROWS, COLUMNS).T.astype(np.int16)
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
        image = nibabel.Nifti1Image.from_bytes(_unpacked(content) if name.endswith("gz") else content)
        values = np.asanyarray(image.dataobj)
        if values.ndim > 5:  # some programs declare seven axes, the last ones of length 1
            values = values.reshape(values.shape[: 1 + max([2, *np.flatnonzero(np.array(values.shape) > 1)])])
        unit = _MILLIMETRES.get(int(image.header["xyzt_units"]) & 7, 1.0)
        edges = np.linalg.norm(image.affine[:3, :3], axis=0) * unit
        if (
            not np.isfinite(image.affine).all()
            or not (edges > 0).all()
            or np.iscomplexobj(values)
            or values.dtype.names
        ):
            raise ValueError("no affine, or no grey volume")
        return {"pixels": values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values, "spacing": edges[:2]}

    return read


def _unpacked(content: bytes) -> bytes:
    """A gzip stream whose checksum holds; what follows it is ignored, as the program gzip does."""
    stream = zlib.decompressobj(31)
    found = stream.decompress(content)
    if not stream.eof:
        raise ValueError("cut")
    return found


_META = {
    "MET_UCHAR": "u1",
    "MET_CHAR": "i1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_NRRD = {"short": "i2", "ushort": "u2", "uchar": "u1", "double": "f8", "float": "f4", "int": "i4", "uint": "u4"}


def _meta_image(packed: bool, apart: bool) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        body = _VOLUME.T.tobytes()
        body = zlib.compress(body) if packed else body
        size = f"CompressedDataSize = {len(body)}\n" if packed else ""
        header = (
            "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
            f"CompressedData = {packed}\n{size}TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\n"
            f"ElementSpacing = 0.5 0.4 2\nDimSize = {COLUMNS} {ROWS} {SLICES}\nElementType = MET_SHORT\n"
            f"ElementDataFile = {'body.raw' if apart else 'LOCAL'}\n"
        ).encode()
        (folder / ("volume.mhd" if apart else "volume.mha")).write_bytes(header + (b"" if apart else body))
        if apart:
            (folder / "body.raw").write_bytes(body)

    return write


def _meta_reference(name: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        head, mark, rest = (folder / name).read_bytes().partition(b"ElementDataFile")
        fields = dict(line.split(" = ", 1) for line in head.decode("latin-1").split("\n") if " = " in line)
        where, _, body = rest.partition(b"\n")
        file = where.removeprefix(b" = ").decode("latin-1")
        if not mark or fields.get("BinaryData", "True") != "True":
            raise ValueError("no image")
        body = body if file == "LOCAL" else _beside(folder, file)
        order = ">" if _yes(fields.get("BinaryDataByteOrderMSB", "")) else "<"
        body = zlib.decompress(body) if _yes(fields.get("CompressedData", "")) else body
        matrix = np.array(fields.get("TransformMatrix", "1 0 0 0 1 0 0 0 1").split(), float).reshape(3, 3)
        if not np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-3):
            raise ValueError("no directions")
        sizes = [int(size) for size in fields["DimSize"].split()]
        spacing = fields.get("ElementSpacing", "1 1 1").split()
        return _raw_volume(body, order + _META[fields["ElementType"]], sizes, int(fields["NDims"]), spacing)

    return read


def _yes(text: str) -> bool:
    return text[:1] in ("T", "t")


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
            f"sizes: {COLUMNS} {ROWS} {SLICES}\nspace directions: (0.5,0,0) (0,0.4,0) (0,0,2)\n"
            f"kinds: domain domain domain\nendian: little\nencoding: {'gzip' if packed else 'raw'}\n"
            f"space origin: (0,0,0)\n{'data file: body.raw' if apart else ''}\n".rstrip("\n")
            + "\n"
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
        fields = dict(
            line.split(": ", 1) for line in head.decode("latin-1").rstrip("\n").split("\n")[1:] if ": " in line
        )
        body = _beside(folder, fields["data file"]) if "data file" in fields else body
        body = {"raw": lambda part: part, "gzip": _unpacked}[fields["encoding"]](body)
        sizes = [int(size) for size in fields["sizes"].split()]
        kind = _NRRD[fields["type"]]
        order = {"little": "<", "big": ">"}[fields["endian"]] if kind[1] != "1" else "|"
        directions = fields.get("space directions", "(1,0,0) (0,1,0) (0,0,1)").split()
        rows = [[float(value) for value in part.strip("()").split(",")] for part in directions]
        edges = np.linalg.norm(np.array(rows), axis=1)
        return _raw_volume(body, order + kind, sizes, int(fields["dimension"]), list(edges))

    return read


_GREY = pattern(ROWS, COLUMNS, high=250).astype(np.uint8)
_DEEP = pattern(ROWS, COLUMNS, high=60000).astype(np.uint16)
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
_PICTURE_FIELDS = {
    ".png": image_fields.damage_png,
    ".jpg": image_fields.damage_jpeg,
    ".tif": image_fields.damage_tiff,
    ".bmp": image_fields.damage_bmp,
}
_ENDS = {"png": ".png", "jpeg": ".jpg", "tiff": ".tif", "bmp": ".bmp"}
_LINES = {
    ".mha": damage_header_lines,
    ".mhd": damage_header_lines,
    ".nrrd": damage_header_lines,
    ".nhdr": damage_header_lines,
}
_NII = {".nii": image_fields.damage_nifti, ".nii.gz": image_fields.damage_nifti}


def _kinds() -> list[Kind]:
    size = 8 * ROWS * COLUMNS * SLICES
    found = []
    for name, write in _PICTURES.items():
        file = f"a{_ENDS[name.split('_')[0]]}"
        read, reference = by_reader(file, spacing=False), _pillow_reference(file)
        found.append(Kind(name, write, [file], _PICTURE_FIELDS, read, reference, difference, size))
    for name in ("volume.nii", "volume.nii.gz"):
        for how, read in (("read", by_reader(name)), ("loaded", by_volume(name))):
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
        found.append(Kind(kind, write, files, _LINES, by_reader(name), reference(name), difference, size))
    return found


KINDS = _kinds()
