"""A data list as a JSON file in MONAI's form."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import Any

from monai_robust.data.classification.datalist import ClassificationDatalist
from monai_robust.data.files.whole import write_whole

__all__ = ["write_datalist"]

_KEYS = {"train": "training", "val": "validation", "test": "test"}


def write_datalist(found: ClassificationDatalist, dataset_dir: str | PathLike[str], path: str | PathLike[str]) -> Path:
    """Write ``found`` as ``{"labels": ..., "training": [...], "validation": [...], "test": [...]}``.

    Image paths are relative to ``dataset_dir``, and labels the names of their classes, so that
    ``classification_datalist(dataset_dir, datalist=path)`` reads the same list again.
    """
    root = Path(dataset_dir).expanduser().absolute()
    content: dict[str, Any] = {"labels": {str(index): name for index, name in enumerate(found.classes)}}
    for split, items in found.items.items():
        content[_KEYS[split]] = [
            {**item, "image": Path(item["image"]).relative_to(root).as_posix(), "label": found.classes[item["label"]]}
            for item in items
        ]
    return write_whole(Path(path), f"{json.dumps(content, indent=1)}\n".encode())
