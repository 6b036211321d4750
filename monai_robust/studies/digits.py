"""Handwritten digits, a control that is no medical image: ``python -m monai_robust.studies.digits FOLDER``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from monai_robust.data.phantoms.whole_folder import write_whole

__all__ = ["main", "write_digits"]

_DARKEST = 16  # of the data set's grey levels, from 0
_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def write_digits(folder: str | os.PathLike[str]) -> Path:
    """Write the 1,797 digits that scikit-learn holds as PNG of 8 x 8 pixels, a folder each class.

    They are the test set of "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak 1998, UCI Machine Learning
    Repository, CC BY 4.0), and stand for MNIST where nothing can be downloaded.

    Args:
        folder: to be made; it may exist if it is empty.

    Returns:
        The folder.

    Raises:
        BadInputError: the folder has content.
    """
    return write_whole(folder, {"digits": "UCI, of scikit-learn", "version": 1}, _write)


def _write(folder: Path) -> None:
    found = load_digits()
    for name in _NAMES:
        (folder / name).mkdir()
    for place, (values, label) in enumerate(zip(found.images, found.target, strict=True)):
        pixels = np.round(values * (255 / _DARKEST)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / _NAMES[label] / f"{place:04d}.png")


def main(arguments: Sequence[str]) -> int:
    """Write them into the folder named on the command line."""
    print(write_digits(arguments[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
