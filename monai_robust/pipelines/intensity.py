"""What a unit of a file's intensities, such as a HU or a grey level, is in units of the network's input."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from monai.transforms import (
    ClipIntensityPercentiles,
    HistogramNormalize,
    MapTransform,
    NormalizeIntensity,
    ScaleIntensity,
    ScaleIntensityFixedMean,
    ScaleIntensityRange,
    ScaleIntensityRangePercentiles,
)

from monai_robust.errors import BadInputError
from monai_robust.pipelines.outputs import flat_transforms

__all__ = ["Scaling", "radius_in_input_units", "scaling_of"]

_RADIUS = re.compile(r"([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*([A-Za-z]+|%)?")
_FILE_UNITS = ("hu", "grey", "gray")
_NO_INTENSITIES = (
    "monai.transforms.spatial",
    "monai.transforms.croppad",
    "monai.transforms.io",
    "monai.transforms.meta_utility",
)
_CONVERTING = (
    "AddChannel", "AsChannelLast", "CastToType", "DeleteItems", "EnsureChannelFirst", "EnsureType", "Identity",
    "SelectItems", "SqueezeDim", "ToDevice", "ToNumpy", "ToTensor", "TrackMeta", "Transpose",
)  # fmt: skip
_PER_IMAGE = (ScaleIntensityRangePercentiles, ScaleIntensityFixedMean, HistogramNormalize, ClipIntensityPercentiles)
_KNOWN = (ScaleIntensityRange, NormalizeIntensity, ScaleIntensity, *_PER_IMAGE)


@dataclass(frozen=True)
class Scaling:
    """How a pipeline maps the intensities of files to those of its network's input.

    Attributes:
        factor: units of the network's input for one unit of the file, where that is the same for every image; None
            where it is not.
        bounds: lowest and highest intensity of the network's input, where the pipeline clips to them; else None.
        why: what says so, as a phrase.
    """

    factor: float | None
    bounds: tuple[float, float] | None
    why: str

    def described(self) -> str:
        """In one phrase."""
        if self.factor is None:
            return self.why
        window = "" if self.bounds is None else f", clipped to {self.bounds[0]:g} to {self.bounds[1]:g}"
        return f"1 of the input is {1 / self.factor:.4g} of the file ({self.why}){window}"


def scaling_of(transform: Any, key: str = "image") -> Scaling:
    """What the transforms of a pipeline do to intensities.

    Args:
        transform: of a data set, from the file to the network's input.
        key: of the image, where transforms are of dictionaries.
    """
    factor, bounds, reasons = 1.0, None, []
    for one in _intensity_transforms(transform, key):
        name = type(one).__name__
        if not isinstance(one, _KNOWN):
            return Scaling(None, None, f"what {name} does to intensities is not known")
        per_image = _per_image(one)
        if per_image:
            return Scaling(None, _clipped(one), f"{name} scales every image by itself")
        if isinstance(one, ScaleIntensityRange):
            low, high = (0.0, 1.0) if one.b_min is None or one.b_max is None else (one.b_min, one.b_max)
            step, bounds = (high - low) / (one.a_max - one.a_min), _clipped(one)
        elif isinstance(one, NormalizeIntensity):
            subtrahend, divisor = cast(float, one.subtrahend), cast(float, one.divisor)  # else it was per image
            step, shift = 1 / divisor, subtrahend
            bounds = None if bounds is None else ((bounds[0] - shift) * step, (bounds[1] - shift) * step)
        else:
            step = 1 + float(vars(one)["factor"])
            bounds = None if bounds is None else (bounds[0] * step, bounds[1] * step)
        factor *= step
        reasons.append(name)
    return Scaling(factor, bounds, ", ".join(reasons) or "nothing scales intensities")


def checked_radius(word: str | float) -> tuple[float, str]:
    """The number of a radius, and its unit in small letters; "" where it has none.

    Raises:
        BadInputError: for a word that is no radius, or has another unit.
    """
    found = _RADIUS.fullmatch(str(word).strip())
    if found is None or float(found[1]) <= 0:
        raise BadInputError(
            f"a radius is {word!r}; it must be a number above 0, or one with a unit, such as 20HU, 3grey or 5%"
        )
    unit = (found[2] or "").lower()
    if unit not in ("", "%", *_FILE_UNITS):
        raise BadInputError(f"the radius {word} has the unit {found[2]!r}; there are HU, grey and %")
    return float(found[1]), unit


def radius_in_input_units(word: str | float, scaling: Scaling) -> float:
    """A radius in intensity units of the network's input.

    Args:
        word: a number, which is in those units already; one with ``HU`` or ``grey``, in units of the file; or with
            ``%``, of the window to which the pipeline clips. An L2 radius is the norm of the change in that unit.
        scaling: of the pipeline.

    Raises:
        BadInputError: for a word that is no radius, and a unit that the pipeline does not tell.
    """
    number, unit = checked_radius(word)
    if not unit:
        return number
    if unit == "%":
        if scaling.bounds is None:
            raise BadInputError(f"the radius {word} is of a window, and the pipeline clips to none; give a number")
        return number / 100 * (scaling.bounds[1] - scaling.bounds[0])
    if scaling.factor is None:
        raise BadInputError(
            f"the radius {word} is in units of the file, which are not the same for every image: {scaling.why}; give "
            "a number, in units of the network's input"
        )
    return number * abs(scaling.factor)


def _intensity_transforms(transform: Any, key: str) -> Iterator[Any]:
    """The array transforms that change the intensities of an image for good, in their order, and those that may."""
    for one in flat_transforms(transform):
        if _leaves_intensities(one) or (isinstance(one, MapTransform) and key not in one.keys):
            continue
        parts = vars(one).values() if isinstance(one, MapTransform) else ()
        yield from [part for part in parts if isinstance(part, _KNOWN)] or [one]


def _leaves_intensities(one: Any) -> bool:
    """Whether a transform moves, loads or converts an image, or changes it at random around what it is."""
    module, name = type(one).__module__, type(one).__name__.removesuffix("d")
    return name.startswith("Rand") or module.startswith(_NO_INTENSITIES) or name in _CONVERTING


def _per_image(one: Any) -> bool:
    if isinstance(one, NormalizeIntensity):
        numbers = (one.subtrahend, one.divisor)
        return one.nonzero or one.channel_wise or not all(isinstance(number, (int, float)) for number in numbers)
    if isinstance(one, ScaleIntensityRange):
        return False
    return isinstance(one, _PER_IMAGE) or one.minv is not None or one.maxv is not None or one.factor is None


def _clipped(one: Any) -> tuple[float, float] | None:
    low, high = getattr(one, "b_min", None), getattr(one, "b_max", None)
    return (float(low), float(high)) if getattr(one, "clip", False) and low is not None and high is not None else None
