"""Handlers for MONAI engines."""

from __future__ import annotations

from monai_robust.handlers.checkpoints import TrainingLoader, TrainingSaver
from monai_robust.handlers.predictions import PredictionsCSV
from monai_robust.handlers.progress import ProgressBar

__all__ = ["PredictionsCSV", "ProgressBar", "TrainingLoader", "TrainingSaver"]
