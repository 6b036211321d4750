"""Damage to header fields of images: the file stays a well-formed one of its format, and says something wrong."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import config as pydicom_config
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.tag import Tag

__all__ = ["damage_bmp", "damage_dicom", "damage_jpeg", "damage_nifti", "damage_png", "damage_tiff"]

Random = np.random.Generator

_SHORTS = (0, 1, 2, 3, 5, 7, 8, 11, 15, 16, 31, 32, 64, 128, 1024, 32767, 65535)
_NUMBERS = (b"", b"0", b"1", b"-1", b"nan", b"inf", b"1e400", b"abc", b"0.5,0.4", b"1e-40", b"2147483648", b"2")
_PAIRS = (b"0\\0", b"-1\\1", b"nan\\1", b"1", b"1\\2\\3", b"0.5,0.5\\0.5", b"", b"\\", b"1e-300\\1", b"2\\0.1")
_TRIPLES = (b"nan\\0\\0", b"0\\0", b"0\\0\\inf", b"", b"0\\0\\0", b"a\\b\\c", b"1e308\\0\\0", b"0\\0\\3")
_TEXTS = (b"", b"MONOCHROME1", b"MONOCHROME2", b"RGB", b"PALETTE COLOR", b"YBR_FULL", b"NOTHING", b"\xff\xfe")
_AXES = (
    b"1\\0\\0\\1\\0\\0",
    b"0\\0\\0\\0\\0\\0",
    b"1\\0\\0\\0\\0\\1",
    b"nan\\0\\0\\0\\1\\0",
    b"1\\0\\0",
    b"2\\0\\0\\0\\2\\0",
)
_SYNTAXES = tuple(
    f"1.2.840.10008.1.2{end}".encode()
    for end in ("", ".1", ".2", ".1.99", ".4.50", ".4.70", ".4.80", ".4.90", ".5", ".9.9")
)
_ELEMENTS: dict[str, tuple[Sequence[object], str]] = {
    "Rows": (_SHORTS, "US"),
    "Columns": (_SHORTS, "US"),
    "BitsAllocated": (_SHORTS, "US"),
    "BitsStored": (_SHORTS, "US"),
    "HighBit": (_SHORTS, "US"),
    "PixelRepresentation": (_SHORTS, "US"),
    "SamplesPerPixel": (_SHORTS, "US"),
    "PlanarConfiguration": (_SHORTS, "US"),
    "NumberOfFrames": (_NUMBERS, "IS"),
    "InstanceNumber": (_NUMBERS, "IS"),
    "RescaleSlope": (_NUMBERS, "DS"),
    "RescaleIntercept": (_NUMBERS, "DS"),
    "PixelSpacing": (_PAIRS, "DS"),
    "ImagerPixelSpacing": (_PAIRS, "DS"),
    "ImagePositionPatient": (_TRIPLES, "DS"),
    "ImageOrientationPatient": (_AXES, "DS"),
    "PhotometricInterpretation": (_TEXTS, "CS"),
    "SeriesInstanceUID": ((b"", b"9.9.9", b"../x"), "UI"),
    "SOPClassUID": ((b"", b"1.2.840.10008.5.1.4.1.1.2", b"1.2.840.10008.5.1.4.1.1.1", b"1.2.840.10008.1.3.10"), "UI"),
    "TransferSyntaxUID": (_SYNTAXES, "UI"),
    "PixelData": ((b"", b"\0", b"\xfe\xff\x00\xe0" + bytes(4), bytes(100)), "OW"),
}


def damage_dicom(path: Path, random: Random) -> str:
    """Set, remove or misplace one element; values are written as they are, well-formed or not."""
    header = dcmread(path, force=True)
    name = str(random.choice(list(_ELEMENTS)))
    values, kind = _ELEMENTS[name]
    if name == "TransferSyntaxUID":
        return _put_syntax(path, bytes(values[int(random.integers(len(values)))]))  # type: ignore[call-overload]
    if name == "PixelData" and header.file_meta.TransferSyntaxUID.is_compressed:
        values = [bytes.fromhex("feff00e000000000"), bytes.fromhex("feff00e000000000feff00e002000000ffd8")]
    owner, tag = _owner(header, name, random), Tag(name)
    if random.random() < 0.12:
        if tag in owner:
            del owner[tag]
        what = f"no {name}"
    else:
        value = values[int(random.integers(len(values)))]
        _put(owner, tag, kind, struct.pack("<H", value) if isinstance(value, int) else bytes(value))  # type: ignore[call-overload]
        what = f"{name} is {value!r}"
    before = pydicom_config.settings.writing_validation_mode
    pydicom_config.settings.writing_validation_mode = pydicom_config.IGNORE
    try:
        buffer = io.BytesIO()
        header.save_as(buffer, enforce_file_format=False)
        path.write_bytes(buffer.getvalue())
    finally:
        pydicom_config.settings.writing_validation_mode = before
    return what


def _put_syntax(path: Path, value: bytes) -> str:
    """Another transfer syntax, with everything else as it is, which pydicom would not write."""
    content, even = path.read_bytes(), value + b"\0" * (len(value) % 2)
    place = content.index(b"\x02\x00\x10\x00UI")
    length = struct.unpack_from("<H", content, place + 6)[0]
    group = struct.unpack_from("<I", content, 140)[0] + len(even) - length
    body = content[:140] + struct.pack("<I", group) + content[144 : place + 6] + struct.pack("<H", len(even)) + even
    path.write_bytes(body + content[place + 8 + length :])
    return f"TransferSyntaxUID is {value!r}"


def _owner(header: Dataset, name: str, random: Random) -> Dataset:
    """The data set that holds the element: the file's own, or a frame's functional group."""
    places = [header]
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for item in header.get(groups, []):
            places += [part.value[0] for part in item if part.VR == "SQ" and len(part.value)]
    holders = [place for place in places if name in place] or [header]
    return holders[int(random.integers(len(holders)))]


def _put(owner: Dataset, tag: Tag, kind: str, value: bytes) -> None:  # type: ignore[valid-type]
    from pydicom.dataelem import RawDataElement

    value += (b"\0" if kind in ("UI", "OW") else b" ") if len(value) % 2 else b""
    owner[tag] = RawDataElement(tag, kind, len(value), value, 0, False, True, True)


_INFINITE, _NO_NUMBER = float("inf"), float("nan")
_NIFTI_FIELDS: list[tuple[int, str, str, tuple[Any, ...]]] = [
    (0, "<i", "sizeof_hdr", (0, 348, 540, -1)),
    (70, "<h", "datatype", (0, 2, 4, 8, 16, 32, 64, 128, 512, 1536, 2304, 99)),
    (72, "<h", "bitpix", (0, 1, 8, 16, 24, 64)),
    (108, "<f", "vox_offset", (0.0, 1.0, 352.0, 353.0, 1e9, _NO_NUMBER, -352.0)),
    (112, "<f", "scl_slope", (0.0, 1.0, 2.0, -1.0, _NO_NUMBER, _INFINITE)),
    (116, "<f", "scl_inter", (0.0, 1.0, _NO_NUMBER, _INFINITE)),
    (252, "<h", "qform_code", (0, 1, 2, 9, -1)),
    (254, "<h", "sform_code", (0, 1, 2, 9, -1)),
    (344, "4s", "magic", (b"n+1\0", b"ni1\0", b"n+2\0", b"\0\0\0\0", b"xxxx")),
    (348, "4s", "extension", (b"\1\0\0\0", b"\xff" * 4)),
    *((40 + 2 * k, "<h", f"dim[{k}]", (0, 1, 2, 3, 4, 7, 8, -1, 32767, 9, 17)) for k in range(8)),
    *((76 + 4 * k, "<f", f"pixdim[{k}]", (0.0, -1.0, 1.0, _NO_NUMBER, _INFINITE, 1e-30, 3.5)) for k in range(5)),
    *((256 + 4 * k, "<f", f"quatern[{k}]", (0.0, 1.0, 2.0, _NO_NUMBER)) for k in range(3)),
    *((280 + 4 * k, "<f", f"srow[{k}]", (0.0, 1.0, -1.0, _NO_NUMBER, _INFINITE, 0.3, 1e20)) for k in range(12)),
]


def damage_nifti(path: Path, random: Random) -> str:
    """Change one field of a NIfTI header, or a voxel to NaN."""
    packed = path.name.endswith(".gz")
    content = bytearray(gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
    if random.random() < 0.05:
        content[400:404], what = struct.pack("<f", float("nan")), "a voxel is NaN"
    else:
        place, form, name, values = _NIFTI_FIELDS[int(random.integers(len(_NIFTI_FIELDS)))]
        value = values[int(random.integers(len(values)))]
        struct.pack_into(form, content, place, value)
        what = f"{name} is {value!r}"
    path.write_bytes(gzip.compress(bytes(content), mtime=0) if packed else bytes(content))
    return what


def damage_png(path: Path, random: Random) -> str:
    """Change a field of IHDR, drop or repeat a chunk, or add one; checksums are right again."""
    content = path.read_bytes()
    chunks, place = [], 8
    while place < len(content):
        length = struct.unpack(">I", content[place : place + 4])[0]
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    action = str(random.choice(["field", "field", "field", "drop", "twice", "add"]))
    index = int(random.integers(len(chunks)))
    if action == "field":
        fields = list(struct.unpack(">IIBBBBB", chunks[0][1]))
        field = int(random.integers(7))
        sizes = (0, 1, fields[field] - 1, fields[field] + 1, 2 * fields[field], 60000, 2**31)
        fields[field] = (
            sizes[int(random.integers(7))] if field < 2 else int(random.choice([0, 1, 2, 3, 4, 6, 8, 16, 99]))
        )
        chunks[0] = (b"IHDR", struct.pack(">IIBBBBB", *fields))
        what = f"IHDR {fields}"
    elif action == "drop":
        what = f"no {chunks.pop(index)[0]!r}"
    elif action == "twice":
        chunks.insert(index, chunks[index])
        what = f"{chunks[index][0]!r} twice"
    else:
        more = [
            (b"tRNS", b"\0\1"),
            (b"PLTE", b"\0\0\0\xff\0\0"),
            (b"gAMA", struct.pack(">I", 100000)),
            (b"acTL", bytes(8)),
        ]
        chunks.insert(1, more[int(random.integers(4))])
        what = f"more {chunks[1][0]!r}"
    path.write_bytes(content[:8] + b"".join(_chunk(kind, body) for kind, body in chunks))
    return what


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def damage_tiff(path: Path, random: Random) -> str:
    """Change the value, the count or the type of one entry of the first directory of a little-endian TIFF."""
    content = bytearray(path.read_bytes())
    start = struct.unpack_from("<I", content, 4)[0]
    count = struct.unpack_from("<H", content, start)[0]
    place = start + 2 + 12 * int(random.integers(count))
    tag = struct.unpack_from("<H", content, place)[0]
    part = str(random.choice(["value", "value", "value", "count", "type", "tag"]))
    number = int(random.choice([0, 1, 2, 3, 4, 5, 6, 8, 16, 32, 255, 1000, 65535, 2**31 - 1]))
    offset, form = {"value": (8, "<I"), "count": (4, "<I"), "type": (2, "<H"), "tag": (0, "<H")}[part]
    struct.pack_into(form, content, place + offset, min(number, 65535) if form == "<H" else number)
    path.write_bytes(bytes(content))
    return f"{part} of tag {tag} is {number}"


def damage_bmp(path: Path, random: Random) -> str:
    """Change one number of a BMP's headers."""
    content = bytearray(path.read_bytes())
    place, form, name = [
        (2, "<I", "size"),
        (10, "<I", "offset"),
        (14, "<I", "header"),
        (18, "<i", "width"),
        (22, "<i", "height"),
        (26, "<H", "planes"),
        (28, "<H", "bits"),
        (30, "<I", "compression"),
        (34, "<I", "image size"),
        (46, "<I", "colours"),
    ][int(random.integers(10))]
    before = struct.unpack_from(form, content, place)[0]
    number = (0, 1, 2, 4, 8, 16, 24, 32, before + 1, max(before - 1, 0), 2 * before, 30000, -before)[
        int(random.integers(13))
    ]
    struct.pack_into(form, content, place, number % 65536 if form == "<H" else number if form == "<i" else abs(number))
    path.write_bytes(bytes(content))
    return f"{name} is {number}"


def damage_jpeg(path: Path, random: Random) -> str:
    """Change a size or factor of the frame header, drop a segment, or cut the end off."""
    content = bytearray(path.read_bytes())
    segments, place = [], 2
    while content[place + 1] != 0xDA:
        length = struct.unpack_from(">H", content, place + 2)[0]
        segments.append((content[place + 1], place, length + 2))
        place += length + 2
    if random.random() < 0.35:
        marker, place, length = segments[int(random.integers(len(segments)))]
        del content[place : place + length]
        what = f"no segment {marker:#x}"
    elif random.random() < 0.2:
        del content[-2:]
        what = "no end"
    else:
        frame = next(place for marker, place, _ in segments if marker in (0xC0, 0xC1, 0xC2))
        offset, form = ((5, ">H"), (7, ">H"), (4, "B"), (9, "B"), (11, "B"))[int(random.integers(5))]
        before = struct.unpack_from(form, content, frame + offset)[0]
        number = (0, 1, before + 1, max(before - 1, 0), 2 * before, 12, 250)[int(random.integers(7))] % 65536
        struct.pack_into(form, content, frame + offset, number % 256 if form == "B" else number)
        what = f"frame header at {offset} is {number}"
    path.write_bytes(bytes(content))
    return what
