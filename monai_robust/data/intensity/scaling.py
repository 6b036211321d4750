"""How a pipeline's transforms map the intensities of files to those of its network's input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from monai.transforms import (
    ClipIntensityPercentiles,
    Compose,
    HistogramNormalize,
    MapTransform,
    NormalizeIntensity,
    Randomizable,
    ScaleIntensity,
    ScaleIntensityFixedMean,
    ScaleIntensityRange,
    ScaleIntensityRangePercentiles,
)

__all__ = [
    "KNOWN",
    "Scaling",
    "clipped_to",
    "flat",
    "intensity_transforms",
    "is_random",
    "known_parts",
    "scales_each_image",
    "scaling_of",
    "step_of",
]

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
KNOWN = (ScaleIntensityRange, NormalizeIntensity, ScaleIntensity, *_PER_IMAGE)
"""Array transforms of intensities whose effect is known."""

Window = tuple[float, float] | None


@dataclass(frozen=True)
class Scaling:
    """How a pipeline maps the intensities of files to those of its network's input.

    Attributes:
        factor: units of the network's input for one unit of the file, where that is the same for every image; None
            where it is not.
        bounds: lowest and highest intensity of the network's input, where the pipeline clips to them; else None.
        why: what says so, as a phrase.
        per_image: whether every image has a factor of its own, which is another than that of the others.
    """

    factor: float | None
    bounds: Window
    why: str
    per_image: bool = False

    def described(self) -> str:
        """In one phrase."""
        window = "" if self.bounds is None else f", clipped to {self.bounds[0]:g} to {self.bounds[1]:g}"
        if self.factor is None:
            return self.why + window
        return f"1 of the input is {1 / self.factor:.4g} of the file ({self.why}){window}"


def scaling_of(transform: Any, key: str = "image") -> Scaling:
    """What the transforms of a pipeline do to intensities.

    Args:
        transform: of a data set, from the file to the network's input.
        key: of the image, where transforms are of dictionaries.
    """
    factor: float | None = 1.0
    bounds: Window = None
    reasons, alone = [], ""
    for _, one in intensity_transforms(transform, key):
        name = type(one).__name__
        if not isinstance(one, KNOWN):
            return Scaling(None, None, f"what {name} does to intensities is not known")
        if scales_each_image(one):
            factor, bounds, alone = None, clipped_to(one), alone or name
            continue
        step, bounds = step_of(one, bounds)
        factor = None if factor is None else factor * step
        reasons.append(name)
    if factor is None:
        return Scaling(None, bounds, f"{alone} scales every image by itself", per_image=True)
    return Scaling(factor, bounds, ", ".join(reasons) or "nothing scales intensities")


def step_of(one: Any, bounds: Window) -> tuple[float, Window]:
    """Units after a transform that scales all images alike for one before it, and the window after it."""
    if isinstance(one, ScaleIntensityRange):
        low, high = (0.0, 1.0) if one.b_min is None or one.b_max is None else (one.b_min, one.b_max)
        return (high - low) / (one.a_max - one.a_min), clipped_to(one)
    if isinstance(one, NormalizeIntensity):
        step, shift = 1 / _constant(one.divisor, 1.0), _constant(one.subtrahend, 0.0)
        return step, None if bounds is None else ((bounds[0] - shift) * step, (bounds[1] - shift) * step)
    step = 1 + float(vars(one)["factor"])
    return step, None if bounds is None else (bounds[0] * step, bounds[1] * step)


def intensity_transforms(transform: Any, key: str) -> Iterator[tuple[Any, Any]]:
    """Of a pipeline, in their order, the transforms that change the intensities of an image for good, and those that
    may: each with the array transform in it."""
    for one in flat(transform):
        if _leaves_intensities(one, key):
            continue
        known = [part for _, part in known_parts(one)] if isinstance(one, MapTransform) else []
        yield from ((one, part) for part in known or [one])


def known_parts(one: Any) -> list[tuple[str, Any]]:
    """The known array transforms that a transform of dictionaries holds, and the attribute of each; one that stands
    alone in a list, as for images of one channel, among them."""
    held = [(name, value[0] if _alone(value) else value) for name, value in vars(one).items()]
    return [(name, value) for name, value in held if isinstance(value, KNOWN)]


def _alone(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 1


def flat(transform: Any) -> Iterator[Any]:
    """The transforms within compositions, in their order; one that chooses among several (``OneOf``) is one."""
    if type(transform) is Compose:
        for one in transform.transforms:
            yield from flat(one)
    elif isinstance(transform, (list, tuple)):
        for one in transform:
            yield from flat(one)
    elif transform is not None:
        yield transform


def is_random(one: Any) -> bool:
    """Whether a transform draws."""
    return isinstance(one, Randomizable)


def _leaves_intensities(one: Any, key: str) -> bool:
    """Whether a transform moves, loads or converts an image, or changes it at random around what it is."""
    if isinstance(one, Compose):  # OneOf, SomeOf, RandomOrder
        return all(_leaves_intensities(part, key) for part in one.transforms)
    if isinstance(one, MapTransform) and key not in one.keys:
        made = vars(one).get("names", vars(one).get("name"))  # of copied or concatenated items
        return made != key and not (isinstance(made, (list, tuple)) and key in made)
    module, name = type(one).__module__, type(one).__name__.removesuffix("d")
    return name.startswith("Rand") or module.startswith(_NO_INTENSITIES) or name in _CONVERTING


def scales_each_image(one: Any) -> bool:
    """Whether what a known transform does to an image depends on that image."""
    if isinstance(one, NormalizeIntensity):
        numbers = (one.subtrahend, one.divisor)
        return one.nonzero or not all(isinstance(number, (int, float)) for number in numbers) or one.channel_wise
    if isinstance(one, ScaleIntensityRange):
        return False
    return isinstance(one, _PER_IMAGE) or one.minv is not None or one.maxv is not None or one.factor is None


def _constant(number: Any, otherwise: float) -> float:
    return otherwise if number is None else float(cast(float, number))


def clipped_to(one: Any) -> Window:
    """The window that a transform itself clips every image to."""
    low, high = getattr(one, "b_min", None), getattr(one, "b_max", None)
    return (float(low), float(high)) if getattr(one, "clip", False) and low is not None and high is not None else None
