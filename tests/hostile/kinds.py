"""All kinds of files that the product reads."""

from __future__ import annotations

from hostile import annotations, dicom, lists, pictures, side_files

__all__ = ["KINDS"]

KINDS = [*dicom.KINDS, *pictures.KINDS, *lists.KINDS, *annotations.KINDS, *side_files.KINDS]
