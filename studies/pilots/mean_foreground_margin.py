"""The mean margin of the training slices with foreground after the last epoch of an AMAT training.

python studies/pilots/mean_foreground_margin.py margins_by_sample.csv DATASET_DIR
"""

from __future__ import annotations

import sys

import pandas as pd

from monai_robust.data import SliceDataset, segmentation_datalist
from monai_robust.planning import data_set_plan, planned_volume_transform

history, dataset_dir = sys.argv[1:]
data = segmentation_datalist(dataset_dir)
plan = data_set_plan(data, None, patch=None, batch_size=40)
slices = SliceDataset(
    data.items["train"],
    slice_axis=plan.slice_axis,
    classes=len(data.classes),
    transform=planned_volume_transform(plan),
)
foreground = {item["sample_id"] for item in slices.items if item["foreground"]}
table = pd.read_csv(history, dtype={"sample_id": str})
last = table[(table["epoch"] == table["epoch"].max()) & table["sample_id"].isin(foreground)]
print(f"{last['margin'].mean():.3f}")
