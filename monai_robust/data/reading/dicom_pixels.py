"""Pixels of a DICOM file, after the file was found to hold all that its header promises.

Stored values are decoded by pydicom; those of the JPEG processes that need more than pydicom and Pillow, by the GDCM
within SimpleITK.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset as Header
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import apply_color_lut, get_decoder

from monai_robust.data.reading.codestreams import DamagedStreamError, Stream, jpeg2000_stream, jpeg_stream
from monai_robust.data.reading.dicom_header import PIXEL_KEYWORDS, numbers, whole_number
from monai_robust.data.reading.dicom_values import in_modality_units, within_stored_bits
from monai_robust.data.reading.files import check_decoded_size, reason_of, unreadable, warn_of

__all__ = ["modality_pixels"]

_JPEG = {uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1}
_JPEG_LS = {uid.JPEGLSLossless, uid.JPEGLSNearLossless}
_JPEG_2000 = {uid.JPEG2000Lossless, uid.JPEG2000}
_LOSSY = {uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless, uid.JPEG2000}
_COLORS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "YBR_PARTIAL_420")
_MOST_FRAMES = 10**6
_FEW_BITS = 8
_PIXEL_MODULE = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)


def modality_pixels(path: Path, header: Header, limit: int) -> tuple[NDArray[Any], bool]:
    """Decode a file's pixels, rescale them, and turn MONOCHROME1 and palettes to what they show.

    Args:
        path: the file, for messages.
        header: of the file, with its pixel data.
        limit: bytes that the decoded image may take.

    Returns:
        ``(frames, rows, columns[, samples])``, and whether they are of a colour picture.

    Raises:
        BadSampleError: pixels are missing, cut off, more than the header promises, or in no syntax that can be decoded.
    """
    frames = whole_number(path, header, "NumberOfFrames", 1)
    shape = (frames, whole_number(path, header, "Rows"), whole_number(path, header, "Columns"))
    samples = whole_number(path, header, "SamplesPerPixel", 1)
    shown = str(header.get("PhotometricInterpretation") or "")
    if samples > 1 and shown.startswith("MONOCHROME"):
        raise unreadable(path, f"it is said to be {shown}, with {samples} samples a pixel")
    if samples == 1 and shown in _COLORS:
        warn_of(f"image {path}", f"is said to be {shown}, but has 1 sample a pixel: it is read as grey")
    allocated = _allocated(path, header)
    check_decoded_size(path, prod(shape) * samples * max(allocated // 8, 1), limit)
    if frames > _MOST_FRAMES:
        raise unreadable(path, f"its header tells of {frames} frames")
    stored = _stored(path, header, shape, samples)
    if stored.shape != (*shape, samples)[: stored.ndim] or stored.ndim != 3 + (samples > 1):
        raise unreadable(path, f"its header promises pixels of shape {(*shape, samples)}, decoded were {stored.shape}")
    if samples > 1:
        return stored, True
    if header.get("PhotometricInterpretation") == "PALETTE COLOR":
        return _palette(path, header, stored), True
    return in_modality_units(path, header, stored), False


def _allocated(path: Path, header: Header) -> int:
    allocated = whole_number(path, header, "BitsAllocated")
    if allocated not in (1, 8, 16, 32, 64):
        raise unreadable(path, f"its BitsAllocated is {allocated}; it can be 1, 8, 16, 32 or 64")
    if "PixelData" in header and allocated > 1:
        used = whole_number(path, header, "BitsStored", allocated)
        if used > allocated:
            raise unreadable(path, f"its BitsStored is {used}, more than the {allocated} bits allocated")
        high = numbers(path, header, "HighBit", 1)
        if high is not None and high[0] != used - 1:
            raise unreadable(path, f"its HighBit is {high[0]:g}, but {used} stored bits end at {used - 1}")
    return allocated


def _stored(path: Path, header: Header, shape: tuple[int, int, int], samples: int) -> NDArray[Any]:
    """The stored values, ``(frames, rows, columns[, samples])``, colour as RGB."""
    present = [keyword for keyword in PIXEL_KEYWORDS if keyword in header]
    if len(present) != 1:
        raise unreadable(path, f"it holds {'several kinds of' if present else 'no'} pixel data")
    syntax = _syntax(path, header)
    if not syntax.is_encapsulated:
        _check_native_length(path, header, present[0], shape, samples)
    elif syntax in _JPEG | _JPEG_LS | _JPEG_2000:
        streams = _codestreams(path, header, syntax, shape, samples)
        if not _pydicom_decodes(syntax, header, streams, samples):
            frames = np.stack([_by_gdcm(path, header, syntax, data) for data, _ in streams])
            return within_stored_bits(path, header, frames, lossy=syntax in _LOSSY)
    try:
        array = _decoded(header, syntax)
    except NotImplementedError as error:
        raise unreadable(path, f"its transfer syntax {syntax.name} cannot be decoded here ({error})") from error
    except Exception as error:
        raise unreadable(path, f"its pixel data do not fit its header or are damaged ({reason_of(error)})") from error
    array = array[None] if shape[0] == 1 and array.ndim == 2 + (samples > 1) else array
    return within_stored_bits(path, header, array, lossy=syntax in _LOSSY) if syntax.is_encapsulated else array


def _syntax(path: Path, header: Header) -> uid.UID:
    meta = getattr(header, "file_meta", None) or {}
    given = meta.get("TransferSyntaxUID")
    if given is not None:
        syntax = uid.UID(given)
    elif len(meta):
        raise unreadable(path, "it is damaged, its meta header does not tell how its pixels are written")
    else:
        implicit, little = header.original_encoding
        syntax = uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian
        syntax = syntax if little is not False else uid.ExplicitVRBigEndian
    if not syntax.is_transfer_syntax:
        raise unreadable(path, f"its transfer syntax {str(syntax)[:70]!r} is not known")
    return syntax


def _check_native_length(path: Path, header: Header, keyword: str, shape: tuple[int, int, int], samples: int) -> None:
    bits = {"PixelData": int(header.BitsAllocated), "FloatPixelData": 32, "DoubleFloatPixelData": 64}[keyword]
    pixels = prod(shape) * samples
    if header.get("PhotometricInterpretation") == "YBR_FULL_422":
        pixels = pixels // samples * 2
    promised, found = -(-pixels * bits // 8), len(header[keyword].value or b"")
    if found not in (promised, promised + promised % 2):
        word = "cut off" if found < promised else "longer than its header says"
        raise unreadable(
            path,
            f"it is damaged, its pixel data are {word}: {found} bytes, where {shape[0]} x {shape[1]} x {shape[2]} "
            f"pixels of {samples} x {bits} bits take {promised}",
        )


def _codestreams(
    path: Path, header: Header, syntax: uid.UID, shape: tuple[int, int, int], samples: int
) -> list[tuple[bytes, Stream]]:
    """The compressed frames with what each says of itself, after that was found to be what the header says."""
    follow = jpeg2000_stream if syntax in _JPEG_2000 else jpeg_stream
    try:
        extended = (header.get("ExtendedOffsetTable"), header.get("ExtendedOffsetTableLengths"))
        parts = generate_frames(
            header.PixelData, number_of_frames=shape[0], extended_offsets=extended if all(extended) else None
        )
        streams = [(part, follow(part)) for part in parts]
    except DamagedStreamError as error:
        raise unreadable(path, f"it is damaged: {error}") from error
    except Exception as error:
        raise unreadable(path, f"its compressed pixel data are damaged ({reason_of(error)})") from error
    if len(streams) != shape[0]:
        raise unreadable(path, f"its NumberOfFrames is {shape[0]}, but it holds {len(streams)} compressed frames")
    for _, found in streams:
        if (found.rows, found.columns, found.components) != (*shape[1:], samples):
            raise unreadable(
                path,
                f"its header promises {shape[1]} x {shape[2]} pixels of {samples} samples, but a compressed frame has "
                f"{found.rows} x {found.columns} of {found.components}",
            )
        if found.bits > int(header.BitsAllocated):
            raise unreadable(path, f"a compressed frame has {found.bits} bits, more than the header allocates")
    return streams


def _pydicom_decodes(syntax: uid.UID, header: Header, streams: Sequence[tuple[bytes, Stream]], samples: int) -> bool:
    most = max(found.bits for _, found in streams)
    if syntax in _JPEG_2000:
        return most <= (_FEW_BITS if samples > 1 else 2 * _FEW_BITS) and _has_pillow_decoder(syntax)
    baseline = syntax == uid.JPEGBaseline8Bit and int(header.BitsAllocated) == _FEW_BITS
    return baseline and most == _FEW_BITS and _has_pillow_decoder(syntax)


def _has_pillow_decoder(syntax: uid.UID) -> bool:
    return "pillow" in get_decoder(syntax).available_plugins


def _decoded(header: Header, syntax: uid.UID) -> NDArray[Any]:
    decoder = get_decoder(syntax)
    plugin = "pillow" if syntax in _JPEG | _JPEG_2000 else ""
    array, _ = decoder.as_array(header, decoding_plugin=plugin)
    return array


def _by_gdcm(path: Path, header: Header, syntax: uid.UID, codestream: bytes) -> NDArray[Any]:
    """Decode one frame, ``(rows, columns[, samples])``, through a file that holds nothing but its pixels."""
    import SimpleITK as sitk  # noqa: N813  (the name its own documentation uses); here, since it is large

    bare = Header()
    bare.file_meta = FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = syntax
    bare.file_meta.MediaStorageSOPClassUID = bare.SOPClassUID = uid.SecondaryCaptureImageStorage
    bare.file_meta.MediaStorageSOPInstanceUID = bare.SOPInstanceUID = uid.UID("1.2.3")
    for keyword in _PIXEL_MODULE:
        if keyword in header:
            setattr(bare, keyword, header[keyword].value)
    inverted = header.get("PhotometricInterpretation") == "MONOCHROME1"
    if inverted:
        bare.PhotometricInterpretation = "MONOCHROME2"
    bare.PixelData = encapsulate([codestream])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "frame.dcm"
        bare.save_as(file, enforce_file_format=True)
        try:
            return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(file), imageIO="GDCMImageIO"))[0])
        except RuntimeError as error:
            raise unreadable(path, f"its pixel data ({syntax.name}) are damaged or cannot be decoded") from error


def _palette(path: Path, header: Header, stored: NDArray[Any]) -> NDArray[Any]:
    """Colours of a palette, of 8 bits where the indices have no more."""
    try:
        colors = apply_color_lut(stored, header)
    except Exception as error:
        raise unreadable(path, f"its palette is missing or damaged ({error})") from error
    colors = colors[..., :3]
    if colors.dtype == np.uint16 and int(header.BitsStored) <= _FEW_BITS:
        return (colors >> 8).astype(np.uint8)
    return np.asarray(colors)
