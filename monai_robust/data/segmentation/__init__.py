"""Segmentation data: volumes in the Decathlon's layout, their slices, batches of these, and label maps written back."""

from __future__ import annotations

from monai_robust.data.segmentation.cutting import slices_of_volume, volume_of_slices
from monai_robust.data.segmentation.datalist import SegmentationDatalist, segmentation_datalist
from monai_robust.data.segmentation.dicom_seg import write_dicom_seg
from monai_robust.data.segmentation.folders import volumes_below
from monai_robust.data.segmentation.sampling import ForegroundBatchSampler, same_size_batches
from monai_robust.data.segmentation.slices import SliceDataset
from monai_robust.data.segmentation.volumes import check_volume, load_volume
from monai_robust.data.segmentation.writing import VolumeGrid, label_map_on, write_label_map

__all__ = [
    "ForegroundBatchSampler",
    "SegmentationDatalist",
    "SliceDataset",
    "VolumeGrid",
    "check_volume",
    "label_map_on",
    "load_volume",
    "same_size_batches",
    "segmentation_datalist",
    "slices_of_volume",
    "volume_of_slices",
    "volumes_below",
    "write_dicom_seg",
    "write_label_map",
]
