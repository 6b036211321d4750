"""The simple operations that AugMix chains, on images in [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from monai.config.type_definitions import NdarrayOrTensor
from monai.networks.layers import gaussian_1d, separable_filtering
from monai.transforms import RandomizableTransform
from monai.utils import TransformBackends
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from monai_robust.errors import BadInputError, BadSampleError
from monai_robust.transforms.arguments import checked_number
from monai_robust.transforms.intensity_range import as_image, like, plain, require_within

__all__ = ["OPERATION_SETS", "AugMixOperation"]

GREY_LEVELS = 256

# AugMix scales the amount of an operation by level / 10 and draws levels from 0.1 on.
SEVERITIES = (0.1, 10.0)

Axes = Sequence[int]


@dataclass(frozen=True)
class _Kind:
    """An operation (image in [0, 1], amount, spatial axes in random order) and its amount at level 10."""

    apply: Callable[[Tensor, float, Axes], Tensor]
    largest: float
    signed: bool


def _autocontrast(image: Tensor, amount: float, axes: Axes) -> Tensor:
    """Stretch each channel so that the given share of its pixels is cut off at either end."""
    flat = image.flatten(1)
    cut = min(int(amount * flat.shape[1]), (flat.shape[1] - 1) // 2)
    low = flat.kthvalue(cut + 1, dim=1, keepdim=True).values
    high = flat.kthvalue(flat.shape[1] - cut, dim=1, keepdim=True).values
    stretched = (flat - low) / (high - low)
    return torch.where(high > low, stretched, flat).reshape(image.shape)


def _equalize(image: Tensor, amount: float, axes: Axes) -> Tensor:
    """Blend each channel with its histogram-equalised self; amount 1 is full equalisation."""
    return torch.lerp(image, torch.stack([_equalized(channel) for channel in image]), amount)


def _equalized(channel: Tensor) -> Tensor:
    level = (channel * (GREY_LEVELS - 1)).long().clamp(0, GREY_LEVELS - 1)
    below = torch.bincount(level.flatten(), minlength=GREY_LEVELS).cumsum(0).to(channel.dtype) / channel.numel()
    darkest = below[level.min()]
    if darkest == 1:  # one grey level only
        return channel
    return ((below - darkest) / (1 - darkest))[level]


def _posterize(image: Tensor, amount: float, axes: Axes) -> Tensor:
    """Keep 2^(4 - amount) grey levels, at least two."""
    steps = max(round(2 ** (4 - amount)), 2) - 1
    return torch.round(image * steps) / steps


def _posterize_bits(image: Tensor, amount: float, axes: Axes) -> Tensor:
    """Keep the highest 4 - amount bits, a whole number of them and at least one, of each of 256 grey levels."""
    width = 2 ** (4 + min(int(amount), 3))
    levels = GREY_LEVELS - 1
    return torch.floor(torch.floor(image * levels + 1e-3) / width) * width / levels


def _solarize(image: Tensor, amount: float, axes: Axes) -> Tensor:
    """Invert what is brighter than 1 less the amount."""
    return torch.where(image < 1 - amount, image, 1 - image)


def _full_autocontrast(image: Tensor, amount: float, axes: Axes) -> Tensor:
    return _autocontrast(image, 0.0, axes)


def _full_equalize(image: Tensor, amount: float, axes: Axes) -> Tensor:
    return _equalize(image, 1.0, axes)


def _gamma(image: Tensor, amount: float, axes: Axes) -> Tensor:
    """Tone curve x^(2^amount)."""
    return image.clamp(min=0) ** (2**amount)


def _brightness(image: Tensor, amount: float, axes: Axes) -> Tensor:
    return image + amount


def _contrast(image: Tensor, amount: float, axes: Axes) -> Tensor:
    """Stretch by 2^amount about the mean of each channel."""
    mean = image.mean(dim=tuple(range(1, image.ndim)), keepdim=True)
    return mean + 2**amount * (image - mean)


def _focus(image: Tensor, amount: float, axes: Axes) -> Tensor:
    """Blur by a Gaussian of -amount pixels, or sharpen by adding amount times what a one-pixel blur takes away."""
    if amount < 0:
        return _smooth(image, -amount)
    return image + amount * (image - _smooth(image, 1.0))


def _smooth(image: Tensor, sigma: float) -> Tensor:
    kernel = gaussian_1d(torch.tensor(sigma), truncated=2.0, approx="sampled", normalize=True)
    return separable_filtering(image[None], [kernel] * (image.ndim - 1), mode="replicate")[0]


def _rotate(image: Tensor, amount: float, axes: Axes) -> Tensor:
    """Turn by the given degrees in the plane of two axes."""
    matrix = _identity(image)
    first, second = axes[:2]
    angle = math.radians(amount)
    matrix[first, first] = matrix[second, second] = math.cos(angle)
    matrix[first, second], matrix[second, first] = -math.sin(angle), math.sin(angle)
    return _resampled(image, matrix)


def _shear(image: Tensor, amount: float, axes: Axes) -> Tensor:
    """Shift along one axis by amount pixels for each pixel along another."""
    matrix = _identity(image)
    matrix[axes[0], axes[1]] = amount
    return _resampled(image, matrix)


def _translate(image: Tensor, amount: float, axes: Axes) -> Tensor:
    """Shift along one axis by the given share of the image's size."""
    matrix = _identity(image)
    matrix[axes[0], -1] = amount * image.shape[1 + axes[0]]
    return _resampled(image, matrix)


def _flip(image: Tensor, amount: float, axes: Axes) -> Tensor:
    return image.flip(1 + axes[0])


def _identity(image: Tensor) -> Tensor:
    """(d, d + 1) for d spatial dimensions."""
    dims = image.ndim - 1
    return torch.eye(dims, dims + 1, dtype=torch.float64)


def _resampled(image: Tensor, matrix: Tensor) -> Tensor:
    """The image read, linearly, at matrix @ (position from the centre in pixels, 1); 0 outside."""
    sizes = torch.tensor(image.shape[1:], dtype=torch.float64)
    # torch counts in half sizes from the centre, last axis first
    relative = matrix * torch.cat([sizes, torch.tensor([2.0], dtype=torch.float64)]) / sizes[:, None]
    theta = torch.cat([relative[:, :-1].flip(0, 1), relative[:, -1:].flip(0)], dim=1)
    grid = affine_grid(theta[None].to(image), [1, *image.shape], align_corners=False)
    return grid_sample(image[None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0]


KINDS = {
    "autocontrast": _Kind(_autocontrast, 0.1, signed=False),
    "equalize": _Kind(_equalize, 1.0, signed=False),
    "posterize": _Kind(_posterize, 4.0, signed=False),
    "posterize_bits": _Kind(_posterize_bits, 4.0, signed=False),
    "solarize": _Kind(_solarize, 1.0, signed=False),
    "full_autocontrast": _Kind(_full_autocontrast, 1.0, signed=False),
    "full_equalize": _Kind(_full_equalize, 1.0, signed=False),
    "gamma": _Kind(_gamma, 2.0, signed=True),
    "brightness": _Kind(_brightness, 0.5, signed=True),
    "contrast": _Kind(_contrast, 2.0, signed=True),
    "focus": _Kind(_focus, 3.0, signed=True),
    "rotate": _Kind(_rotate, 30.0, signed=True),
    "shear": _Kind(_shear, 0.3, signed=True),
    "translate": _Kind(_translate, 1 / 3, signed=True),
    "flip": _Kind(_flip, 1.0, signed=False),
}

_INTENSITY = ("autocontrast", "equalize", "posterize", "gamma", "brightness", "contrast", "focus")
_GEOMETRIC = ("rotate", "shear", "translate")
# AugMix's own nine: shear and translate along either axis count twice, and two know no strength.
_PUBLISHED = (
    *("full_autocontrast", "full_equalize", "posterize_bits", "rotate", "solarize"),
    *("shear", "shear", "translate", "translate"),
)

OPERATION_SETS: dict[str, tuple[str, ...]] = {
    "intensity": _INTENSITY,
    "geometric": _GEOMETRIC,
    "geometric+intensity": _GEOMETRIC + _INTENSITY,
    "flips": ("flip",),
    "published": _PUBLISHED,
}
"""Operations of AugMix by the name of a set: those that move pixels, those that do not, both, and mirroring alone."""


class AugMixOperation(RandomizableTransform):
    """One operation of AugMix's chains, its strength drawn anew for each image.

    As in AugMix the level is drawn uniformly from [0.1, severity] and the amount is level / 10 of the largest one,
    its sign random where it has one. At level 10: ``rotate`` turns by 30 degrees, ``shear`` by 0.3, ``translate``
    shifts by a third of the image (these three AugMix's own, in a random plane or along a random axis);
    ``posterize`` leaves 2^(4 - 4) grey levels, but at least two; ``autocontrast`` cuts off 10 % of the pixels at
    either end; ``equalize`` equalises the histogram fully; ``gamma`` raises to the power 4 or 1/4; ``contrast``
    stretches by 4 or 1/4; ``brightness`` adds 0.5; ``focus`` blurs by 3 pixels or sharpens threefold. ``flip``
    mirrors one axis at any level.

    They stand for what varies between acquisitions: window, exposure, tone curve, bit depth, focus and positioning.
    AugMix's ``solarize``, which inverts what is brighter than 1 less a share of up to 1, is left out of the other sets,
    since no device inverts only the bright part of a radiograph; it is in ``"published"``, with ``full_autocontrast``
    (from the darkest to the brightest pixel) and ``full_equalize`` at any level, and ``posterize_bits``, which keeps
    the highest 4 to 1 of 8 bits, as AugMix has them. MONAI has some of these; here they are plain tensor arithmetic,
    because MONAI's carry metadata through every step, and chains of about six operations on each image of a batch are
    worth making short.

    Args:
        name: one of the names above.
        severity: 0.1 to 10.

    Raises:
        BadInputError: for another name or severity.
        BadSampleError: on call, for an image outside [0, 1] or with other than two or three spatial dimensions.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 (declared so by MONAI)

    def __init__(self, name: str, severity: float = 3.0) -> None:
        super().__init__(1.0)
        if name not in KINDS:
            raise BadInputError(f"AugMixOperation: no operation {name!r}; there are {', '.join(KINDS)}.")
        self.name = name
        self.severity = checked_number(severity, "AugMixOperation: severity", *SEVERITIES)
        self.amount = 0.0
        self.axes: tuple[int, ...] = (0, 1)

    def randomize(self, data: Any = None) -> None:
        """Draw amount and axes; ``data`` is the image, for its number of spatial dimensions."""
        kind = KINDS[self.name]
        sign = -1.0 if kind.signed and self.R.rand() < 0.5 else 1.0
        self.amount = sign * kind.largest * self.R.uniform(SEVERITIES[0], self.severity) / 10
        self.axes = tuple(self.R.permutation(data.ndim - 1).tolist())

    @property
    def geometric(self) -> bool:
        """Whether it moves what is in the image, so that labels which are places no longer fit."""
        return self.name in (*_GEOMETRIC, "flip")

    def __call__(self, img: NdarrayOrTensor, randomize: bool = True) -> Tensor:
        """The changed image, in [0, 1]; ``img``: (C, *spatial). ``randomize=False`` repeats the last draw."""
        image = as_image(img)
        values = plain(image, f"AugMixOperation({self.name!r})")
        if values.ndim not in (3, 4):
            raise BadSampleError(
                f"AugMixOperation({self.name!r}): an image must have two or three spatial dimensions, "
                f"got shape {tuple(values.shape)}."
            )
        require_within(values, (0.0, 1.0), f"AugMixOperation({self.name!r})")
        if randomize:
            self.randomize(values)
        return like(KINDS[self.name].apply(values, self.amount, self.axes).clamp(0, 1), image)
