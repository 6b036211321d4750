"""Higher or lower contrast, the natural variation that robust training with data augmentation is about."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import MapTransform, RandomizableTransform, Transform
from monai.utils import TransformBackends
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.transforms.arguments import checked_number
from monai_robust.transforms.intensity_range import as_image, checked_bounds, like, plain, require_within

__all__ = ["ContrastShift", "ContrastShiftd", "RandContrastShift", "RandContrastShiftd"]


class ContrastShift(Transform):
    """Stretch an image about its mean: clip(mean + factor * (x - mean), bounds), the mean for each channel.

    A factor above 1 gives the high-contrast domain, one below 1 the low-contrast domain.

    Source: Martinez-Martinez et al. 2025 (RTDA), section 3.4 and Fig. 1, names the domains and prints no formula;
    this one is ours.

    Args:
        factor: >= 0; 1 changes nothing, 0 leaves the mean.
        bounds: (low, high), the intensity range of the images, or None for images of any range and no clipping.

    Raises:
        BadInputError: for a factor or bounds that cannot work.
        BadSampleError: on call, for an image outside the bounds or with values that are not finite.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 (declared so by MONAI)

    def __init__(self, factor: float, bounds: Sequence[float] | None = (0.0, 1.0)) -> None:
        self.factor = checked_number(factor, "ContrastShift: factor", 0)
        self.bounds = checked_bounds(bounds, "ContrastShift")

    def __call__(self, img: NdarrayOrTensor) -> Tensor:
        """The shifted image; ``img``: (C, *spatial)."""
        return self.shifted(img, self.factor)

    def shifted(self, img: NdarrayOrTensor, factor: float) -> Tensor:
        """The image (C, *spatial) shifted by another factor than the configured one."""
        image = as_image(img)
        values = plain(image, "ContrastShift")
        require_within(values, self.bounds, "ContrastShift")
        mean = values.mean(dim=tuple(range(1, values.ndim)), keepdim=True)
        result = mean + factor * (values - mean)
        return like(result if self.bounds is None else result.clamp(*self.bounds), image)


class RandContrastShift(RandomizableTransform):
    """:class:`ContrastShift` by a factor drawn uniformly for each image.

    Args:
        factors: (lowest, highest) factor.
        prob: probability that an image is shifted at all.
        bounds: as for :class:`ContrastShift`.

    Raises:
        BadInputError: for factors, a probability or bounds that cannot work.
    """

    backend = ContrastShift.backend

    def __init__(
        self, factors: Sequence[float], prob: float = 1.0, bounds: Sequence[float] | None = (0.0, 1.0)
    ) -> None:
        RandomizableTransform.__init__(self, checked_number(prob, "RandContrastShift: prob", 0, 1))
        self.factors = _checked_factors(factors)
        self.shift = ContrastShift(1.0, bounds)
        self.factor = 1.0

    def randomize(self, data: Any = None) -> None:
        """Draw whether to shift and by which factor."""
        super().randomize(None)
        if self._do_transform:
            self.factor = self.R.uniform(*self.factors)

    def __call__(self, img: NdarrayOrTensor, randomize: bool = True) -> Tensor:
        """The shifted image; ``img``: (C, *spatial). ``randomize=False`` repeats the last draw."""
        if randomize:
            self.randomize()
        return self.shift.shifted(img, self.factor) if self._do_transform else as_image(img)


class ContrastShiftd(MapTransform):
    """Dictionary version of :class:`ContrastShift`.

    Args:
        keys: the images to shift.
        factor, bounds: as for :class:`ContrastShift`.
        allow_missing_keys: skip keys that are not there.
    """

    backend = ContrastShift.backend

    def __init__(
        self,
        keys: KeysCollection,
        factor: float,
        bounds: Sequence[float] | None = (0.0, 1.0),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.shift = ContrastShift(factor, bounds)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The dictionary with its images (C, *spatial) shifted."""
        items = dict(data)
        for key in self.key_iterator(items):
            items[key] = self.shift(items[key])
        return items


class RandContrastShiftd(RandomizableTransform, MapTransform):
    """Dictionary version of :class:`RandContrastShift`; all keys share one draw.

    Args:
        keys: the images to shift.
        factors, prob, bounds: as for :class:`RandContrastShift`.
        allow_missing_keys: skip keys that are not there.
    """

    backend = ContrastShift.backend

    def __init__(
        self,
        keys: KeysCollection,
        factors: Sequence[float],
        prob: float = 1.0,
        bounds: Sequence[float] | None = (0.0, 1.0),
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, 1.0)
        self.shift = RandContrastShift(factors, prob, bounds)

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> RandContrastShiftd:
        """Seed this transform and the array transform within."""
        super().set_random_state(seed, state)
        self.shift.set_random_state(seed, state)
        return self

    def randomize(self, data: Any = None) -> None:
        """Draw whether to shift and by which factor."""
        self.shift.randomize()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The dictionary with its images (C, *spatial) shifted."""
        items = dict(data)
        self.randomize()
        for key in self.key_iterator(items):
            items[key] = self.shift(items[key], randomize=False)
        return items


def _checked_factors(factors: Sequence[float]) -> tuple[float, float]:
    if isinstance(factors, (str, int, float)) or len(factors) != 2:
        raise BadInputError(f"RandContrastShift: factors must be a pair (lowest, highest), got {factors!r}.")
    lowest, highest = (checked_number(factor, "RandContrastShift: factor", 0) for factor in factors)
    if lowest > highest:
        raise BadInputError(f"RandContrastShift: factors must be (lowest, highest), got ({lowest}, {highest}).")
    return lowest, highest
