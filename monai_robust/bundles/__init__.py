"""What the configurations of our bundles have in common, so that each says only what is its own."""

from __future__ import annotations

from monai_robust.bundles.handlers import (
    Handlers,
    evaluation_handlers,
    of_batches,
    recording_handlers,
    training_handlers,
)
from monai_robust.bundles.parts import part_of
from monai_robust.bundles.perturbations import with_corruptions
from monai_robust.bundles.processes import end_processes, first_process, process_device, start_processes
from monai_robust.bundles.shifts import other_site
from monai_robust.bundles.starting import start, tables_beside, write_training_record

__all__ = [
    "Handlers",
    "end_processes",
    "evaluation_handlers",
    "first_process",
    "of_batches",
    "other_site",
    "part_of",
    "process_device",
    "recording_handlers",
    "start",
    "start_processes",
    "tables_beside",
    "training_handlers",
    "with_corruptions",
    "write_training_record",
]
