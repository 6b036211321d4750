"""Leaving out what cannot be used of a detection data set, box by box, and saying why."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from monai_robust.data.detection.annotations import AnnotatedImage, AnnotatedObject, Box
from monai_robust.data.reading import file_header
from monai_robust.errors import BadSampleError

__all__ = ["CheckedAnnotations"]

_ROUNDING = 1.0  # pixels that annotation tools let a box stick out


class CheckedAnnotations:
    """Pictures whose boxes can be used, and a list of what was left out.

    Args:
        classes: names that boxes may have.
        on_bad_sample: ``"fail"``, ``"skip"`` or ``"drop_boxes"``.
        keep_empty: accept XML files without objects.

    Attributes:
        rows: for each picture that is left ``{"image", "boxes", "classes", "sample_id", "patient_id"}``.
        skipped: ``{"sample_id", "file", "reason"}`` for each picture or box left out.
        turned: number of pictures with boxes that EXIF has turned, where the file does not tell whether boxes were.
    """

    def __init__(self, classes: Iterable[str], on_bad_sample: str, keep_empty: bool) -> None:
        self._indices = {name: index for index, name in enumerate(classes)}
        self._names = ", ".join(self._indices)
        self._on_bad_sample = on_bad_sample
        self._keep_empty = keep_empty
        self.rows: list[dict[str, Any]] = []
        self.skipped: list[dict[str, str]] = []
        self.turned = 0

    def check(self, images: Iterable[AnnotatedImage]) -> None:
        """Look at each picture and each of its boxes.

        Raises:
            BadSampleError: something is wrong and ``on_bad_sample`` is ``"fail"``; names the first and says how many.
        """
        bad = total = 0
        first = ""
        for image in images:
            total += 1
            before = len(self.skipped)
            if not self._check_image(image):
                bad += 1
                first = first or self.skipped[before]["reason"]
        if bad and self._on_bad_sample == "fail":
            raise BadSampleError(
                f"{first} ({bad} of {total} pictures have such faults; on_bad_sample: skip leaves "
                "the pictures out, drop_boxes only the boxes)"
            )

    def _check_image(self, image: AnnotatedImage) -> bool:
        """Whether nothing is wrong with it."""
        fault, size = self._image_fault(image)
        if fault or size is None:
            self._leave_out(image, fault)
            return False
        objects = [one for one in image.objects if not one.passed_over]
        checked = [(one, self._object_fault(one, size)) for one in objects]
        faults = [f"{one.place}{f' ({one.name})' if one.name else ''}: {fault}" for one, fault in checked if fault]
        for found in faults:
            self._leave_out(image, found)
        # A picture of which no box is left would teach that there is nothing where something is.
        if faults and (self._on_bad_sample != "drop_boxes" or len(faults) == len(checked)):
            return False
        good = [one for one, fault in checked if not fault]
        for one in image.objects:
            if one.passed_over:
                self._leave_out(image, f"{one.place} ({one.name}) is {one.passed_over}")
        self.rows.append(
            {
                "image": str(image.image),
                "boxes": [_clipped(one.box, size) for one in good],
                "classes": [self._indices[one.name] for one in good],
                "sample_id": image.sample_id,
                "patient_id": image.patient_id,
            }
        )
        return not faults

    def _image_fault(self, image: AnnotatedImage) -> tuple[str, tuple[int, int] | None]:
        if image.fault:
            return image.fault, None
        if not os.path.exists(image.image):
            return f"its picture {image.image} is missing", None
        try:
            size, orientation = _picture_size(image.image)
        except BadSampleError as error:
            return str(error), None
        if image.size not in (None, size):
            upright = ", upright as its EXIF orientation has it" if orientation != 1 else ""
            return f"it is for a picture of {image.size} pixels, but {image.image} has {size}{upright}", None
        if image.objects and all(one.passed_over for one in image.objects):
            crowds = f"all of its {len(image.objects)} objects are crowds or to be ignored (iscrowd, ignore)"
            return f"{crowds}, which mark no single object", None
        if not image.objects and not image.may_be_empty and not self._keep_empty:
            return "it has no object; empty: keep takes it as a picture without objects", None
        # A side that is longer, and is claimed to be, tells that boxes are those of the upright picture.
        told = orientation >= 5 and image.size is not None and size[0] != size[1]
        self.turned += orientation != 1 and not told and bool(image.objects)
        return "", size

    def _object_fault(self, one: AnnotatedObject, size: tuple[int, int]) -> str:
        if one.fault:
            return one.fault
        if one.name not in self._indices:
            return f"{one.name!r} is none of the classes {self._names}"
        low, high = one.box[:2], one.box[2:]
        beyond = max(*(-value for value in low), *(value - end for value, end in zip(high, size, strict=True)))
        if beyond > _ROUNDING or _is_flat(_clipped(one.box, size)):
            shown = ", ".join(f"{value:g}" for value in one.box)
            return f"box [{shown}] (pixels counted from 0) is not inside the picture of {size[0]} x {size[1]}"
        return ""

    def _leave_out(self, image: AnnotatedImage, fault: str) -> None:
        reason = f"{image.annotation}: {fault}"
        if image.sample_id not in reason and image.may_be_empty:  # one file for many pictures
            reason = f"{image.annotation}, image {image.sample_id}: {fault}"
        self.skipped.append({"sample_id": image.sample_id, "file": str(image.annotation), "reason": reason})


def _picture_size(path: Path) -> tuple[tuple[int, int], int]:
    """Pixels in x and y, and the EXIF orientation, from the file's header."""
    header = file_header(path)
    x, y, *more = header.size
    if any(length != 1 for length in more):
        raise BadSampleError(f"image {path} is no 2-D image, its header tells of {(x, y, *more)} pixels")
    return (x, y), header.orientation


def _clipped(box: Box, size: tuple[int, int]) -> list[float]:
    xmin, ymin, xmax, ymax = box
    return [max(xmin, 0.0), max(ymin, 0.0), min(xmax, float(size[0])), min(ymax, float(size[1]))]


def _is_flat(box: list[float]) -> bool:
    return box[2] <= box[0] or box[3] <= box[1]
