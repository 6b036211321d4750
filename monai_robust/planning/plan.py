"""Every number that follows from a data set before its training starts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from monai_robust.data.segmentation.orientation import check_orientation
from monai_robust.errors import BadInputError, require_choice
from monai_robust.planning.fingerprint import Intensities
from monai_robust.planning.rotate_scale import are_factors
from monai_robust.scalars import is_above_zero, is_number, is_whole

__all__ = ["Plan"]


@dataclass(frozen=True)
class Plan:
    """How to segment a data set in 2-D slices.

    A plan is made by :func:`~monai_robust.planning.make_plan`, may be written, edited by hand and read, and refuses
    what would not train, whichever way it came about. Sizes are in the order of the volume's axes as ``orientation``
    has them, without the slice axis.

    Args:
        orientation: where the volume's axes 0, 1 and 2 point to in the patient, such as ``"RAS"``; volumes that are
            stored along others are turned.
        slice_axis: axis of the volume (0, 1 or 2) along which slices are cut.
        spacing: mm of a pixel, to which every slice is resampled.
        patch: pixels of a training sample and of a window of sliding-window inference.
        batch_size: slices in a batch.
        features: channels of each stage, from full resolution to the bottleneck.
        kernels: convolution kernel of each stage.
        strides: downsampling on entering each stage; (1, 1) for the first.
        head_weights: weight in the loss of each output with deep supervision, from full resolution downwards; a
            single one switches deep supervision off.
        modality: name of each input channel.
        normalisation: of each input channel, ``"zscore"`` (its own mean and standard deviation of each volume) or
            ``"ct"`` (clip to ``low`` and ``high`` of its intensities, then their mean and standard deviation).
        nonzero_only: z-scores are computed from, and applied to, voxels that are not zero; the others stay 0.
        intensities: of each input channel, in the foreground of the training data; used for ``"ct"``.
        classes: names of the foreground classes, in the order of their labels 1, 2, ...
        rotation: largest angle of augmentation, in degrees.
        scale: smallest and largest factor of augmentation; above 1 objects become smaller.
        mirror_axes: axes of the slice (0, 1) that may be mirrored in training and at test time.

    Raises:
        BadInputError: for a value that cannot work, with what would do.
    """

    orientation: str
    slice_axis: int
    spacing: tuple[float, float]
    patch: tuple[int, int]
    batch_size: int
    features: tuple[int, ...]
    kernels: tuple[tuple[int, int], ...]
    strides: tuple[tuple[int, int], ...]
    head_weights: tuple[float, ...]
    modality: tuple[str, ...]
    normalisation: tuple[str, ...]
    nonzero_only: bool
    intensities: tuple[Intensities, ...]
    classes: tuple[str, ...]
    rotation: float
    scale: tuple[float, float]
    mirror_axes: tuple[int, ...]

    def __post_init__(self) -> None:
        self._check_sampling()
        self._check_network()
        self._check_heads()
        self._check_channels()
        self._check_augmentation()

    @property
    def stages(self) -> int:
        """Resolutions of the network, the full one and the bottleneck included."""
        return len(self.strides)

    @property
    def upsample_kernels(self) -> tuple[tuple[int, int], ...]:
        """Kernels of the transposed convolutions: they undo the strides."""
        return self.strides[1:]

    @property
    def divisor(self) -> tuple[int, int]:
        """What each side of the network's input must be a multiple of."""
        first, second = (math.prod(stride[axis] for stride in self.strides) for axis in (0, 1))
        return first, second

    def _check_sampling(self) -> None:
        check_orientation(self.orientation)
        require_choice("slice_axis", self.slice_axis, (0, 1, 2))
        if len(self.spacing) != 2 or not all(map(is_above_zero, self.spacing)):
            raise BadInputError(f"spacing is {_shown(self.spacing)}; it needs two positive numbers, mm")
        if len(self.patch) != 2 or not all(is_whole(value, 1) for value in self.patch):
            raise BadInputError(f"patch is {_shown(self.patch)}; it needs two positive whole numbers, pixels")
        if not is_whole(self.batch_size, 1):
            raise BadInputError(f"batch_size is {self.batch_size}; it can be 1 or more")

    def _check_network(self) -> None:
        if len(self.strides) < 3:
            raise BadInputError(f"strides has {len(self.strides)} stages; the network needs 3 or more")
        for name, values in (("features", self.features), ("kernels", self.kernels)):
            if len(values) != len(self.strides):
                raise BadInputError(
                    f"{name} has {len(values)} stages, but strides has {len(self.strides)}; both need the same number"
                )
        if min(self.features) < 1:
            raise BadInputError(f"features is {_shown(self.features)}; every stage needs 1 or more channels")
        for name, pairs in (("kernels", self.kernels), ("strides", self.strides)):
            odd = [pair for pair in pairs if len(pair) != 2 or min(pair) < 1]
            if odd:
                raise BadInputError(f"{name} has {_shown(odd[0])}; each stage needs two whole numbers of 1 or more")
        if any(size % 2 == 0 for kernel in self.kernels for size in kernel):
            raise BadInputError(f"kernels is {_shown(self.kernels)}; only odd sizes keep the size of a slice")
        if tuple(self.strides[0]) != (1, 1):
            raise BadInputError(
                f"the first of strides is {_shown(self.strides[0])}; it must be [1, 1], full resolution"
            )
        self._check_patch_fits()

    def _check_patch_fits(self) -> None:
        for axis, (size, divisor) in enumerate(zip(self.patch, self.divisor, strict=True)):
            if size % divisor:
                lower, upper = size // divisor * divisor, -(-size // divisor) * divisor
                nearest = f"{lower} or {upper}" if lower else f"{upper}"
                raise BadInputError(
                    f"patch is {_shown(self.patch)}, but the strides need axis {axis} to be a multiple of {divisor}, "
                    f"such as {nearest}"
                )
        if all(size == divisor for size, divisor in zip(self.patch, self.divisor, strict=True)):
            raise BadInputError(
                f"patch {_shown(self.patch)} leaves a single pixel at the bottleneck, which instance normalisation "
                "makes 0; take fewer strides or a larger patch"
            )

    def _check_heads(self) -> None:
        most = len(self.strides) - 1
        if not 1 <= len(self.head_weights) <= most:
            raise BadInputError(
                f"head_weights has {len(self.head_weights)} outputs; {len(self.strides)} stages can have 1 to {most}"
            )
        finite = all(math.isfinite(weight) and weight >= 0 for weight in self.head_weights)
        if not finite or self.head_weights[0] == 0:
            raise BadInputError(
                f"head_weights is {_shown(self.head_weights)}; it needs numbers of at least 0, the first above 0"
            )

    def _check_channels(self) -> None:
        if not self.modality or not self.classes:
            raise BadInputError("modality and classes need at least one name each")
        if len(set(self.classes)) < len(self.classes):
            raise BadInputError(f"classes is {_shown(self.classes)}; every name may stand there once")
        for name, values in (("normalisation", self.normalisation), ("intensities", self.intensities)):
            if len(values) != len(self.modality):
                raise BadInputError(f"{name} is given for {len(values)} channels, but modality names {self._channels}")
        for scheme, intensities in zip(self.normalisation, self.intensities, strict=True):
            require_choice("normalisation", scheme, ("zscore", "ct"))
            if not all(math.isfinite(number) for number in vars(intensities).values()):
                raise BadInputError("intensities has a number that is not finite; mean, std, low and high must be")
            if scheme == "ct" and not (intensities.low < intensities.high and intensities.std > 0):
                raise BadInputError("normalisation ct needs intensities with low below high and std above 0")

    @property
    def _channels(self) -> str:
        return f"{len(self.modality)} ({', '.join(self.modality)})"

    def _check_augmentation(self) -> None:
        if not is_number(self.rotation, 0, 180):
            raise BadInputError(f"rotation is {self.rotation}; it is an angle from 0 to 180 degrees")
        if not are_factors(self.scale):
            raise BadInputError(
                f"scale is {_shown(self.scale)}; it needs a factor from above 0 to 1, and one of 1 or more"
            )
        if not set(self.mirror_axes) <= {0, 1} or len(set(self.mirror_axes)) < len(self.mirror_axes):
            raise BadInputError(f"mirror_axes is {_shown(self.mirror_axes)}; it can hold 0 and 1, once each")


def _shown(values: Sequence[object]) -> str:
    """As the plan's file has it, in square brackets."""
    parts = (_shown(value) if isinstance(value, (list, tuple)) else str(value) for value in values)
    return f"[{', '.join(parts)}]"
