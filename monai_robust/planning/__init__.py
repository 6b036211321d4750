"""From a data set to everything its training needs, by nnU-Net's rules for 2-D slices."""

from __future__ import annotations

from monai_robust.planning.data_set import data_set_plan
from monai_robust.planning.fingerprint import Fingerprint, Intensities, fingerprint_of
from monai_robust.planning.network import planned_network
from monai_robust.planning.normalise import NormalizeByPland
from monai_robust.planning.patch import PadToPatchd, RandForegroundPatchd
from monai_robust.planning.plan import Plan
from monai_robust.planning.plan_file import read_plan, write_plan
from monai_robust.planning.rand_mirror import RandMirrord
from monai_robust.planning.rotate_scale import RandRotateScaled
from monai_robust.planning.rules import make_plan
from monai_robust.planning.schedule import planned_optimizer, poly_schedule
from monai_robust.planning.transforms import planned_augmentation, planned_volume_transform

__all__ = [
    "Fingerprint",
    "Intensities",
    "NormalizeByPland",
    "PadToPatchd",
    "Plan",
    "RandForegroundPatchd",
    "RandMirrord",
    "RandRotateScaled",
    "data_set_plan",
    "fingerprint_of",
    "make_plan",
    "planned_augmentation",
    "planned_network",
    "planned_optimizer",
    "planned_volume_transform",
    "poly_schedule",
    "read_plan",
    "write_plan",
]
