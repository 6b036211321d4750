"""Whether a compressed picture (JPEG, JPEG-LS, JPEG 2000, PNG) is whole, and which size it promises.

Decoders fill what is missing with grey, with zeros or with what was in memory before, and JPEG 2000 decoders take the
memory that the codestream asks for, whatever its length: so markers are followed before anything is decoded.
Sources: ITU-T T.81 annex B (JPEG), T.87 annex C (JPEG-LS), T.800 annex A (JPEG 2000), ISO/IEC 15948 clause 5 (PNG).
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from struct import error as StructError
from struct import unpack_from

__all__ = ["DamagedStreamError", "Stream", "jpeg2000_stream", "jpeg_stream"]

_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
_NEXT_MARKER = re.compile(rb"\xff+([\xc0-\xcf\xd8-\xfe])", re.DOTALL)
_SHORTEST_TILE_PART = 14
_JP2_BOX = b"\x00\x00\x00\x0cjP  \r\n\x87\n"


class DamagedStreamError(ValueError):
    """A codestream ends too early or contradicts itself; the message is the reason in a few words."""


@dataclass(frozen=True)
class Stream:
    """What a codestream says of its picture: pixels, components, and bits of each."""

    columns: int
    rows: int
    components: int
    bits: int


def jpeg_stream(data: bytes) -> Stream:
    """Follow the markers of a JPEG or JPEG-LS picture from its start to its end.

    Raises:
        DamagedStreamError: it is cut off, has no frame, or is no JPEG.
    """
    if data[:2] != b"\xff\xd8":
        raise DamagedStreamError("a JPEG does not begin with its start marker")
    found: Stream | None = None
    position = 2
    try:
        while True:
            match = _NEXT_MARKER.search(data, position)
            if match is None:
                raise DamagedStreamError("a JPEG has no end marker, it is cut off")
            marker, position = match[1][0], match.end()
            if marker == 0xD9:
                break
            if marker == 0xD8:
                raise DamagedStreamError("a JPEG begins anew before it has ended")
            if marker in _FRAMES and found is None:
                bits, rows, columns, components = unpack_from(">BHHB", data, position + 2)
                found = Stream(columns, rows, components, bits)
            length = unpack_from(">H", data, position)[0]
            if length < 2 or position + length > len(data):
                raise DamagedStreamError("a JPEG ends within a segment, it is cut off")
            position += length
    except StructError as error:
        raise DamagedStreamError("a JPEG ends within a marker, it is cut off") from error
    if found is None or not found.rows or not found.columns:
        raise DamagedStreamError("a JPEG tells no size")
    return found


def check_png(data: bytes) -> None:
    """Follow the chunks of a PNG to its end and check the sum of each.

    Raises:
        DamagedStreamError: it is cut off, or a sum is wrong.
    """
    position = 8
    try:
        while True:
            length = unpack_from(">I", data, position)[0]
            name = data[position + 4 : position + 8]
            end = position + 8 + length
            if unpack_from(">I", data, end)[0] != zlib.crc32(memoryview(data)[position + 4 : end]):
                raise DamagedStreamError(f"the checksum of a PNG's chunk {name!r} is wrong")
            if name == b"IEND":
                return
            position = end + 4
    except StructError as error:
        raise DamagedStreamError("a PNG is cut off") from error


def jpeg2000_stream(data: bytes) -> Stream:
    """Follow the tile-parts of a JPEG 2000 picture to its end.

    Raises:
        DamagedStreamError: it is cut off, lacks tiles, or asks for more tiles than it can hold.
    """
    start = data.find(b"\xff\x4f\xff\x51") if data.startswith(_JP2_BOX) else 0
    if start < 0 or data[start : start + 4] != b"\xff\x4f\xff\x51":
        raise DamagedStreamError("a JPEG 2000 codestream does not begin with its start marker")
    try:
        x1, y1, x0, y0, tile_x, tile_y, tile_x0, tile_y0, count = unpack_from(">8IH", data, start + 8)
        depths = {unpack_from(">3B", data, start + 42 + 3 * one) for one in range(count)}
        tiles = _tiles(x1, y1, tile_x, tile_y, tile_x0, tile_y0)
        if x1 <= x0 or y1 <= y0 or len({bits for bits, _, _ in depths}) != 1 or {d[1:] for d in depths} != {(1, 1)}:
            raise DamagedStreamError("a JPEG 2000 codestream tells of components that make no picture")
        if tiles * _SHORTEST_TILE_PART > len(data):
            raise DamagedStreamError(f"a JPEG 2000 codestream of {len(data)} bytes cannot hold {tiles} tiles")
        _follow_tiles(data, _first_tile(data, start + 2), tiles)
    except StructError as error:
        raise DamagedStreamError("a JPEG 2000 codestream is cut off") from error
    return Stream(x1 - x0, y1 - y0, count, (depths.pop()[0] & 0x7F) + 1)


def _tiles(x1: int, y1: int, width: int, height: int, x0: int, y0: int) -> int:
    if not width or not height or x0 >= x1 or y0 >= y1:
        raise DamagedStreamError("a JPEG 2000 codestream has tiles without pixels")
    return -(-(x1 - x0) // width) * -(-(y1 - y0) // height)


def _first_tile(data: bytes, position: int) -> int:
    """Where the main header ends."""
    while True:
        marker, length = unpack_from(">HH", data, position)
        if marker == 0xFF90:
            return position
        if marker < 0xFF00 or length < 2:
            raise DamagedStreamError("the header of a JPEG 2000 codestream is damaged")
        position += 2 + length


def _follow_tiles(data: bytes, position: int, tiles: int) -> None:
    seen = set()
    while True:
        marker = unpack_from(">H", data, position)[0]
        if marker == 0xFFD9:
            break
        if marker != 0xFF90:
            raise DamagedStreamError("the tiles of a JPEG 2000 codestream do not follow each other, it is damaged")
        _, tile, length = unpack_from(">HHI", data, position + 2)
        end = position + length if length else data.rfind(b"\xff\xd9")
        if end < position + _SHORTEST_TILE_PART or end + 2 > len(data):
            raise DamagedStreamError("a JPEG 2000 codestream is cut off")
        seen.add(tile)
        position = end
    if seen != set(range(tiles)):
        raise DamagedStreamError(f"a JPEG 2000 codestream holds {len(seen)} of its {tiles} tiles")
