"""Data: a reader for clinical files, data lists, checked data sets and phantoms."""

from __future__ import annotations

from monai_robust.data.balance import balanced_sampler, class_weights
from monai_robust.data.checked import CheckedDataset
from monai_robust.data.datalist_file import write_datalist
from monai_robust.data.datalists import ClassificationDatalist, classification_datalist
from monai_robust.data.images import images_below
from monai_robust.data.phantoms import phantom_radiographs, write_radiograph_phantoms
from monai_robust.data.readers import SimpleITKReader
from monai_robust.data.segmentation import (
    ForegroundBatchSampler,
    SegmentationDatalist,
    SliceDataset,
    load_volume,
    same_size_batches,
    segmentation_datalist,
)
from monai_robust.data.training_record import check_record, load_weights, read_record, write_record

__all__ = [
    "CheckedDataset",
    "ClassificationDatalist",
    "ForegroundBatchSampler",
    "SegmentationDatalist",
    "SimpleITKReader",
    "SliceDataset",
    "balanced_sampler",
    "check_record",
    "class_weights",
    "classification_datalist",
    "images_below",
    "load_volume",
    "load_weights",
    "phantom_radiographs",
    "read_record",
    "same_size_batches",
    "segmentation_datalist",
    "write_datalist",
    "write_radiograph_phantoms",
    "write_record",
]
