"""Archives of plain arrays, read as data."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_robust.errors import BadInputError

__all__ = ["plain_arrays"]


def plain_arrays(path: Path, largest: int) -> dict[str, NDArray[Any]]:
    """The arrays of an archive, none of them with Python objects, and none larger than it says.

    Args:
        path: the file.
        largest: bytes that it may unpack to.

    Raises:
        BadInputError: for an archive that holds anything else.
    """
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > largest:
            raise BadInputError(f"it would unpack to more than {largest / 2**20:.0f} MB")
        for entry in archive.infolist():
            content = io.BytesIO(archive.read(entry))  # checks its checksum
            version = np.lib.format.read_magic(content)
            read_header = (
                np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = read_header(content)
            if dtype.hasobject or math.prod(shape) * dtype.itemsize != entry.file_size - content.tell():
                raise BadInputError(f"{entry.filename} is no plain array of the size that it says")
            content.seek(0)
            arrays[entry.filename.removesuffix(".npy")] = np.lib.format.read_array(content, allow_pickle=False)
    return arrays
