"""What a plan needs to know of a data set: sizes, spacings and intensities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from monai_robust.data.segmentation.orientation import axis_of, check_orientation, orientation_of
from monai_robust.errors import BadInputError, BadSampleError

__all__ = ["Fingerprint", "Intensities", "fingerprint_of"]

_Size = TypeVar("_Size", int, float)

_VOXELS_OF_A_CASE = 20_000  # enough for the 0.5th percentile; all foreground of a large CT data set is too much to keep


@dataclass(frozen=True)
class Intensities:
    """Intensities of one channel inside the foreground of all cases, in the image's own unit (CT: HU).

    Args:
        mean: their mean.
        std: their standard deviation.
        low: their 0.5th percentile.
        high: their 99.5th percentile.
    """

    mean: float
    std: float
    low: float
    high: float


@dataclass(frozen=True)
class Fingerprint:
    """A data set as a plan sees it.

    Args:
        shapes: voxels (x, y, z) of each case after cropping to the box of its nonzero voxels.
        spacings: of each case (x, y, z) in mm.
        modality: name of each channel, such as ``"MRI"``; ``"CT"`` is treated by nnU-Net's rules for CT.
        classes: names of the foreground classes, in the order of their labels 1, 2, ...
        intensities: one for each channel.
        kept: share of a case's voxels that cropping kept, of each case.
        orientation: where the axes x, y and z point to in the patient, such as ``"RAS"``.

    Raises:
        BadInputError: for no case, values that do not fit each other, or sizes that are none.
    """

    shapes: tuple[tuple[int, int, int], ...]
    spacings: tuple[tuple[float, float, float], ...]
    modality: tuple[str, ...]
    classes: tuple[str, ...]
    intensities: tuple[Intensities, ...]
    kept: tuple[float, ...]
    orientation: str = "RAS"

    def __post_init__(self) -> None:
        check_orientation(self.orientation)
        if not self.shapes:
            raise BadInputError("a fingerprint needs at least one case")
        if not self.modality or not self.classes:
            raise BadInputError("a fingerprint needs the names of the channels and of the foreground classes")
        if not len(self.shapes) == len(self.spacings) == len(self.kept):
            raise BadInputError(
                f"a fingerprint has {len(self.shapes)} shapes, {len(self.spacings)} spacings and {len(self.kept)} "
                "shares of kept voxels; it needs one of each for each case"
            )
        if len(self.intensities) != len(self.modality):
            raise BadInputError(f"{len(self.modality)} channels, but intensities of {len(self.intensities)}")
        for name, values in (("shape", self.shapes), ("spacing", self.spacings)):
            odd = [value for value in values if len(value) != 3 or not all(0 < size < np.inf for size in value)]
            if odd:
                raise BadInputError(f"{name} {odd[0]} of a case is not three positive numbers (x, y, z)")

    @property
    def cases(self) -> int:
        """Number of cases."""
        return len(self.shapes)

    @classmethod
    def from_shapes(
        cls,
        shapes: Sequence[Sequence[int]],
        spacings: Sequence[Sequence[float]],
        modality: Sequence[str],
        classes: Sequence[str],
    ) -> Fingerprint:
        """A fingerprint of sizes alone, for images without zeros around them and with standardised intensities.

        Args:
            shapes: cropped voxels (x, y, z) of each case.
            spacings: (x, y, z) in mm of each case, or one for all.
            modality: name of each channel.
            classes: names of the foreground classes.
        """
        if len(spacings) == 1:
            spacings = list(spacings) * len(shapes)
        return cls(
            shapes=tuple((int(x), int(y), int(z)) for x, y, z in shapes),
            spacings=tuple((float(x), float(y), float(z)) for x, y, z in spacings),
            modality=tuple(modality),
            classes=tuple(classes),
            intensities=(Intensities(mean=0.0, std=1.0, low=-3.0, high=3.0),) * len(modality),
            kept=(1.0,) * len(shapes),
        )


def fingerprint_of(
    volumes: Iterable[Mapping[str, Any]], *, modality: Sequence[str], classes: Sequence[str]
) -> Fingerprint:
    """Read a data set once, volume by volume.

    Source: Isensee et al. 2021 (nnU-Net), "Dataset fingerprint": sizes after cropping to the nonzero region, and
    intensities of the voxels of any foreground class. Of each case at most 20000 foreground voxels are looked at,
    evenly spread. Axes are those that most cases are stored along; sizes of the others are put into their order.

    Args:
        volumes: loaded volumes with ``image`` (C, x, y, z), ``label`` (1, x, y, z) and ``spacing`` (x, y, z) in mm,
            and perhaps a ``case_id`` for messages; where the axes point to is taken from an image with an affine,
            and is RAS otherwise.
        modality: name of each of the C channels.
        classes: names of the foreground classes, in the order of their labels.

    Raises:
        BadSampleError: for a volume that is empty, or whose image and label do not fit.
        BadInputError: for no volume, or none with foreground.
    """
    shapes, spacings, kept, stored = [], [], [], []
    samples: list[np.ndarray] = []
    for index, volume in enumerate(volumes):
        name = str(volume.get("case_id", f"number {index + 1}"))
        image, label = _checked(name, volume, len(modality))
        box = _nonzero_box(image)
        if box is None:
            raise BadSampleError(f"volume {name} is zero everywhere")
        shapes.append(box)
        kept.append(float(np.prod(box)) / image[0].numel())
        x, y, z = (float(value) for value in volume["spacing"])
        spacings.append((x, y, z))
        stored.append(orientation_of(volume["image"]))
        samples.append(_foreground_sample(image, label))
    usual = Counter(stored).most_common(1)[0][0] if stored else "RAS"
    return Fingerprint(
        shapes=tuple(_turned(sizes, codes, usual) for sizes, codes in zip(shapes, stored, strict=True)),
        spacings=tuple(_turned(edges, codes, usual) for edges, codes in zip(spacings, stored, strict=True)),
        modality=tuple(modality),
        classes=tuple(classes),
        intensities=_intensities(samples),
        kept=tuple(kept),
        orientation=usual,
    )


def _turned(sizes: tuple[_Size, _Size, _Size], stored: str, wanted: str) -> tuple[_Size, _Size, _Size]:
    """Sizes along the axes of one orientation, from those along the axes of another."""
    places = [axis_of(stored, code) for code in wanted]
    return sizes[places[0]], sizes[places[1]], sizes[places[2]]


def _checked(name: str, volume: Mapping[str, Any], channels: int) -> tuple[Tensor, Tensor]:
    image = torch.as_tensor(volume["image"]).as_subclass(Tensor)
    label = torch.as_tensor(volume["label"]).as_subclass(Tensor)
    if image.ndim != 4 or image.shape[0] != channels:
        raise BadSampleError(
            f"the image of volume {name} has shape {tuple(image.shape)}; it needs ({channels}, x, y, z), one channel "
            "for each modality"
        )
    if label.shape != (1, *image.shape[1:]):
        raise BadSampleError(f"volume {name}: image of shape {tuple(image.shape)}, label of {tuple(label.shape)}")
    return image, label


def _nonzero_box(image: Tensor) -> tuple[int, int, int] | None:
    """Sizes of the box around the voxels that are not zero in every channel."""
    inside = (image != 0).any(dim=0)
    sizes = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        used = inside.any(dim=others[1]).any(dim=others[0]).nonzero()
        if not len(used):
            return None
        sizes.append(int(used[-1] - used[0]) + 1)
    return sizes[0], sizes[1], sizes[2]


def _foreground_sample(image: Tensor, label: Tensor) -> np.ndarray:
    """(C, at most _VOXELS_OF_A_CASE) intensities inside the foreground."""
    values = image[:, label[0] > 0]
    step = -(-values.shape[1] // _VOXELS_OF_A_CASE) or 1
    return values[:, ::step].double().numpy()


def _intensities(samples: Sequence[np.ndarray]) -> tuple[Intensities, ...]:
    if not samples:
        raise BadInputError("a fingerprint needs at least one volume")
    values = np.concatenate(samples, axis=1)
    if not values.shape[1]:
        raise BadInputError(f"none of {len(samples)} volumes has a label other than 0, so there is nothing to segment")
    low, high = np.percentile(values, [0.5, 99.5], axis=1)
    return tuple(
        Intensities(mean=float(row.mean()), std=float(row.std()), low=float(bottom), high=float(top))
        for row, bottom, top in zip(values, low, high, strict=True)
    )
