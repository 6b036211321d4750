"""The transforms of a plan: once for each volume, and at random for each slice."""

from __future__ import annotations

from functools import partial

from monai.transforms import (
    Compose,
    EnsureTyped,
    Orientationd,
    RandAdjustContrastd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandScaleIntensityd,
    RandScaleIntensityFixedMeand,
    RandSimulateLowResolutiond,
    Spacingd,
    Transform,
)
from monai.utils import InterpolateMode

from monai_robust.data.segmentation.orientation import DIRECTIONS
from monai_robust.planning.normalise import NormalizeByPland
from monai_robust.planning.patch import PadToPatchd, RandForegroundPatchd
from monai_robust.planning.plan import Plan
from monai_robust.planning.rand_mirror import RandMirrord
from monai_robust.planning.rotate_scale import RandRotateScaled
from monai_robust.transforms.arguments import checked_number

__all__ = ["planned_augmentation", "planned_volume_transform"]

_IMAGE, _BOTH = ["image"], ["image", "label"]


def planned_volume_transform(plan: Plan) -> Compose:
    """What is done once to a loaded volume, the same for training, evaluation and inference.

    A volume is turned to the plan's orientation, without resampling. Slices are resampled to the plan's spacing,
    images linearly and labels by the nearest voxel; the slice axis keeps its spacing, and a volume that has the
    orientation and the spacing is not touched. Then intensities are standardised (:class:`NormalizeByPland`). nnU-Net
    resamples with cubic splines.

    Args:
        plan: of the data set.

    Returns:
        A transform of dictionaries with ``image`` (C, x, y, z), whose affine tells its spacing, and, where there is
        one, ``label`` (1, x, y, z).
    """
    pixdim = list(plan.spacing)
    pixdim.insert(plan.slice_axis, -1.0)  # Spacing leaves an axis with a spacing below 0 as it is
    return Compose(
        [
            EnsureTyped(_BOTH, allow_missing_keys=True),
            Orientationd(_BOTH, axcodes=plan.orientation, labels=DIRECTIONS, allow_missing_keys=True),
            Spacingd(_BOTH, pixdim=pixdim, mode=("bilinear", "nearest"), allow_missing_keys=True),
            NormalizeByPland(_IMAGE, plan),
        ]
    )


def planned_augmentation(plan: Plan, *, strength: float = 1.0) -> Compose:
    """nnU-Net's random changes of a training slice, and the patch.

    Rotation and scaling (probability 0.2 each, one resampling), the patch, a third of them around foreground, mirroring
    of each axis (0.5), then of the image Gaussian noise (0.1), blur (0.2), brightness (0.15), contrast (0.15), low
    resolution (0.25) and gamma (0.1 of the inverted image, 0.3 of the image).

    Source: Isensee et al. 2021 (nnU-Net), supplementary note 4. There blur, low resolution and their kind are drawn
    again for each channel; here for the sample.

    Args:
        plan: of the data set; holds angle, factors, mirrored axes and the patch.
        strength: from 0 to 1, times all probabilities but that of the patch's place; 0 leaves the patch alone.

    Returns:
        A transform of dictionaries with ``image`` (C, H, W), floating point, and ``label`` (1, H, W), integer, to
        plain tensors of the patch's size, ``image`` in single precision; other keys pass untouched.

    Raises:
        BadInputError: for another strength.
    """
    share = checked_number(strength, "strength of augmentation", 0, 1)
    shape: list[Transform] = [
        EnsureTyped(_BOTH, track_meta=False),
        EnsureTyped(_IMAGE, dtype="float32", track_meta=False),
        PadToPatchd(_BOTH, plan.patch),
        RandRotateScaled(_BOTH, plan.rotation, plan.scale, rotation_prob=0.2 * share, scale_prob=0.2 * share),
        RandForegroundPatchd(_BOTH, "label", plan.patch),
        RandMirrord(_BOTH, plan.mirror_axes, prob=0.5 * share),
    ]
    return Compose([*shape, *_intensity_changes(share), EnsureTyped(_BOTH, track_meta=False)])


def _intensity_changes(share: float) -> list[Transform]:
    gamma = partial(RandAdjustContrastd, _IMAGE, gamma=(0.7, 1.5), retain_stats=True)
    return [
        RandGaussianNoised(_IMAGE, prob=0.1 * share, std=0.1, sample_std=True),
        RandGaussianSmoothd(_IMAGE, prob=0.2 * share, sigma_x=(0.5, 1.0), sigma_y=(0.5, 1.0)),
        RandScaleIntensityd(_IMAGE, prob=0.15 * share, factors=0.25),
        RandScaleIntensityFixedMeand(_IMAGE, prob=0.15 * share, factors=0.25, preserve_range=True),
        RandSimulateLowResolutiond(
            _IMAGE,
            prob=0.25 * share,
            zoom_range=(0.5, 1.0),
            downsample_mode=InterpolateMode.NEAREST,
            upsample_mode=InterpolateMode.BICUBIC,
        ),
        gamma(prob=0.1 * share, invert_image=True),
        gamma(prob=0.3 * share),
    ]
