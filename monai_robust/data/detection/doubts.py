"""What makes one doubt a whole detection data set: its boxes taken together, and pictures that nobody lists."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from monai_robust.data.detection.annotations import AnnotatedImage, Box
from monai_robust.data.lists.listed import NAMES_AT_DEBUG, is_hidden
from monai_robust.data.lists.same_files import real_paths
from monai_robust.errors import BadInputError

__all__ = ["check_boxes", "warn_of_unlisted"]

_logger = logging.getLogger(__name__)
_PICTURES = (".png", ".jpg", ".jpeg", ".jfif", ".tif", ".tiff", ".bmp", ".dcm")


def check_boxes(images: Sequence[AnnotatedImage], root: Path) -> None:
    """Refuse boxes in shares of the picture's size, and tell of objects that are annotated twice.

    Args:
        images: of the whole data set.
        root: its folder.

    Raises:
        BadInputError: all boxes lie within one pixel.
    """
    of_pictures = [
        [(one.name, one.box) for one in image.objects if not one.fault and not one.passed_over] for image in images
    ]
    boxes = [box for objects in of_pictures for _, box in objects]
    if boxes and all(_within_a_pixel(box) for box in boxes):
        raise BadInputError(
            f"all {len(boxes)} boxes of {root} lie within one pixel, as shares of width and height do; multiply them "
            "by the picture's size, since pixels are needed"
        )
    twice = [sum(times - 1 for times in Counter(objects).values()) for objects in of_pictures]
    if any(twice):
        _logger.warning(
            "%d boxes in %d pictures of %s repeat a box of the same class exactly, and count as objects of their own",
            *(sum(twice), sum(count > 0 for count in twice), root),
        )


def warn_of_unlisted(images: Sequence[AnnotatedImage], root: Path) -> None:
    """Tell of pictures that lie beside those of a COCO file and are not in it.

    Args:
        images: that are listed.
        root: the data set's folder.
    """
    listed = set(real_paths(one.image for one in images))
    folders = {one.image.parent for one in images}
    lying = sorted({path for folder in folders if folder.is_dir() for path in folder.iterdir()})
    pictures = [path for path in lying if path.suffix.lower() in _PICTURES and not is_hidden(path.name)]
    others = [path for path, real in zip(pictures, real_paths(pictures), strict=True) if real not in listed]
    if others:
        _logger.warning(
            "%d pictures of %s have no entry in the COCO file and are left out%s", len(others), root, NAMES_AT_DEBUG
        )
        _logger.debug("without entry: %s", ", ".join(path.name for path in others))


def _within_a_pixel(box: Box) -> bool:
    xmin, ymin, xmax, ymax = box
    return 0 <= xmin <= 1 and 0 <= ymin <= 1 and xmax - xmin <= 1 and ymax - ymin <= 1
