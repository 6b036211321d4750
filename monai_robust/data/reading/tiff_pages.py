"""What a TIFF says of its pages: those of microscopes hold channels and moments too, which are no slices of a volume.

ImageJ and OME write it into the description of the first page.
Sources: https://imagej.net/ij/source/ij/io/TiffDecoder.java; https://docs.openmicroscopy.org/ome-model/latest/ome-tiff.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from monai_robust.data.files.xml_text import parse_xml
from monai_robust.data.reading.files import unreadable
from monai_robust.errors import BadInputError

__all__ = ["check_pages"]

_DESCRIPTION, _SAMPLES = 270, 277


class _Declared(NamedTuple):
    channels: int
    moments: int
    slices: int
    images: int


def check_pages(path: Path, tags: Mapping[int, Any], pages: int) -> None:
    """Refuse a TIFF whose pages are not the slices of one volume, or that holds fewer than it declares.

    Args:
        path: the file.
        tags: of its first page.
        pages: how many it has.

    Raises:
        BadSampleError: says what its pages are.
    """
    text = str(tags.get(_DESCRIPTION, ""))
    is_imagej = text.startswith("ImageJ=")
    declared = _of_imagej(text) if is_imagej else _of_ome(text, int(tags.get(_SAMPLES, 1)))
    if declared is None:
        return
    if declared.images > pages and (
        is_imagej or pages > 1
    ):  # OME spreads pages over files that are whole by themselves
        raise unreadable(
            path, f"it declares {declared.images} images but has {pages} {'page' if pages == 1 else 'pages'}"
        )
    counts = ((declared.channels, "channels"), (declared.moments, "moments"), (declared.slices, "slices"))
    several = [f"{count} {name}" for count, name in counts if count > 1]
    if pages > 1 and (declared.channels > 1 or declared.moments > 1):
        raise unreadable(
            path, f"its pages are {' of '.join(several)}, no volume; save what is wanted as a file of its own"
        )


def _of_imagej(text: str) -> _Declared:
    found = dict(line.partition("=")[::2] for line in text.splitlines())
    return _Declared(*(_count(found.get(name, "")) for name in ("channels", "frames", "slices", "images")))


def _of_ome(text: str, samples: int) -> _Declared | None:
    """What OME declares of a single picture; channels are those that are not samples of one page."""
    if "<OME" not in text:
        return None
    try:
        root = parse_xml(text.encode())
    except BadInputError:  # somebody's own words
        return None
    pixels = [element for element in root.iter() if element.tag.rpartition("}")[2] == "Pixels"]
    if len(pixels) != 1:
        return None
    channels, moments, slices = (_count(pixels[0].get(name, "")) for name in ("SizeC", "SizeT", "SizeZ"))
    channels = max(channels // max(samples, 1), 1)
    return _Declared(channels, moments, slices, channels * moments * slices)


def _count(text: str) -> int:
    return int(text) if text.strip().isdecimal() else 1
