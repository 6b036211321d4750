"""The network of a plan."""

from __future__ import annotations

from typing import Any

import torch
from monai.networks.nets import DynUNet

from monai_robust.planning.plan import Plan
from monai_robust.planning.rules import stage_features

__all__ = ["planned_network"]


def planned_network(plan: Plan, in_channels: int | None = None, features: int | None = None) -> DynUNet:
    """MONAI's dynamic U-Net with a plan's stages: two convolutions each, instance norm, leaky ReLU, deep supervision.

    In training it returns (B, heads, classes + 1, H, W), full resolution first, in evaluation (B, classes + 1, H, W),
    logits both; :class:`~monai_robust.losses.DeepSupervised` takes either.

    Args:
        plan: of the data set.
        in_channels: of the images, where it is not the number of the plan's modalities.
        features: channels at full resolution in place of the plan's, for a smaller machine; doubled from stage to
            stage up to 512.

    Raises:
        BadInputError: for fewer than one feature.
    """
    heads = len(plan.head_weights)
    network = DynUNet(
        spatial_dims=2,
        in_channels=len(plan.modality) if in_channels is None else in_channels,
        out_channels=len(plan.classes) + 1,
        kernel_size=plan.kernels,
        strides=plan.strides,
        upsample_kernel_size=plan.upsample_kernels,
        filters=plan.features if features is None else stage_features(features, plan.stages),
        deep_supervision=heads > 1,
        deep_supr_num=max(heads - 1, 1),
    )
    network.register_forward_hook(_forget_heads)
    return network


def _forget_heads(network: DynUNet, inputs: Any, outputs: Any) -> None:
    """DynUNet keeps its last heads: with them their graph's memory, and a module that cannot be copied."""
    network.heads[:] = [torch.zeros(1)] * len(network.heads)
