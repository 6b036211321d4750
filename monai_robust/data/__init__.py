"""Data: a reader for clinical files, data lists, checked data sets, slices of volumes, and phantoms."""

from __future__ import annotations

from monai_robust.data.checked import CheckedDataset
from monai_robust.data.classification.balance import balanced_sampler, class_weights
from monai_robust.data.classification.datalist import ClassificationDatalist, classification_datalist
from monai_robust.data.classification.findings import findings_datalist
from monai_robust.data.classification.selecting import read_classes, with_classes, with_test_images
from monai_robust.data.classification.writing import write_datalist
from monai_robust.data.detection import DetectionDatalist, detection_datalist, write_detection_datalist
from monai_robust.data.files.side_files import read_table
from monai_robust.data.files.training_record import check_record, read_record, write_record
from monai_robust.data.files.weights import load_weights, read_checkpoint
from monai_robust.data.images import images_below
from monai_robust.data.landmarks import LandmarkDatalist, landmark_datalist, write_landmark_datalist
from monai_robust.data.lists.spreading import spread
from monai_robust.data.padding import padded_batch
from monai_robust.data.phantoms import (
    phantom_blood_smears,
    phantom_cephalograms,
    phantom_hippocampi,
    phantom_radiographs,
    write_blood_smear_phantoms,
    write_cephalogram_phantoms,
    write_hippocampus_phantoms,
    write_radiograph_phantoms,
)
from monai_robust.data.reading.reader import SimpleITKReader
from monai_robust.data.sample_ids import KnownSamples, WithSampleIds, known_samples
from monai_robust.data.segmentation import (
    ForegroundBatchSampler,
    SegmentationDatalist,
    SliceDataset,
    VolumeGrid,
    check_volume,
    label_map_on,
    load_volume,
    same_size_batches,
    segmentation_datalist,
    slices_of_volume,
    volume_of_slices,
    volumes_below,
    write_dicom_seg,
    write_label_map,
)
from monai_robust.data.unlabelled import UnlabelledDatalist, unlabelled_datalist

__all__ = [
    "CheckedDataset",
    "ClassificationDatalist",
    "DetectionDatalist",
    "ForegroundBatchSampler",
    "KnownSamples",
    "LandmarkDatalist",
    "SegmentationDatalist",
    "SimpleITKReader",
    "SliceDataset",
    "UnlabelledDatalist",
    "VolumeGrid",
    "WithSampleIds",
    "balanced_sampler",
    "check_record",
    "check_volume",
    "class_weights",
    "classification_datalist",
    "detection_datalist",
    "findings_datalist",
    "images_below",
    "known_samples",
    "label_map_on",
    "landmark_datalist",
    "load_volume",
    "load_weights",
    "padded_batch",
    "phantom_blood_smears",
    "phantom_cephalograms",
    "phantom_hippocampi",
    "phantom_radiographs",
    "read_checkpoint",
    "read_classes",
    "read_record",
    "read_table",
    "same_size_batches",
    "segmentation_datalist",
    "slices_of_volume",
    "spread",
    "unlabelled_datalist",
    "volume_of_slices",
    "volumes_below",
    "with_classes",
    "with_test_images",
    "write_blood_smear_phantoms",
    "write_cephalogram_phantoms",
    "write_datalist",
    "write_detection_datalist",
    "write_dicom_seg",
    "write_hippocampus_phantoms",
    "write_label_map",
    "write_landmark_datalist",
    "write_radiograph_phantoms",
    "write_record",
]
