"""Mirror test-time augmentation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from typing import Any

import torch
from monai.inferers import Inferer, SimpleInferer
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.scalars import is_whole

__all__ = ["MirrorInferer"]


class MirrorInferer(Inferer):
    """The mean of a network's outputs over all mirrorings of its inputs, each mirrored back: 2 ** len(axes) of them.

    Outputs are averaged as they come, logits for the networks of this package, as version 2 of nnU-Net does; version
    1 averaged probabilities. Logits keep the result usable as a network's output, by a loss and by an attack.

    Source: Isensee et al. 2021 (nnU-Net).

    Args:
        inferer: runs the network on each mirrored input, such as ``SlidingWindowInferer``; without one the network is
            called directly.
        axes: spatial axes to mirror, 0 being the first after batch and channel; none leaves the inferer as it is.

    Raises:
        BadInputError: for axes that are negative or stand there twice.
    """

    def __init__(self, inferer: Inferer | None = None, axes: Sequence[int] = (0, 1)) -> None:
        super().__init__()
        listed = list(axes) if isinstance(axes, Iterable) else [axes]
        if not all(is_whole(axis, 0) for axis in listed) or len(set(listed)) < len(listed):
            raise BadInputError(f"axes to mirror are {listed}; they are whole numbers of 0 or more, once each")
        self.inferer = SimpleInferer() if inferer is None else inferer
        self.axes = tuple(listed)

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Outputs (B, ..., *spatial) for inputs (B, C, *spatial).

        Raises:
            BadInputError: for inputs without one of the axes, or a network with several outputs.
        """
        spatial = inputs.ndim - 2
        if any(axis >= spatial for axis in self.axes):
            raise BadInputError(f"axes to mirror are {list(self.axes)}, but the inputs have only {spatial}, from 0 on")
        views = [view for count in range(len(self.axes) + 1) for view in combinations(self.axes, count)]
        total: Tensor | None = None
        for view in views:
            dims = [axis - spatial for axis in view]  # from the end: deep supervision has one more axis in front
            outputs = self.inferer(torch.flip(inputs, dims) if dims else inputs, network, *args, **kwargs)
            if not isinstance(outputs, Tensor):
                raise BadInputError(
                    f"mirroring needs a network with one tensor of outputs, not {type(outputs).__name__}"
                )
            back = torch.flip(outputs, dims) if dims else outputs
            total = back if total is None else total + back
        assert total is not None  # the view without any mirroring is always there
        return total / len(views)
