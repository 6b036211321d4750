"""Somebody else's pipeline: which files it has, what it does, and the commands that fit it."""

from __future__ import annotations

from monai_robust.pipelines.commands import Command, commands_for, proposed_radii
from monai_robust.pipelines.found import Checkpoints, Found, Images
from monai_robust.pipelines.outputs import Outputs, detector_outputs, outputs_of, several_at_once
from monai_robust.pipelines.pipeline import Pipeline

__all__ = [
    "Checkpoints",
    "Command",
    "Found",
    "Images",
    "Outputs",
    "Pipeline",
    "commands_for",
    "detector_outputs",
    "outputs_of",
    "proposed_radii",
    "several_at_once",
]
