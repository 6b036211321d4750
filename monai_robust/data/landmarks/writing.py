"""A list of pictures with landmarks as a CSV file."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import pandas as pd

from monai_robust.data.files.csv_cells import csv_text
from monai_robust.data.files.whole import write_whole
from monai_robust.data.landmarks.columns import SPACING_COLUMNS
from monai_robust.data.landmarks.datalist import LandmarkDatalist

__all__ = ["write_landmark_datalist"]


def write_landmark_datalist(
    found: LandmarkDatalist, dataset_dir: str | PathLike[str], path: str | PathLike[str]
) -> Path:
    """Write ``found`` as a CSV file that ``landmark_datalist(dataset_dir, datalist=path)`` reads again.

    Files are relative to ``dataset_dir``; columns are ``file, sample_id, patient_id, split, mm_per_px_x, mm_per_px_y``
    and ``<name>_x, <name>_y`` for each landmark, empty where it is missing.
    """
    root = Path(dataset_dir).expanduser().absolute()
    rows = []
    for split, items in found.items.items():
        for item in items:
            row = {"file": Path(item["image"]).relative_to(root).as_posix(), "sample_id": item["sample_id"]}
            row |= {"patient_id": item["patient_id"], "split": split}
            row |= dict(zip(SPACING_COLUMNS, item["spacing"], strict=True))
            for name, (x, y) in zip(found.classes, item["points"], strict=True):
                row |= {f"{name}_x": x, f"{name}_y": y}
            rows.append(row)
    return write_whole(Path(path), csv_text(pd.DataFrame(rows)).encode())
