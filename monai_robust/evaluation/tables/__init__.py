"""A run's folder: the outcomes table and what lies beside it, written as a measurement runs, read by all else."""

from __future__ import annotations

from monai_robust.evaluation.tables.gallery import Gallery, read_gallery, write_gallery
from monai_robust.evaluation.tables.outcomes import read_outcomes
from monai_robust.evaluation.tables.run_folder import Run, read_run, write_run_info
from monai_robust.evaluation.tables.schema import CLEAN, outcome_columns
from monai_robust.evaluation.tables.writer import OutcomesWriter

__all__ = [
    "CLEAN",
    "Gallery",
    "OutcomesWriter",
    "Run",
    "outcome_columns",
    "read_gallery",
    "read_outcomes",
    "read_run",
    "write_gallery",
    "write_run_info",
]
