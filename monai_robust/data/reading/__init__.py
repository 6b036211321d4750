"""What an image file says of itself, what was decoded of it, and whether the two agree, for every format read here."""

from __future__ import annotations

from monai_robust.data.reading.files import is_folder, size_limit
from monai_robust.data.reading.image import FileHeader, LoadedImage
from monai_robust.data.reading.one_file import file_header, read_file

__all__ = ["FileHeader", "LoadedImage", "file_header", "is_folder", "read_file", "size_limit"]
