"""What every corruption is: a name, a severity, a class of images that it makes sense for, and a source."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from monai.config.type_definitions import NdarrayOrTensor
from torch import Generator, Tensor

from monai_robust.errors import BadInputError, BadSampleError
from monai_robust.scalars import checked_whole
from monai_robust.transforms.arguments import checked_number
from monai_robust.transforms.intensity_range import as_image, like, plain, require_within

__all__ = ["LEVELS", "Corruption", "CorruptionKind"]

CorruptionKind = Literal[
    "noise", "contrast", "intensity", "blur", "resolution", "compression", "artefact", "occlusion", "colour", "spatial",
    "other",
]  # fmt: skip
"""What a corruption does to an image; tables and figures group by it."""

LEVELS = (1, 2, 3, 4, 5)
"""From just visible to what a reader would send back."""

RGB = 3


class Corruption(ABC):
    """A corruption of one severity for images in [0, 1].

    What is random is drawn from a generator that the caller gives, so that an image is corrupted alike whatever was
    corrupted before it. With generators of one seed it is the same draw at every severity, and grows with it: a
    shadow stays where it is and becomes wider.

    A subclass says what tables, figures and reports write of it, and stands in
    :data:`~monai_robust.transforms.CORRUPTIONS`.

    Args:
        severity: how strong; what it means and which values it may have is said by each corruption.
        seed: of the noise, where no generator is given.

    Raises:
        BadInputError: for a severity that the corruption does not have.
    """

    name: ClassVar[str]
    """In outcomes tables and configurations."""
    label: ClassVar[str]
    """What people call it, in figures and reports."""
    kind: ClassVar[CorruptionKind]
    """What is corrupted, so that those of a kind are shown together."""
    severity_label: ClassVar[str]
    """What the severity is, at an axis."""
    meaning: ClassVar[str]
    """What the severity is, in a sentence."""
    lowest: ClassVar[float]
    highest: ClassVar[float]
    severities: ClassVar[tuple[float, ...]] = ()
    """The severity of each of the levels 1 to 5."""
    source: ClassVar[str] = ""
    """Where corruption and severities come from."""
    groups: ClassVar[tuple[str, ...]] = ()
    """The modalities that it belongs to, of :data:`~monai_robust.transforms.CORRUPTION_GROUPS`."""
    dimensions: ClassVar[tuple[int, ...]] = (1, 2, 3)
    """Numbers of spatial dimensions that it is made for."""
    colour: ClassVar[bool] = False
    """Whether it is of colours, and so of images of three channels alone."""
    random: ClassVar[bool] = True
    """Whether anything is drawn."""

    def __init__(self, severity: float, seed: int = 0) -> None:
        what = f"corruption {self.name}: severity ({self.meaning})"
        self.severity = checked_number(severity, what, self.lowest, self.highest)
        self.seed = checked_whole(f"corruption {self.name}: seed", seed, 0)

    def __call__(self, image: NdarrayOrTensor, generator: Generator | None = None) -> Tensor:
        """The corrupted image, clipped to [0, 1].

        Args:
            image: (C, *spatial), in [0, 1]; an array becomes a tensor.
            generator: where the noise comes from; None draws the same noise, that of the seed, at each call.

        Raises:
            BadSampleError: for an image outside [0, 1] (named with its range), with values that are not finite, or
                with other channels or dimensions than the corruption is made for.
        """
        image = as_image(image)
        values = plain(image, f"corruption {self.name}")
        require_within(values, (0.0, 1.0), f"corruption {self.name}")
        self.check_shape(tuple(values.shape))
        source = Generator().manual_seed(self.seed) if generator is None else generator
        return like(self._corrupted(values.clamp(0, 1), source).clamp(0, 1), image)

    @classmethod
    def check_shape(cls, shape: tuple[int, ...]) -> None:
        """Refuse images that the corruption is not made for.

        Args:
            shape: (C, *spatial).

        Raises:
            BadSampleError: with what it is made for.
        """
        if len(shape) - 1 not in cls.dimensions:
            made = " and ".join(f"{number}-D" for number in cls.dimensions)
            raise BadSampleError(f"corruption {cls.name} is made for {made} images, not for {len(shape) - 1}-D ones")
        if cls.colour and shape[0] != RGB:
            raise BadSampleError(
                f"corruption {cls.name} is of colours, and made for images of three channels (red, green, blue), not "
                f"for {shape[0]}"
            )

    @classmethod
    def severity_of(cls, level: int) -> float:
        """The severity of a level.

        Args:
            level: 1 to 5.

        Raises:
            BadInputError: for another level, or a corruption without levels.
        """
        if not cls.severities:
            raise BadInputError(f"corruption {cls.name} has no levels; give its severities ({cls.meaning})")
        if isinstance(level, bool) or level not in LEVELS:
            raise BadInputError(f"corruption {cls.name}: level must be 1, 2, 3, 4 or 5, got {level!r}")
        return cls.severities[LEVELS.index(level)]

    @abstractmethod
    def _corrupted(self, values: Tensor, generator: Generator) -> Tensor:
        """Values (C, *spatial) in [0, 1] corrupted, not yet clipped."""


def whole(severity: float) -> int:
    """A severity that counts something, rounded."""
    return math.floor(severity + 0.5)
