"""A detection data list as a COCO file."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import Any

from monai_robust.data.detection.datalist import DetectionDatalist
from monai_robust.data.files.whole import write_whole

__all__ = ["write_detection_datalist"]


def write_detection_datalist(
    found: DetectionDatalist, dataset_dir: str | PathLike[str], path: str | PathLike[str]
) -> Path:
    """Write ``found`` as ``{"images": ..., "annotations": ..., "categories": ...}``.

    Image paths are relative to ``dataset_dir``; each image also tells its ``split`` and ``patient_id``, so that
    ``detection_datalist(dataset_dir, datalist=path)`` reads the same list again.

    Returns:
        The path.
    """
    root = Path(dataset_dir).expanduser().absolute()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for split, items in found.items.items():
        for item in items:
            number = len(images) + 1
            file = Path(item["image"]).relative_to(root).as_posix()
            images.append({"id": number, "file_name": file, "split": split, "patient_id": item["patient_id"]})
            for box, index in zip(item["boxes"], item["classes"], strict=True):
                bbox = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
                entry = {"id": len(annotations) + 1, "image_id": number, "category_id": index + 1, "bbox": bbox}
                annotations.append({**entry, "area": bbox[2] * bbox[3], "iscrowd": 0})
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(found.classes)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    return write_whole(Path(path), f"{json.dumps(content, indent=1)}\n".encode())
