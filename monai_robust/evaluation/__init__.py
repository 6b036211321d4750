"""From a network's answers to a report: measure, outcomes table, summary, figures, report; data flows one way."""

from __future__ import annotations

from monai_robust.evaluation.gallery import Gallery, read_gallery, write_gallery
from monai_robust.evaluation.measure import Measurement
from monai_robust.evaluation.nearest import NearestSweep
from monai_robust.evaluation.perturbations import AttackSweep, CleanSweep, CorruptionSweep
from monai_robust.evaluation.report import write_report
from monai_robust.evaluation.run import Run, read_run, write_run_info
from monai_robust.evaluation.table import OutcomesWriter, outcome_columns, read_outcomes

__all__ = [
    "AttackSweep",
    "CleanSweep",
    "CorruptionSweep",
    "Gallery",
    "Measurement",
    "NearestSweep",
    "OutcomesWriter",
    "Run",
    "outcome_columns",
    "read_gallery",
    "read_outcomes",
    "read_run",
    "write_gallery",
    "write_report",
    "write_run_info",
]
