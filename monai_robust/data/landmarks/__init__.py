"""Landmark data sets: the usual layouts, read into one list of pictures with points."""

from __future__ import annotations

from monai_robust.data.landmarks.datalist import LandmarkDatalist, landmark_datalist
from monai_robust.data.landmarks.writing import write_landmark_datalist

__all__ = ["LandmarkDatalist", "landmark_datalist", "write_landmark_datalist"]
