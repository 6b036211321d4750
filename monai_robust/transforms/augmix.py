"""AugMix: an image mixed with several chains of simple operations on it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import MapTransform, Randomizable, RandomizableTransform
from monai.utils import TransformBackends
from torch import Tensor

from monai_robust.errors import BadInputError, BadSampleError
from monai_robust.scalars import is_above_zero, is_whole
from monai_robust.transforms.arguments import checked_number
from monai_robust.transforms.intensity_range import Bounds, as_image, checked_bounds, like, plain, require_within
from monai_robust.transforms.operations import OPERATION_SETS, SEVERITIES, AugMixOperation

__all__ = ["AugMix", "AugMixd"]

Operations = str | Sequence[Callable[[Any], Any]] | None

DEFAULT_SET = "geometric+intensity"
DEEPEST_DRAWN = 3


class AugMix(RandomizableTransform):
    """Mix an image with ``width`` random chains of operations on it:

        (1 - m) * x + m * sum over i of w_i * chain_i(x),    w ~ Dirichlet(alpha),  m ~ Beta(alpha, alpha).

    Source: Hendrycks et al. 2020, "AugMix", algorithm 1 and its settings: width 3, depth 1 to 3, alpha 1, severity 3.

    Args:
        operations: the name of a set ("intensity", "geometric", "geometric+intensity", "flips", or "published",
            AugMix's own nine; see :class:`AugMixOperation`), None for "geometric+intensity", or a sequence of MONAI's
            array transforms, which then belong to this one (it seeds them). A label that is spatial (mask, boxes,
            landmarks) stays where it is, so that only "intensity" goes with it.
        width: number of chains.
        depth: operations in each chain; -1 draws 1, 2 or 3 for each.
        alpha: parameter of the Dirichlet and Beta distributions.
        severity: strength of a named set, 0.1 to 10; ignored for a sequence.
        bounds: (low, high), the intensity range of the images, to which results are clipped, or None. Named sets work
            on that range scaled to [0, 1]; with None, on each image's own range (for example z-scored images). A
            sequence is given the image as it is.
        prob: probability that an image is changed at all.

    Raises:
        BadInputError: for an argument that cannot work.
        BadSampleError: on call, for an image outside the bounds or with values that are not finite.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 (declared so by MONAI)

    def __init__(
        self,
        operations: Operations = None,
        width: int = 3,
        depth: int = -1,
        alpha: float = 1.0,
        severity: float = 3.0,
        bounds: Sequence[float] | None = (0.0, 1.0),
        prob: float = 1.0,
    ) -> None:
        RandomizableTransform.__init__(self, checked_number(prob, "AugMix: prob", 0, 1))
        self.bounds: Bounds = checked_bounds(bounds, "AugMix")
        self.width, self.depth, self.alpha = _checked_chains(width, depth, alpha)
        self.rescaled = operations is None or isinstance(operations, str)
        self.operations = _operations(operations, checked_number(severity, "AugMix: severity", *SEVERITIES))
        self.chains: list[list[int]] = []
        self.weights: list[float] = []
        self.mixing = 0.0
        self.seed = 0

    def randomize(self, data: Any = None) -> None:
        """Draw the chains, their weights, the mixing weight and the seed of the operations' own draws."""
        super().randomize(None)
        if not self._do_transform:
            return
        self.weights = self.R.dirichlet([self.alpha] * self.width).tolist()
        self.mixing = self.R.beta(self.alpha, self.alpha)
        depths = [self.depth if self.depth > 0 else self.R.randint(1, DEEPEST_DRAWN + 1) for _ in range(self.width)]
        self.chains = [self.R.randint(len(self.operations), size=depth).tolist() for depth in depths]
        self.seed = int(self.R.randint(2**31))

    def __call__(self, img: NdarrayOrTensor, randomize: bool = True) -> Tensor:
        """The mixed image; ``img``: (C, *spatial). ``randomize=False`` repeats the last draw, operations included."""
        image = as_image(img)
        if randomize:
            self.randomize()
        if not self._do_transform:
            return image
        values = plain(image, "AugMix")
        require_within(values, self.bounds, "AugMix")
        mixed = self._on_unit_scale(values) if self.rescaled else self._mixed(values)
        return like(mixed if self.bounds is None else mixed.clamp(*self.bounds), image)

    def _on_unit_scale(self, values: Tensor) -> Tensor:
        low, high = self.bounds or (values.min(), values.max())
        if high == low:  # a constant image has no scale, and nothing to augment
            return values
        return low + (high - low) * self._mixed(((values - low) / (high - low)).clamp(0, 1))

    def _mixed(self, values: Tensor) -> Tensor:
        # one state for all operations in order: the draws follow from the seed alone, also with worker processes
        state = np.random.RandomState(self.seed)
        result = (1 - self.mixing) * values
        for weight, chain in zip(self.weights, self.chains, strict=True):
            result = result + self.mixing * weight * self._chained(values, chain, state)
        return result

    def _chained(self, values: Tensor, chain: Sequence[int], state: np.random.RandomState) -> Tensor:
        changed = values.clone()
        for index in chain:
            operation = self.operations[index]
            if isinstance(operation, Randomizable):
                operation.set_random_state(state=state)
            changed = torch.as_tensor(operation(changed)).as_subclass(Tensor)
            if changed.shape != values.shape:
                raise BadSampleError(
                    f"AugMix: {type(operation).__name__} made {tuple(changed.shape)} of an image of shape "
                    f"{tuple(values.shape)}; operations must keep the shape to be mixed."
                )
        return changed


class AugMixd(RandomizableTransform, MapTransform):
    """Dictionary version of :class:`AugMix`; all keys share one draw.

    Args:
        keys: the images to change; not masks, which would be mixed like intensities.
        operations, width, depth, alpha, severity, bounds, prob: as for :class:`AugMix`.
        allow_missing_keys: skip keys that are not there.
    """

    backend = AugMix.backend

    def __init__(
        self,
        keys: KeysCollection,
        operations: Operations = None,
        width: int = 3,
        depth: int = -1,
        alpha: float = 1.0,
        severity: float = 3.0,
        bounds: Sequence[float] | None = (0.0, 1.0),
        prob: float = 1.0,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, 1.0)
        self.augmix = AugMix(operations, width, depth, alpha, severity, bounds, prob)

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> AugMixd:
        """Seed this transform and the array transform within."""
        super().set_random_state(seed, state)
        self.augmix.set_random_state(seed, state)
        return self

    def randomize(self, data: Any = None) -> None:
        """Draw chains and weights."""
        self.augmix.randomize()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The dictionary with its images (C, *spatial) mixed."""
        items = dict(data)
        self.randomize()
        for key in self.key_iterator(items):
            items[key] = self.augmix(items[key], randomize=False)
        return items


def _checked_chains(width: int, depth: int, alpha: float) -> tuple[int, int, float]:
    if not is_whole(width, 1):
        raise BadInputError(f"AugMix: width must be a whole number of chains, at least 1, got {width!r}.")
    if not is_whole(depth, 1) and depth != -1:
        raise BadInputError(f"AugMix: depth must be at least 1, or -1 to draw 1 to 3, got {depth!r}.")
    if not is_above_zero(alpha):
        raise BadInputError(f"AugMix: alpha must be a positive number, got {alpha!r}.")
    return int(width), int(depth), float(alpha)


def _operations(given: Operations, severity: float) -> list[Callable[[Any], Any]]:
    if given is None or isinstance(given, str):
        name = given or DEFAULT_SET
        if name not in OPERATION_SETS:
            raise BadInputError(f"AugMix: no set of operations {name!r}; there are {', '.join(OPERATION_SETS)}.")
        return [AugMixOperation(operation, severity) for operation in OPERATION_SETS[name]]
    operations = list(given)
    if not operations:
        raise BadInputError("AugMix: operations must not be empty; leave them out for the default set.")
    for operation in operations:
        if not callable(operation) or isinstance(operation, MapTransform):
            raise BadInputError(f"AugMix: an operation must be an array transform, got {operation!r}.")
    return operations
