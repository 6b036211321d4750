"""Volumes with a class for every voxel, cut into slices."""

from __future__ import annotations

from monai_robust.data.segmentation.datalist import SegmentationDatalist, segmentation_datalist
from monai_robust.data.segmentation.sampling import ForegroundBatchSampler, same_size_batches
from monai_robust.data.segmentation.slices import SliceDataset
from monai_robust.data.segmentation.volumes import check_volume, load_volume

__all__ = [
    "ForegroundBatchSampler",
    "SegmentationDatalist",
    "SliceDataset",
    "check_volume",
    "load_volume",
    "same_size_batches",
    "segmentation_datalist",
]
