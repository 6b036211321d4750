"""Pictures that EXIF has turned, and coordinates of which nobody says whether they were turned, too."""

from __future__ import annotations

import logging

__all__ = ["warn_of_turned"]

_logger = logging.getLogger(__name__)


def warn_of_turned(count: int, what: str) -> None:
    """Tell of pictures whose stored pixels are turned or mirrored by EXIF, where that changes what coordinates mean.

    Args:
        count: of the pictures.
        what: has the coordinates, such as ``boxes``.
    """
    if count:
        _logger.warning(
            "%d pictures are turned or mirrored by their EXIF orientation: their %s are taken as of the upright "
            "picture, and lie elsewhere if they were drawn on the stored pixels",
            *(count, what),
        )
