"""One picture with its landmarks, checked against the picture's header, and what to do with those that fail."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from monai_robust.data.lists.listed import finite_number
from monai_robust.data.reading import file_header
from monai_robust.errors import BadInputError, BadSampleError, require_choice

__all__ = ["Annotated", "BadSamples", "PlacedMark", "number"]

_logger = logging.getLogger(__name__)

_NOTHING = ("", "nan", "na", "n/a", "none", "null", "-")


@dataclass(frozen=True)
class PlacedMark:
    """Where a landmark was placed.

    Args:
        x: in pixels of the file, the centre of pixel i at i; NaN where the landmark is missing.
        y: likewise. Both -1 are how many tools write a missing landmark.
        written: file and line that say so.
    """

    x: float
    y: float
    written: str

    def __post_init__(self) -> None:
        if self.x == self.y == -1:
            object.__setattr__(self, "x", math.nan)
            object.__setattr__(self, "y", math.nan)

    @property
    def missing(self) -> bool:
        """Whether the landmark was not placed."""
        return math.isnan(self.x)


@dataclass(frozen=True)
class Annotated:
    """A picture with its landmarks, as a data set lists it.

    Args:
        image: absolute path.
        sample_id: of the picture.
        patient_id: whose it is.
        split: "train", "val", "test", or "" where the data set does not say.
        marks: one for each landmark.
        spacing: mm per pixel in x and y, where the data set's table says it.
        columns: the table's other cells, to group by.
    """

    image: Path
    sample_id: str
    patient_id: str
    split: str
    marks: Sequence[PlacedMark]
    spacing: tuple[float, float] | None = None
    columns: Mapping[str, str] = field(default_factory=dict)

    def checked(self, names: Sequence[str], default: tuple[float, float]) -> tuple[tuple[float, float], bool]:
        """Check the landmarks against the picture's header.

        Args:
            names: of the landmarks.
            default: mm per pixel in x and y, for a picture whose spacing neither the table nor its header says.

        Returns:
            The picture's mm per pixel in x and y, and whether EXIF has its stored pixels turned.

        Raises:
            BadSampleError: the picture is missing or unreadable, a landmark is outside it, or there is none.
        """
        if not os.path.exists(self.image):
            raise BadSampleError(f"picture {self.image} is missing ({self.marks[0].written} has its landmarks)")
        header = file_header(self.image)
        size, own = header.size, header.spacing
        for name, mark in zip(names, self.marks, strict=True):
            if math.isnan(mark.x) != math.isnan(mark.y):
                raise BadSampleError(f"{mark.written}: landmark {name} has only one coordinate; give both or none")
            if not mark.missing and not (-0.5 <= mark.x <= size[0] - 0.5 and -0.5 <= mark.y <= size[1] - 0.5):
                raise BadSampleError(
                    f"{mark.written}: landmark {name} at ({mark.x:g}, {mark.y:g}) is outside the picture "
                    f"{self.image.name} of {size[0]} x {size[1]} pixels"
                )
        if all(mark.missing for mark in self.marks):
            raise BadSampleError(f"{self.marks[0].written}: no landmark of {self.image.name} is placed")
        return self.spacing or own or default, header.orientation != 1


@dataclass
class BadSamples:
    """Collects samples that cannot be used.

    Args:
        on_bad_sample: "fail" refuses the data set if there are any, "skip" leaves them out.
        skipped: ``{"sample_id", "file", "reason"}`` of each.
    """

    on_bad_sample: str = "fail"
    skipped: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        require_choice("on_bad_sample", self.on_bad_sample, ("fail", "skip"))

    def add(self, sample_id: str, file: Path, error: BadSampleError) -> None:
        """Take note of a sample that cannot be used."""
        self.skipped.append({"sample_id": sample_id, "file": str(file), "reason": str(error)})

    def judge(self, good: int) -> None:
        """Refuse the data set, or say in the log how much of it is left out.

        Raises:
            BadSampleError: there are bad samples and they are not to be skipped.
            BadInputError: there are no others.
        """
        if not self.skipped:
            return
        first, bad, total = self.skipped[0]["reason"], len(self.skipped), len(self.skipped) + good
        if self.on_bad_sample == "fail":
            raise BadSampleError(
                f"{first} ({bad} of {total} samples cannot be used; on_bad_sample: skip leaves them out)"
            )
        if not good:
            raise BadInputError(f"none of the {total} samples can be used; first: {first}")
        _logger.warning(  # without names, which can be a patient's
            "skipped %d of %d samples; on_bad_sample: fail names the first, "
            "and run.json of an evaluation lists them with the reasons",
            bad,
            total,
        )


def number(text: str, written: str) -> float:
    """A coordinate; NaN for nothing, as empty, ``nan``, ``NA``, ``none``, ``null`` or ``-`` say it.

    Raises:
        BadSampleError: it is no number; begins with ``written``, file and line.
    """
    if text.strip().casefold() in _NOTHING:
        return math.nan
    value = finite_number(text)
    if value is None:
        raise BadSampleError(f"{written}: {text.strip()!r} is no number")
    return value
