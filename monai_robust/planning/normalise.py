"""Intensities as a plan wants them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, NormalizeIntensity, ScaleIntensityRange, Transform

from monai_robust.errors import BadInputError
from monai_robust.planning.fingerprint import Intensities
from monai_robust.planning.plan import Plan

__all__ = ["NormalizeByPland"]


class NormalizeByPland(MapTransform):
    """Standardise each channel of a volume by a plan's scheme.

    - ``"zscore"``: by the volume's own mean and standard deviation; where the plan says ``nonzero_only``, by those of
      its nonzero voxels, and zeros stay 0.
    - ``"ct"``: clipped to the 0.5th and 99.5th percentile of the training data's foreground, then by its mean and
      standard deviation.

    Source: Isensee et al. 2021 (nnU-Net), which takes the nonzero voxels with the holes among them filled.

    Args:
        keys: of the images (C, *spatial).
        plan: with a scheme for each of the C channels.
        allow_missing_keys: do without keys that a sample lacks.

    Raises:
        BadInputError: when called, for an image with another number of channels.
    """

    def __init__(self, keys: KeysCollection, plan: Plan, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.modality = plan.modality
        self.channels = [
            _of_data_set(intensities) if scheme == "ct" else NormalizeIntensity(nonzero=plan.nonzero_only)
            for scheme, intensities in zip(plan.normalisation, plan.intensities, strict=True)
        ]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key]
            if len(image) != len(self.channels):
                raise BadInputError(
                    f"an image has {len(image)} channels, but the plan has {len(self.channels)}: "
                    f"{', '.join(self.modality)}"
                )
            normalised = image.clone().float()
            for index, normalise in enumerate(self.channels):
                normalised[index] = torch.as_tensor(normalise(normalised[index]))
            result[key] = normalised
        return result


def _of_data_set(intensities: Intensities) -> Transform:
    """Clip, then (value - mean) / std: a line through the two ends of the range."""
    low, high, mean, std = intensities.low, intensities.high, intensities.mean, intensities.std
    return ScaleIntensityRange(a_min=low, a_max=high, b_min=(low - mean) / std, b_max=(high - mean) / std, clip=True)
