"""From a network's answers to a report: measure, outcomes table, summary, figures, report; data flows one way."""

from __future__ import annotations

from monai_robust.evaluation.explanation import Explanation
from monai_robust.evaluation.measure.corruption_sweeps import corruptions
from monai_robust.evaluation.measure.nearest import NearestSweep
from monai_robust.evaluation.measure.perturbations import AttackSweep, CleanSweep, CorruptionSweep
from monai_robust.evaluation.measure.task_outcomes import TaskOutcomes
from monai_robust.evaluation.measurement import Measurement
from monai_robust.evaluation.report.card import robustness_card, write_card, write_card_into_bundle
from monai_robust.evaluation.report.page import write_report
from monai_robust.evaluation.tables.gallery import Gallery, read_gallery, write_gallery
from monai_robust.evaluation.tables.outcomes import read_outcomes
from monai_robust.evaluation.tables.run_folder import Run, read_run, write_run_info
from monai_robust.evaluation.tables.schema import outcome_columns
from monai_robust.evaluation.tables.writer import OutcomesWriter
from monai_robust.evaluation.tasks.registry import outcomes_of, register_task
from monai_robust.evaluation.transfer import transfer_matrix

__all__ = [
    "AttackSweep",
    "CleanSweep",
    "CorruptionSweep",
    "Explanation",
    "Gallery",
    "Measurement",
    "NearestSweep",
    "OutcomesWriter",
    "Run",
    "TaskOutcomes",
    "corruptions",
    "outcome_columns",
    "outcomes_of",
    "read_gallery",
    "read_outcomes",
    "read_run",
    "register_task",
    "robustness_card",
    "transfer_matrix",
    "write_card",
    "write_card_into_bundle",
    "write_gallery",
    "write_report",
    "write_run_info",
]
