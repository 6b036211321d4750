"""Checkpoints of a training: written whole, found again, and read once."""

from __future__ import annotations

from monai_robust.checkpoints.joining import join_checkpoints
from monai_robust.checkpoints.loader import TrainingLoader
from monai_robust.checkpoints.saver import TrainingSaver
from monai_robust.checkpoints.stored import newest_checkpoint

__all__ = ["TrainingLoader", "TrainingSaver", "join_checkpoints", "newest_checkpoint"]
