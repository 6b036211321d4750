"""Detection data: pictures and boxes as of Pascal VOC or COCO, checked box by box."""

from __future__ import annotations

from monai_robust.data.detection.datalist import DetectionDatalist, detection_datalist
from monai_robust.data.detection.writing import write_detection_datalist

__all__ = ["DetectionDatalist", "detection_datalist", "write_detection_datalist"]
