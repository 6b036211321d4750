"""nnU-Net's rules that make a 2-D plan from a fingerprint."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from monai_robust.errors import BadInputError
from monai_robust.losses.deep_supervision import deep_supervision_weights
from monai_robust.planning.fingerprint import Fingerprint
from monai_robust.planning.plan import Plan

__all__ = ["make_plan", "stage_features"]

# nnU-Net version 1: the memory estimate of a U-Net with 256 x 256 patches, of which 50 fitted on its 11 GB reference.
_REFERENCE_MEMORY = 19_739_648
_REFERENCE_BATCH = 50
_REFERENCE_FEATURES = 30
_REFERENCE_MOST_FEATURES = 480

_SMALLEST_EDGE = 4  # pixels of a side at the bottleneck
_SMALLEST_BATCH = 2
_SHARE_OF_DATA = 0.05  # a batch holds no more of all voxels than that
_SAME_SPACING = 1.001  # spacings read from files differ in the last digits
_NONZERO_BELOW = 0.75  # a median crop that keeps less makes z-scores ignore zeros
_LONG_SLICE = 1.5  # aspect from which slices turn by no more than _SMALL_TURN
_SMALL_TURN = 15.0
_CONVOLUTIONS = 2  # of a stage

_Pair = tuple[int, int]


def make_plan(
    fingerprint: Fingerprint,
    *,
    base_features: int = 32,
    max_features: int = 512,
    batch_size: int | None = None,
    patch: Sequence[int] | None = None,
) -> Plan:
    """Plan a 2-D U-Net for a data set by the rules of nnU-Net, version 1.

    - slices are cut across the axis of the coarsest median spacing; the last axis where spacings are equal. As that
      axis is never resampled, nnU-Net's rule for its spacing (10th percentile where it is 3 times coarser) has no use.
    - in the slice, the median spacing is the target, and the median of the sizes at that spacing is the patch.
    - an axis is halved while it has 8 or more pixels (12 if it is the last one to be) and its spacing is below twice
      the finest one; the patch is padded to a multiple of the strides. Kernels are 3 where axes have a similar
      spacing, else 1 across the coarse one.
    - the batch fills the memory of nnU-Net's reference network, holds at most 5 % of the voxels of all cases, and has
      at least 2 slices. The estimate has 30 features at full resolution, as version 1, whatever ``base_features`` is.
    - CT is clipped and standardised by the data set's foreground, everything else by each volume itself, without its
      zeros where the median case loses more than a quarter of its voxels by cropping them.

    The numbers that the AMAT paper reports (section 3.5, sizes there as z, y, x) come out of these rules: hippocampus,
    36 x 50 x 35 with 260 cases, gives a patch of 56 x 40 and a batch of 366 (292 with its 208 training cases), and
    prostate, 20 x 320 x 319, a patch of 320 x 320 and a batch of 32, which the paper leaves out. Heart's 320 x 256 and
    40 need the size after cropping to nonzero voxels, 115 x 320 x 232; the 115 x 320 x 320 that the paper prints is
    the size before it, and would give 320 x 320 and 32.

    Source: Isensee et al. 2021 (nnU-Net), supplementary note 2.

    Args:
        fingerprint: of the training data.
        base_features: channels at full resolution; doubled from stage to stage.
        max_features: upper limit of channels.
        batch_size: in place of the rule's.
        patch: pixels of the two axes in the slice, in place of the median size; padded like that.

    Raises:
        BadInputError: for slices too small for two halvings, or too large for a batch of 2.
    """
    slice_axis, spacing, sizes = _geometry(fingerprint)
    in_plane = [axis for axis in range(3) if axis != slice_axis]
    wanted = [float(sizes[axis]) for axis in in_plane] if patch is None else _checked_patch(patch)
    strides, kernels = _pooling(wanted, spacing)
    if len(strides) < 3:
        raise BadInputError(
            f"slices of {wanted[0]:g} x {wanted[1]:g} pixels are too small to be halved twice; give a larger patch, "
            "to which slices are padded"
        )
    padded = _padded(wanted, strides)
    if batch_size is None:
        batch_size = _batch_size(fingerprint, padded, strides, voxels=float(np.prod(sizes)) * fingerprint.cases)
    aspect = max(padded) / min(padded)
    return Plan(
        orientation=fingerprint.orientation,
        slice_axis=slice_axis,
        spacing=spacing,
        patch=padded,
        batch_size=batch_size,
        features=stage_features(base_features, len(strides), max_features),
        kernels=kernels,
        strides=strides,
        head_weights=deep_supervision_weights(len(strides) - 1),
        modality=fingerprint.modality,
        normalisation=tuple("ct" if name.strip().upper() == "CT" else "zscore" for name in fingerprint.modality),
        nonzero_only=bool(np.median(fingerprint.kept) < _NONZERO_BELOW),
        intensities=fingerprint.intensities,
        classes=fingerprint.classes,
        rotation=_SMALL_TURN if aspect > _LONG_SLICE else 180.0,
        scale=(0.7, 1.4),
        mirror_axes=(0, 1),
    )


def stage_features(base: int, stages: int, most: int = 512) -> tuple[int, ...]:
    """Channels of each stage: ``base`` doubled from stage to stage, at most ``most``.

    Raises:
        BadInputError: for a number below 1.
    """
    if base < 1 or most < 1:
        raise BadInputError(f"a network cannot have {min(base, most)} features; take 1 or more")
    return tuple(min(base * 2**stage, most) for stage in range(stages))


def _geometry(fingerprint: Fingerprint) -> tuple[int, tuple[float, float], np.ndarray]:
    """Slice axis, spacing in the slice, and median size of a case (x, y, z) at that spacing."""
    spacings = np.array(fingerprint.spacings)
    target = np.median(spacings, axis=0)
    slice_axis = max(axis for axis in range(3) if target[axis] * _SAME_SPACING >= target.max())
    resampled = np.array(fingerprint.shapes) * spacings / target
    resampled[:, slice_axis] = np.array(fingerprint.shapes)[:, slice_axis]
    first, second = (float(target[axis]) for axis in range(3) if axis != slice_axis)
    return slice_axis, (first, second), np.median(np.round(resampled), axis=0)


def _checked_patch(patch: Sequence[int]) -> list[float]:
    if len(patch) != 2 or min(patch) < 1:
        raise BadInputError(f"patch is {list(patch)}; it needs two positive whole numbers, pixels")
    return [float(size) for size in patch]


def _pooling(sizes: Sequence[float], spacing: Sequence[float]) -> tuple[tuple[_Pair, ...], tuple[_Pair, ...]]:
    """Strides and kernels of the stages for slices of these pixels and mm."""
    size, mm = [float(value) for value in sizes], [float(value) for value in spacing]
    strides: list[_Pair] = [(1, 1)]
    kernels: list[_Pair] = []
    while axes := _halved(size, mm):
        kernels.append(_kernel(mm))
        strides.append((2 if 0 in axes else 1, 2 if 1 in axes else 1))
        for axis in axes:
            size[axis], mm[axis] = math.ceil(size[axis] / 2), mm[axis] * 2
    kernels.append((3, 3))  # of the bottleneck, whatever the spacing
    return tuple(strides), tuple(kernels)


def _halved(size: Sequence[float], mm: Sequence[float]) -> list[int]:
    """The axes that the next stage halves."""
    axes = [axis for axis in (0, 1) if mm[axis] < 2 * min(mm) and size[axis] >= 2 * _SMALLEST_EDGE]
    return [] if len(axes) == 1 and size[axes[0]] < 3 * _SMALLEST_EDGE else axes


def _kernel(mm: Sequence[float]) -> _Pair:
    if max(mm) < 2 * min(mm):
        return 3, 3
    return (3, 1) if mm[0] < mm[1] else (1, 3)


def _padded(sizes: Sequence[float], strides: Sequence[_Pair]) -> _Pair:
    first, second = (
        math.ceil(size / divisor) * divisor
        for size, divisor in ((sizes[axis], math.prod(stride[axis] for stride in strides)) for axis in (0, 1))
    )
    return first, second


def _batch_size(fingerprint: Fingerprint, patch: _Pair, strides: Sequence[_Pair], voxels: float) -> int:
    outputs = len(fingerprint.classes) + 1
    memory = _memory(patch, strides[1:], len(fingerprint.modality) + outputs)
    fitting = math.floor(_REFERENCE_MEMORY / memory * _REFERENCE_BATCH)
    if fitting < _SMALLEST_BATCH:
        raise BadInputError(
            f"slices of {patch[0]} x {patch[1]} pixels are too large for a batch of {_SMALLEST_BATCH}; give a smaller "
            "patch, such as (512, 512), or the batch_size that your machine can hold"
        )
    share = round(_SHARE_OF_DATA * voxels / math.prod(patch))
    return max(_SMALLEST_BATCH, min(fitting, share))


def _memory(patch: _Pair, poolings: Sequence[_Pair], ends: int) -> float:
    """Numbers that the feature maps of version 1's reference network hold for one slice.

    Each resolution is visited on the way down and up, with two convolutions each, and by one transposed convolution;
    the bottleneck once. ``ends`` are the channels of inputs and outputs.
    """
    pixels, features = float(math.prod(patch)), _REFERENCE_FEATURES
    both_ways = 2 * _CONVOLUTIONS + 1
    total = pixels * (both_ways * features + ends)
    for depth, pooling in enumerate(poolings, start=1):
        pixels /= math.prod(pooling)
        features = min(2 * features, _REFERENCE_MOST_FEATURES)
        total += pixels * features * (_CONVOLUTIONS if depth == len(poolings) else both_ways)
    return total
