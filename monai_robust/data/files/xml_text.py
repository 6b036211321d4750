"""XML that somebody else may have written: small, flat, and without entities."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from monai_robust.data.files.side_files import regular_file
from monai_robust.errors import BadInputError

__all__ = ["parse_xml", "read_xml"]

_LARGEST = 16 * 2**20  # bytes: a hundred thousand objects
_DEEPEST = 64  # elements inside each other


def read_xml(path: Path) -> Element:
    """The root of an XML file.

    Document types and with them entities, a few of which expand to gigabytes, are refused: no annotation needs them.

    Raises:
        BadInputError: for what is no regular file, is larger than 16 MB, is nested over 64 levels, has a document type,
            or is no XML; without the file's name, except for the first two.
    """
    if not os.path.lexists(path):
        raise BadInputError(f"the file cannot be read ({os.strerror(errno.ENOENT)})")
    regular_file(path, "file of annotations", _LARGEST)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"the file cannot be read ({error.strerror})") from None
    return parse_xml(content)


def parse_xml(content: bytes) -> Element:
    """The root of XML text.

    Raises:
        BadInputError: for what is nested over 64 levels, has a document type, or is no XML.
    """
    tree, depth = TreeBuilder(), 0
    parser = expat.ParserCreate()
    parser.buffer_text = True

    def start(tag: str, attributes: Mapping[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _DEEPEST:
            raise BadInputError(f"its elements are nested over {_DEEPEST} levels")
        tree.start(tag, dict(attributes))

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        tree.end(tag)

    def refuse(*declared: object) -> None:
        raise BadInputError("it declares a document type, which annotations do without; take the line <!DOCTYPE out")

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, tree.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, LookupError, UnicodeError) as error:  # the latter two for what its encoding is
        raise BadInputError(f"it is no XML ({error})") from None  # which tells line and column
    return tree.close()
